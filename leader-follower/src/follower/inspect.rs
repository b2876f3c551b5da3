//! What a follower has in memory, for `tao check` and for operators.

use std::sync::Arc;

use tao_schema::ids::{Position, ShardId};

use super::handle::FollowerHandle;
use crate::core::{Entry, Key, Lookup};
use crate::engine::EngineStats;

/// A cached entry as it would be served now.
#[derive(Clone, PartialEq, Debug)]
pub struct CachedEntry {
    /// Its key.
    pub key: Key,
    /// It is claimed to be right here.
    pub position: Position,
    /// The entry.
    pub entry: Arc<Entry>,
}

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
        let keys = self.shared.entries.for_shard(shard).into_iter().map(|(key, _)| key);
        // Looked up again one by one: the claim must be made as a read makes it (R11).
        keys.filter_map(|key| match slot.core.lookup(&*self.shared.entries, &key, None) {
            Lookup::Hit { entry, as_of } => Some(CachedEntry { key, position: as_of, entry }),
            Lookup::Miss(_) => None,
        })
        .collect()
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
