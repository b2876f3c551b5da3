//! What the cases are made of.

use std::sync::Arc;
use std::time::Duration;

use tao_schema::edges::Edge;
use tao_schema::error::{Error, ErrorCode};
use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::ids::{
    AssocType, EdgeKey, Epoch, FieldId, ListKey, ObjectId, ObjectType, RequestId, Seq, ShardId, Time,
};
use tao_schema::limits::MAX_OBJECT_BYTES;
use tao_schema::ops::Effect;
use tao_schema::rows::{EdgeValue, ListRow, ObjectRow};

use super::{Failure, Handles, Verdict};
use crate::log::ServerLog;
use crate::store::{PendingInverse, ReadKey, Row, ShardRow, SharedStore};
use crate::write::{Batch, BatchResult, Inverse, RequestKey, StoreOp, UnitDone, UnitResult, WriteUnit};

/// Fails the case with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}
/// Fails the case unless the two are equal; `what` is said first.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($what:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            let what = format!($($what)+);
            return Err(format!("{what}: got {left:?}, expected {right:?} (line {})", line!()).into());
        }
    }};
}
pub(super) use {ensure, ensure_eq};

/// The epoch in which cases create their shards.
pub(super) const EPOCH: Epoch = Epoch(1);
/// The type of the cases' objects.
pub(super) const OTYPE: ObjectType = ObjectType(1);
/// Types of the cases' edges.
pub(super) const LIKES: AssocType = AssocType(1);
pub(super) const LIKED_BY: AssocType = AssocType(2);
pub(super) const FRIEND: AssocType = AssocType(3);
pub(super) const FOLLOWS: AssocType = AssocType(4);
pub(super) const FOLLOWED_BY: AssocType = AssocType(5);

/// Two leaders and four serving shards.
pub struct Bench {
    /// One leader.
    pub(super) one: SharedStore,
    /// Another.
    pub(super) other: SharedStore,
    /// The log of their database.
    pub(super) log: Arc<dyn ServerLog>,
    /// Two low ones, two with the top bit set.
    pub(super) shards: [ShardId; 4],
}

impl Bench {
    pub(super) async fn new(handles: Handles, shards: [ShardId; 4]) -> Result<Self, Failure> {
        handles.one.create_shards(&shards, EPOCH).await?;
        Ok(Self { one: handles.one, other: handles.other, log: handles.log, shards })
    }

    /// A batch through the first leader.
    pub(super) async fn commit(&self, units: Vec<WriteUnit>) -> Result<BatchResult, Failure> {
        let asked = units.len();
        let result = self.one.commit(Batch { units }).await?;
        ensure_eq!(result.units.len(), asked, "answers");
        Ok(result)
    }

    /// A unit that must be done, through the first leader.
    pub(super) async fn write(&self, unit: WriteUnit) -> Result<UnitDone, Failure> {
        done_alone(&self.one, unit).await
    }

    /// Ops of one unit that must be done, through the first leader.
    pub(super) async fn ops(&self, ops: Vec<StoreOp>) -> Result<UnitDone, Failure> {
        self.write(unit(ops)).await
    }

    /// Ops of one unit that must be refused.
    pub(super) async fn refused(&self, ops: Vec<StoreOp>, code: ErrorCode) -> Verdict {
        let before = self.row(unit(ops.clone()).shard).await?;
        let result = self.commit(vec![unit(ops)]).await?;
        ensure!(result.changes.is_empty(), "a refused unit made changes: {:?}", result.changes);
        match &result.units[0] {
            UnitResult::Refused(error) if error.code == code => {}
            other => return Err(format!("expected a refusal with {code}, got {other:?}").into()),
        }
        ensure_eq!(self.row(before.shard).await?, before, "the shard row after a refusal");
        Ok(())
    }

    /// A shard's row.
    pub(super) async fn row(&self, shard: ShardId) -> Result<ShardRow, Failure> {
        let rows = self.one.shard_rows().await?;
        rows.into_iter().find(|row| row.shard == shard).ok_or_else(|| format!("no row of {shard}").into())
    }

    /// A row's content and the seq of its snapshot.
    pub(super) async fn read(&self, key: ReadKey) -> Result<(Row, Seq), Failure> {
        read_one(&self.one, key).await
    }

    pub(super) async fn object(&self, id: ObjectId) -> Result<Option<ObjectRow>, Failure> {
        match self.read(ReadKey::Object(id)).await?.0 {
            Row::Object(row) => Ok(row),
            other => Err(format!("not an object: {other:?}").into()),
        }
    }

    /// A list with all of its edges.
    pub(super) async fn list(&self, key: ListKey) -> Result<ListRow, Failure> {
        self.list_of(ReadKey::List { key, edges: 10_000 }).await
    }

    pub(super) async fn list_of(&self, key: ReadKey) -> Result<ListRow, Failure> {
        match self.read(key).await?.0 {
            Row::List(row) => Ok(row),
            other => Err(format!("not a list: {other:?}").into()),
        }
    }

    /// Time of each edge of a list with the id it ends in; checks the count.
    pub(super) async fn edges(&self, key: ListKey) -> Result<Vec<(u32, ObjectId)>, Failure> {
        let list = self.list(key).await?;
        let edges: Vec<Edge> = list.edges.to_vec();
        ensure_eq!(edges.len() as u64, list.count, "the count of {key:?} against its edges");
        Ok(edges.into_iter().map(|edge| (edge.time.0, edge.id2)).collect())
    }

