//! [`Workspace`]: the rows of a batch while its units run over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tao_schema::error::{Error, ErrorCode, Result};
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId, Position, ShardId};
use tao_schema::ops::Outcome;
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{ChangeItem, ListChange, ObjectRow, ShardChange};

use super::admission::{Admission, Verdict, replay};
use super::locks::{LockedShard, Locks};
use super::overlay::Overlay;
use super::plan::{Advance, Plan};
use super::read_set::ReadSet;
use super::request_row::{RequestRow, StoredOutcome};
use super::rows::{CountRow, EdgeRow, OutboxRow, Tombstone, UnixMillis};
use crate::write::{StoreOp, UnitDone, UnitResult, WriteUnit};

/// The rows that a batch read, with the effect of the units so far.
///
/// All units of a batch on one shard share one new seq: the locked one plus one.
pub struct Workspace<'a> {
    pub(super) locks: &'a Locks,
    pub(super) objects: Overlay<ObjectId, ObjectRow>,
    pub(super) edges: Overlay<EdgeKey, EdgeRow>,
    pub(super) counts: Overlay<ListKey, CountRow>,
    pub(super) tombstones: Overlay<EdgeKey, Tombstone>,
    pub(super) outbox: Overlay<EdgeKey, OutboxRow>,
    /// Rows held, with `next_id` moved on by the units so far.
    shards: BTreeMap<ShardId, LockedShard>,
    /// Where this batch's allocations start, see [`ReadSet`].
    pub(super) allocators: BTreeMap<ShardId, u64>,
    /// Shards that a unit so far has changed.
    changed: BTreeSet<ShardId>,
    /// Of the unit that runs.
    pub(super) unit: Scratch,
    pub(super) now: UnixMillis,
}

/// What the running unit did beside its rows.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) changed: BTreeSet<ShardId>,
    /// Pairs whose outbox row guards an inverse.
    pub(super) pending: Vec<EdgeKey>,
    /// `next_id` after the unit, if it moves.
    pub(super) next_id: Option<(ShardId, u64)>,
}

/// A unit's outcome before the whole batch is known.
enum Decided {
    Answer(UnitResult),
    SameAs(usize),
    Done { shard: ShardId, changed: BTreeSet<ShardId>, pending: Vec<EdgeKey>, outcomes: Vec<Outcome> },
}

impl<'a> Workspace<'a> {
    /// Nothing loaded yet; `now` stamps tombstones.
    pub fn new(locks: &'a Locks, reads: &ReadSet, now: UnixMillis) -> Self {
        Self {
            locks,
            objects: Overlay::new(reads.objects.iter().copied()),
            edges: Overlay::new(reads.edges.iter().copied()),
            counts: Overlay::new(reads.counts.iter().copied()),
            tombstones: Overlay::new(reads.tombstones.iter().copied()),
            outbox: Overlay::new(reads.outbox.iter().copied()),
            shards: locks.held().map(|row| (row.shard, *row)).collect(),
            allocators: reads.allocators.clone(),
            changed: BTreeSet::new(),
            unit: Scratch::default(),
            now,
        }
    }

    /// An object that exists.
    pub fn load_object(&mut self, id: ObjectId, row: ObjectRow) {
        self.objects.load(id, row);
    }

    /// An edge that exists.
    pub fn load_edge(&mut self, edge: EdgeKey, row: EdgeRow) {
        self.edges.load(edge, row);
    }

    /// A count row that exists.
    pub fn load_count(&mut self, list: ListKey, row: CountRow) {
        self.counts.load(list, row);
    }

    /// A tombstone that exists.
    pub fn load_tombstone(&mut self, edge: EdgeKey, row: Tombstone) {
        self.tombstones.load(edge, row);
    }

    /// An outbox row that exists.
    pub fn load_outbox(&mut self, edge: EdgeKey, row: OutboxRow) {
        self.outbox.load(edge, row);
    }

    /// Runs the units in order, each on top of those before it, and says what to write and to answer.
    pub fn run(mut self, units: &[WriteUnit], admission: Admission) -> Plan {
        let mut decided = Vec::with_capacity(units.len());
        for (unit, verdict) in units.iter().zip(admission.into_verdicts()) {
            decided.push(match verdict {
                Verdict::Answered(result) => Decided::Answer(result),
                Verdict::SameAs(first) => Decided::SameAs(first),
                Verdict::Proceed => self.run_unit(unit),
            });
        }
        let results = self.results(decided);
        self.finish(units, results)
    }

