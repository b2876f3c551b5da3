//! How the verbs that read say how fresh the answer must be, and tell how it came about.

use anyhow::Result;
use clap::Args;
use serde_json::{Value as Json, json};
use tao_client::{Answered, Call, Client, Consistency, Operation, SessionClient};
use tao_schema::ids::{Position, ShardId};

use super::UsageError;
use super::values::{explain_json, say_explain};
use crate::output::say;

/// How fresh the answer must be, and whether to tell how it came about.
#[derive(Args)]
pub struct ReadArgs {
    /// Tells who answered, the path, the rule by which it was fresh enough, and the token.
    #[arg(long)]
    explain: bool,
    /// How fresh: local, bounded=1s (or 250ms, ...), master, critical. Default: local.
    #[arg(long, value_name = "HOW", value_parser = consistency)]
    consistency: Option<Consistency>,
    /// Not older than this token: one that a write or --explain printed for the same shard.
    #[arg(long, value_name = "SHARD:EPOCH:SEQ", value_parser = token)]
    at_least: Option<Position>,
    /// Not older than anything that this session has seen; "new" starts one. The answer tells the session to go on with.
    #[arg(long, value_name = "TEXT")]
    session: Option<String>,
}

/// What a verb reads with.
pub struct Reader {
    client: Client,
    session: Option<SessionClient>,
    explain: bool,
    consistency: Option<Consistency>,
    at_least: Option<Position>,
}

impl ReadArgs {
    /// For reads of one shard.
    ///
    /// # Errors
    /// A token of another shard, or a text that is no session.
    pub fn reader(&self, client: &Client, shard: ShardId) -> Result<Reader> {
        if let Some(token) = self.at_least.filter(|token| token.shard != shard) {
            let message = format!(
                "--at-least {token}: the token is of shard {}, this reads shard {shard}",
                token.shard
            );
            return Err(UsageError(message).into());
        }
        let session = match self.session.as_deref() {
            None => None,
            Some("new") => Some(client.session()),
            Some(text) => Some(client.resume_session(text)?),
        };
        let ReadArgs { explain, consistency, at_least, .. } = *self;
        Ok(Reader { client: client.clone(), session, explain, consistency, at_least })
    }
}

impl Reader {
    /// Makes the calls.
    pub fn client(&self) -> &Client {
        self.session.as_deref().unwrap_or(&self.client)
    }

    /// Sends one of them as the command line says.
    ///
    /// # Errors
    /// As [`Call::send`].
    pub async fn send<Op: Operation>(&self, mut call: Call<'_, Op>) -> Result<Answered<Op::Output>> {
        if let Some(consistency) = self.consistency {
            call = call.consistency(consistency);
        }
        if let Some(token) = self.at_least {
            call = call.at_least(token);
        }
        if self.explain {
            return Ok(call.send_explained().await?);
        }
        Ok(Answered { value: call.send().await?, position: None, explain: None })
    }

    /// Adds what was asked beside the answer to its JSON.
    pub fn add_to<T>(&self, record: &mut Json, answered: &Answered<T>) {
        let Some(map) = record.as_object_mut() else { return };
        if self.explain {
            map.insert("explain".to_owned(), explain_json(answered));
        }
        if let Some(session) = &self.session {
            map.insert("session".to_owned(), json!(session.export()));
        }
    }

    /// Tells a person what was asked beside the answer.
    pub fn say<T>(&self, answered: &Answered<T>) {
        if self.explain {
            say_explain(answered);
        }
        if let Some(session) = &self.session {
            say(&format!("session   {}", session.export()));
        }
    }
}

fn consistency(text: &str) -> Result<Consistency, String> {
    match text.split_once('=') {
        Some(("bounded", age)) => {
            let age = humantime::parse_duration(age).map_err(|error| format!("bounded={age}: {error}"))?;
            Ok(Consistency::Bounded(age))
        }
        None if text == "local" => Ok(Consistency::Local),
        None if text == "master" => Ok(Consistency::Master),
        None if text == "critical" => Ok(Consistency::Critical),
        _ => Err("must be local, bounded=DURATION, master or critical".to_owned()),
    }
}

fn token(text: &str) -> Result<Position, String> {
    let wrong = || "must be SHARD:EPOCH:SEQ, as writes and --explain print it".to_owned();
    let mut parts = text.splitn(3, ':');
    let mut part = || parts.next().ok_or_else(wrong);
    let (shard, epoch, seq) = (part()?, part()?, part()?);
    Ok(Position {
        shard: shard.parse().map_err(|_| wrong())?,
        epoch: epoch.parse().map_err(|_| wrong())?,
        seq: seq.parse().map_err(|_| wrong())?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tao_schema::ids::{Epoch, Seq};

    use super::*;

    #[test]
    fn consistency_and_tokens_are_read_as_they_are_printed() {
        let good = [
            ("local", Consistency::Local),
            ("master", Consistency::Master),
            ("critical", Consistency::Critical),
            ("bounded=1s", Consistency::Bounded(Duration::from_secs(1))),
            ("bounded=250ms", Consistency::Bounded(Duration::from_millis(250))),
        ];
        for (text, expected) in good {
            assert_eq!(consistency(text), Ok(expected));
        }
        for text in ["", "bounded", "bounded=", "bounded=fast", "master=1s", "Local"] {
            assert!(consistency(text).is_err(), "{text:?}");
        }
        let position = Position { shard: ShardId(7), epoch: Epoch(2), seq: Seq(120) };
        assert_eq!(token(&position.to_string()), Ok(position));
        for text in ["", "7", "7:2", "7:2:120:1", "70000:1:1", "a:b:c", "7:-1:3"] {
            assert!(token(text).is_err(), "{text:?}");
        }
    }
}
