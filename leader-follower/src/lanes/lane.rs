//! One writer lane: the task that takes what waits and commits it.

use std::collections::{HashMap, VecDeque};
use std::iter::once;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::ids::ShardId;
use tao_schema::rows::ShardChange;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::SharedStore;
use tao_shard_store::write::{Batch, BatchResult, StoreOp, UnitDone, UnitResult};
use tao_shard_store::{StoreError, StoreErrorKind};
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use super::job::{Committed, Job, Ticket};
use super::queue::{Queue, Queued};
use super::{CommitSink, LaneMetrics, LaneOptions};

/// A handle to a lane. Cheap to clone.
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Queue,
    store: SharedStore,
    sink: Arc<dyn CommitSink>,
    options: LaneOptions,
    metrics: Arc<LaneMetrics>,
    /// Shards that a commit under way touches, and since when.
    committing: Mutex<HashMap<ShardId, Instant, foldhash::fast::RandomState>>,
    /// Bounds the connections that wait for row locks.
    alone: Semaphore,
}

/// The task's own state.
struct Worker {
    shared: Arc<Shared>,
    /// Jobs of shards whose row another transaction holds: they wait here, in order, while the first of them is
    /// tried alone, so that nobody else waits for that lock (H2) and the shard's order of publication stays.
    parked: HashMap<ShardId, VecDeque<Queued>>,
    retries: JoinSet<()>,
    retried: HashMap<Id, ShardId>,
}

impl Lane {
    pub(super) fn start(
        store: SharedStore,
        sink: Arc<dyn CommitSink>,
        options: LaneOptions,
        metrics: Arc<LaneMetrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let queue = Queue::new(options, metrics.queue_operations.clone());
        let alone = Semaphore::new(options.busy_parallel.max(1));
        let shared =
            Arc::new(Shared { queue, store, sink, options, metrics, committing: Mutex::default(), alone });
        let worker = Worker {
            shared: Arc::clone(&shared),
            parked: HashMap::new(),
            retries: JoinSet::new(),
            retried: HashMap::new(),
        };
        tasks.spawn(worker.run());
        Self { shared }
    }

    /// Puts a job at the end of the queue.
    ///
    /// # Errors
    /// `Overloaded` if there is no room for its class, `Unavailable` after [`Lane::close`]; `job.done` is then
    /// dropped without a call.
    pub fn submit(&self, job: Job) -> Result<Ticket> {
        self.shared.queue.push(job)
    }

    pub(super) fn committing_since(&self, shard: ShardId) -> Option<Instant> {
        self.shared.committing.lock().get(&shard).copied()
    }

    pub(super) fn close(&self) {
        self.shared.queue.close();
    }
}

impl Worker {
    async fn run(mut self) {
        let mut ended = false;
        loop {
            tokio::select! {
                // First: a shard that is free again goes on before its newer jobs are taken.
                biased;
                Some(retry) = self.retries.join_next_with_id() => {
                    let id = match &retry { Ok((id, ())) => *id, Err(error) => error.id() };
                    self.unpark(id);
                    ended = false;
                }
                jobs = self.shared.queue.next(), if !ended => match jobs {
                    Some(jobs) => self.commit(jobs).await,
                    None => ended = true,
                },
                else => break,
            }
        }
    }

    async fn commit(&mut self, jobs: Vec<Queued>) {
        let now = Instant::now();
        let mut ready = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            if let Some(parked) = self.parked.get_mut(&job.job.unit.shard) {
                parked.push_back(job);
                continue;
            }
            if !self.parked.is_empty() {
                leave_to_outbox(&mut job.job, |shard| self.parked.contains_key(&shard));
            }
            ready.extend(self.shared.start(job, now));
        }
        if ready.is_empty() {
            return;
        }
        let busy = self.shared.commit(ready).await;
        for job in busy {
            self.park(job);
        }
    }

    /// The first busy job of a shard is tried alone; those behind it wait.
    fn park(&mut self, job: Queued) {
        let shard = job.job.unit.shard;
        if let Some(parked) = self.parked.get_mut(&shard) {
            parked.push_back(job);
            return;
        }
        self.parked.insert(shard, VecDeque::new());
        let task = self.retries.spawn(retry_alone(Arc::clone(&self.shared), job));
        self.retried.insert(task.id(), shard);
    }

    fn unpark(&mut self, retry: Id) {
        let Some(shard) = self.retried.remove(&retry) else { return };
        if let Some(parked) = self.parked.remove(&shard) {
            self.shared.queue.push_front(parked);
        }
    }
}

