//! Histories and logs made by hand.

use std::sync::Arc;
use std::time::Duration;

use integration_tests::history::truth::SourcePlace;
use integration_tests::history::{
    Call, History, Invariant, Judgement, Operation, Reply, Rules, SessionId, Truth, judge,
};
use tao_schema::ErrorCode;
use tao_schema::edges::Edge;
use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{
    AssocType, EdgeKey, Epoch, FieldId, ListKey, ObjectId, ObjectType, Position, PrimaryTime, RequestId, Seq,
    ShardId, Time,
};
use tao_schema::ops::{
    Answer, Demand, Effect, Outcome, ReadOp, ReadReply, ReadRequest, WriteOp, WriteReply, WriteRequest,
};
use tao_schema::rows::{ChangeItem, EdgeValue, EpochStart, ListChange, ObjectRow, ShardChange, ShardState};
use tao_shard_store::log::{Beat, BeatWriter, TailEvent};

/// `user` of the built-in schema: field 4 is a number.
pub const USER: ObjectType = ObjectType(1);
/// `friend`: symmetric.
pub const FRIEND: AssocType = AssocType(1);
pub const S1: ShardId = ShardId(1);
pub const S2: ShardId = ShardId(2);

/// An object of a shard, by number.
pub fn user(shard: ShardId, number: u64) -> ObjectId {
    ObjectId::new(shard, number)
}

pub fn at(shard: ShardId, epoch: u32, seq: u64) -> Position {
    Position { shard, epoch: Epoch(epoch), seq: Seq(seq) }
}

/// Fields with one number, by which a write is known.
pub fn number(value: i64) -> EncodedFields {
    [(FieldId(4), Value::Int(value))].into_iter().collect::<Fields>().encode()
}

/// Fields of an edge with a text.
pub fn circle(text: &str) -> EncodedFields {
    [(FieldId(1), Value::Text(text.to_owned()))].into_iter().collect::<Fields>().encode()
}

/// A log and a history that grow together.
pub struct World {
    pub truth: Truth,
    pub history: History,
    pub rules: Rules,
    place: SourcePlace,
    nanos: u64,
}

/// A user of shard 1, written twice.
pub fn written_twice() -> World {
    let mut world = World::new();
    world.add_user(user(S1, 1), 10, at(S1, 1, 1));
    world.update_user(user(S1, 1), 11, at(S1, 1, 2));
    world
}

/// Reads that user.
pub fn get() -> ReadOp {
    ReadOp::ObjectGet(user(S1, 1))
}

impl World {
    pub fn new() -> Self {
        let mut truth = Truth::new();
        for shard in [S1, S2] {
            truth.begin(at(shard, 1, 0), None);
            truth.note_epoch(shard, EpochStart { epoch: Epoch(1), first_seq: Seq(1) });
        }
        let rules = Rules::strict(Arc::new(GraphSchema::demo()));
        Self { truth, history: History::default(), rules, place: SourcePlace::default(), nanos: 0 }
    }

    fn tick(&mut self) -> Duration {
        self.nanos += 1_000_000;
        Duration::from_nanos(self.nanos)
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.nanos += u64::try_from(time.as_nanos()).unwrap();
    }

    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// A change of the log.
    pub fn change(&mut self, position: Position, items: Vec<ChangeItem>) {
        let Position { shard, epoch, seq } = position;
        let change = Arc::new(ShardChange { shard, epoch, seq, items });
        let event = TailEvent::Change { change, state: ShardState::Serving };
        let seen = self.tick();
        self.truth.observe(&event, &mut self.place, seen);
    }

    pub fn epoch(&mut self, shard: ShardId, epoch: u32, first_seq: u64) {
        self.truth.note_epoch(shard, EpochStart { epoch: Epoch(epoch), first_seq: Seq(first_seq) });
    }

    /// A heartbeat that shows `seconds` of the primary's clock.
    pub fn beat(&mut self, seconds: u64) {
        let beat = Beat { writer: BeatWriter(1), nonce: seconds };
        let seen = self.tick();
        let event = TailEvent::Beat { beat, time: PrimaryTime(seconds * 1_000) };
        self.truth.observe(&event, &mut self.place, seen);
    }

    /// An operation that follows the one before; its number.
    pub fn did(&mut self, session: u32, call: Call, result: Result<Reply, ErrorCode>) -> u64 {
        let (start, end) = (self.tick(), self.tick());
        let id = self.history.operations.len() as u64;
        let session = SessionId(session);
        let place = "here".to_owned();
        self.history.operations.push(Operation { id, session, place, start, end, call, result });
        id
    }

    /// A read that was answered.
    pub fn read(
        &mut self,
        session: u32,
        op: ReadOp,
        demand: Demand,
        position: Position,
        answer: Answer,
    ) -> u64 {
        let call = Call::Read(ReadRequest { demand, ..ReadRequest::local(op) });
        let reply = ReadReply { position, answer, explain: None, time: None };
        self.did(session, call, Ok(Reply::Read(reply)))
    }