    pub(super) async fn edge(&self, edge: EdgeKey) -> Result<Option<(EdgeValue, Epoch, Seq)>, Failure> {
        match self.read(ReadKey::Edge(edge)).await?.0 {
            Row::Edge(row) => Ok(row),
            other => Err(format!("not an edge: {other:?}").into()),
        }
    }

    /// All outbox rows of a shard.
    pub(super) async fn outbox(&self, shard: ShardId) -> Result<Vec<PendingInverse>, Failure> {
        Ok(self.one.outbox(shard, None, 10_000).await?)
    }
}

/// A unit that must be done, alone, through a given leader.
pub(super) async fn done_alone(store: &SharedStore, unit: WriteUnit) -> Result<UnitDone, Failure> {
    let result = store.commit(Batch { units: vec![unit] }).await?;
    done(&result, 0)
}

/// A unit of a batch that must be done.
pub(super) fn done(result: &BatchResult, at: usize) -> Result<UnitDone, Failure> {
    match &result.units[at] {
        UnitResult::Done(done) => Ok(done.clone()),
        other => Err(format!("unit {at} is not done: {other:?}").into()),
    }
}

pub(super) async fn read_one(store: &SharedStore, key: ReadKey) -> Result<(Row, Seq), Failure> {
    let mut answers = store.read(&[key]).await?;
    ensure_eq!(answers.len(), 1, "answers to one key");
    let snapshot = answers.remove(0)?;
    ensure_eq!(snapshot.position.shard, key.shard(), "the snapshot's shard");
    Ok((snapshot.row, snapshot.position.seq))
}

pub(super) fn effects(done: &UnitDone) -> Vec<Effect> {
    done.outcomes.iter().map(|outcome| outcome.effect).collect()
}

/// Bookkeeping: no request id; the shard is that of the first op.
pub(super) fn unit(ops: Vec<StoreOp>) -> WriteUnit {
    let shard = match &ops[0] {
        StoreOp::ObjectAdd { id: Some(id), .. }
        | StoreOp::ObjectUpdate { id, .. }
        | StoreOp::ObjectDelete { id, .. } => id.shard(),
        StoreOp::EdgePut { edge, .. }
        | StoreOp::EdgeDelete { edge, .. }
        | StoreOp::EdgeChangeType { edge, .. }
        | StoreOp::InverseApply { edge, .. }
        | StoreOp::OutboxDone { edge, .. } => edge.id1.shard(),
        // An allocation has no key to tell its shard: see `unit_on`.
        StoreOp::ObjectAdd { id: None, .. } => ShardId(0),
    };
    unit_on(shard, ops)
}

pub(super) fn unit_on(shard: ShardId, ops: Vec<StoreOp>) -> WriteUnit {
    WriteUnit { shard, epoch: EPOCH, request: None, ops }
}

/// A request; ids need to be unique within the unit's shard only.
pub(super) fn request(id: u128, age: Duration, unit: WriteUnit) -> WriteUnit {
    WriteUnit { request: Some(RequestKey { id: RequestId(id), age }), ..unit }
}

pub(super) fn text(text: &str) -> EncodedFields {
    Fields::from_iter([(FieldId(1), Value::Text(text.to_owned()))]).encode()
}

pub(super) fn edge(id1: ObjectId, atype: AssocType, id2: ObjectId) -> EdgeKey {
    EdgeKey { id1, atype, id2 }
}

pub(super) fn at(time: u32) -> EdgeValue {
    EdgeValue { time: Time(time), fields: EncodedFields::new() }
}

pub(super) fn add(id: ObjectId, fields: EncodedFields) -> StoreOp {
    StoreOp::ObjectAdd { id: Some(id), otype: OTYPE, fields }
}

pub(super) fn allocate() -> StoreOp {
    StoreOp::ObjectAdd { id: None, otype: OTYPE, fields: text("allocated") }
}

pub(super) fn update(id: ObjectId, set: EncodedFields) -> StoreOp {
    StoreOp::ObjectUpdate {
        id,
        otype: OTYPE,
        set,
        clear: vec![],
        max_bytes: MAX_OBJECT_BYTES,
        expected: None,
    }
}

pub(super) fn delete(id: ObjectId) -> StoreOp {
    StoreOp::ObjectDelete { id, expected: None }
}

pub(super) fn put(edge: EdgeKey, time: u32) -> StoreOp {
    put_pair(edge, time, None)
}

pub(super) fn put_pair(edge: EdgeKey, time: u32, inverse: Option<Inverse>) -> StoreOp {
    StoreOp::EdgePut { edge, value: at(time), create_only: false, expected: None, inverse }
}

pub(super) fn remove(edge: EdgeKey) -> StoreOp {
    remove_pair(edge, None)
}

pub(super) fn remove_pair(edge: EdgeKey, inverse: Option<Inverse>) -> StoreOp {
    StoreOp::EdgeDelete { edge, expected: None, inverse }
}

pub(super) fn together(atype: AssocType) -> Option<Inverse> {
    Some(Inverse { atype, together: Some(EPOCH) })
}

pub(super) fn apart(atype: AssocType) -> Option<Inverse> {
    Some(Inverse { atype, together: None })
}

/// The unit that brings a pending inverse to its shard.
pub(super) fn bring(pending: &PendingInverse) -> WriteUnit {
    let PendingInverse { inverse, value, origin, .. } = pending.clone();
    unit(vec![StoreOp::InverseApply { edge: inverse, value, origin }])
}

/// The code of a refusal.
pub(super) fn refusal(result: &UnitResult) -> Result<Error, Failure> {
    match result {
        UnitResult::Refused(error) => Ok(error.clone()),
        other => Err(format!("expected a refusal, got {other:?}").into()),
    }
}