    /// All of a unit's ops, or no trace of it.
    fn run_unit(&mut self, unit: &WriteUnit) -> Decided {
        self.unit = Scratch::default();
        let outcomes: Result<Vec<_>> = unit.ops.iter().map(|op| self.run_op(unit.shard, op)).collect();
        let scratch = std::mem::take(&mut self.unit);
        match outcomes {
            Ok(outcomes) => {
                self.objects.keep();
                self.edges.keep();
                self.counts.keep();
                self.tombstones.keep();
                self.outbox.keep();
                if let Some((shard, next_id)) = scratch.next_id
                    && let Some(row) = self.shards.get_mut(&shard)
                {
                    row.next_id = next_id;
                }
                self.changed.extend(&scratch.changed);
                Decided::Done {
                    shard: unit.shard,
                    changed: scratch.changed,
                    pending: scratch.pending,
                    outcomes,
                }
            }
            Err(error) => {
                if !planted(Bug::RefusedUnitStays) {
                    self.objects.take_back();
                }
                self.edges.take_back();
                self.counts.take_back();
                self.tombstones.take_back();
                self.outbox.take_back();
                Decided::Answer(UnitResult::Refused(error))
            }
        }
    }

    fn run_op(&mut self, shard: ShardId, op: &StoreOp) -> Result<Outcome> {
        let edge_effect = |effect| Outcome { effect, id: None };
        match op {
            StoreOp::ObjectAdd { id, otype, fields } => self.object_add(shard, *id, *otype, fields),
            StoreOp::ObjectUpdate { id, otype, set, clear, max_bytes, expected } => {
                owned(shard, *id)?;
                self.object_update(*id, *otype, (set, clear, *max_bytes), *expected)
            }
            StoreOp::ObjectDelete { id, expected } => {
                owned(shard, *id)?;
                self.object_delete(*id, *expected)
            }
            StoreOp::EdgePut { edge, value, create_only, expected, inverse } => {
                owned(shard, edge.id1)?;
                self.check_list(edge.list(), *expected)?;
                self.edge_put(*edge, value, *create_only, *inverse).map(edge_effect)
            }
            StoreOp::EdgeDelete { edge, expected, inverse } => {
                owned(shard, edge.id1)?;
                self.check_list(edge.list(), *expected)?;
                self.edge_delete(*edge, *inverse).map(edge_effect)
            }
            StoreOp::EdgeChangeType { edge, new_atype, expected, inverse, new_inverse } => {
                owned(shard, edge.id1)?;
                self.check_list(edge.list(), *expected)?;
                let target = EdgeKey { atype: *new_atype, ..*edge };
                self.edge_change_type(*edge, target, *inverse, *new_inverse).map(edge_effect)
            }
            StoreOp::InverseApply { edge, value, origin } => {
                owned(shard, edge.id1)?;
                self.inverse_apply(*edge, value.as_ref(), *origin).map(edge_effect)
            }
            StoreOp::OutboxDone { edge, origin } => {
                owned(shard, edge.id1)?;
                self.outbox_done(*edge, *origin).map(edge_effect)
            }
        }
    }

    /// Where the running batch's changes of `shard` stand.
    pub(super) fn next_position(&self, shard: ShardId) -> Result<Position> {
        let row = self.shards.get(&shard).ok_or_else(|| not_locked(shard))?;
        Ok(row.next_position())
    }

    /// `next_id` as the running unit sees it.
    pub(super) fn next_id(&self, shard: ShardId) -> Result<u64> {
        match self.unit.next_id {
            Some((of, next_id)) if of == shard => Ok(next_id),
            _ => Ok(self.shards.get(&shard).ok_or_else(|| not_locked(shard))?.next_id.max(1)),
        }
    }

    /// Notes that the running unit changes `shard`, so that its row is advanced in the same transaction (R2).
    pub(super) fn touch(&mut self, shard: ShardId) {
        self.unit.changed.insert(shard);
    }

    /// Where a shard stands after the batch.
    fn final_position(&self, shard: ShardId) -> Option<Position> {
        let row = self.shards.get(&shard)?;
        let unchanged = Position { shard, epoch: row.epoch, seq: row.seq };
        Some(if self.changed.contains(&shard) { row.next_position() } else { unchanged })
    }

    fn results(&self, decided: Vec<Decided>) -> Vec<UnitResult> {
        let mut results: Vec<UnitResult> = Vec::with_capacity(decided.len());
        for unit in decided {
            let result = match unit {
                Decided::Answer(result) => result,
                Decided::SameAs(first) => match &results[first] {
                    UnitResult::Done(done) => UnitResult::Done(replay(done)),
                    refused => refused.clone(),
                },
                Decided::Done { shard, changed, pending, outcomes } => {
                    UnitResult::Done(self.done(shard, changed, pending, outcomes))
                }
            };
            results.push(result);
        }
        results
    }

