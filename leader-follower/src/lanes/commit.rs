//! What a lane does with its store: commits, splits, publishes, answers.

use std::collections::HashMap;
use std::iter::once;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::ids::{EdgeKey, Position, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardChange;
use tao_schema::{Error, ErrorCode};
use tao_shard_store::store::SharedStore;
use tao_shard_store::write::{Batch, BatchResult, Inverse, StoreOp, UnitDone, UnitResult, WriteUnit};
use tao_shard_store::{StoreError, StoreErrorKind};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::job::{Committed, Job};
use super::queue::{Queue, Queued};
use super::{CommitSink, LaneMetrics, LaneOptions};

/// What a lane's handle, its task and its lone retries share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) store: SharedStore,
    pub(super) sink: Arc<dyn CommitSink>,
    pub(super) options: LaneOptions,
    pub(super) metrics: Arc<LaneMetrics>,
    /// Shards that a commit under way touches, and since when.
    pub(super) committing: Mutex<HashMap<ShardId, Instant, foldhash::fast::RandomState>>,
    /// Bounds the connections that wait for row locks.
    pub(super) alone: Semaphore,
}

impl Shared {
    /// Marks a job as sent, unless its caller took it back or its time is up.
    pub(super) fn start(&self, mut job: Queued, now: Instant) -> Option<Queued> {
        if job.job.deadline <= now {
            self.expire(job, "the deadline passed in the queue of writes");
            return None;
        }
        if !job.ticket.send() {
            self.expire(job, "the caller took the write back");
            return None;
        }
        if let Some(request) = &mut job.job.unit.request {
            // Its caller may have tried again elsewhere meanwhile, and that outcome may be forgotten by now (R3).
            request.age = job.age + (now - job.since);
        }
        if job.room.take().is_some() {
            self.metrics.wait_seconds.observe((now - job.since).as_secs_f64());
        }
        Some(job)
    }

    pub(super) fn expire(&self, job: Queued, message: &str) {
        self.metrics.count("expired", 1);
        (job.job.done)(Err(Error::new(ErrorCode::DeadlineExceeded, format!("{message}; nothing was done"))));
    }

    /// Commits, splitting what the database refuses as a whole until the poison stands alone (R3). Answers the jobs
    /// whose shard row is busy.
    pub(super) async fn commit(&self, jobs: Vec<Queued>) -> Vec<Queued> {
        let mut busy = Vec::new();
        let mut parts = vec![jobs];
        while let Some(mut jobs) = parts.pop() {
            let batch = Batch { units: jobs.iter().map(|job| job.job.unit.clone()).collect() };
            let ops = jobs.iter().map(|job| job.ops).sum();
            match self.transact(batch, ops).await {
                Ok(result) => busy.extend(self.settle(jobs, result)),
                Err(error)
                    if error.kind == StoreErrorKind::Rejected
                        && jobs.len() > 1
                        && !planted(Bug::PoisonFailsBatch) =>
                {
                    self.metrics.splits.inc();
                    // The earlier half first: order within a shard stays.
                    let later = jobs.split_off(jobs.len() / 2);
                    parts.extend(if planted(Bug::LaterHalfFirst) { [jobs, later] } else { [later, jobs] });
                }
                Err(error) => self.fail(jobs, error),
            }
        }
        busy
    }

    async fn transact(&self, batch: Batch, ops: usize) -> Result<BatchResult, StoreError> {
        let units = batch.units.len();
        let shards: Vec<ShardId> = batch.units.iter().flat_map(shards_of).collect();
        let began = Instant::now();
        self.committing.lock().extend(shards.iter().map(|shard| (*shard, began)));
        self.metrics.batch_operations.observe(ops as f64);
        let store = Arc::clone(&self.store);
        // A task of its own: a panic in the engine is an uncertain commit, not the end of the lane.
        let result = tokio::spawn(async move { store.commit(batch).await }).await;
        let mut committing = self.committing.lock();
        for shard in &shards {
            committing.remove(shard);
        }
        drop(committing);
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        match result {
            Ok(Ok(result)) if result.units.len() != units => Err(StoreError::new(
                StoreErrorKind::Uncertain,
                "the store answered for other units than were asked",
            )),
            Ok(result) => result,
            Err(crash) => {
                tracing::error!(%crash, "the store's commit crashed");
                Err(StoreError::new(StoreErrorKind::Uncertain, "the commit crashed; its outcome is unknown"))
            }
        }
    }

