//! The shards of the cluster in this leader: their cores, what they are told, and who listens to them.
//!
//! Every leader keeps all of them: a standby's ring is as full as the owner's, so that whoever takes over can go on
//! with the owner's subscribers (R16). Own commits and what the log brings meet in the core: one queue (R6).

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tao_schema::ids::{Epoch, HostGroupId, Position, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};
use tao_shard_store::store::ShardRow;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::metrics::LeaderMetrics;
use super::slot::Slot;
use crate::core::{CoreOptions, Entries, EpochVerdict, Published};
use crate::engine::CacheEngine;
use crate::lanes::CommitSink;

/// All shards of the cluster.
pub(super) struct Shards {
    engine: Arc<dyn CacheEngine>,
    options: CoreOptions,
    /// By shard; made on first use and kept as long as the cache, whose entries their generations void.
    slots: Box<[OnceLock<Arc<Slot>>]>,
    metrics: Arc<LeaderMetrics>,
    stale_topology: Arc<Notify>,
    /// Told of own commits: they prove what the log brought before them.
    committed: OnceLock<Box<dyn Fn(ShardId) + Send + Sync>>,
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
        Self { engine, options, slots, metrics, stale_topology, committed: OnceLock::new() }
    }

    /// Who is told of each own commit. Once.
    pub(super) fn on_committed(&self, told: impl Fn(ShardId) + Send + Sync + 'static) {
        // Set twice, the first stays: there is one leader around this.
        let _ = self.committed.set(Box::new(told));
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

    /// The shards that anything was heard of.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter_map(OnceLock::get)
    }

    /// The shards that are open.
    pub(super) fn all_open(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.all().filter(|slot| slot.is_open())
    }

    /// The shards that a host group's log feeds.
    pub(super) fn fed_by(&self, group: HostGroupId) -> impl Iterator<Item = &Arc<Slot>> {
        self.all().filter(move |slot| slot.handover.is_fed_by(group))
    }

    /// The log starts anew: nothing of the shard is served until it has caught up. `void`: what is cached may be wrong,
    /// here and at the subscribers.
    pub(super) fn close(&self, slot: &Slot, void: bool) {
        if slot.open.set(false) {
            self.metrics.open_shards.dec();
        }
        slot.core.with(|core| {
            slot.follows.store(false, Ordering::Release);
            core.on_lost();
            if void {
                core.forget();
            }
        });
    }

    /// Before the first replayed change of a shard, the one after `from` (R17).
    pub(super) fn replay_from(&self, slot: &Slot, from: Position) {
        let opened = slot.core.with(|core| {
            let opened = core.open_replaying(from);
            slot.follows.store(opened.is_ok(), Ordering::Release);
            opened
        });
        if let Err(backwards) = opened {
            tracing::warn!(%backwards, "a change from before the shard's history is not replayed");
        }
    }

    /// Serves a shard whose log has come to everything that `row` shows. Answers whether the log had brought all of it.
    pub(super) fn opened(&self, slot: &Slot, row: &ShardRow) -> bool {
        let entries = self.entries();
        let at = position_of(row);
        let opened = slot.core.with(|core| {
            let known = core.position();
            // What the log brought after the row was read knows the state better.
            if (known.epoch, known.seq) <= (at.epoch, at.seq) {
                slot.set_state(row.state);
            }
            // It started anew on the way, and is further already.
            let opened = if core.is_continuous() && (known.epoch, known.seq) >= (at.epoch, at.seq) {
                Ok(true)
            } else {
                core.opened_at(at, entries)
            };
            slot.follows.store(opened.is_ok(), Ordering::Release);
            opened
        });
        match opened {
            Ok(whole) => {
                if !slot.open.set(true) {
                    self.metrics.open_shards.inc();
                }
                slot.wake();
                whole
            }
            Err(backwards) => {
                self.lost(slot, &backwards);
                true
            }
        }
    }

    /// A change that the log brought; `visible`: for certain (R7). Answers whether it is held now.
    pub(super) fn tailed(
        &self,
        slot: &Slot,
        change: &Arc<ShardChange>,
        state: ShardState,
        visible: bool,
    ) -> bool {
        slot.set_state(state);
        if !slot.follows() {
            return false;
        }
        let (published, held, waits) = slot.core.with(|core| {
            let published = core.on_tailed(Arc::clone(change), visible, self.entries());
            (published, core.held().is_some(), core.first_waiting())
        });
        slot.foreign.note(change.seq);
        // The log is contiguous: what it brings can only wait if something before it was never brought.
        let missing = waits.is_some_and(|first| first.epoch == change.epoch && first.seq <= change.seq);
        if published.gap || (missing && slot.is_open()) {
            self.reset(slot, change.position(), "gap");
        } else if !published.changes.is_empty() {
            slot.wake();
        }
        held
    }

    /// The shard row was read at `row` on the server that is followed.
    pub(super) fn visible(&self, slot: &Slot, row: &ShardRow) {
        let entries = self.entries();
        let published = slot.core.with(|core| core.on_visible(position_of(row), entries));
        if !published.changes.is_empty() {
            slot.wake();
        }
    }

    /// An epoch begins in the log (R19, R24). Answers whether what came before it is known; if not, the shard is closed until
    /// its row and its history were read: it may have been elsewhere meanwhile, in epochs that this log has not told of (R25).
    pub(super) fn epoch(&self, slot: &Slot, start: EpochStart) -> bool {
        let entries = self.entries();
        match slot.core.with(|core| core.on_epoch(start, entries)) {
            EpochVerdict::Known | EpochVerdict::Learned => return true,
            EpochVerdict::Continues => {}
            EpochVerdict::Flushed => {
                // Seqs begin again below what was.
                slot.foreign.begin_again();
                *slot.waiting.lock() = None;
                self.metrics.reset("epoch");
                tracing::warn!(shard = %slot.shard, epoch = %start.epoch, first_seq = %start.first_seq,
                    "the epoch before was cut off below what was known here: shard cache dropped");
            }
            EpochVerdict::Gap => {
                self.metrics.reset("gap");
                slot.foreign.suspect();
                tracing::warn!(shard = %slot.shard, epoch = %start.epoch, first_seq = %start.first_seq,
                    "changes from before the epoch have not come: shard cache dropped");
                self.close(slot, true);
                self.stale_topology.notify_one();
                return false;
            }
        }
        // The topology follows a promotion, not the other way round.
        self.stale_topology.notify_one();
        slot.wake();
        true
    }

    /// Compares with a shard row that was read before a nonce which has come through since: everything that it shows
    /// must be known (R8). Answers whether it is.
    pub(super) fn audit(&self, slot: &Slot, row: &ShardRow) -> bool {
        let known = slot.core.with(|core| match core.held() {
            // Visible by now or soon: it is here.
            Some(held) => held,
            None => core.position(),
        });
        if (known.epoch, known.seq) >= (row.epoch, row.seq) || !slot.is_open() {
            return true;
        }
        self.reset(slot, position_of(row), "audit");
        false
    }

    /// Own commits that have waited too long for those before them (R6).
    pub(super) fn give_up_waiting(&self, slot: &Slot, patience: Duration) -> bool {
        let first = slot.core.with(|core| core.first_waiting());
        let mut waiting = slot.waiting.lock();
        match (first, *waiting) {
            (None, _) => *waiting = None,
            (Some(first), Some((known, since))) if first == known => {
                if since.elapsed() >= patience {
                    *waiting = None;
                    drop(waiting);
                    self.reset(slot, first, "gap");
                    return true;
                }
            }
            (Some(first), _) => *waiting = Some((first, Instant::now())),
        }
        false
    }

    /// Drops what is cached and goes on from `position`, which the database was seen at.
    fn reset(&self, slot: &Slot, position: Position, reason: &'static str) {
        self.metrics.reset(reason);
        slot.foreign.suspect();
        tracing::warn!(shard = %slot.shard, %position, reason, "shard cache dropped");
        match slot.core.with(|core| core.reset(position, self.entries())) {
            Ok(_) => {}
            // What came meanwhile is further than what was read.
            Err(backwards) if backwards.known.epoch >= position.epoch => {}
            Err(backwards) => self.lost(slot, &backwards),
        }
        slot.wake();
    }

    /// The database knows less than was committed there: nothing is served from memory any more.
    fn lost(&self, slot: &Slot, backwards: &crate::core::Backwards) {
        tracing::error!(%backwards, "the database has lost changes; the shard is served uncached");
        self.metrics.reset("backwards");
        if slot.open.set(false) {
            self.metrics.open_shards.dec();
        }
        slot.core.with(|core| {
            slot.follows.store(false, Ordering::Release);
            core.on_lost();
        });
    }
}