/// Tries one unit until its row is free or its time is up.
async fn retry_alone(shared: Arc<Shared>, mut job: Queued) {
    let (mut pause, longest) = shared.options.busy_pause;
    loop {
        if timeout_at(job.job.deadline, sleep(pause)).await.is_err() {
            let shard = job.job.unit.shard;
            shared.expire(job, format!("another transaction held the row of shard {shard} all the time"));
            return;
        }
        pause = (pause * 2).min(longest);
        let Ok(Ok(_alone)) = timeout_at(job.job.deadline, shared.alone.acquire()).await else { continue };
        let Some(started) = shared.start(job, Instant::now()) else { return };
        match shared.commit(vec![started]).await.pop() {
            Some(busy) => job = busy,
            None => return,
        }
    }
}

impl Shared {
    /// Marks a job as sent, unless its caller took it back or its time is up.
    fn start(&self, mut job: Queued, now: Instant) -> Option<Queued> {
        if job.job.deadline <= now {
            self.expire(job, "the deadline passed in the queue of writes".to_owned());
            return None;
        }
        if !job.ticket.send() {
            self.expire(job, "the caller took the write back".to_owned());
            return None;
        }
        if job.room.take().is_some() {
            self.metrics.wait_seconds.observe((now - job.since).as_secs_f64());
        }
        Some(job)
    }

    fn expire(&self, job: Queued, message: String) {
        self.metrics.count("expired", 1);
        (job.job.done)(Err(Error::new(ErrorCode::DeadlineExceeded, format!("{message}; nothing was done"))));
    }

    /// Commits, splitting what the database refuses as a whole until the poison stands alone (R3). Answers the jobs
    /// whose shard row is busy.
    async fn commit(&self, jobs: Vec<Queued>) -> Vec<Queued> {
        let mut busy = Vec::new();
        let mut parts = vec![jobs];
        while let Some(mut jobs) = parts.pop() {
            let batch = Batch { units: jobs.iter().map(|job| job.job.unit.clone()).collect() };
            let ops = jobs.iter().map(|job| job.ops).sum();
            match self.transact(batch, ops).await {
                Ok(result) => busy.extend(self.settle(jobs, result)),
                Err(error) if error.kind == StoreErrorKind::Rejected && jobs.len() > 1 => {
                    self.metrics.splits.inc();
                    // The earlier half first: order within a shard stays.
                    let later = jobs.split_off(jobs.len() / 2);
                    parts.extend([later, jobs]);
                }
                Err(error) => self.fail(jobs, error),
            }
        }
        busy
    }

    async fn transact(&self, batch: Batch, ops: usize) -> std::result::Result<BatchResult, StoreError> {
        let units = batch.units.len();
        let shards: Vec<ShardId> =
            batch.units.iter().flat_map(|unit| once(unit.shard).chain(together(&unit.ops))).collect();
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
    let change_at =
        |at: &tao_schema::ids::Position| changes.get(&at.shard).filter(|change| change.seq == at.seq);
    done.positions.iter().filter_map(change_at).cloned().collect()
}

/// The shards that a unit may write besides its own.
fn together(ops: &[StoreOp]) -> impl Iterator<Item = ShardId> {
    ops.iter()
        .flat_map(|op| match op {
            StoreOp::EdgePut { edge, inverse, .. } | StoreOp::EdgeDelete { edge, inverse, .. } => {
                [inverse.map(|inverse| (edge, inverse)), None]
            }
            StoreOp::EdgeChangeType { edge, inverse, new_inverse, .. } => {
                [inverse.map(|inverse| (edge, inverse)), new_inverse.map(|inverse| (edge, inverse))]
            }
            _ => [None, None],
        })
        .flatten()
        .filter(|(_, inverse)| inverse.together.is_some())
        .map(|(edge, _)| edge.id2.shard())
}

/// Other sides on shards for which `away` holds are left to the outbox: that shard's log has a job of its own under
/// way, which must be published first.
fn leave_to_outbox(job: &mut Job, away: impl Fn(ShardId) -> bool) {
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
