//! Which rows a batch must read after it has its locks.

use std::collections::{BTreeMap, BTreeSet};

use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Seq, ShardId};
use tao_schema::rows::ShardState;

use super::admission::Admission;
use super::locks::{Lock, LockedShard, Locks, pairs_of};
use super::requests::Lookup;
use crate::write::{StoreOp, WriteUnit};

/// An id of the application's choice moves the allocator past it if it is at most this far ahead. One that is further
/// ahead does not, else a single large id would use up the shard; the allocator checks that its candidates are free.
const ALLOCATOR_REACH: u64 = 1 << 32;
/// Candidates read beyond those needed, for the rare ones that are taken.
const SPARE_CANDIDATES: u64 = 8;

/// Rows to read: those that exist go to the [`Workspace`](super::Workspace), absent ones nowhere. Sorted, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadSet {
    /// Objects.
    pub objects: BTreeSet<ObjectId>,
    /// Edges.
    pub edges: BTreeSet<EdgeKey>,
    /// Count rows.
    pub counts: BTreeSet<ListKey>,
    /// Tombstones.
    pub tombstones: BTreeSet<EdgeKey>,
    /// Outbox rows.
    pub outbox: BTreeSet<EdgeKey>,
    /// Where each shard's allocator starts in this batch.
    pub(super) allocators: BTreeMap<ShardId, u64>,
}

impl ReadSet {
    /// The rows that the units that run may touch.
    pub fn of(units: &[WriteUnit], admission: &Admission, locks: &Locks) -> Self {
        let mut set = Self::default();
        for op in admission.proceeding(units).flat_map(|unit| &unit.ops) {
            set.add(op, locks);
        }
        set.add_candidates(units, admission, locks);
        set
    }

    /// Of the edges that the units that run may touch, those that they do anything else with than put.
    pub fn edges_not_only_put(
        units: &[WriteUnit],
        admission: &Admission,
        locks: &Locks,
    ) -> BTreeSet<EdgeKey> {
        let mut set = Self::default();
        let ops = admission.proceeding(units).flat_map(|unit| &unit.ops);
        for op in ops.filter(|op| !matches!(op, StoreOp::EdgePut { .. })) {
            set.add(op, locks);
        }
        set.edges
    }

    /// The rows that the units touch if they get every lock, and were not done before: a guess, made before anything is
    /// known. Where allocations start is not part of it.
    pub fn guess(units: &[WriteUnit]) -> Self {
        let mut locks = Locks::default();
        let mut grant = |shard, epoch| {
            let row = LockedShard { shard, epoch, seq: Seq::ZERO, state: ShardState::Serving, next_id: 1 };
            locks.insert(shard, Lock::Held(row));
        };
        for unit in units {
            for (edge, inverse) in unit.ops.iter().flat_map(pairs_of) {
                if let Some(epoch) = inverse.together {
                    grant(edge.id2.shard(), epoch);
                }
            }
        }
        units.iter().for_each(|unit| grant(unit.shard, unit.epoch));
        let admission = Admission::of(units, &locks, |_, _| Lookup::New);
        Self::of(units, &admission, &locks)
    }

    /// Whether every row of `other` is in this set.
    pub fn covers(&self, other: &Self) -> bool {
        self.objects.is_superset(&other.objects)
            && self.edges.is_superset(&other.edges)
            && self.counts.is_superset(&other.counts)
            && self.tombstones.is_superset(&other.tombstones)
            && self.outbox.is_superset(&other.outbox)
    }

    fn add(&mut self, op: &StoreOp, locks: &Locks) {
        for (edge, inverse) in pairs_of(op) {
            if edge.id1.shard() != edge.id2.shard() {
                self.outbox.insert(edge);
            }
            if locks.direct(edge, inverse) {
                self.add_inverse(edge.reversed(inverse.atype));
            }
        }
        match op {
            // Candidates of an allocation are added together, see `add_candidates`.
            StoreOp::ObjectAdd { id: None, .. } => {}
            StoreOp::ObjectAdd { id: Some(id), .. }
            | StoreOp::ObjectUpdate { id, .. }
            | StoreOp::ObjectDelete { id, .. } => {
                self.objects.insert(*id);
            }
            StoreOp::EdgePut { edge, .. } | StoreOp::EdgeDelete { edge, .. } => self.add_edge(*edge),
            StoreOp::EdgeChangeType { edge, new_atype, .. } => {
                self.add_edge(*edge);
                self.add_edge(EdgeKey { atype: *new_atype, ..*edge });
            }
            StoreOp::InverseApply { edge, .. } => self.add_inverse(*edge),
            StoreOp::OutboxDone { edge, .. } => {
                self.outbox.insert(*edge);
            }
        }
    }

