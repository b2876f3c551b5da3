//! What users do: a few keys, so that they meet, and every operation of the API.

use rand::Rng as _;
use rand::rngs::StdRng;
use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId, Time};
use tao_schema::ops::{ReadOp, WriteOp};

use super::plan::{ATYPES, OPERATION, Plan, THING};

/// Chooses operations.
pub struct Work {
    objects: Vec<ObjectId>,
}

impl Work {
    /// On the keys of a plan.
    pub fn new(plan: &Plan) -> Self {
        Self { objects: plan.objects() }
    }

    fn object(&self, random: &mut StdRng) -> ObjectId {
        self.objects[random.random_range(0..self.objects.len())]
    }

    fn list(&self, random: &mut StdRng) -> ListKey {
        ListKey { id1: self.object(random), atype: atype(random) }
    }

    fn edge(&self, random: &mut StdRng) -> EdgeKey {
        EdgeKey { id1: self.object(random), atype: atype(random), id2: self.object(random) }
    }

    /// A read.
    pub fn read(&self, random: &mut StdRng) -> ReadOp {
        let list = self.list(random);
        match random.random_range(0..10) {
            0..3 => ReadOp::ObjectGet(self.object(random)),
            3 => {
                let id2s = (0..random.random_range(1..4)).map(|_| self.object(random)).collect();
                let (high, low) = times(random);
                let bounded = random.random_bool(0.5);
                ReadOp::AssocGet { list, id2s, high: bounded.then_some(high), low: bounded.then_some(low) }
            }
            4..6 => ReadOp::AssocCount(list),
            6..9 => {
                let pos = if random.random_bool(0.7) { 0 } else { random.random_range(0..6) };
                ReadOp::AssocRange { list, pos, limit: random.random_range(1..12) }
            }
            _ => {
                let (high, low) = times(random);
                ReadOp::AssocTimeRange { list, high, low, limit: random.random_range(1..12) }
            }
        }
    }

    /// Every object, every list and every count.
    pub fn everything(&self) -> Vec<ReadOp> {
        let objects = self.objects.iter().map(|id| ReadOp::ObjectGet(*id));
        let lists = self.objects.iter().flat_map(|id1| ATYPES.map(|atype| ListKey { id1: *id1, atype }));
        let both = lists
            .flat_map(|list| [ReadOp::AssocRange { list, pos: 0, limit: 100 }, ReadOp::AssocCount(list)]);
        objects.chain(both).collect()
    }

    /// A write of one operation, or of several of one shard.
    pub fn write(&self, random: &mut StdRng, id: u64) -> Vec<WriteOp> {
        if random.random_bool(0.85) {
            return vec![self.single(random, id)];
        }
        // Atomic: of one shard, and with no other side elsewhere.
        let shard = self.object(random).shard();
        let here: Vec<ObjectId> =
            self.objects.iter().copied().filter(|object| object.shard() == shard).collect();
        let some = |random: &mut StdRng| here[random.random_range(0..here.len())];
        let count = random.random_range(2..5);
        let op = |random: &mut StdRng| match random.random_range(0..4) {
            0 => WriteOp::ObjectAdd { id: Some(some(random)), shard, otype: THING, fields: fields(id) },
            1 => WriteOp::ObjectUpdate {
                id: some(random),
                otype: THING,
                set: fields(id),
                clear: Vec::new(),
                expected: None,
            },
            2 => WriteOp::AssocDelete {
                edge: EdgeKey { id1: some(random), atype: ATYPES[0], id2: self.object(random) },
                expected: None,
            },
            _ => {
                let own = [ATYPES[0], ATYPES[2], ATYPES[4]];
                let atype = own[random.random_range(0..own.len())];
                let edge = EdgeKey { id1: some(random), atype, id2: self.object(random) };
                add(random, edge, id)
            }
        };
        (0..count).map(|_| op(random)).collect()
    }

    fn single(&self, random: &mut StdRng, id: u64) -> WriteOp {
        let object = self.object(random);
        match random.random_range(0..20) {
            0..2 => WriteOp::ObjectAdd {
                id: Some(object),
                shard: object.shard(),
                otype: THING,
                fields: fields(id),
            },
            2..5 => WriteOp::ObjectUpdate {
                id: object,
                otype: THING,
                set: fields(id),
                clear: Vec::new(),
                expected: None,
            },
            5 => WriteOp::ObjectDelete { id: object, expected: None },
            6..14 => {
                let edge = self.edge(random);
                add(random, edge, id)
            }
            14..18 => WriteOp::AssocDelete { edge: self.edge(random), expected: None },
            _ => {
                WriteOp::AssocChangeType { edge: self.edge(random), new_atype: atype(random), expected: None }
            }
        }
    }
}

fn atype(random: &mut StdRng) -> AssocType {
    ATYPES[random.random_range(0..ATYPES.len())]
}

fn times(random: &mut StdRng) -> (Time, Time) {
    let (one, two) = (random.random_range(1..40), random.random_range(1..40));
    (Time(one.max(two)), Time(one.min(two)))
}

fn add(random: &mut StdRng, edge: EdgeKey, id: u64) -> WriteOp {
    WriteOp::AssocAdd {
        edge,
        time: Time(random.random_range(1..40)),
        fields: fields(id),
        create_only: random.random_bool(0.1),
        expected: None,
    }
}

/// The value names the operation that wrote it.
fn fields(id: u64) -> EncodedFields {
    let mut fields = Fields::new();
    fields.set(OPERATION, Value::Int(id.cast_signed()));
    fields.encode()
}
