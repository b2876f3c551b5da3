//! What slows a copy down: replicas that are behind, busy primaries. Looked at all the time, beside the work.

use std::time::Duration;

use futures_util::future::join_all;
use tao_schema::ids::PrimaryTime;
use tao_shard_store::log::{Beat, BeatWriter, ServerLog};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ground::Server;
use super::terms::MoveOptions;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Replicas with their lag; `None`: it does not answer.
    pub(super) lags: Vec<(String, Option<Duration>)>,
    /// Primaries with the threads that execute something; `None`: it does not answer.
    pub(super) threads: Vec<(String, Option<u64>)>,
}

impl Reading {
    /// Why the copy must wait.
    pub(super) fn veto(&self, options: &MoveOptions) -> Option<String> {
        let limit = Duration::from_millis(options.max_lag_ms);
        for (place, lag) in &self.lags {
            match lag {
                None => return Some(format!("{place} does not answer")),
                Some(lag) if *lag > limit => {
                    return Some(format!(
                        "{place} is {} ms behind, max-lag is {} ms",
                        lag.as_millis(),
                        limit.as_millis()
                    ));
                }
                Some(_) => {}
            }
        }
        for (place, threads) in &self.threads {
            match threads {
                None => return Some(format!("{place} does not answer")),
                Some(threads) if *threads > options.max_threads => {
                    let most = options.max_threads;
                    return Some(format!("{place} executes {threads} threads, max-threads is {most}"));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// The largest lag of a replica.
    pub(super) fn lag(&self) -> Option<Duration> {
        self.lags.iter().filter_map(|(_, lag)| *lag).max()
    }
}

/// Primaries with their replicas, looked at until it is dropped.
pub(super) struct Gate {
    readings: watch::Receiver<Reading>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// Looks once, then goes on looking.
    pub(super) async fn open(groups: Vec<(Server, Vec<Server>)>, writer: BeatWriter) -> Self {
        let first = look(&groups, writer).await;
        let (tell, readings) = watch::channel(first);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if tell.send(look(&groups, writer).await).is_err() {
                    return;
                }
            }
        });
        Self { readings, task }
    }

    /// What was found last.
    pub(super) fn reading(&self) -> Reading {
        self.readings.borrow().clone()
    }
}

async fn look(groups: &[(Server, Vec<Server>)], writer: BeatWriter) -> Reading {
    let mut reading = Reading::default();
    for found in join_all(groups.iter().map(|(primary, replicas)| look_at(primary, replicas, writer))).await {
        reading.lags.extend(found.lags);
        reading.threads.extend(found.threads);
    }
    reading
}

async fn look_at(primary: &Server, replicas: &[Server], writer: BeatWriter) -> Reading {
    let beat = Beat { writer, nonce: rand::random() };
    // A heartbeat shows how far a replica is, whatever its own clock says. It has until the next look to arrive.
    let before = primary.store.survey(writer).await.ok().and_then(|survey| survey.beat);
    let written = primary.store.beat(beat).await.ok();
    let threads = primary.store.threads_running().await.ok();
    let asked = replicas.iter().map(|replica| async move {
        let survey = replica.store.survey(writer).await.ok()?;
        let now = written?;
        let behind = |since: PrimaryTime| Duration::from_millis(now.0.saturating_sub(since.0));
        let Some((nonce, seen)) = survey.beat else {
            return Some(before.map_or(Duration::ZERO, |(_, first)| behind(first)));
        };
        // The one before this may be all that could have come through.
        let current = nonce == beat.nonce || before.is_some_and(|(last, _)| last == nonce);
        Some(if current { Duration::ZERO } else { behind(seen) })
    });
    let lags = join_all(asked).await;
    Reading {
        lags: replicas.iter().map(Server::place).zip(lags).collect(),
        threads: vec![(primary.place(), threads)],
    }
}