    fn add_edge(&mut self, edge: EdgeKey) {
        self.edges.insert(edge);
        self.counts.insert(edge.list());
    }

    fn add_inverse(&mut self, edge: EdgeKey) {
        self.add_edge(edge);
        // Both sides on one shard are always written together: nobody ever asks for their journal.
        if edge.id1.shard() != edge.id2.shard() {
            self.tombstones.insert(edge);
        }
    }

    /// A batch allocates from one start for each shard, above every id of the application's choice in the same batch:
    /// so the candidates don't depend on which units are refused.
    fn add_candidates(&mut self, units: &[WriteUnit], admission: &Admission, locks: &Locks) {
        let mut wanted: BTreeMap<ShardId, u64> = BTreeMap::new();
        for unit in admission.proceeding(units) {
            let Some(row) = locks.granted(unit.shard, unit.epoch) else { continue };
            let start = self.allocators.entry(unit.shard).or_insert(row.next_id.max(1));
            for op in &unit.ops {
                match op {
                    StoreOp::ObjectAdd { id: None, .. } => *wanted.entry(unit.shard).or_default() += 1,
                    StoreOp::ObjectAdd { id: Some(id), .. } => {
                        *start = (*start).max(past_chosen(*id, row.next_id));
                    }
                    _ => {}
                }
            }
        }
        for (shard, count) in wanted {
            let start = self.allocators[&shard];
            let candidates = start..start.saturating_add(count + SPARE_CANDIDATES);
            self.objects.extend(candidates.map(|local| ObjectId::new(shard, local)));
        }
    }
}

/// Where the allocator stands after the application chose `id`: past it, unless it is named or out of reach.
pub(super) fn past_chosen(id: ObjectId, next_id: u64) -> u64 {
    let next_id = next_id.max(1);
    if id.is_named() || id.local() >= next_id.saturating_add(ALLOCATOR_REACH) {
        return next_id;
    }
    next_id.max(id.local() + 1)
}

#[cfg(test)]
mod tests {
    use tao_schema::fields::EncodedFields;
    use tao_schema::ids::{AssocType, Epoch, ObjectType, Time};
    use tao_schema::rows::EdgeValue;

    use super::*;
    use crate::write::Inverse;

    const EPOCH: Epoch = Epoch(3);

    /// An edge between two shards, with its other side in the same transaction if that can be had.
    fn pair() -> WriteUnit {
        let edge = EdgeKey {
            id1: ObjectId::new(ShardId(1), 1),
            atype: AssocType(1),
            id2: ObjectId::new(ShardId(2), 2),
        };
        let value = EdgeValue { time: Time(1), fields: EncodedFields::new() };
        let inverse = Some(Inverse { atype: AssocType(2), together: Some(EPOCH) });
        let op = StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse };
        WriteUnit { shard: ShardId(1), epoch: EPOCH, request: None, ops: vec![op] }
    }

    fn found(units: &[WriteUnit], rows: &[(u16, Epoch, u64)]) -> ReadSet {
        let mut locks = Locks::default();
        for (shard, epoch, next_id) in rows {
            let (shard, epoch, next_id) = (ShardId(*shard), *epoch, *next_id);
            let row = LockedShard { shard, epoch, seq: Seq(9), state: ShardState::Serving, next_id };
            locks.insert(shard, Lock::Held(row));
        }
        ReadSet::of(units, &Admission::of(units, &locks, |_, _| Lookup::New), &locks)
    }

    #[test]
    fn a_guess_has_what_the_locks_then_ask_for() {
        let units = [pair()];
        let guess = ReadSet::guess(&units);
        assert_eq!((guess.edges.len(), guess.outbox.len(), guess.tombstones.len()), (2, 1, 1));
        let all = found(&units, &[(1, EPOCH, 5), (2, EPOCH, 5)]);
        assert!(guess.covers(&all) && all.covers(&guess));
        // The other side was not to be had, or is another's: less is asked for.
        for other in [found(&units, &[(1, EPOCH, 5)]), found(&units, &[(1, EPOCH, 5), (2, Epoch(4), 5)])] {
            assert!(guess.covers(&other) && !other.covers(&guess) && other.edges.len() == 1);
        }
    }

    #[test]
    fn where_an_allocation_starts_can_not_be_guessed() {
        let op = StoreOp::ObjectAdd { id: None, otype: ObjectType(1), fields: EncodedFields::new() };
        let units = [WriteUnit { ops: vec![op], ..pair() }];
        assert!(!ReadSet::guess(&units).covers(&found(&units, &[(1, EPOCH, 5)])));
    }
}
