//! A plain graph that does what [`StoreOp`] says, one op after the other: slow, simple, and nothing shared with the
//! planner. Counts are not kept but counted. All of it is in one epoch.

use std::collections::{BTreeMap, BTreeSet};

use tao_schema::fields::Fields;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, ObjectType, Position, ShardId};
use tao_schema::ops::{Effect, Outcome};
use tao_schema::rows::EdgeValue;

use super::bench::{EPOCH, ensure, ensure_eq};
use super::{Failure, Verdict};
use crate::write::{BatchResult, ExpectedList, Inverse, StoreOp, UnitDone, UnitResult, WriteUnit};

/// The graph, with what a database has to remember beside it.
#[derive(Clone, Default)]
pub(super) struct Oracle {
    pub(super) seqs: BTreeMap<ShardId, u64>,
    /// Type, version, fields.
    pub(super) objects: BTreeMap<ObjectId, (ObjectType, u64, Fields)>,
    /// State and origin.
    pub(super) edges: BTreeMap<EdgeKey, (EdgeValue, u64)>,
    /// Of every list that was ever written.
    pub(super) versions: BTreeMap<ListKey, u64>,
    /// By the ordering side's edge: inverse, state, origin.
    pub(super) outbox: BTreeMap<EdgeKey, (EdgeKey, Option<EdgeValue>, u64)>,
    /// By the other side's edge: the newest origin that arrived.
    arrived: BTreeMap<EdgeKey, u64>,
    allocated: BTreeSet<ObjectId>,
    changed: BTreeSet<ShardId>,
}

/// A refusal: why does not matter here.
struct Refusal;

impl Oracle {
    /// Number of edges of a list.
    pub(super) fn count(&self, list: ListKey) -> u64 {
        self.edges.keys().filter(|edge| edge.list() == list).count() as u64
    }

    /// Runs a batch and compares what the store said of it.
    pub(super) fn check(&mut self, units: &[WriteUnit], result: &BatchResult) -> Verdict {
        self.changed.clear();
        for (at, (unit, result)) in units.iter().zip(&result.units).enumerate() {
            let before = self.clone();
            let said = match result {
                UnitResult::Done(done) if done.replayed => continue,
                UnitResult::Done(done) => Some(done),
                UnitResult::Refused(_) => None,
                other => return Err(format!("unit {at}: {other:?}").into()),
            };
            let outcomes = said.map_or(&[][..], |done| &done.outcomes);
            let done = self.unit(unit, outcomes).map_err(|failure| format!("unit {at}: {failure}"))?;
            ensure_eq!(said.is_some(), done, "unit {at} is done: {unit:?}, {result:?}");
            if !done {
                *self = before;
            }
        }
        for shard in &self.changed {
            *self.seqs.entry(*shard).or_default() += 1;
        }
        for (unit, result) in units.iter().zip(&result.units) {
            if let UnitResult::Done(done) = result
                && !done.replayed
            {
                self.check_end(unit, done)?;
            }
        }
        let advanced: BTreeSet<_> = result.changes.iter().map(|change| change.shard).collect();
        ensure_eq!(advanced, self.changed, "shards changed");
        Ok(())
    }

    /// Position and pending inverses speak of the end of the batch.
    fn check_end(&self, unit: &WriteUnit, done: &UnitDone) -> Verdict {
        for position in &done.positions {
            let seq = self.seqs.get(&position.shard).copied().unwrap_or_default();
            ensure_eq!((position.epoch, position.seq.0), (EPOCH, seq), "position of {unit:?}");
        }
        ensure_eq!(done.positions[0].shard, unit.shard, "the first position's shard");
        for pending in &done.pending {
            let row = (pending.inverse, pending.value.clone(), pending.origin.seq.0);
            ensure_eq!(Some(&row), self.outbox.get(&pending.edge), "pending of {unit:?}");
        }
        Ok(())
    }

    /// Whether the unit is done. `said` has the ids that were allocated.
    fn unit(&mut self, unit: &WriteUnit, said: &[Outcome]) -> Result<bool, Failure> {
        for (at, op) in unit.ops.iter().enumerate() {
            let said = said.get(at).copied();
            if let StoreOp::ObjectAdd { id: None, .. } = op
                && let Some(id) = said.and_then(|outcome| outcome.id)
            {
                let fresh = !self.objects.contains_key(&id) && self.allocated.insert(id);
                ensure!(fresh && !id.is_named() && id.shard() == unit.shard, "allocated {id}");
            }
            match self.op(op, said.and_then(|outcome| outcome.id)) {
                Err(Refusal) => return Ok(false),
                Ok(effect) => {
                    if let Some(said) = said {
                        ensure_eq!(said.effect, effect, "effect of op {at}, {op:?}");
                    }
                }
            }
        }
        Ok(true)
    }