    /// A write that was acknowledged.
    pub fn wrote(
        &mut self,
        ops: Vec<WriteOp>,
        positions: &[Position],
        effects: &[(Effect, Option<ObjectId>)],
    ) -> u64 {
        let outcomes = effects.iter().map(|(effect, id)| Outcome { effect: *effect, id: *id }).collect();
        let reply = WriteReply {
            positions: positions.to_vec(),
            outcomes,
            inverse_pending: false,
            replayed: false,
            time: None,
        };
        let call = self.write(ops);
        self.did(1, call, Ok(Reply::Write(reply)))
    }

    /// A write that failed, or of which nobody knows.
    pub fn failed(&mut self, ops: Vec<WriteOp>, code: ErrorCode) -> u64 {
        let call = self.write(ops);
        self.did(1, call, Err(code))
    }

    fn write(&self, ops: Vec<WriteOp>) -> Call {
        let id = RequestId(u128::from(self.nanos));
        Call::Write(WriteRequest { id, age: Duration::ZERO, ops, forwarded: false })
    }

    /// Object `id` gets `value` at `position`: log and acknowledged write.
    pub fn add_user(&mut self, id: ObjectId, value: i64, position: Position) {
        self.change(position, vec![object(id, position.seq, value)]);
        self.wrote(vec![add(id, value)], &[position], &[(Effect::Created, Some(id))]);
    }

    pub fn update_user(&mut self, id: ObjectId, value: i64, position: Position) {
        self.change(position, vec![object(id, position.seq, value)]);
        self.wrote(vec![update(id, value)], &[position], &[(Effect::Updated, Some(id))]);
    }

    pub fn judge(&self) -> Judgement {
        judge(&self.history, &self.truth, &self.rules)
    }

    /// Nothing is wrong, and something was looked at.
    pub fn accepted(&self, invariant: Invariant) {
        let found = self.judge();
        assert!(found.is_clean(), "{:#?}", found.violations);
        assert!(found.checked.get(&invariant).is_some_and(|facts| *facts > 0), "{:?}", found.checked);
    }

    /// The invariant is broken, and nothing but this invariant; all messages.
    pub fn refused(&self, invariant: Invariant) -> String {
        let found = self.judge();
        refused(&found, invariant)
    }
}

/// As [`World::refused`], of any judgement.
pub fn refused(found: &Judgement, invariant: Invariant) -> String {
    assert!(!found.is_clean(), "it was accepted; {:?} was checked", found.checked);
    for violation in &found.violations {
        assert_eq!(violation.invariant, invariant, "{violation:#?}");
    }
    found.violations.iter().map(|violation| format!("{}\n", violation.message)).collect()
}

pub fn row(seq: Seq, value: i64) -> ObjectRow {
    ObjectRow { otype: USER, version: seq, fields: number(value) }
}

/// The object's new state in a change.
pub fn object(id: ObjectId, seq: Seq, value: i64) -> ChangeItem {
    ChangeItem::Object { id, row: Some(row(seq, value)) }
}

pub fn no_object(id: ObjectId) -> ChangeItem {
    ChangeItem::Object { id, row: None }
}

/// An answer that shows the object.
pub fn shows(id: ObjectId, seq: u64, value: i64) -> Answer {
    Answer::Object(Some((id, row(Seq(seq), value))))
}

pub fn add(id: ObjectId, value: i64) -> WriteOp {
    WriteOp::ObjectAdd { id: Some(id), shard: id.shard(), otype: USER, fields: number(value) }
}

pub fn update(id: ObjectId, value: i64) -> WriteOp {
    WriteOp::ObjectUpdate { id, otype: USER, set: number(value), clear: Vec::new(), expected: None }
}

pub fn friends(id1: ObjectId) -> ListKey {
    ListKey { id1, atype: FRIEND }
}

pub fn befriend(id1: ObjectId, id2: ObjectId, time: u32, text: &str) -> WriteOp {
    let edge = EdgeKey { id1, atype: FRIEND, id2 };
    WriteOp::AssocAdd { edge, time: Time(time), fields: circle(text), create_only: false, expected: None }
}

pub fn part(id1: ObjectId, id2: ObjectId) -> WriteOp {
    WriteOp::AssocDelete { edge: EdgeKey { id1, atype: FRIEND, id2 }, expected: None }
}

/// A change of a friend list: edges as (end, time and text, or none), and what it was and becomes.
pub fn list(
    id1: ObjectId,
    edges: &[(ObjectId, Option<(u32, &str)>)],
    prev_version: u64,
    count: u64,
) -> ChangeItem {
    let value = |(time, text): (u32, &str)| EdgeValue { time: Time(time), fields: circle(text) };
    ChangeItem::List(ListChange {
        key: friends(id1),
        prev_version: Seq(prev_version),
        count,
        edges: edges.iter().map(|(id2, edge)| (*id2, edge.map(value))).collect(),
    })
}

/// An answer with edges.
pub fn edges(all: &[(ObjectId, u32, &str)], version: u64) -> Answer {
    let edges: Vec<Edge> = all
        .iter()
        .map(|(id2, time, text)| Edge { id2: *id2, time: Time(*time), fields: circle(text) })
        .collect();
    Answer::Edges { edges: edges.iter().collect(), version: Seq(version) }
}
