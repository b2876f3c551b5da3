//! Reads of one host group's database: what waits goes into one call, as in a writer lane, and no shard may take
//! more than its share.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::ids::ShardId;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, SharedStore, Snapshot};
use tao_shard_store::{StoreError, StoreErrorKind};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::metrics::LeaderMetrics;

/// So many calls begin as soon as a key waits.
const EAGER_CALLS: usize = 2;

/// Bounds of reading one host group's database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReaderOptions {
    /// Calls to the store at the same time, each on a connection. Two begin as soon as a key waits; each further one when
    /// `gather` keys wait for each call that is under way, or a key has waited for `patience`. A key in a call of sixteen costs
    /// the database a seventh of what it costs alone, so keys that must wait anyway are better taken together.
    pub parallel: usize,
    /// See `parallel`.
    pub gather: usize,
    /// See `parallel`: so long at most keys wait behind slow calls, while others could begin.
    pub patience: Duration,
    /// Keys of one call.
    pub batch_keys: usize,
    /// Keys of one shard that are read at the same time.
    pub keys_per_shard: usize,
    /// Keys that wait at most.
    pub queue_keys: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        let patience = Duration::from_millis(2);
        Self { parallel: 8, gather: 8, patience, batch_keys: 128, keys_per_shard: 64, queue_keys: 16_384 }
    }
}

/// A handle. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    store: SharedStore,
    options: ReaderOptions,
    metrics: Arc<LeaderMetrics>,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    shards: HashMap<ShardId, ShardReads>,
    /// Shards with keys that may be read now, each once: they take turns.
    ready: VecDeque<ShardId>,
    waiting: usize,
    /// Calls under way.
    calls: usize,
    /// When a call begins whatever is under way: keys wait that could be read.
    held_until: Option<Instant>,
    closed: bool,
}

#[derive(Default)]
struct ShardReads {
    waiting: VecDeque<ReadJob>,
    reading: usize,
    listed: bool,
}

/// Keys of one shard that are read in one call, so that they may come from one snapshot.
struct ReadJob {
    shard: ShardId,
    keys: Vec<ReadKey>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Vec<Snapshot>>>,
}

impl Reader {
    pub(super) fn start(
        store: &SharedStore,
        options: ReaderOptions,
        metrics: &Arc<LeaderMetrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let shared = Arc::new(Shared {
            store: Arc::clone(store),
            options,
            metrics: Arc::clone(metrics),
            state: Mutex::default(),
            news: Notify::new(),
        });
        for _ in 0..options.parallel.max(1) {
            tasks.spawn(Arc::clone(&shared).work());
        }
        Self { shared }
    }

    /// Reads one key together with whatever else waits. Dropped, its place in the queue is passed over.
    pub(super) async fn read(&self, key: ReadKey, deadline: Instant) -> Result<Snapshot> {
        let mut rows = self.read_all(key.shard(), vec![key], deadline).await?;
        rows.pop().ok_or_else(|| Error::internal("no row was read"))
    }

    /// Reads keys of one shard in one call to the store, in their order.
    pub(super) async fn read_all(
        &self,
        shard: ShardId,
        keys: Vec<ReadKey>,
        deadline: Instant,
    ) -> Result<Vec<Snapshot>> {
        let reply = self.shared.push(shard, keys, deadline)?;
        match timeout_at(deadline, reply).await {
            Ok(Ok(result)) => result,
            // The worker is gone with the key: the engine crashed in it.
            Ok(Err(_)) => Err(Error::internal("the read of the database crashed")),
            Err(_) => Err(late()),
        }
    }

    /// Refuses new reads and ends when the queue is empty.
    pub(super) fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.news.notify_waiters();
        self.shared.news.notify_one();
    }
}

impl Shared {
    fn push(
        &self,
        shard: ShardId,
        keys: Vec<ReadKey>,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Vec<Snapshot>>>> {
        let (reply, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::unavailable("this leader is shutting down; ask the next one"));
        }
        if state.waiting >= self.options.queue_keys {
            let message = format!("{} reads of this database wait: try again later", state.waiting);
            return Err(Error::new(ErrorCode::Overloaded, message));
        }
        state.waiting += keys.len();
        let job = ReadJob { shard, keys, deadline, reply };
        state.shards.entry(shard).or_default().waiting.push_back(job);
        state.list(shard, self.options.keys_per_shard);
        drop(state);
        self.news.notify_one();
        Ok(receiver)
    }

    async fn work(self: Arc<Self>) {
        loop {
            let news = self.news.notified();
            let (batch, held, more, ended) = {
                let mut state = self.state.lock();
                let held = state.held_until(&self.options);
                let batch = if held.is_none() { state.take(&self.options) } else { Vec::new() };
                (batch, held, !state.ready.is_empty(), state.closed && state.waiting == 0)
            };
            if let Some(until) = held {
                // News, or the time: either way it looks again.
                let _ = timeout_at(until, news).await;
                continue;
            }
            if more {
                // One permit may stand for many pushes: hand it on to the next worker.
                self.news.notify_one();
            }
            if !batch.is_empty() {
                self.run(batch).await;
            } else if ended {
                self.news.notify_one();
                return;
            } else {
                news.await;
                after_those_ready().await;
            }
        }
    }

