//! The shards that a leader serves: their cores, and who listens to them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::rows::{ShardChange, ShardState};
use tao_shard_store::store::ShardRow;
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use super::metrics::LeaderMetrics;
use super::stream::Wake;
use crate::core::{CoreOptions, Entries, SharedShard};
use crate::engine::CacheEngine;
use crate::lanes::CommitSink;

/// All shards of the cluster; those used are open.
pub(super) struct Shards {
    engine: Arc<dyn CacheEngine>,
    options: CoreOptions,
    /// By shard; made on first use and kept as long as the cache, whose entries their generations void.
    slots: Box<[OnceLock<Arc<Slot>>]>,
    metrics: Arc<LeaderMetrics>,
    stale_topology: Arc<Notify>,
    /// Shards whose log held what this leader did not publish, since the last look.
    strangers: Mutex<HashSet<ShardId, foldhash::fast::RandomState>>,
}

/// One shard.
pub(super) struct Slot {
    pub(super) shard: ShardId,
    pub(super) core: SharedShard,
    /// Set once the shard row was read and the core opened. Whoever comes first opens for all.
    pub(super) opened: OnceCell<()>,
    state: AtomicU8,
    start: Mutex<Start>,
    subscribers: Mutex<Vec<Arc<Wake>>>,
    /// The last audit's seq, and when its read began.
    audited: Mutex<Option<(Seq, Instant)>>,
}

/// Whether the core has been given a row to start from.
enum Start {
    /// Not yet; and the last own commit, of inverses that other leaders' shards get here: the row that is being read
    /// may be older.
    Awaited(Option<Position>),
    Done,
}

impl Shards {
    pub(super) fn new(
        engine: Arc<dyn CacheEngine>,
        options: CoreOptions,
        shards: u32,
        metrics: Arc<LeaderMetrics>,
        stale_topology: Arc<Notify>,
    ) -> Self {
        let slots = (0..shards).map(|_| OnceLock::new()).collect();
        Self { engine, options, slots, metrics, stale_topology, strangers: Mutex::default() }
    }

    pub(super) fn entries(&self) -> &dyn Entries {
        &*self.engine
    }

    pub(super) fn engine(&self) -> &dyn CacheEngine {
        &*self.engine
    }

    /// The shard's slot, open or not; `None`: the cluster has no such shard.
    pub(super) fn slot(&self, shard: ShardId) -> Option<&Arc<Slot>> {
        let place = self.slots.get(usize::from(shard.0))?;
        Some(place.get_or_init(|| Arc::new(Slot::new(shard, self.options))))
    }

    /// The shard's slot, if it is open.
    pub(super) fn open_slot(&self, shard: ShardId) -> Option<&Arc<Slot>> {
        self.slots.get(usize::from(shard.0))?.get().filter(|slot| slot.opened.initialized())
    }

    /// The open shards.
    pub(super) fn all_open(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter_map(OnceLock::get).filter(|slot| slot.opened.initialized())
    }

    /// Starts to serve a shard whose row was read; or where this leader has committed since, for that commit was
    /// published to nobody, and no other will follow `position` (R6).
    pub(super) fn open(&self, slot: &Slot, position: Position, state: ShardState) {
        slot.state.store(state.number(), Ordering::Release);
        let mut start = slot.start.lock();
        let position = match *start {
            Start::Awaited(Some(committed)) => position.max(committed),
            Start::Awaited(None) | Start::Done => position,
        };
        let opened = slot.core.with(|core| core.open(position));
        *start = Start::Done;
        drop(start);
        match opened {
            Ok(()) => {
                self.metrics.open_shards.inc();
            }
            Err(backwards) => self.lost(slot, &backwards),
        }
    }

    /// The shards whose log held what this leader did not publish, since the last call.
    pub(super) fn take_strangers(&self) -> HashSet<ShardId, foldhash::fast::RandomState> {
        std::mem::take(&mut *self.strangers.lock())
    }

