//! Which shard rows a batch needs, and which it got (R2).

use std::collections::{BTreeMap, BTreeSet};

use tao_schema::ids::{EdgeKey, Epoch, Position, Seq, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;

use crate::write::{Inverse, StoreOp, WriteUnit};

/// A shard row as it was read under its lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockedShard {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its last change.
    pub seq: Seq,
    /// Whether it takes writes.
    pub state: ShardState,
    /// Local part of the next id to allocate; starts at 1.
    pub next_id: u64,
}

impl LockedShard {
    /// Where this transaction's changes will stand.
    pub const fn next_position(&self) -> Position {
        Position { shard: self.shard, epoch: self.epoch, seq: self.seq.next() }
    }
}

/// What came of the attempt to lock a shard row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// This transaction holds it.
    Held(LockedShard),
    /// Another transaction holds it, or it was not seen by a statement that skips locked rows.
    Busy,
    /// There is no such row: certain, because the statement did not skip.
    Missing,
}

/// What came of the attempt to lock the [`lock_set`].
#[derive(Clone, Debug, Default)]
pub struct Locks(BTreeMap<ShardId, Lock>);

impl Locks {
    /// Notes a result; a shard without one counts as busy.
    pub fn insert(&mut self, shard: ShardId, lock: Lock) {
        self.0.insert(shard, lock);
    }

    /// The result for a shard.
    pub fn get(&self, shard: ShardId) -> Lock {
        self.0.get(&shard).copied().unwrap_or(Lock::Busy)
    }

    /// The rows held, in order of shard.
    pub fn held(&self) -> impl Iterator<Item = &LockedShard> {
        self.0.values().filter_map(|lock| match lock {
            Lock::Held(row) => Some(row),
            Lock::Busy | Lock::Missing => None,
        })
    }

    /// The row if this transaction may write the shard in `epoch`.
    pub fn granted(&self, shard: ShardId, epoch: Epoch) -> Option<LockedShard> {
        match self.get(shard) {
            Lock::Held(row) if row.epoch == epoch && row.state == ShardState::Serving => Some(row),
            Lock::Held(row) if planted(Bug::NoFencing) => Some(row),
            _ => None,
        }
    }

    /// Whether the other side of `edge` can be written in this transaction. On the shard of the edge itself always,
    /// whatever `inverse.together` says: that row is locked and serving, or the unit would not run.
    pub(super) fn direct(&self, edge: EdgeKey, inverse: Inverse) -> bool {
        let other = edge.id2.shard();
        other == edge.id1.shard()
            || inverse.together.is_some_and(|epoch| self.granted(other, epoch).is_some())
            || (planted(Bug::AdvanceFencedShard) && matches!(self.get(other), Lock::Held(_)))
    }
}

/// Shard rows to lock for these units: their own, and those of inverses that may be written together. In ascending
/// order, the one order in which everybody locks (H2).
pub fn lock_set(units: &[WriteUnit]) -> BTreeSet<ShardId> {
    let mut shards: BTreeSet<_> = units.iter().map(|unit| unit.shard).collect();
    let pairs = units.iter().flat_map(|unit| unit.ops.iter().flat_map(pairs_of));
    shards.extend(pairs.filter(|(_, i)| i.together.is_some()).map(|(edge, _)| edge.id2.shard()));
    shards
}

/// The pairs whose other side an op changes: canonical edge and its inverse. A symmetric edge to itself is one row
/// and has no other side (R22).
pub(super) fn pairs_of(op: &StoreOp) -> impl Iterator<Item = (EdgeKey, Inverse)> + use<> {
    let pairs = match op {
        StoreOp::EdgePut { edge, inverse, .. } | StoreOp::EdgeDelete { edge, inverse, .. } => {
            [inverse.map(|i| (*edge, i)), None]
        }
        StoreOp::EdgeChangeType { edge, new_atype, inverse, new_inverse, .. } => {
            let target = EdgeKey { atype: *new_atype, ..*edge };
            [inverse.map(|i| (*edge, i)), new_inverse.map(|i| (target, i))]
        }
        StoreOp::ObjectAdd { .. }
        | StoreOp::ObjectUpdate { .. }
        | StoreOp::ObjectDelete { .. }
        | StoreOp::InverseApply { .. }
        | StoreOp::OutboxDone { .. } => [None, None],
    };
    pairs.into_iter().flatten().filter(|(edge, i)| edge.reversed(i.atype) != *edge)
}