    fn op(&mut self, op: &StoreOp, allocated: Option<ObjectId>) -> Result<Effect, Refusal> {
        match op {
            StoreOp::ObjectAdd { id, otype, fields } => {
                // Without an id the unit was refused: some op of it must say why.
                let Some(id) = id.or(allocated) else { return Ok(Effect::Created) };
                let absent = !self.objects.contains_key(&id);
                let version = self.next(id.shard());
                self.objects.insert(id, (*otype, version, fields.decode().map_err(|_| Refusal)?));
                absent.then_some(Effect::Created).ok_or(Refusal)
            }
            StoreOp::ObjectUpdate { id, otype, set, clear, expected, .. } => {
                let (stored, version, mut fields) = self.objects.get(id).cloned().ok_or(Refusal)?;
                if stored != *otype || expected.is_some_and(|seq| seq.0 != version) {
                    return Err(Refusal);
                }
                fields.merge(set.decode().map_err(|_| Refusal)?, clear);
                let version = self.next(id.shard());
                self.objects.insert(*id, (stored, version, fields));
                Ok(Effect::Updated)
            }
            StoreOp::ObjectDelete { id, expected } => match (self.objects.get(id), expected) {
                (None, None) => Ok(Effect::Nothing),
                (Some((_, version, _)), Some(seq)) if *version != seq.0 => Err(Refusal),
                (None, Some(_)) => Err(Refusal),
                (Some(_), _) => {
                    self.next(id.shard());
                    self.objects.remove(id);
                    Ok(Effect::Deleted)
                }
            },
            StoreOp::EdgePut { edge, value, create_only, expected, inverse } => {
                self.expect(edge, *expected)?;
                if *create_only && self.edges.contains_key(edge) {
                    return Err(Refusal);
                }
                Ok(self.pair(*edge, Some(value), *inverse))
            }
            StoreOp::EdgeDelete { edge, expected, inverse } => {
                self.expect(edge, *expected)?;
                if !self.edges.contains_key(edge) {
                    return Ok(Effect::Nothing);
                }
                Ok(self.pair(*edge, None, *inverse))
            }
            StoreOp::EdgeChangeType { edge, new_atype, expected, inverse, new_inverse } => {
                self.expect(edge, *expected)?;
                let Some((value, _)) = self.edges.get(edge).cloned() else { return Ok(Effect::Nothing) };
                self.pair(*edge, None, *inverse);
                self.pair(EdgeKey { atype: *new_atype, ..*edge }, Some(&value), *new_inverse);
                Ok(Effect::Updated)
            }
            StoreOp::InverseApply { edge, value, origin } => Ok(self.arrive(*edge, value.as_ref(), *origin)),
            StoreOp::OutboxDone { edge, origin } => {
                if self.outbox.get(edge).is_none_or(|(_, _, seq)| *seq != origin.seq.0) {
                    return Ok(Effect::Nothing);
                }
                self.next(edge.id1.shard());
                self.outbox.remove(edge);
                Ok(Effect::Deleted)
            }
        }
    }

    /// The seq of this batch on a shard, which it changes.
    fn next(&mut self, shard: ShardId) -> u64 {
        self.changed.insert(shard);
        self.seqs.get(&shard).copied().unwrap_or_default() + 1
    }

    fn expect(&self, edge: &EdgeKey, expected: Option<ExpectedList>) -> Result<(), Refusal> {
        let version = self.versions.get(&edge.list()).copied().unwrap_or_default();
        if expected.is_none_or(|ExpectedList(seq)| seq.0 == version) { Ok(()) } else { Err(Refusal) }
    }

    fn pair(&mut self, edge: EdgeKey, value: Option<&EdgeValue>, inverse: Option<Inverse>) -> Effect {
        let origin = self.next(edge.id1.shard());
        let effect = self.set(edge, value, origin);
        let Some(inverse) = inverse else { return effect };
        let other = edge.reversed(inverse.atype);
        let same_shard = other.id1.shard() == edge.id1.shard();
        if other == edge {
            return effect;
        }
        if same_shard || inverse.together.is_some() || self.arrived.get(&other) == Some(&origin) {
            self.set(other, value, origin);
            self.next(other.id1.shard());
            if !same_shard {
                self.arrived.insert(other, origin);
            }
            self.outbox.remove(&edge);
        } else {
            self.outbox.insert(edge, (other, value.cloned(), origin));
        }
        effect
    }

    fn arrive(&mut self, edge: EdgeKey, value: Option<&EdgeValue>, origin: Position) -> Effect {
        if self.arrived.get(&edge).is_some_and(|known| *known >= origin.seq.0) {
            return Effect::Nothing;
        }
        self.next(edge.id1.shard());
        self.arrived.insert(edge, origin.seq.0);
        self.set(edge, value, origin.seq.0)
    }

    fn set(&mut self, edge: EdgeKey, value: Option<&EdgeValue>, origin: u64) -> Effect {
        let existed = self.edges.contains_key(&edge);
        if value.is_some() || existed {
            let version = self.next(edge.id1.shard());
            self.versions.insert(edge.list(), version);
        }
        match value {
            Some(value) => {
                self.edges.insert(edge, (value.clone(), origin));
            }
            None => {
                self.edges.remove(&edge);
            }
        }
        match (value.is_some(), existed) {
            (true, false) => Effect::Created,
            (true, true) => Effect::Updated,
            (false, true) => Effect::Deleted,
            (false, false) => Effect::Nothing,
        }
    }
}
