//! `tao shard …` as processes of their own, and what they say of a move.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tao_admin::shard::Step;
use tao_schema::ids::{HostGroupId, ShardId};

use crate::binaries::{run_tao, tao};
use crate::process::Process;
use crate::regions::Regions;

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(50);

/// Calls `tao shard`.
pub(crate) struct Tool {
    topology: PathBuf,
    folder: PathBuf,
    calls: u32,
}

/// A running `tao shard …`. Killed when dropped.
pub(crate) struct Worker {
    process: Process,
    log: PathBuf,
}

/// Where a worker stands still: until it is killed, or for a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halt {
    /// At which step, the first time that it comes.
    pub(crate) step: Step,
    /// `None`: for ever.
    pub(crate) time: Option<Duration>,
}

/// What `tao shard status -o json` says, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) id: u64,
    pub(crate) state: String,
    pub(crate) over: bool,
    pub(crate) home: HostGroupId,
    pub(crate) source: HostGroupId,
    pub(crate) target: HostGroupId,
    pub(crate) serving: HostGroupId,
    pub(crate) rows_per_second: Option<f64>,
    pub(crate) orders: Orders,
    pub(crate) notes: Notes,
}

/// Part of [`Status`].
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Orders {
    goal: String,
    finalize: bool,
}

/// Part of [`Status`].
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Notes {
    pub(crate) rows_copied: u64,
    pub(crate) bytes_copied: u64,
    pub(crate) rows_compared: u64,
    pub(crate) rows_different: u64,
    pub(crate) differences: Vec<String>,
    pub(crate) predicted_ms: Option<f64>,
    pub(crate) pause_ms: Option<f64>,
    pub(crate) pause: serde_json::Value,
    pub(crate) cutovers: u32,
    pub(crate) rollbacks: u32,
    pub(crate) recopies: u32,
    pub(crate) error: Option<String>,
}

impl Tool {
    pub(crate) fn new(cluster: &Regions) -> Self {
        Self { topology: cluster.topology_file.clone(), folder: cluster.folder().to_owned(), calls: 0 }
    }

    /// Starts `tao shard ARGS`.
    ///
    /// # Errors
    /// It can't be started.
    pub(crate) fn start(&mut self, args: &[&str], halt: Option<Halt>) -> Result<Worker> {
        self.calls += 1;
        let log = self.folder.join(format!("tao-shard-{}.log", self.calls));
        let topology = self.topology.display().to_string();
        let args = [&["--cluster", topology.as_str(), "--output", "json", "shard"], args].concat();
        let time = halt.and_then(|halt| halt.time).map(|time| time.as_millis().to_string());
        let mut environment: Vec<(&str, &Path)> = Vec::new();
        if let Some(halt) = halt {
            environment.push(("TAO_MOVE_WAITS_AT", Path::new(halt.step.name())));
        }
        if let Some(time) = &time {
            environment.push(("TAO_MOVE_WAITS_MS", Path::new(time)));
        }
        let process = Process::start_with("tao shard", &tao()?, &args, &log, &environment)?;
        Ok(Worker { process, log })
    }

    /// How the newest move of a shard is; `None`: there was never any.
    ///
    /// # Errors
    /// Nobody says.
    pub(crate) async fn status(&self, shard: ShardId) -> Result<Option<Status>> {
        let (topology, text) = (self.topology.clone(), shard.to_string());
        let ask = move || run_tao(&topology, &["shard", "status", &text]);
        let (code, data, talk) = tokio::task::spawn_blocking(ask).await??;
        if code == 1 && talk.contains("was never moved") {
            return Ok(None);
        }
        ensure!(code == 0, "tao shard status {shard} ended with {code}: {talk}");
        Ok(Some(serde_json::from_value(data).context("the status of a move")?))
    }
}

impl Status {
    /// Whether what was ordered has come about: nobody needs to work on it.
    pub(crate) fn settled(&self) -> bool {
        let stays = self.state == "REVERSIBLE" && !self.orders.finalize;
        self.over
            || stays && self.orders.goal == "there" && self.serving != self.home
            || stays && self.orders.goal == "back" && self.serving == self.home
    }
}

impl Worker {
    /// What it has said.
    ///
    /// # Errors
    /// Its log can't be read.
    pub(crate) fn said(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// The last line of that, for reports.
    pub(crate) fn last_words(&self) -> String {
        self.said().ok().and_then(|said| said.lines().last().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether it has said that it stands still at a step, however short that is.
    ///
    /// # Errors
    /// Its log can't be read.
    pub(crate) fn came_to(&self, step: Step) -> Result<bool> {
        let words = format!("waits at {}", step.name());
        Ok(self.said()?.lines().any(|line| line == words))
    }

    /// Waits until it stands still at a step. Whether it does: it may end before.
    ///
    /// # Errors
    /// Neither within the limit.
    pub(crate) async fn halted(&mut self, step: Step, limit: Duration) -> Result<bool> {
        let began = Instant::now();
        loop {
            // Asked first: a worker that ended has said everything.
            let ended = self.process.exit_code()?.is_some();
            if self.came_to(step)? {
                return Ok(true);
            }
            if ended {
                return Ok(false);
            }
            ensure!(
                began.elapsed() < limit,
                "not at {} within {limit:?}: {}",
                step.name(),
                self.last_words()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its exit code, once it has ended.
    ///
    /// # Errors
    /// Its state can't be read.
    pub(crate) fn ended(&mut self) -> Result<Option<i32>> {
        self.process.exit_code()
    }

    /// kill -9, if it runs.
    ///
    /// # Errors
    /// It can't be killed.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.process.exit_code()?.is_none() {
            self.process.kill()?;
        }
        Ok(())
    }

    /// Waits for its end: the exit code; `None`: it did not end in time, and was killed.
    ///
    /// # Errors
    /// Its state can't be read.
    pub(crate) async fn end(&mut self, limit: Duration) -> Result<Option<i32>> {
        let began = Instant::now();
        loop {
            if let Some(code) = self.ended()? {
                return Ok(Some(code));
            }
            if began.elapsed() > limit {
                self.kill()?;
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
