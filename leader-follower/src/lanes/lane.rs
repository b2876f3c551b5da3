//! One writer lane: the task that takes what waits and commits it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::Result;
use tao_schema::ids::ShardId;
use tao_shard_store::store::SharedStore;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

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
    /// Jobs of shards that a lone unit is under way for: they wait here, in order, so that nobody waits for a row
    /// lock but those who need that row (H2), and the shard's order of publication stays.
    parked: HashMap<ShardId, VecDeque<Queued>>,
    /// Lone units, and the shards that each of them may write.
    lone: JoinSet<()>,
    shards: HashMap<Id, Vec<ShardId>>,
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
            lone: JoinSet::new(),
            shards: HashMap::new(),
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
                Some(lone) = self.lone.join_next_with_id() => {
                    self.unpark(lone);
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
        if ready.len() > 1 {
            for busy in self.shared.commit(ready).await {
                self.go_alone(busy, true);
            }
        } else if let Some(job) = ready.pop() {
            self.go_alone(job, false);
            self.await_lone().await;
        }
    }

    /// Tries one unit in a task of its own, while the jobs behind it that touch its shards wait. `again`: the store
    /// has just found its row busy.
    fn go_alone(&mut self, mut job: Queued, again: bool) {
        let shard = job.job.unit.shard;
        if let Some(parked) = self.parked.get_mut(&shard) {
            parked.push_back(job);
            return;
        }
        leave_to_outbox(&mut job.job, |shard| self.parked.contains_key(&shard));
        let shards: Vec<ShardId> = shards_of(&job.job.unit).collect();
        for shard in &shards {
            self.parked.entry(*shard).or_default();
        }
        let shared = Arc::clone(&self.shared);
        let task = self.lone.spawn(async move {
            let busy = if again { Some(job) } else { shared.commit(vec![job]).await.pop() };
            if let Some(busy) = busy {
                retry(shared, busy).await;
            }
        });
        self.shards.insert(task.id(), shards);
    }

    /// A store waits for the row of a unit that comes alone. The lane waits with it only as long as a commit may
    /// take, then goes on with other shards (H2); unless too many connections wait like this already.
    async fn await_lone(&mut self) {
        let patience = self.shared.options.lone_patience;
        let crowded = self.lone.len() > self.shared.options.busy_parallel;
        let ended = if crowded {
            self.lone.join_next_with_id().await
        } else {
            timeout(patience, self.lone.join_next_with_id()).await.ok().flatten()
        };
        if let Some(ended) = ended {
            self.unpark(ended);
        }
    }

    fn unpark(&mut self, ended: std::result::Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(crash) => {
                tracing::error!(%crash, "a lone commit crashed");
                crash.id()
            }
        };
        for shard in self.shards.remove(&id).into_iter().flatten() {
            if let Some(parked) = self.parked.remove(&shard) {
                self.shared.queue.push_front(parked);
            }
        }
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
