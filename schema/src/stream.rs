//! The change stream from a leader to a follower, as values (DESIGN section 4, PROTOCOL R10 and R16).

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::ids::{HostGroupId, Position, PrimaryTime, ShardId};
use crate::rows::{EpochStart, ShardChange};

/// A follower's wish to hear of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscribeShard {
    /// The shard.
    pub shard: ShardId,
    /// The subscriber has everything up to here, of this shard; `None`: it has nothing.
    pub from: Option<Position>,
}

/// What a follower says on the stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscribe {
    /// The follower's name.
    pub follower: String,
    /// Shards that it wants from now on.
    pub add: Vec<SubscribeShard>,
    /// Shards that it needs no longer.
    pub remove: Vec<ShardId>,
    /// Not zero: answer at once with a heartbeat that repeats this number, behind everything that this leader has
    /// published (R20). The follower notes when it asked.
    pub probe: u64,
}

/// What a leader says on the stream.
#[derive(Clone, PartialEq, Debug)]
pub enum StreamMessage {
    /// The subscription stands: changes after the seq that was asked for follow without a gap. Atomic with the
    /// leader's ring (R16).
    Subscribed {
        /// The leader's watermark now.
        position: Position,
        /// Every epoch of the shard that the leader knows, ascending (R19).
        history: Vec<EpochStart>,
    },
    /// The shard entered an epoch; its changes follow. Before the first of them, and behind all of the epoch before.
    Epoch {
        /// The shard.
        shard: ShardId,
        /// The epoch and its first seq.
        start: EpochStart,
    },
    /// The next change of a shard.
    Change(Arc<ShardChange>),
    /// The ring no longer has what the subscriber needs, or the lineage broke: drop the shard's entries and go on
    /// from here.
    Reset {
        /// The leader's watermark now.
        position: Position,
        /// Every epoch of the shard that the leader knows, ascending (R19).
        history: Vec<EpochStart>,
    },
    /// A barrier: everything up to these positions was sent before it (R10).
    Heartbeat {
        /// One for each shard of this stream.
        positions: Vec<Position>,
        /// The leader's wall clock, in milliseconds since the Unix epoch: for people, not for decisions (R20).
        sent_unix_ms: u64,
        /// The number of the probe that this answers; zero: none.
        probe: u64,
        /// How old the leader's knowledge of the shards of this stream is. Shards that are in none of these (fenced, or
        /// their log is lost) are vouched for by nobody.
        ages: Vec<GroupAge>,
    },
    /// This leader does not serve the shard.
    Refused {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: Error,
    },
}

/// How old a node's knowledge of one host group's shards is (R20).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupAge {
    /// The host group.
    pub host_group: HostGroupId,
    /// Everything that was committed up to so long before this was sent is known, measured with a clock that counts
    /// suspension, from a nonce that came back through the data path.
    pub age: Duration,
    /// The primary's clock in the newest heartbeat that was applied.
    pub time: PrimaryTime,
    /// The shards that this is true of.
    pub shards: Vec<ShardId>,
}
