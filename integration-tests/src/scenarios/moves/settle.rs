//! A command of `tao shard` until it has come about, whatever ends its workers: as an operator would, with `resume`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tao_schema::ids::ShardId;

use super::tool::{Status, Tool};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// What was ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command<'a> {
    pub(crate) shard: ShardId,
    pub(crate) args: &'a [&'a str],
    /// The newest move of the shard before.
    pub(crate) before: Option<u64>,
    /// It must have come about so long after its first worker ended.
    pub(crate) limit: Duration,
}

/// What the workers of one move came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Way {
    /// Calls of `tao shard resume` that it took.
    pub resumes: u64,
    /// Exit codes of workers; -1: a signal.
    pub exits: BTreeMap<i32, u64>,
    /// Cutovers begun.
    pub cutovers: u32,
    /// Of those, taken back.
    pub rollbacks: u32,
    /// Copies begun anew.
    pub recopies: u32,
    /// What the mover said last that went wrong.
    pub error: Option<String>,
    /// What workers said that did not end well, to be told.
    #[serde(skip)]
    pub(crate) words: Vec<String>,
}

impl Way {
    /// A worker has ended; `None`: it had to be killed.
    pub(crate) fn ended(&mut self, code: Option<i32>, words: &str) {
        *self.exits.entry(code.unwrap_or(-1)).or_default() += 1;
        if code != Some(0) {
            self.words.push(format!("exit {code:?}: {words}"));
        }
    }

    fn note(&mut self, status: &Status) {
        let notes = &status.notes;
        self.cutovers = self.cutovers.max(notes.cutovers);
        self.rollbacks = self.rollbacks.max(notes.rollbacks);
        self.recopies = self.recopies.max(notes.recopies);
        if notes.error.is_some() {
            self.error.clone_from(&notes.error);
        }
    }
}

impl Tool {
    /// Goes on with what a worker that ended with `code` left, until it has come about.
    ///
    /// # Errors
    /// It does not, within the limit.
    pub(crate) async fn settle(
        &mut self,
        command: Command<'_>,
        mut code: Option<i32>,
        way: &mut Way,
    ) -> Result<Status> {
        let Command { shard, args, before, limit } = command;
        let (began, number) = (Instant::now(), shard.to_string());
        let resume: &[&str] = &["resume", &number, "--take-over"];
        loop {
            let mut next = resume;
            let last = match self.status(shard).await {
                // Nothing was written down: it is ordered once more.
                Ok(found) if args.first() == Some(&"move") && found.as_ref().map(|it| it.id) == before => {
                    next = args;
                    "nothing was ordered".to_owned()
                }
                Ok(Some(status)) => {
                    way.note(&status);
                    if status.settled() && code == Some(0) {
                        return Ok(status);
                    }
                    format!("{}: {}", status.state, status.notes.error.unwrap_or_default())
                }
                Ok(None) => "there was never a move".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if began.elapsed() > limit {
                bail!("shard {shard}: not settled within {limit:?}; {last}; {:?}", way.words.last());
            }
            tokio::time::sleep(AGAIN).await;
            let mut worker = self.start(next, None)?;
            way.resumes += 1;
            code = worker.end(limit).await?;
            way.ended(code, &worker.last_words());
        }
    }

    /// Lets a worker compare both sides, while they may be written.
    ///
    /// # Errors
    /// It can't be done within the limit. Rows that differ are no error, but in the answer.
    pub(crate) async fn verify(&mut self, shard: ShardId, limit: Duration, way: &mut Way) -> Result<Status> {
        let (began, number) = (Instant::now(), shard.to_string());
        loop {
            let mut worker = self.start(&["verify", &number, "--take-over"], None)?;
            let code = worker.end(limit).await?;
            let status = self.status(shard).await?.context("a move")?;
            if code == Some(0) || status.notes.rows_different > 0 {
                return Ok(status);
            }
            way.ended(code, &worker.last_words());
            if began.elapsed() > limit {
                bail!("shard {shard}: not compared within {limit:?}: {}", worker.last_words());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
