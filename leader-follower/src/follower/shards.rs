//! The shards of a follower: an array by shard id, so that a read finds its shard without a lock or a map.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tao_schema::ids::{Epoch, Position, PrimaryTime, ShardId};
use tao_schema::rows::{EpochStart, ShardChange};
use tao_schema::stream::SubscribeShard;
use tokio::sync::mpsc;

use super::age::Knowledge;
use super::options::FollowerOptions;
use crate::core::{CoreOptions, Entries, EpochVerdict, ShardCore, SharedShard, StreamVerdict};

/// All shards of the cluster, each made when it is first touched.
pub(super) struct Shards {
    slots: Box<[OnceLock<Box<ShardSlot>>]>,
    core: CoreOptions,
    /// A coarse clock that a read can afford.
    now: AtomicU32,
    /// Ticks of `now` after which an unread shard is idle.
    idle_ticks: u32,
    wanted: mpsc::Sender<ShardId>,
}

/// One shard.
pub(super) struct ShardSlot {
    pub(super) core: SharedShard,
    /// How old what the core knows is.
    pub(super) known: Knowledge,
    /// Whether the subscription task has been told of it.
    wanted: AtomicBool,
    last_read: AtomicU32,
}

impl Shards {
    pub(super) fn new(count: u32, options: &FollowerOptions, wanted: mpsc::Sender<ShardId>) -> Self {
        let ticks = options.idle_unsubscribe.as_nanos() / options.tick().as_nanos().max(1);
        Self {
            slots: (0..count).map(|_| OnceLock::new()).collect(),
            core: options.core,
            now: AtomicU32::new(0),
            idle_ticks: u32::try_from(ticks).unwrap_or(u32::MAX).max(1),
            wanted,
        }
    }

    /// Whether the cluster has this shard.
    pub(super) fn exists(&self, shard: ShardId) -> bool {
        usize::from(shard.0) < self.slots.len()
    }

    /// A shard that was touched before.
    #[inline]
    pub(super) fn get(&self, shard: ShardId) -> Option<&ShardSlot> {
        self.slots.get(usize::from(shard.0))?.get().map(|slot| &**slot)
    }

    /// A shard; `None`: the cluster has no such shard.
    pub(super) fn touch(&self, shard: ShardId) -> Option<&ShardSlot> {
        let slot = self.slots.get(usize::from(shard.0))?.get_or_init(|| {
            Box::new(ShardSlot {
                core: SharedShard::new(shard, self.core),
                known: Knowledge::default(),
                wanted: AtomicBool::new(false),
                last_read: AtomicU32::new(self.now.load(Ordering::Relaxed)),
            })
        });
        Some(slot)
    }

    /// All shards touched so far.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ShardId, &ShardSlot)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(at, slot)| Some((ShardId(at as u16), &**slot.get()?)))
    }

    /// Notes that the shard is in use.
    #[inline]
    pub(super) fn used(&self, slot: &ShardSlot) {
        let now = self.now.load(Ordering::Relaxed);
        // Mostly equal: a load leaves the cache line shared among the cores.
        if slot.last_read.load(Ordering::Relaxed) != now {
            slot.last_read.store(now, Ordering::Relaxed);
        }
    }

    /// Makes sure that the subscription task knows of the shard. If its queue is full, a later read tells it.
    pub(super) fn want(&self, shard: ShardId, slot: &ShardSlot) {
        if !slot.wanted.load(Ordering::Relaxed)
            && !slot.wanted.swap(true, Ordering::Relaxed)
            && self.wanted.try_send(shard).is_err()
        {
            slot.wanted.store(false, Ordering::Relaxed);
        }
    }

    // What the subscription task tells the cores. Shards that it names were touched before; others are not news.

    pub(super) fn tick(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn idle(&self, shard: ShardId) -> bool {
        let now = self.now.load(Ordering::Relaxed);
        self.get(shard)
            .is_none_or(|slot| now.wrapping_sub(slot.last_read.load(Ordering::Relaxed)) > self.idle_ticks)
    }

    pub(super) fn subscribe_from(&self, shard: ShardId) -> SubscribeShard {
        let from = self.get(shard).and_then(|slot| slot.core.with(|core| core.subscribe_from()));
        SubscribeShard { shard, from }
    }

    pub(super) fn on_subscribed(&self, position: Position, history: &[EpochStart]) -> StreamVerdict {
        self.enter(position.shard, newest(position, history), |core| {
            core.learn_history(history);
            core.on_subscribed(position)
        })
        .unwrap_or(StreamVerdict::Ignored)
    }

    pub(super) fn on_reset(&self, position: Position, history: &[EpochStart]) -> StreamVerdict {
        self.enter(position.shard, newest(position, history), |core| {
            core.learn_history(history);
            core.on_reset(position)
        })
        .unwrap_or(StreamVerdict::Ignored)
    }

    pub(super) fn on_epoch(&self, entries: &dyn Entries, shard: ShardId, start: EpochStart) -> EpochVerdict {
        self.enter(shard, start.epoch, |core| core.on_epoch(start, entries)).unwrap_or(EpochVerdict::Known)
    }

    pub(super) fn on_change(&self, entries: &dyn Entries, change: &Arc<ShardChange>) -> StreamVerdict {
        self.tell(change.shard, |core| core.on_change(Arc::clone(change), entries))
    }

    pub(super) fn on_heartbeat(&self, position: Position) -> StreamVerdict {
        self.tell(position.shard, |core| core.on_heartbeat(position))
    }

    /// An event that may bring the shard into an epoch; `None`: the shard was never touched.
    fn enter<R>(&self, shard: ShardId, epoch: Epoch, event: impl FnOnce(&mut ShardCore) -> R) -> Option<R> {
        let slot = self.get(shard)?;
        if epoch > slot.core.position().epoch {
            // What the old primary vouched for says nothing about the new one (H20, H23). Before the event, so that no
            // reader takes an entry of the new epoch for as fresh as the old one was.
            slot.known.clear();
        }
        Some(slot.core.with(event))
    }

    /// Everything that was committed up to `at` of the node's clock is applied (R20).
    pub(super) fn vouch(&self, shard: ShardId, at: Duration, time: PrimaryTime) {
        if let Some(slot) = self.get(shard) {
            slot.known.vouch(at, time);
        }
    }

    fn tell(&self, shard: ShardId, event: impl FnOnce(&mut ShardCore) -> StreamVerdict) -> StreamVerdict {
        self.get(shard).map_or(StreamVerdict::Ignored, |slot| slot.core.with(event))
    }

    pub(super) fn on_lost(&self, shard: ShardId) {
        if let Some(slot) = self.get(shard) {
            slot.core.with(ShardCore::on_lost);
        }
    }

    /// Drops what the shard holds; the next read subscribes it again.
    pub(super) fn forget(&self, shard: ShardId) {
        if let Some(slot) = self.get(shard) {
            slot.known.clear();
            slot.core.with(ShardCore::forget);
            slot.wanted.store(false, Ordering::Relaxed);
        }
    }

    /// Ends all trust.
    pub(super) fn lose_all(&self) {
        for (_, slot) in self.iter() {
            slot.core.with(ShardCore::on_lost);
        }
    }
}

/// The newest epoch that an answer to a subscription tells of.
fn newest(position: Position, history: &[EpochStart]) -> Epoch {
    history.iter().map(|start| start.epoch).fold(position.epoch, Epoch::max)
}
