//! What a follower has in memory, for `tao check` and for operators.

use tao_schema::ids::{Position, ShardId};

use super::handle::FollowerHandle;
use crate::engine::{self, CachedEntry, EngineStats};

/// A shard that the follower has to do with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardStatus {
    /// Everything up to here was applied.
    pub watermark: Position,
    /// Whether its entries are served from memory now.
    pub continuous: bool,
}

impl FollowerHandle {
    /// Every entry of a shard that a read would be answered from now, in no order; none while the shard's stream is
    /// not continuous. Walks the whole cache.
    pub fn dump(&self, shard: ShardId) -> Vec<CachedEntry> {
        let Some(slot) = self.shared.shards.get(shard) else { return Vec::new() };
        engine::servable(&*self.shared.entries, shard, &slot.core)
    }

    /// What the cache engine holds and has done.
    pub fn cache_stats(&self) -> EngineStats {
        self.shared.entries.stats()
    }

    /// Watermarks of all shards that this follower has touched since it started, in ascending order.
    pub fn status(&self) -> Vec<ShardStatus> {
        let shards = self.shared.shards.iter();
        shards
            .map(|(_, slot)| ShardStatus {
                watermark: slot.core.position(),
                continuous: slot.core.is_continuous(),
            })
            .collect()
    }
}
