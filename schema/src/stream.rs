//! The change stream from a leader to a follower, as values (DESIGN section 4, PROTOCOL R10 and R16).

use std::sync::Arc;

use crate::error::Error;
use crate::ids::{Position, ShardId};
use crate::rows::ShardChange;

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
}

/// What a leader says on the stream.
#[derive(Clone, PartialEq, Debug)]
pub enum StreamMessage {
    /// The subscription stands: changes after the seq that was asked for follow without a gap. Atomic with the
    /// leader's ring (R16).
    Subscribed {
        /// The leader's watermark now.
        position: Position,
    },
    /// The next change of a shard.
    Change(Arc<ShardChange>),
    /// The ring no longer has what the subscriber needs, or the lineage broke: drop the shard's entries and go on
    /// from here.
    Reset {
        /// The leader's watermark now.
        position: Position,
    },
    /// A barrier: everything up to these positions was sent before it (R10).
    Heartbeat {
        /// One for each shard of this stream.
        positions: Vec<Position>,
        /// The leader's wall clock, in milliseconds since the Unix epoch: for people, not for decisions (R20).
        sent_unix_ms: u64,
    },
    /// This leader does not serve the shard.
    Refused {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: Error,
    },
}
