//! One writer lane: the task that takes what waits and commits it.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::Result;
use tao_schema::ids::ShardId;
use tao_shard_store::store::SharedStore;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use super::commit::{Shared, leave_to_outbox, shards_of};
use super::job::{Job, Ticket};
use super::queue::{Queue, Queued};
use super::{CommitSink, LaneMetrics, LaneOptions};

/// A handle to a lane. Cheap to clone.
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
}

/// The task's own state.
struct Worker {
    shared: Arc<Shared>,
    /// Jobs of shards that a commit is under way for which the lane does not wait: they wait here, in order, so that
    /// nobody waits for a row lock but those who need that row (H2), and the shard's order of publication stays.
    parked: HashMap<ShardId, VecDeque<Queued>>,
    /// Commits under way; each ends with the units whose rows were busy.
    under_way: JoinSet<Vec<Queued>>,
    commits: HashMap<Id, UnderWay>,
}

struct UnderWay {
    /// Shards that it may write.
    shards: Vec<ShardId>,
    /// Of several units, for whose rows the store does not wait.
    is_batch: bool,
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
            under_way: JoinSet::new(),
            commits: HashMap::new(),
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
                Some(done) = self.under_way.join_next_with_id() => {
                    self.done(done);
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
        let is_batch = ready.len() > 1;
        let shards = ready.iter().flat_map(|job| shards_of(&job.job.unit)).collect();
        let shared = Arc::clone(&self.shared);
        let commit = self.go(UnderWay { shards, is_batch }, async move { shared.commit(ready).await });
        self.wait(commit, is_batch).await;
    }

    /// Commits in a task of its own, while the jobs behind that touch its shards wait.
    fn go(
        &mut self,
        mut under_way: UnderWay,
        commit: impl Future<Output = Vec<Queued>> + Send + 'static,
    ) -> Id {
        under_way.shards.sort_unstable();
        under_way.shards.dedup();
        for shard in &under_way.shards {
            self.parked.entry(*shard).or_default();
        }
        let id = self.under_way.spawn(commit).id();
        self.commits.insert(id, under_way);
        id
    }

    /// The lane waits with a commit as long as one takes when all is well, then goes on with other shards (H2): a row
    /// may be locked by another, a COMMIT may have got no answer (R4). Unless so many are under way like this already.
    async fn wait(&mut self, commit: Id, is_batch: bool) {
        let LaneOptions { batch_patience, lone_patience, busy_parallel, .. } = self.shared.options;
        let ends = Instant::now() + if is_batch { batch_patience } else { lone_patience };
        while self.commits.contains_key(&commit) {
            let batches = self.commits.values().filter(|one| one.is_batch).count();
            let crowded = if is_batch { batches > 1 } else { self.commits.len() > busy_parallel };
            let done = if crowded {
                self.under_way.join_next_with_id().await
            } else {
                timeout_at(ends, self.under_way.join_next_with_id()).await.ok().flatten()
            };
            match done {
                Some(done) => self.done(done),
                None => return,
            }
        }
    }

    fn done(&mut self, done: std::result::Result<(Id, Vec<Queued>), JoinError>) {
        let (id, busy) = match done {
            Ok(done) => done,
            Err(crash) => {
                tracing::error!(%crash, "a commit's task crashed");
                (crash.id(), Vec::new())
            }
        };
        let shards = self.commits.remove(&id).map(|commit| commit.shards).unwrap_or_default();
        let free: Vec<_> =
            shards.into_iter().filter_map(|shard| Some((shard, self.parked.remove(&shard)?))).collect();
        // They came before what is parked behind them.
        for job in busy {
            self.try_again(job);
        }
        for (shard, parked) in free {
            match self.parked.get_mut(&shard) {
                Some(behind) => behind.extend(parked),
                None => self.shared.queue.push_front(parked),
            }
        }
    }

    /// Tries one unit again until its row is free: the store has just found it busy.
    fn try_again(&mut self, mut job: Queued) {
        if let Some(parked) = self.parked.get_mut(&job.job.unit.shard) {
            parked.push_back(job);
            return;
        }
        leave_to_outbox(&mut job.job, |shard| self.parked.contains_key(&shard));
        let shards = shards_of(&job.job.unit).collect();
        let shared = Arc::clone(&self.shared);
        self.go(UnderWay { shards, is_batch: false }, async move {
            retry(shared, job).await;
            Vec::new()
        });
    }
}

/// Tries one unit again until its row is free or its time is up.
async fn retry(shared: Arc<Shared>, mut job: Queued) {
    let (mut pause, longest) = shared.options.busy_pause;
    loop {
        if timeout_at(job.job.deadline, sleep(pause)).await.is_err() {
            let shard = job.job.unit.shard;
            shared.expire(job, &format!("another transaction held the row of shard {shard} all the time"));
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
