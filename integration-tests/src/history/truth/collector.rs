//! Follows the logs of servers from the run's start to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use tao_schema::ids::{Position, ShardId};
use tao_shard_store::log::{BeatWriter, LogPosition, SharedDatabase, TailErrorKind, TailStart};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::seed::seed_of;
use super::{RunClock, SourcePlace, Truth};

/// How a collector behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CollectorOptions {
    /// Pause before a log that ended is opened again.
    pub retry: Duration,
    /// How far back a log is read whose position is gone: longer than the run.
    pub back: Duration,
    /// Whether the content of shards that were written before is read at the start. Without it their keys are not judged
    /// until they are known.
    pub seed: bool,
}

impl Default for CollectorOptions {
    fn default() -> Self {
        Self { retry: Duration::from_millis(200), back: Duration::from_secs(24 * 3_600), seed: true }
    }
}

/// Follows logs in tasks of its own; they end with it.
///
/// Give it every server of every host group that is, or may become, a primary: what is told twice counts once. So no
/// promotion has to be announced, and what a lossy one loses was read from the old primary's own log.
pub struct Collector {
    shared: Arc<Shared>,
    options: CollectorOptions,
    sources: BTreeMap<String, Source>,
}

struct Shared {
    truth: Mutex<Truth>,
    clock: RunClock,
}

struct Source {
    database: SharedDatabase,
    progress: Arc<Progress>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Progress {
    state: Mutex<ProgressState>,
    news: Notify,
}

#[derive(Default)]
struct ProgressState {
    reached: LogPosition,
    trouble: Option<String>,
    /// It met something that it can't follow: what comes behind it may be missing.
    broken: Option<String>,
}

/// What a collector has brought.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The logs.
    pub truth: Truth,
    /// Servers that did not answer at the end, with the reason: what only they have may be missing.
    pub unreachable: BTreeMap<String, String>,
    /// Servers whose logs were read again from further back, or had something that can't be followed.
    pub troubled: BTreeMap<String, String>,
}

impl Collector {
    /// A collector of nothing yet.
    pub fn new(clock: RunClock, options: CollectorOptions) -> Self {
        let shared = Shared { truth: Mutex::new(Truth::new()), clock };
        Self { shared: Arc::new(shared), options, sources: BTreeMap::new() }
    }