    /// Compares the core with a row that was read from `began` on; `committing`: since when a commit of this leader
    /// has been under way (R8).
    pub(super) fn audit(&self, slot: &Slot, row: &ShardRow, began: Instant, committing: Option<Instant>) {
        slot.state.store(row.state.number(), Ordering::Release);
        let known = slot.core.position();
        let position = Position { shard: row.shard, epoch: row.epoch, seq: row.seq };
        let before = slot.audited.lock().replace((row.seq, began));
        if row.epoch != known.epoch {
            if row.epoch > known.epoch {
                self.reset(slot, position, "epoch");
            }
            self.stale_topology.notify_one();
            return;
        }
        let Some((seq, earlier)) = before else { return };
        // An own commit that was under way at the earlier read may be what that read saw: it will be published. One
        // that hangs does not keep a stranger's change from being noticed.
        let own = committing.is_some_and(|since| since <= earlier && since.elapsed() < LONGEST_COMMIT);
        if known.seq < seq && !own {
            self.reset(slot, position, "audit");
        }
    }

    /// Drops what is cached and goes on from `position`, which the database was seen at.
    fn reset(&self, slot: &Slot, position: Position, reason: &'static str) {
        self.metrics.reset(reason);
        self.strangers.lock().insert(slot.shard);
        tracing::info!(shard = %slot.shard, %position, reason, "shard cache dropped");
        match slot.core.with(|core| core.reset(position, self.entries())) {
            Ok(_) => slot.wake(),
            // Own commits have passed the audit's read meanwhile.
            Err(backwards) if backwards.known.epoch == position.epoch && reason == "audit" => {}
            Err(backwards) => self.lost(slot, &backwards),
        }
    }

    /// The database knows less than was committed there: nothing is served from memory any more.
    fn lost(&self, slot: &Slot, backwards: &crate::core::Backwards) {
        tracing::error!(%backwards, "the database has lost changes; the shard is served uncached");
        slot.core.with(|core| core.on_lost());
    }
}

/// A commit under way for longer than this is not waited for by the audit.
const LONGEST_COMMIT: std::time::Duration = std::time::Duration::from_secs(10);

impl CommitSink for Shards {
    fn committed(&self, change: &Arc<ShardChange>) {
        let Some(slot) = self.slot(change.shard) else { return };
        if let Start::Awaited(committed) = &mut *slot.start.lock() {
            // Nothing is cached and nobody listens; but the row that the shard is opened with may be read already.
            *committed = (*committed).max(Some(change.position()));
            return;
        }
        let gap = slot.core.with(|core| {
            let published = core.on_commit(Arc::clone(change), self.entries());
            // Without a tail nobody brings what another leader committed before this: go on from here (R6). With one,
            // the change waits in the core for those before it.
            if published.gap || core.waiting() > 0 {
                return Some(core.reset(change.position(), self.entries()));
            }
            None
        });
        match gap {
            None => {}
            Some(Ok(_)) => {
                self.metrics.reset("gap");
                self.strangers.lock().insert(slot.shard);
            }
            Some(Err(backwards)) => self.lost(slot, &backwards),
        }
        slot.wake();
    }

    fn not_owned(&self, shard: ShardId, found: Option<(Epoch, ShardState)>) {
        tracing::warn!(%shard, ?found, "a write met a shard row that is not ours; the topology may be out of date");
        self.stale_topology.notify_one();
    }
}

impl Slot {
    fn new(shard: ShardId, options: CoreOptions) -> Self {
        Self {
            shard,
            core: SharedShard::new(shard, options),
            opened: OnceCell::new(),
            state: AtomicU8::new(ShardState::Serving.number()),
            start: Mutex::new(Start::Awaited(None)),
            subscribers: Mutex::default(),
            audited: Mutex::default(),
        }
    }

    /// The state of the shard row as last seen.
    pub(super) fn state(&self) -> ShardState {
        // Only numbers of states are ever stored.
        ShardState::from_number(self.state.load(Ordering::Acquire)).unwrap_or(ShardState::Gone)
    }

    /// Tells a subscriber of every change from now on.
    pub(super) fn listen(&self, wake: &Arc<Wake>) {
        let mut subscribers = self.subscribers.lock();
        if !subscribers.iter().any(|known| Arc::ptr_eq(known, wake)) {
            subscribers.push(Arc::clone(wake));
        }
    }

    pub(super) fn unlisten(&self, wake: &Arc<Wake>) {
        self.subscribers.lock().retain(|known| !Arc::ptr_eq(known, wake));
    }

    fn wake(&self) {
        for wake in self.subscribers.lock().iter() {
            wake.mark(self.shard);
        }
    }
}
