//! Which rows a batch must read after it has its locks.

use std::collections::{BTreeMap, BTreeSet};

use tao_schema::ids::{EdgeKey, ListKey, ObjectId, ShardId};

use super::admission::Admission;
use super::locks::{Locks, pairs_of};
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
        for unit in admission.proceeding(units) {
            for op in &unit.ops {
                set.add(op);
                for (edge, inverse) in pairs_of(op) {
                    if edge.id1.shard() != edge.id2.shard() {
                        set.outbox.insert(edge);
                    }
                    if locks.direct(edge, inverse) {
                        set.add_inverse(edge.reversed(inverse.atype));
                    }
                }
            }
        }
        set.add_candidates(units, admission, locks);
        set
    }

    fn add(&mut self, op: &StoreOp) {
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