    /// Follows a server from now on. The first server of a host group also tells where its shards stand: give the primary
    /// first, before the run's first write. `name` is what messages call it; a name that is known is followed anew, from
    /// where it was left.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn follow(&mut self, name: &str, database: SharedDatabase) -> Result<()> {
        let known = self.stop(name);
        let start = match known {
            Some(position) => position,
            None => {
                let position =
                    database.executed().await.with_context(|| format!("ask {name} for its log"))?;
                self.survey(name, &database).await?;
                position
            }
        };
        let progress = Arc::new(Progress::default());
        progress.state.lock().reached = start.clone();
        let task = follow(
            name.to_owned(),
            Arc::clone(&database),
            start,
            self.options,
            Arc::clone(&self.shared),
            Arc::clone(&progress),
        );
        let source = Source { database, progress, task: tokio::spawn(task) };
        self.sources.insert(name.to_owned(), source);
        Ok(())
    }

    /// Where the shards of a server stand, unless that is known from another server of its group.
    async fn survey(&self, name: &str, database: &SharedDatabase) -> Result<()> {
        let survey = database.survey(BeatWriter(0)).await.with_context(|| format!("survey {name}"))?;
        // What is being copied here, or was given up, is no shard of this server.
        for row in survey.rows.into_iter().filter(|row| row.state.readable()) {
            let base = Position { shard: row.shard, epoch: row.epoch, seq: row.seq };
            if self.knows(row.shard) {
                continue;
            }
            let seeded = if super::is_first(row.seq) || !self.options.seed {
                None
            } else {
                seed_of(&**database, row.shard).await.with_context(|| format!("read {name}"))?
            };
            let mut truth = self.shared.truth.lock();
            match seeded {
                Some((at, seed)) => truth.begin(at, Some(seed)),
                None => truth.begin(base, None),
            }
        }
        let mut truth = self.shared.truth.lock();
        for (shard, start) in survey.epochs {
            truth.note_epoch(shard, start);
        }
        Ok(())
    }

    fn knows(&self, shard: ShardId) -> bool {
        self.shared.truth.lock().shard(shard).is_some()
    }

    /// Stops following a server; answers how far it was read.
    fn stop(&mut self, name: &str) -> Option<LogPosition> {
        let source = self.sources.remove(name)?;
        source.task.abort();
        let position = source.progress.state.lock().reached.clone();
        Some(position)
    }

    /// What is known so far.
    pub fn look<T>(&self, look: impl FnOnce(&Truth) -> T) -> T {
        look(&self.shared.truth.lock())
    }

    /// The run's clock.
    pub fn clock(&self) -> RunClock {
        self.shared.clock.clone()
    }

    /// Waits until everything that every reachable server has executed by now was read, and gives it out. Call it when
    /// writes have stopped.
    ///
    /// # Errors
    /// No server answers; or a log does not come to its present within `limit`; or the logs leave a gap.
    pub async fn finish(mut self, limit: Duration) -> Result<Collected> {
        let deadline = Instant::now() + limit;
        let mut unreachable = BTreeMap::new();
        let mut troubled = BTreeMap::new();
        let mut answered = 0;
        for (name, source) in &self.sources {
            let executed = match tokio::time::timeout_at(deadline, source.database.executed()).await {
                Ok(Ok(executed)) => executed,
                Ok(Err(error)) => {
                    unreachable.insert(name.clone(), error.to_string());
                    continue;
                }
                Err(_) => {
                    unreachable.insert(name.clone(), "no answer in time".to_owned());
                    continue;
                }
            };
            answered += 1;
            source
                .progress
                .reach(&executed, deadline)
                .await
                .with_context(|| format!("read the log of {name}"))?;
            // A promotion that wrote nothing yet is in no change.
            if let Ok(survey) = source.database.survey(BeatWriter(0)).await {
                let mut truth = self.shared.truth.lock();
                survey.epochs.into_iter().for_each(|(shard, start)| truth.note_epoch(shard, start));
            }
            let state = source.progress.state.lock();
            troubled.extend(state.broken.clone().map(|why| (name.clone(), why)));
        }
        ensure!(answered > 0 || self.sources.is_empty(), "no server answers: {unreachable:?}");
        for (_, source) in std::mem::take(&mut self.sources) {
            source.task.abort();
        }
        let truth = std::mem::take(&mut *self.shared.truth.lock());
        if let Some(first) = truth.gaps().first() {
            bail!("the logs that were read leave a gap at {first}; troubles: {troubled:?}");
        }
        Ok(Collected { truth, unreachable, troubled })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.sources.values().for_each(|source| source.task.abort());
    }
}

impl Progress {
    async fn reach(&self, wanted: &LogPosition, deadline: Instant) -> Result<()> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let trouble = {
                let state = self.state.lock();
                if state.reached.covers(wanted) {
                    return Ok(());
                }
                state.trouble.clone()
            };
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                bail!(
                    "it did not come to {wanted:?}: {}",
                    trouble.unwrap_or_else(|| "it is slow".to_owned())
                );
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut ProgressState)) {
        note(&mut self.state.lock());
        self.news.notify_waiters();
    }
}

/// Reads one server's log for ever, over all of its absences.
async fn follow(
    name: String,
    database: SharedDatabase,
    start: LogPosition,
    options: CollectorOptions,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
) {
    let mut place = SourcePlace::default();
    let mut start = TailStart::After(start);
    loop {
        let mut tail = match database.open_tail(start.clone()).await {
            Ok(tail) => tail,
            Err(error) => {
                if error.kind == TailErrorKind::PositionLost {
                    // Another server stands at its address now, or the log was purged: positions that were read count once.
                    start = TailStart::Back(options.back);
                }
                note_trouble(&progress, &name, &error);
                tokio::time::sleep(options.retry).await;
                continue;
            }
        };
        let error = loop {
            match tail.next().await {
                Ok(events) => {
                    let seen = shared.clock.now();
                    let mut truth = shared.truth.lock();
                    events.iter().for_each(|event| truth.observe(event, &mut place, seen));
                    drop(truth);
                    let reached = tail.position();
                    progress.note(|state| state.reached = reached);
                }
                Err(error) => break error,
            }
        };
        start = TailStart::After(tail.position());
        place = SourcePlace::default();
        note_trouble(&progress, &name, &error);
        tokio::time::sleep(options.retry).await;
    }
}

fn note_trouble(progress: &Progress, name: &str, error: &tao_shard_store::log::TailError) {
    tracing::debug!(name, %error, "the log ended");
    progress.note(|state| {
        state.trouble = Some(error.to_string());
        if error.kind != TailErrorKind::Disconnected {
            state.broken = Some(error.to_string());
        }
    });
}
