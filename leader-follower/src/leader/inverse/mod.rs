//! The other halves of pairs, on their way (R22, R23).
//!
//! After a commit that left outbox rows, each row's state is carried to the shard of the pair's other side: through
//! the own lane, or to the leader that serves it. When that side has it, the outbox row is removed, together with
//! some later batch. Carrying is idempotent at both ends, so whoever is in doubt does it again: after an error, after
//! a restart, as two leaders at once. What is in memory here is only a shortcut; the outbox row is the promise.

mod backlog;
mod depth;
mod drain;
mod peer;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::ids::{EdgeKey, Epoch, Position, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardChange;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::PendingInverse;
use tao_shard_store::write::{StoreOp, WriteUnit};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::backlog::Backlog;
use self::depth::Depth;
pub(super) use self::depth::Permit;
use self::peer::PeerQueue;
use super::metrics::LeaderMetrics;
use super::routes::{Routes, Target};
use crate::lanes::{Class, Committed, Job};

/// Bounds and times of carrying inverses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InverseOptions {
    /// Pairs of one shard on their way; one more, and new pair writes of the shard are refused as overloaded.
    pub depth_per_shard: usize,
    /// Pairs of all shards on their way.
    pub depth: usize,
    /// States in one call to another leader.
    pub peer_states: usize,
    /// Calls to one leader at the same time.
    pub peer_calls: usize,
    /// How long one attempt may take.
    pub attempt: Duration,
    /// First and longest pause before a pair is tried again.
    pub pause: (Duration, Duration),
    /// Outbox rows read at once when a shard is opened.
    pub drain_page: usize,
    /// Shards whose outbox is drained at the same time.
    pub parallel_drains: usize,
    /// A writer waits at most so long for the other side.
    pub longest_wait: Duration,
}

impl Default for InverseOptions {
    fn default() -> Self {
        Self {
            depth_per_shard: 4_096,
            depth: 65_536,
            peer_states: 256,
            peer_calls: 2,
            attempt: Duration::from_secs(2),
            pause: (Duration::from_millis(20), Duration::from_secs(10)),
            drain_page: 256,
            parallel_drains: 4,
            longest_wait: Duration::from_secs(5),
        }
    }
}

/// The other side has it.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    /// Where the other side's log stands.
    pub(super) position: Position,
    /// The change, unless it was old news there.
    pub(super) changes: Vec<Arc<ShardChange>>,
}

