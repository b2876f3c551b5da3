//! Fields and answers between the command line, JSON and the SDK.

use serde_json::{Map, Value as Json, json};
use tao_client::{Answered, NamedFields, Written};
use tao_schema::fields::Value;
use tao_schema::graph_schema::{FieldDefs, parse_field};
use tao_schema::ids::{FieldId, Position};
use tao_schema::ops::{Effect, Explain, Source};

use super::UsageError;
use crate::output::say;

/// A length of time from the command line: `60ms`, `1s`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; such as 60ms"))
}

/// `name=value` from the command line.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Values of fields, read as the kinds that the type declares.
///
/// # Errors
/// A field that the type does not have, or a value of another kind.
pub fn fields(defs: &FieldDefs, pairs: &[(String, String)]) -> anyhow::Result<Vec<(FieldId, Value)>> {
    pairs
        .iter()
        .map(|(name, text)| parse_field(defs, name, text))
        .collect::<tao_schema::Result<_>>()
        .map_err(|error: tao_schema::Error| UsageError(error.message).into())
}

/// Fields as JSON, defaults filled in.
///
/// # Errors
/// Stored data that can't be understood.
pub fn fields_json(fields: &NamedFields) -> anyhow::Result<Json> {
    let mut map = Map::new();
    for (name, value) in fields.iter()? {
        map.insert(name.to_owned(), value_json(value));
    }
    Ok(Json::Object(map))
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(value) => json!(value),
        // Hexadecimal, because JSON has no bytes.
        Value::Blob(value) => json!(value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// A write's outcome as JSON.
pub fn written_json(written: &Written) -> Json {
    let effect = match written.effect() {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Deleted => "deleted",
        Effect::Nothing => "nothing",
    };
    json!({
        "effect": effect,
        "version": written.version(),
        "token": written.positions.iter().map(Position::to_string).collect::<Vec<_>>(),
        "inverse_pending": written.inverse_pending,
        "replayed": written.replayed,
    })
}

/// How an answer came about, as JSON.
pub fn explain_json<T>(answered: &Answered<T>) -> Json {
    json!({
        "source": answered.explain.as_ref().map(source),
        "path": answered.explain.as_ref().map(|explain| &explain.path),
        "reason": answered.explain.as_ref().map(|explain| &explain.reason),
        "rule": answered.explain.as_ref().map(|explain| &explain.rule),
        "token": answered.position.map(|position| position.to_string()),
    })
}

/// Tells a person how an answer came about.
pub fn say_explain<T>(answered: &Answered<T>) {
    let token = answered.position.map_or_else(|| "none".to_owned(), |position| position.to_string());
    match &answered.explain {
        Some(explain) => {
            let reason =
                if explain.reason.is_empty() { String::new() } else { format!(" ({})", explain.reason) };
            say(&format!("answered by {}{reason}", source(explain)));
            say(&format!("path      {}", explain.path.join(" > ")));
            if !explain.rule.is_empty() {
                say(&format!("rule      {}", explain.rule));
            }
        }
        None => say("the node did not tell its path"),
    }
    say(&format!("token     {token}  (shard:epoch:seq)"));
}

const fn source(explain: &Explain) -> &'static str {
    match explain.source {
        Source::FollowerCache => "the follower's memory",
        Source::LeaderCache => "the leader's memory",
        Source::Database => "the database",
    }
}
