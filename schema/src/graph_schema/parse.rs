//! From TOML to a [`GraphSchema`]: every rule of the format is checked here, and nothing else is accepted.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use toml::Spanned;

use super::{AssocTypeDef, FieldDef, FieldDefs, FieldKind, GraphSchema, GraphSchemaError, ObjectTypeDef};
use crate::fields::Value;
use crate::ids::{AssocType, FieldId, MAX_TYPE, ObjectType};
use crate::limits::{MAX_ASSOC_BYTES, MAX_FIELDS, MAX_OBJECT_BYTES, MAX_QUERY_LIMIT};
use crate::toml_text::{TomlText, is_name};

/// The only version of the format.
const FORMAT: i64 = 1;

type Result<T> = std::result::Result<T, GraphSchemaError>;
/// Names with their places, in the order of the alphabet.
type Named<T> = BTreeMap<Spanned<String>, T>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchema {
    format: Spanned<i64>,
    #[serde(default)]
    object: Named<RawObject>,
    #[serde(default)]
    assoc: Named<RawAssoc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObject {
    id: Spanned<i64>,
    max_bytes: Option<Spanned<i64>>,
    #[serde(default)]
    fields: Named<RawField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAssoc {
    id: Spanned<i64>,
    inverse: Option<Spanned<String>>,
    symmetric: Option<Spanned<bool>>,
    query_limit: Option<Spanned<i64>>,
    max_bytes: Option<Spanned<i64>>,
    #[serde(default)]
    fields: Named<RawField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    id: Spanned<i64>,
    kind: Spanned<String>,
    default: Option<Spanned<toml::Value>>,
}

pub(super) fn parse(toml: &str, file: &str) -> Result<GraphSchema> {
    let text = TomlText { text: toml, file };
    let raw: RawSchema = text.parse()?;
    if *raw.format.get_ref() != FORMAT {
        let message =
            format!("format {} is unknown; this program reads format {FORMAT}", raw.format.get_ref());
        return Err(text.error(raw.format.span(), message));
    }
    let mut schema = GraphSchema {
        source: toml.to_owned(),
        objects: BTreeMap::new(),
        object_names: HashMap::new(),
        assocs: BTreeMap::new(),
        assoc_names: HashMap::new(),
    };
    add_objects(text, raw.object, &mut schema)?;
    add_assocs(text, &raw.assoc, &mut schema)?;
    join_inverses(text, &raw.assoc, &mut schema)?;
    Ok(schema)
}

fn add_objects(text: TomlText<'_>, raw: Named<RawObject>, schema: &mut GraphSchema) -> Result<()> {
    for (name, raw) in raw {
        check_name(text, &name)?;
        let id = ObjectType(number(text, &raw.id, "id", 1, MAX_TYPE.into())? as u16);
        if let Some(other) = schema.objects.get(&id) {
            let message = format!("object type {id} is {:?} already; numbers are unique", other.name);
            return Err(text.error(raw.id.span(), message));
        }
        let max_bytes = max_bytes(text, raw.max_bytes.as_ref(), MAX_OBJECT_BYTES)?;
        let fields = fields(text, &raw.fields)?;
        let name = name.into_inner();
        schema.object_names.insert(name.clone(), id);
        schema.objects.insert(id, ObjectTypeDef { id, name, fields, max_bytes });
    }
    Ok(())
}

/// Adds all association types as if none had an inverse.
fn add_assocs(text: TomlText<'_>, raw: &Named<RawAssoc>, schema: &mut GraphSchema) -> Result<()> {
    for (name, raw) in raw {
        check_name(text, name)?;
        let id = AssocType(number(text, &raw.id, "id", 1, MAX_TYPE.into())? as u16);
        if let Some(other) = schema.assocs.get(&id) {
            let message = format!("association type {id} is {:?} already; numbers are unique", other.name);
            return Err(text.error(raw.id.span(), message));
        }
        let symmetric = raw.symmetric.as_ref().is_some_and(|value| *value.get_ref());
        if let Some(inverse) = raw.inverse.as_ref().filter(|_| symmetric) {
            let message = "a symmetric type is its own inverse; drop `inverse` or `symmetric`";
            return Err(text.error(inverse.span(), message));
        }
        let query_limit = match &raw.query_limit {
            Some(limit) => number(text, limit, "query_limit", 1, MAX_QUERY_LIMIT.into())? as u32,
            None => MAX_QUERY_LIMIT,
        };
        let def = AssocTypeDef {
            id,
            name: name.get_ref().clone(),
            inverse: symmetric.then_some(id),
            symmetric,
            forward: true,
            query_limit,
            fields: fields(text, &raw.fields)?,
            max_bytes: max_bytes(text, raw.max_bytes.as_ref(), MAX_ASSOC_BYTES)?,
        };
        schema.assoc_names.insert(def.name.clone(), id);
        schema.assocs.insert(id, def);
    }
    Ok(())
}

/// Joins each forward type with the inverse that it names.
fn join_inverses(text: TomlText<'_>, raw: &Named<RawAssoc>, schema: &mut GraphSchema) -> Result<()> {
    for (name, forward) in raw {
        let Some(inverse_name) = &forward.inverse else { continue };
        let refuse = |message: String| Err(text.error(inverse_name.span(), message));
        let wanted = inverse_name.get_ref();
        let Some((_, inverse)) = raw.iter().find(|(other, _)| other.get_ref() == wanted) else {
            return refuse(format!("no association type {wanted:?}; add [assoc.{wanted}] with its own id"));
        };
        if wanted == name.get_ref() {
            return refuse("a type that is its own inverse is declared by `symmetric = true`".to_owned());
        }
        let said_twice = [
            (inverse.inverse.is_some(), "inverse"),
            (inverse.symmetric.is_some(), "symmetric"),
            (inverse.max_bytes.is_some(), "max_bytes"),
            (!inverse.fields.is_empty(), "fields"),
        ];
        if let Some((_, key)) = said_twice.iter().find(|(said, _)| *said) {
            return refuse(format!(
                "{wanted:?} is an inverse and shares everything with its forward type; drop its `{key}`"
            ));
        }
        let (forward, inverse) = (schema.assoc_names[name.get_ref()], schema.assoc_names[wanted]);
        if let Some(other) = schema.assocs[&inverse].inverse {
            let other = &schema.assocs[&other].name;
            return refuse(format!("{wanted:?} is the inverse of {other:?} already"));
        }
        let fields = schema.assocs[&forward].fields.clone();
        let max_bytes = schema.assocs[&forward].max_bytes;
        if let Some(def) = schema.assocs.get_mut(&forward) {
            def.inverse = Some(inverse);
        }
        if let Some(def) = schema.assocs.get_mut(&inverse) {
            *def = AssocTypeDef { inverse: Some(forward), forward: false, fields, max_bytes, ..def.clone() };
        }
    }
    Ok(())
}

fn fields(text: TomlText<'_>, raw: &Named<RawField>) -> Result<FieldDefs> {
    let mut fields = BTreeMap::new();
    for (at, (name, raw)) in raw.iter().enumerate() {
        check_name(text, name)?;
        if at == MAX_FIELDS {
            return Err(text.error(name.span(), format!("a type has at most {MAX_FIELDS} fields")));
        }
        let id = FieldId(number(text, &raw.id, "id", 1, u16::MAX.into())? as u16);
        let Some(kind) = FieldKind::ALL.into_iter().find(|kind| kind.name() == raw.kind.get_ref()) else {
            let message =
                format!("kind {:?} is unknown; one of bool, int, float, text, blob", raw.kind.get_ref());
            return Err(text.error(raw.kind.span(), message));
        };
        let default = match &raw.default {
            Some(default) => default_value(text, kind, default)?,
            None => kind.zero(),
        };
        let def = FieldDef { id, name: name.get_ref().clone(), kind, default };
        if let Some(other) = fields.insert(id, def) {
            let message = format!("field {id} is {:?} already; numbers are unique within a type", other.name);
            return Err(text.error(raw.id.span(), message));
        }
    }
    Ok(FieldDefs(fields.into_values().collect()))
}

fn default_value(text: TomlText<'_>, kind: FieldKind, default: &Spanned<toml::Value>) -> Result<Value> {
    let value = match (kind, default.get_ref()) {
        (FieldKind::Bool, toml::Value::Boolean(value)) => Some(Value::Bool(*value)),
        (FieldKind::Int, toml::Value::Integer(value)) => Some(Value::Int(*value)),
        (FieldKind::Float, toml::Value::Float(value)) => Some(Value::Float(*value)),
        (FieldKind::Text, toml::Value::String(value)) => Some(Value::Text(value.clone())),
        (FieldKind::Blob, toml::Value::String(value)) => {
            BASE64.decode(value).ok().map(|bytes| Value::Blob(bytes.into()))
        }
        _ => None,
    };
    value.ok_or_else(|| {
        let wanted = match kind {
            FieldKind::Blob => "base64 text".to_owned(),
            _ => format!("a value of kind {}", kind.name()),
        };
        text.error(default.span(), format!("the default is {}; this field needs {wanted}", default.get_ref()))
    })
}

fn max_bytes(text: TomlText<'_>, value: Option<&Spanned<i64>>, limit: usize) -> Result<usize> {
    value.map_or(Ok(limit), |value| Ok(number(text, value, "max_bytes", 1, limit as i64)? as usize))
}

fn number(text: TomlText<'_>, value: &Spanned<i64>, what: &str, low: i64, high: i64) -> Result<i64> {
    let number = *value.get_ref();
    if (low..=high).contains(&number) {
        return Ok(number);
    }
    Err(text.error(value.span(), format!("{what} is {number}; it must be from {low} to {high}")))
}

fn check_name(text: TomlText<'_>, name: &Spanned<String>) -> Result<()> {
    if is_name(name.get_ref(), "_") {
        return Ok(());
    }
    let message = format!(
        "{:?} is no name: a lower-case letter, then letters, digits and _, at most 64",
        name.get_ref()
    );
    Err(text.error(name.span(), message))
}