    /// Publishes, then answers (R6, R7).
    fn settle(&self, jobs: Vec<Queued>, result: BatchResult) -> Vec<Queued> {
        let mut changes: HashMap<ShardId, Arc<ShardChange>, foldhash::fast::RandomState> = HashMap::default();
        for change in result.changes {
            self.sink.committed(&change);
            changes.insert(change.shard, change);
        }
        let mut busy = Vec::new();
        for (job, result) in jobs.into_iter().zip(result.units) {
            match result {
                UnitResult::Done(done) => {
                    self.metrics.count(if done.replayed { "replayed" } else { "done" }, 1);
                    let changes = changes_of(&done, &changes);
                    (job.job.done)(Ok(Committed { done, changes }));
                }
                UnitResult::Refused(error) => {
                    self.metrics.count("refused", 1);
                    (job.job.done)(Err(error));
                }
                UnitResult::NotOwned { found } => {
                    self.metrics.count("not_owned", 1);
                    let unit = &job.job.unit;
                    self.sink.not_owned(unit.shard, found);
                    let message = match found {
                        Some((epoch, state)) => format!(
                            "shard {} is {state:?} in epoch {epoch} here, not serving in epoch {}",
                            unit.shard, unit.epoch
                        ),
                        None => format!("shard {} has no row in this database", unit.shard),
                    };
                    (job.job.done)(Err(Error::new(ErrorCode::NotOwner, message)));
                }
                UnitResult::Busy => {
                    self.metrics.count("busy", 1);
                    job.ticket.unsend();
                    busy.push(job);
                }
            }
        }
        busy
    }

    fn fail(&self, jobs: Vec<Queued>, error: StoreError) {
        let result = match error.kind {
            StoreErrorKind::Rejected | StoreErrorKind::Incompatible => "rejected",
            StoreErrorKind::Unavailable => "unavailable",
            StoreErrorKind::Uncertain => "uncertain",
        };
        self.metrics.count(result, jobs.len());
        tracing::warn!(%error, kind = ?error.kind, units = jobs.len(), "commit failed");
        let error = Error::from(error);
        for job in jobs {
            (job.job.done)(Err(error.clone()));
        }
    }
}

fn changes_of(
    done: &UnitDone,
    changes: &HashMap<ShardId, Arc<ShardChange>, foldhash::fast::RandomState>,
) -> Vec<Arc<ShardChange>> {
    if done.replayed {
        return Vec::new();
    }
    let change_at = |at: &Position| changes.get(&at.shard).filter(|change| change.seq == at.seq);
    done.positions.iter().filter_map(change_at).cloned().collect()
}

/// The shards that a unit may write: its own, and those of other sides in the same transaction.
pub(super) fn shards_of(unit: &WriteUnit) -> impl Iterator<Item = ShardId> {
    let other = |edge: &EdgeKey, inverse: &Option<Inverse>| {
        inverse.filter(|inverse| inverse.together.is_some()).map(|_| edge.id2.shard())
    };
    let others = unit.ops.iter().flat_map(move |op| match op {
        StoreOp::EdgePut { edge, inverse, .. } | StoreOp::EdgeDelete { edge, inverse, .. } => {
            [other(edge, inverse), None]
        }
        StoreOp::EdgeChangeType { edge, inverse, new_inverse, .. } => {
            [other(edge, inverse), other(edge, new_inverse)]
        }
        _ => [None, None],
    });
    once(unit.shard).chain(others.flatten())
}

/// Other sides on shards for which `away` holds are left to the outbox: that shard's log has a job of its own under
/// way, which must be published first.
pub(super) fn leave_to_outbox(job: &mut Job, away: impl Fn(ShardId) -> bool) {
    for op in &mut job.unit.ops {
        let (edge, inverses) = match op {
            StoreOp::EdgePut { edge, inverse, .. } | StoreOp::EdgeDelete { edge, inverse, .. } => {
                (edge, [Some(inverse), None])
            }
            StoreOp::EdgeChangeType { edge, inverse, new_inverse, .. } => {
                (edge, [Some(inverse), Some(new_inverse)])
            }
            _ => continue,
        };
        if away(edge.id2.shard()) {
            for inverse in inverses.into_iter().flatten().flatten() {
                inverse.together = None;
            }
        }
    }
}