/// Carries inverses. One for each leader.
pub(super) struct Inverses {
    options: InverseOptions,
    routes: Arc<Routes>,
    metrics: Arc<LeaderMetrics>,
    depth: Depth,
    /// What is on its way, so that a drain does not start it a second time.
    known: Mutex<HashSet<(EdgeKey, Position), foldhash::fast::RandomState>>,
    backlog: Backlog,
    peers: Mutex<HashMap<String, Arc<PeerQueue>>>,
    drains: Semaphore,
    /// Shards whose outbox is being drained, and whether it is to be read once more.
    draining: Mutex<HashMap<ShardId, bool, foldhash::fast::RandomState>>,
    /// Raised when the last of what is on its way has arrived.
    idle: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One outbox row on its way.
struct Carry {
    row: PendingInverse,
    ack: Mutex<Option<oneshot::Sender<Applied>>>,
    /// Failed attempts.
    failures: AtomicU32,
    /// The other side has it; only the outbox row is left.
    applied: AtomicBool,
    /// It shared a call that failed for one of them: it goes alone from now on, so that a poisoned row holds up
    /// nobody else.
    alone: AtomicBool,
    _permit: Permit,
}

impl Inverses {
    pub(super) fn start(
        options: InverseOptions,
        routes: Arc<Routes>,
        metrics: Arc<LeaderMetrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            depth: Depth::new(options.depth_per_shard, options.depth, metrics.outbox_pairs.clone()),
            drains: Semaphore::new(options.parallel_drains.max(1)),
            options,
            routes,
            metrics,
            known: Mutex::default(),
            backlog: Backlog::default(),
            draining: Mutex::default(),
            peers: Mutex::default(),
            idle: Notify::new(),
            tasks: TaskTracker::new(),
            stop,
        });
        this.tasks.spawn(Arc::clone(&this).retry_when_due());
        this
    }

    /// Room for the pairs that a write of `shard` may leave. Taken before the write, so that what is committed can
    /// always be carried.
    ///
    /// # Errors
    /// `Overloaded` if too many are on their way.
    pub(super) fn reserve(&self, shard: ShardId, pairs: usize) -> Result<Vec<Permit>> {
        (0..pairs).map(|_| self.depth.take(shard)).collect()
    }

    /// Sends a row on its way; the receiver hears when the other side has it.
    pub(super) fn carry(self: &Arc<Self>, row: PendingInverse, permit: Permit) -> oneshot::Receiver<Applied> {
        let (ack, receiver) = oneshot::channel();
        self.known.lock().insert((row.edge, row.origin));
        let carry = Carry {
            row,
            ack: Mutex::new(Some(ack)),
            failures: AtomicU32::new(0),
            applied: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            _permit: permit,
        };
        self.dispatch(Arc::new(carry));
        receiver
    }

    pub(super) const fn longest_wait(&self) -> Duration {
        self.options.longest_wait
    }

    /// Waits until nothing is on its way, or the time is up; then ends the tasks. What is left stays in the outbox.
    pub(super) async fn finish(&self, deadline: Instant) {
        loop {
            let idle = self.idle.notified();
            if self.known.lock().is_empty() || tokio::time::timeout_at(deadline, idle).await.is_err() {
                break;
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The next step of a row: to the other side, or, if that is done, the removal of the outbox row.
    fn dispatch(self: &Arc<Self>, carry: Arc<Carry>) {
        if carry.applied.load(Ordering::Acquire) || planted(Bug::OutboxRowLost) {
            self.mark_done(carry);
            return;
        }
        let shard = carry.row.inverse.id1.shard();
        let attempt = carry.failures.load(Ordering::Relaxed) as usize;
        let target = self.routes.target(shard, attempt);
        // After the target was chosen: whom a newer topology names is not asked by who is deposed by it.
        if self.deposed(&carry) {
            self.end(&carry);
            return;
        }
        match target {
            Ok(Target::Own) => self.apply_here(carry),
            Ok(Target::Peer(peer)) => self.send(peer, carry),
            Err(error) => self.failed(carry, &error),
        }
    }

    fn apply_here(self: &Arc<Self>, carry: Arc<Carry>) {
        let shard = carry.row.inverse.id1.shard();
        let (group, epoch) = match self.routes.group(shard) {
            Ok(place) => place,
            Err(error) => return self.failed(carry, &error),
        };
        let op = StoreOp::InverseApply {
            edge: carry.row.inverse,
            value: carry.row.value.clone(),
            origin: carry.row.origin,
        };
        let (this, in_lane) = (Arc::clone(self), Arc::clone(&carry));
        let done = move |result: Result<Committed>| match result {
            Ok(committed) => {
                let position = committed.done.positions.first().copied();
                this.arrived(in_lane, position, committed.changes);
            }
            Err(error) => this.failed(in_lane, &error),
        };
        if let Err(error) = group.lanes.submit(self.job(shard, epoch, op, Class::Inverse, Box::new(done))) {
            self.failed(carry, &error);
        }
    }

    /// The other side has it: tell the writer, then remove the outbox row.
    fn arrived(self: &Arc<Self>, carry: Arc<Carry>, at: Option<Position>, changes: Vec<Arc<ShardChange>>) {
        if let (Some(ack), Some(position)) = (carry.ack.lock().take(), at) {
            // Nobody listens any more if the writer's time was up: it was told that the inverse is pending.
            let _ = ack.send(Applied { position, changes });
        }
        carry.applied.store(true, Ordering::Release);
        self.mark_done(carry);
    }

    fn mark_done(self: &Arc<Self>, carry: Arc<Carry>) {
        let shard = carry.row.edge.id1.shard();
        let (group, epoch) = match self.routes.group(shard) {
            Ok(place) => place,
            Err(error) => return self.failed(carry, &error),
        };
        let op = StoreOp::OutboxDone { edge: carry.row.edge, origin: carry.row.origin };
        let (this, in_lane) = (Arc::clone(self), Arc::clone(&carry));
        let done = move |result: Result<Committed>| match result {
            Ok(_) => this.end(&in_lane),
            Err(error) => this.failed(in_lane, &error),
        };
        if let Err(error) = group.lanes.submit(self.job(shard, epoch, op, Class::Bookkeeping, Box::new(done)))
        {
            self.failed(carry, &error);
        }
    }

    fn job(&self, shard: ShardId, epoch: Epoch, op: StoreOp, class: Class, done: crate::lanes::Done) -> Job {
        let unit = WriteUnit { shard, epoch, request: None, ops: vec![op] };
        Job { unit, class, deadline: Instant::now() + self.options.attempt, done }
    }

    /// Whoever orders the shard now drains what its database has; what that has lost must not be applied (H27). A commit
    /// may have come through on the old primary after the promotion: then this is so at the first attempt.
    fn deposed(&self, carry: &Carry) -> bool {
        !self.routes.is_master(carry.row.edge.id1.shard())
    }

    /// Tries again later, each row at its own pace; or leaves the row to whoever owns its shard now.
    fn failed(self: &Arc<Self>, carry: Arc<Carry>, error: &Error) {
        let failures = carry.failures.fetch_add(1, Ordering::Relaxed);
        self.metrics.inverse_retries.inc();
        let gone = carry.applied.load(Ordering::Acquire) && error.code == ErrorCode::NotOwner;
        if gone || self.deposed(&carry) || self.stop.is_cancelled() {
            self.end(&carry);
            return;
        }
        if failures == 0 || failures.is_power_of_two() {
            tracing::warn!(edge = ?carry.row.edge, %error, failures, "an inverse is still to be applied");
        }
        let (first, longest) = self.options.pause;
        let pause = first.saturating_mul(1 << failures.min(16)).min(longest);
        self.backlog.push(Instant::now() + pause, carry);
    }

    fn end(&self, carry: &Carry) {
        let mut known = self.known.lock();
        known.remove(&(carry.row.edge, carry.row.origin));
        if known.is_empty() {
            self.idle.notify_waiters();
        }
    }
}