    /// Positions and pending inverses of a unit come from the *final* state of the batch. Two units that change one
    /// pair share a seq, and the other side takes each origin once (R22): were the first unit's state brought there,
    /// the second's, with the same origin, would pass for known.
    fn done(
        &self,
        shard: ShardId,
        changed: BTreeSet<ShardId>,
        pairs: Vec<EdgeKey>,
        outcomes: Vec<Outcome>,
    ) -> UnitDone {
        let mut others = changed;
        let mut pending = Vec::new();
        for edge in BTreeSet::from_iter(pairs) {
            match self.outbox.get(&edge).ok().flatten() {
                Some(row) => pending.push(row.pending(edge)),
                // A later unit of the batch wrote both sides: it stands there, too.
                None => {
                    others.insert(edge.id2.shard());
                }
            }
        }
        others.remove(&shard);
        let positions = std::iter::once(shard).chain(others).filter_map(|s| self.final_position(s)).collect();
        UnitDone { positions, outcomes, pending, replayed: false }
    }

    fn finish(self, units: &[WriteUnit], results: Vec<UnitResult>) -> Plan {
        let advanced = || self.changed.iter().filter_map(|shard| self.shards.get(shard));
        let advances = advanced().map(|row| Advance {
            shard: row.shard,
            epoch: row.epoch,
            old_seq: row.seq,
            new_seq: row.seq.next(),
            next_id: row.next_id,
        });
        let requests = advanced().filter_map(|row| request_row(row.next_position(), units, &results));
        Plan {
            advances: advances.collect(),
            objects: self.objects.mutations(),
            edges: self.edges.mutations(),
            counts: self.counts.mutations().puts,
            tombstones: self.tombstones.mutations(),
            outbox: self.outbox.mutations(),
            requests: requests.collect(),
            changes: advanced().map(|row| Arc::new(self.change(row.next_position()))).collect(),
            units: results,
        }
    }

    /// What the row images of one shard show: objects, then lists, each in order of key.
    fn change(&self, position: Position) -> ShardChange {
        let (first, last) = position.shard.key_range();
        let objects = self.objects.changed(first..=last);
        let mut items: Vec<_> =
            objects.map(|(id, _, now)| ChangeItem::Object { id: *id, row: now.cloned() }).collect();
        let lists =
            ListKey { id1: first, atype: AssocType(0) }..=ListKey { id1: last, atype: AssocType(u16::MAX) };
        for (key, before, now) in self.counts.changed(lists) {
            let end = |id2| EdgeKey { id1: key.id1, atype: key.atype, id2 };
            let edges = self.edges.changed(end(ObjectId(0))..=end(ObjectId(u64::MAX)));
            items.push(ChangeItem::List(ListChange {
                key: *key,
                prev_version: before.map_or(Default::default(), |row| row.version),
                count: now.map_or(0, |row| row.count),
                edges: edges.map(|(edge, _, now)| (edge.id2, now.map(|row| row.value.clone()))).collect(),
            }));
        }
        ShardChange { shard: position.shard, epoch: position.epoch, seq: position.seq, items }
    }
}

/// The outcomes to keep for retries. Units that changed nothing are among them when the log moves anyway.
fn request_row(position: Position, units: &[WriteUnit], results: &[UnitResult]) -> Option<RequestRow> {
    let outcomes: Vec<_> = units
        .iter()
        .zip(results)
        .filter(|(unit, _)| unit.shard == position.shard)
        .filter_map(|(unit, result)| match (unit.request, result) {
            (Some(key), UnitResult::Done(done)) if !done.replayed => Some(StoredOutcome {
                id: key.id,
                others: done.positions[1..].to_vec(),
                outcomes: done.outcomes.clone(),
            }),
            _ => None,
        })
        .collect();
    (!outcomes.is_empty() && !planted(Bug::RequestsForgotten))
        .then(|| RequestRow::encode(position, &outcomes))
}

/// No data row is written without its shard row (R2): a unit whose key lies elsewhere is refused.
fn owned(shard: ShardId, id: ObjectId) -> Result<()> {
    if id.shard() == shard {
        return Ok(());
    }
    Err(Error::internal(format!("a write of object {id} was sent to shard {shard}, not to its own")))
}

fn not_locked(shard: ShardId) -> Error {
    Error::internal(format!("shard {shard} is written without its row locked"))
}

/// [`ErrorCode::PreconditionFailed`].
pub(super) fn precondition(message: String) -> Error {
    Error::new(ErrorCode::PreconditionFailed, message)
}