    async fn run(&self, batch: Vec<ReadJob>) {
        let taken: Vec<(ShardId, usize)> = batch.iter().map(|job| (job.shard, job.keys.len())).collect();
        let now = Instant::now();
        let mut jobs = Vec::with_capacity(batch.len());
        for job in batch {
            if job.deadline <= now {
                // The receiver may be gone: then nobody is left to tell.
                let _ = job.reply.send(Err(late()));
            } else if !job.reply.is_closed() {
                jobs.push(job);
            }
        }
        if !jobs.is_empty() {
            self.read(jobs).await;
        }
        let mut state = self.state.lock();
        state.calls -= 1;
        for (shard, keys) in taken {
            state.release(shard, keys, self.options.keys_per_shard);
        }
    }

    async fn read(&self, jobs: Vec<ReadJob>) {
        match self.call(jobs.iter().flat_map(|job| job.keys.iter().copied()).collect()).await {
            Ok(rows) => {
                let mut rows = rows.into_iter();
                for job in jobs {
                    // All of them are taken, whatever they are: a job whose first key failed must not leave the rest
                    // of its rows to the next job.
                    let own: Vec<_> = rows.by_ref().take(job.keys.len()).collect();
                    let _ = job.reply.send(own.into_iter().collect());
                }
            }
            Err(error) if error.kind == StoreErrorKind::Rejected && jobs.len() > 1 => {
                // One bad key must not fail its neighbours.
                for job in jobs {
                    let rows = self.call(job.keys).await.map_err(Error::from);
                    let _ = job.reply.send(rows.and_then(|rows| rows.into_iter().collect()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, kind = ?error.kind, jobs = jobs.len(), "read failed");
                let error = Error::from(error);
                for job in jobs {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }

    async fn call(
        &self,
        keys: Vec<ReadKey>,
    ) -> std::result::Result<Vec<std::result::Result<Snapshot, Error>>, StoreError> {
        let (count, began, store) = (keys.len(), Instant::now(), Arc::clone(&self.store));
        self.metrics.read_batch_keys.observe(count as f64);
        // A task of its own: a panic in the engine fails these keys, not the worker.
        let result = tokio::spawn(async move { store.read(&keys).await }).await;
        self.metrics.read_seconds.observe(began.elapsed().as_secs_f64());
        match result {
            Ok(Ok(rows)) if rows.len() != count => Err(StoreError::new(
                StoreErrorKind::Incompatible,
                format!("{count} keys were asked for, {} rows came", rows.len()),
            )),
            Ok(result) => result,
            Err(crash) => {
                tracing::error!(%crash, "the store's read crashed");
                Err(StoreError::new(StoreErrorKind::Incompatible, "the read of the database crashed"))
            }
        }
    }
}

impl State {
    /// Until when keys that could be read wait for others to go with them, see [`ReaderOptions::parallel`].
    fn held_until(&mut self, options: &ReaderOptions) -> Option<Instant> {
        let enough = self.calls < EAGER_CALLS || self.waiting >= options.gather * self.calls;
        if enough || self.ready.is_empty() {
            return None;
        }
        let now = Instant::now();
        let until = *self.held_until.get_or_insert_with(|| now + options.patience);
        (now < until).then_some(until)
    }

    /// The next jobs: a few of each shard in turn, none beyond its share, unless a job is larger than that.
    fn take(&mut self, options: &ReaderOptions) -> Vec<ReadJob> {
        let (mut batch, mut keys) = (Vec::new(), 0);
        while keys < options.batch_keys {
            let Some(shard) = self.ready.pop_front() else { break };
            let Some(reads) = self.shards.get_mut(&shard) else { continue };
            reads.listed = false;
            while reads.reading < options.keys_per_shard.max(1) {
                let fits = |job: &ReadJob| batch.is_empty() || keys + job.keys.len() <= options.batch_keys;
                if !reads.waiting.front().is_some_and(fits) {
                    break;
                }
                let Some(job) = reads.waiting.pop_front() else { break };
                keys += job.keys.len();
                reads.reading += job.keys.len();
                self.waiting -= job.keys.len();
                batch.push(job);
            }
            let full = !reads.waiting.is_empty() && reads.reading < options.keys_per_shard.max(1);
            self.list(shard, options.keys_per_shard);
            if full {
                break;
            }
        }
        self.calls += usize::from(!batch.is_empty());
        self.held_until = None;
        batch
    }

    fn release(&mut self, shard: ShardId, keys: usize, per_shard: usize) {
        let Some(reads) = self.shards.get_mut(&shard) else { return };
        reads.reading -= keys;
        if reads.reading == 0 && reads.waiting.is_empty() {
            self.shards.remove(&shard);
        } else {
            self.list(shard, per_shard);
        }
    }

    /// Puts a shard into the row of those that may be read, if it may.
    fn list(&mut self, shard: ShardId, per_shard: usize) {
        let Some(reads) = self.shards.get_mut(&shard) else { return };
        if !reads.listed && !reads.waiting.is_empty() && reads.reading < per_shard.max(1) {
            reads.listed = true;
            self.ready.push_back(shard);
        }
    }
}

/// Lets the tasks go first that are ready on this thread: the misses of one frame come in a row, and share a call then. Costs one
/// turn of the scheduler. (Tokio's own yield also waits for a look at the sockets, on a busy thread for up to sixty tasks.)
async fn after_those_ready() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn late() -> Error {
    Error::new(ErrorCode::DeadlineExceeded, "the deadline passed before the database answered")
}