impl CommitSink for Shards {
    fn committed(&self, change: &Arc<ShardChange>) {
        let Some(slot) = self.slot(change.shard) else { return };
        slot.foreign.claim(change.seq);
        let Published { changes, gap } = slot.core.with(|core| {
            if slot.follows() {
                core.on_commit(Arc::clone(change), self.entries())
            } else {
                // The log will bring it: nothing is cached that it could be missing in.
                Published::default()
            }
        });
        if gap {
            self.reset(slot, change.position(), "gap");
        } else if !changes.is_empty() {
            slot.wake();
        }
        if let Some(told) = self.committed.get() {
            told(change.shard);
        }
    }

    fn not_owned(&self, shard: ShardId, found: Option<(Epoch, ShardState)>) {
        if let (Some((epoch, ShardState::Fenced)), Some(slot)) = (found, self.slot(shard)) {
            // A move's fence, before the log tells of it: who comes from now on waits (R25). One of an epoch that is over
            // here is old news, and a newer one than is known comes with its log.
            slot.fenced_in(epoch);
        } else {
            tracing::warn!(%shard, ?found, "a write met a shard row that is not ours; the topology may be out of date");
        }
        self.stale_topology.notify_one();
    }
}

const fn position_of(row: &ShardRow) -> Position {
    Position { shard: row.shard, epoch: row.epoch, seq: row.seq }
}
