//! Rows that only the engines see, beside those of [`tao_schema::rows`].

use tao_schema::ids::{AssocType, EdgeKey, Epoch, Position, Seq};
use tao_schema::rows::EdgeValue;

use crate::store::PendingInverse;

/// Milliseconds since the Unix epoch, by the clock of the engine. For retention only: nothing is ordered by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub u64);

/// A row of the edge table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EdgeRow {
    /// Time and data.
    pub value: EdgeValue,
    /// With `seq`: where the shard that orders the edge wrote this state. The journal of R22 for edges that exist.
    pub epoch: Epoch,
    /// See `epoch`.
    pub seq: Seq,
}

/// A row of the count table. Once made it stays, with count 0, so that versions never start again (R13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CountRow {
    /// Number of edges in the list.
    pub count: u64,
    /// The seq that last changed the list.
    pub version: Seq,
}

/// What a deleted inverse edge leaves, at least for a day: the journal of R22 for edges that don't exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// With `seq`: where the shard that orders the pair deleted it.
    pub epoch: Epoch,
    /// See `epoch`.
    pub seq: Seq,
    /// When it was written here; only for its retention.
    pub at: UnixMillis,
}

/// The latest state of a pair that its other side may not know yet; its key is the ordering side's edge (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxRow {
    /// Type of the edge on the shard of `id2`.
    pub inverse: AssocType,
    /// State to bring there; `None`: deleted.
    pub value: Option<EdgeValue>,
    /// With `seq`: where the ordering shard wrote this state.
    pub epoch: Epoch,
    /// See `epoch`.
    pub seq: Seq,
}

impl OutboxRow {
    /// The row as callers see it.
    pub fn pending(&self, edge: EdgeKey) -> PendingInverse {
        PendingInverse {
            edge,
            inverse: edge.reversed(self.inverse),
            value: self.value.clone(),
            origin: Position { shard: edge.id1.shard(), epoch: self.epoch, seq: self.seq },
        }
    }
}
