//! What a follower has in memory, for `tao check` and for operators.

use std::time::Duration;

use tao_schema::ids::{Position, PrimaryTime, ShardId};

use super::age::{as_duration, micros};
use super::handle::FollowerHandle;
use super::shards::ShardSlot;
use crate::engine::{self, CachedEntry, EngineStats};

/// A shard that the follower has to do with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardStatus {
    /// Everything up to here was applied.
    pub watermark: Position,
    /// Whether its change stream is whole: its entries are served from memory, unless `age` is beyond the option
    /// `max_age` (R16, R21).
    pub continuous: bool,
    /// Everything that was committed up to so long ago is known; absent: nobody has vouched for it yet (R20).
    pub age: Option<Duration>,
    /// The primary's clock in the newest heartbeat row that was applied.
    pub time: Option<PrimaryTime>,
}

impl FollowerHandle {
    /// Every entry of a shard that a read would be answered from now, in no order; none while the shard's stream is
    /// not continuous or what it knows is too old. Walks the whole cache.
    pub fn dump(&self, shard: ShardId) -> Vec<CachedEntry> {
        let Some(slot) = self.shared.shards.get(shard) else { return Vec::new() };
        if slot.known.look().age(micros(self.shared.clock.now())) > self.shared.max_age {
            return Vec::new();
        }
        engine::servable(&*self.shared.entries, shard, &slot.core)
    }

    /// What the cache engine holds and has done.
    pub fn cache_stats(&self) -> EngineStats {
        self.shared.entries.stats()
    }

    /// Watermarks and ages of all shards that this follower has touched since it started, in ascending order.
    pub fn status(&self) -> Vec<ShardStatus> {
        let now = micros(self.shared.clock.now());
        let status = |(_, slot): (ShardId, &ShardSlot)| {
            let known = slot.known.look();
            ShardStatus {
                watermark: slot.core.position(),
                continuous: slot.core.is_continuous(),
                age: as_duration(known.age(now)),
                time: Some(known.up_to()).filter(|time| *time > PrimaryTime(0)),
            }
        };
        self.shared.shards.iter().map(status).collect()
    }
}
