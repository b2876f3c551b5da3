//! Random units over few keys, so that they meet.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::fields::{Fields, Value};
use tao_schema::ids::{AssocType, EdgeKey, FieldId, ObjectId, ObjectType, Seq, ShardId};
use tao_schema::limits::MAX_OBJECT_BYTES;

use super::bench::*;
use super::oracle::Oracle;
use crate::store::PendingInverse;
use crate::write::{ExpectedList, Inverse, StoreOp, WriteUnit};

/// Without an inverse.
const PLAIN: AssocType = AssocType(9);

pub(super) struct Generator {
    pub(super) rng: StdRng,
    shards: [ShardId; 4],
    /// Every state that was ever to be brought over: late drainers have them all.
    pub(super) pending: Vec<PendingInverse>,
    /// Those that were brought over: their outbox rows may go.
    pub(super) brought: Vec<PendingInverse>,
}

impl Generator {
    pub(super) fn new(seed: u64, shards: [ShardId; 4]) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), shards, pending: Vec::new(), brought: Vec::new() }
    }

    /// One to three ops on one shard, or a piece of draining.
    pub(super) fn unit(&mut self, oracle: &Oracle) -> WriteUnit {
        match self.rng.random_range(0..10) {
            0 if !self.pending.is_empty() => {
                let at = self.rng.random_range(0..self.pending.len());
                bring(&self.pending[at])
            }
            1 if !self.brought.is_empty() => {
                let at = self.rng.random_range(0..self.brought.len());
                let PendingInverse { edge, origin, .. } = self.brought[at];
                unit(vec![StoreOp::OutboxDone { edge, origin }])
            }
            _ => {
                let shard = self.shards[self.rng.random_range(0..4)];
                let ops = self.rng.random_range(1..=3);
                unit_on(shard, (0..ops).map(|_| self.op(shard, oracle)).collect())
            }
        }
    }

    fn op(&mut self, shard: ShardId, oracle: &Oracle) -> StoreOp {
        match self.rng.random_range(0..12) {
            0 | 1 => {
                let id = if self.rng.random_bool(0.5) { Some(self.id(shard)) } else { None };
                StoreOp::ObjectAdd { id, otype: self.otype(), fields: self.fields().encode() }
            }
            2 | 3 => {
                let id = self.id(shard);
                let version = oracle.objects.get(&id).map(|(_, version, _)| *version);
                StoreOp::ObjectUpdate {
                    id,
                    otype: self.otype(),
                    set: self.fields().encode(),
                    clear: vec![FieldId(self.rng.random_range(1..4))],
                    max_bytes: MAX_OBJECT_BYTES,
                    expected: self.expected(version),
                }
            }
            4 => {
                let id = self.id(shard);
                let version = oracle.objects.get(&id).map(|(_, version, _)| *version);
                StoreOp::ObjectDelete { id, expected: self.expected(version) }
            }
            5..=8 => {
                let (edge, inverse) = self.edge(shard);
                let fields = if self.rng.random_bool(0.5) { self.fields() } else { Fields::new() };
                let mut value = at(self.rng.random_range(0..5));
                value.fields = fields.encode();
                let create_only = self.rng.random_bool(0.1);
                StoreOp::EdgePut { edge, value, create_only, expected: self.list(edge, oracle), inverse }
            }
            9 | 10 => {
                let (edge, inverse) = self.edge(shard);
                StoreOp::EdgeDelete { edge, expected: self.list(edge, oracle), inverse }
            }
            _ => {
                let (edge, inverse) = self.directed(shard, LIKES);
                let new_inverse = inverse.map(|i| Inverse { atype: FOLLOWED_BY, ..i });
                let expected = self.list(edge, oracle);
                StoreOp::EdgeChangeType { edge, new_atype: FOLLOWS, expected, inverse, new_inverse }
            }
        }
    }

    fn id(&mut self, shard: ShardId) -> ObjectId {
        ObjectId::new(shard, [1, 2, 1 << 47][self.rng.random_range(0..3)])
    }

    fn otype(&mut self) -> ObjectType {
        ObjectType(if self.rng.random_bool(0.05) { 2 } else { 1 })
    }

    fn fields(&mut self) -> Fields {
        let field = FieldId(self.rng.random_range(1..4));
        Fields::from_iter([(field, Value::Int(self.rng.random()))])
    }

    /// Mostly nothing, else the right version or a wrong one.
    fn expected(&mut self, version: Option<u64>) -> Option<Seq> {
        match self.rng.random_range(0..10) {
            0 => Some(Seq(self.rng.random_range(0..20))),
            1 => version.map(Seq),
            _ => None,
        }
    }

    fn list(&mut self, edge: EdgeKey, oracle: &Oracle) -> Option<ExpectedList> {
        let version = oracle.versions.get(&edge.list()).copied().unwrap_or_default();
        self.expected(Some(version)).map(ExpectedList)
    }

    /// An edge whose ordering side is on the shard.
    fn edge(&mut self, shard: ShardId) -> (EdgeKey, Option<Inverse>) {
        match self.rng.random_range(0..4) {
            0 => (self.directed(shard, PLAIN).0, None),
            1 => {
                // Symmetric: the smaller id orders the pair.
                let (edge, inverse) = self.directed(shard, FRIEND);
                let inverse = inverse.map(|i| Inverse { atype: FRIEND, ..i });
                if edge.id1 <= edge.id2 { (edge, inverse) } else { self.directed(shard, LIKES) }
            }
            2 => {
                let (edge, inverse) = self.directed(shard, FOLLOWS);
                (edge, inverse.map(|i| Inverse { atype: FOLLOWED_BY, ..i }))
            }
            _ => self.directed(shard, LIKES),
        }
    }

    fn directed(&mut self, shard: ShardId, atype: AssocType) -> (EdgeKey, Option<Inverse>) {
        let end = self.shards[self.rng.random_range(0..4)];
        let key = edge(self.id(shard), atype, self.id(end));
        (key, if self.rng.random_bool(0.5) { together(LIKED_BY) } else { apart(LIKED_BY) })
    }
}
