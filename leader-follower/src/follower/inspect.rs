//! What a follower has in memory, for `tao check` and for operators.

use tao_schema::ids::Position;

use super::handle::FollowerHandle;

/// A shard that the follower has to do with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardStatus {
    /// Everything up to here was applied.
    pub watermark: Position,
    /// Whether its entries are served from memory now.
    pub continuous: bool,
}

impl FollowerHandle {
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
