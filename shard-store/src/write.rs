//! What goes into a transaction and what comes out.

use std::sync::Arc;
use std::time::Duration;

use tao_schema::error::Error;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{
    AssocType, EdgeKey, Epoch, FieldId, ObjectId, ObjectType, Position, RequestId, Seq, ShardId,
};
use tao_schema::ops::Outcome;
use tao_schema::rows::{EdgeValue, ShardChange, ShardState};

use crate::store::PendingInverse;

/// One transaction: units in order, of any shards of one host group.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// Applied in this order, each on top of those before it.
    pub units: Vec<WriteUnit>,
}

/// What happens together or not at all: one request, or one piece of bookkeeping.
#[derive(Clone, PartialEq, Debug)]
pub struct WriteUnit {
    /// The shard whose log orders the unit. Every op's own key lives on it.
    pub shard: ShardId,
    /// The epoch in which the leader believes to own the shard.
    pub epoch: Epoch,
    /// The client's name for it; `None` for bookkeeping, which is idempotent by itself.
    pub request: Option<RequestKey>,
    /// In order.
    pub ops: Vec<StoreOp>,
}

/// A request's identity, for one effect (R3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestKey {
    /// The same in every attempt.
    pub id: RequestId,
    /// Time since the first attempt.
    pub age: Duration,
}

/// How long an outcome is kept at least.
pub const REQUEST_RETENTION: Duration = Duration::from_secs(120);
/// A retry older than this is refused. Half of the retention: the other half pays for clocks and for time in queues.
pub const MAX_RETRY_AGE: Duration = Duration::from_secs(60);
/// How long the journal of a deleted inverse is kept at least (R22): state that was on its way longer than this must not
/// be applied any more.
pub const TOMBSTONE_RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// A write as the store understands it: types checked, inverse and canonical side resolved.
#[derive(Clone, PartialEq, Debug)]
pub enum StoreOp {
    /// Creates an object; `PreconditionFailed` if the id exists.
    ObjectAdd {
        /// `None`: allocated from the shard row's `next_id`.
        id: Option<ObjectId>,
        /// Its type.
        otype: ObjectType,
        /// Its data.
        fields: EncodedFields,
    },
    /// Subset update; `NotFound`, `PreconditionFailed` (version), or `InvalidArgument` (type, or merged size over the
    /// limit).
    ObjectUpdate {
        /// Which object.
        id: ObjectId,
        /// The type it must have.
        otype: ObjectType,
        /// Fields to set.
        set: EncodedFields,
        /// Fields to unset.
        clear: Vec<FieldId>,
        /// Largest encoded fields that the whole object may have then: what is set was checked, what is there only the
        /// store knows. At most [`tao_schema::limits::MAX_OBJECT_BYTES`].
        max_bytes: usize,
        /// The version it must have.
        expected: Option<Seq>,
    },
    /// Deletes an object; effect `Nothing` if there is none (`NotFound` with `expected`).
    ObjectDelete {
        /// Which object.
        id: ObjectId,
        /// The version it must have.
        expected: Option<Seq>,
    },
    /// Adds an edge or overwrites it: `Created` or `Updated`.
    EdgePut {
        /// The canonical edge.
        edge: EdgeKey,
        /// Its time and data.
        value: EdgeValue,
        /// `PreconditionFailed` if it exists.
        create_only: bool,
        /// The version that a list must have.
        expected: Option<ExpectedList>,
        /// Its other side.
        inverse: Option<Inverse>,
    },
    /// Deletes an edge: `Deleted` or `Nothing`.
    EdgeDelete {
        /// The canonical edge.
        edge: EdgeKey,
        /// The version that a list must have.
        expected: Option<ExpectedList>,
        /// Its other side.
        inverse: Option<Inverse>,
    },
    /// Moves an edge to another list of the same `id1`, if present: `Updated` or `Nothing`. An edge that is there
    /// already is overwritten.
    EdgeChangeType {
        /// The canonical edge.
        edge: EdgeKey,
        /// The list it moves to.
        new_atype: AssocType,
        /// The version that the list it leaves must have.
        expected: Option<ExpectedList>,
        /// The other side of the edge that goes.
        inverse: Option<Inverse>,
        /// The other side of the edge that comes.
        new_inverse: Option<Inverse>,
    },
    /// Brings a pair's state to its other side, if it is newer than what that side knows (R22): writes edge, count
    /// and, for a deletion, a tombstone. `Nothing` if it is old news.
    InverseApply {
        /// The edge to write; lives on the unit's shard.
        edge: EdgeKey,
        /// Its state; `None`: deleted.
        value: Option<EdgeValue>,
        /// Where the ordering side wrote it.
        origin: Position,
    },
    /// Removes the pair's outbox row if it still is the one of `origin`.
    OutboxDone {
        /// The canonical edge.
        edge: EdgeKey,
        /// The state that was applied.
        origin: Position,
    },
}

/// Optimistic concurrency on a list: refused unless the list's version is this one. For an edge whose canonical side
/// is the other end, the application's list is not on the ordering shard: such a request is refused before it gets
/// here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpectedList(pub Seq);

/// The other side of an edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inverse {
    /// Type of the edge on the shard of `id2`.
    pub atype: AssocType,
    /// The other shard is in this host group and in the same writer lane: write both sides in this transaction, if
    /// that shard's row can be had and is serving in this epoch; else leave an outbox row.
    pub together: Option<Epoch>,
}

/// What a committed batch did.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchResult {
    /// One for each shard that was advanced, in no order.
    pub changes: Vec<Arc<ShardChange>>,
    /// One for each unit, in order.
    pub units: Vec<UnitResult>,
}

/// What became of a unit.
#[derive(Clone, PartialEq, Debug)]
pub enum UnitResult {
    /// It is committed.
    Done(UnitDone),
    /// A precondition, limit or stored type refused it. It left no trace; the error says why.
    Refused(Error),
    /// Its shard does not take writes here in its epoch; what the row says. Reload the topology.
    NotOwned {
        /// Epoch in the row; `None`: there is no row.
        found: Option<(Epoch, ShardState)>,
    },
    /// Another transaction holds the shard row. Try again, alone.
    Busy,
}

/// A committed unit.
#[derive(Clone, PartialEq, Debug)]
pub struct UnitDone {
    /// Where it stands: the ordering shard's position first, then those of shards written together with it. For a
    /// unit that changed nothing: the position it was decided at.
    pub positions: Vec<Position>,
    /// One for each op, in order.
    pub outcomes: Vec<Outcome>,
    /// Inverses that an outbox row now guards and the caller should apply.
    pub pending: Vec<PendingInverse>,
    /// An earlier attempt had done it; `pending` is empty then, the outbox has what is left.
    pub replayed: bool,
}
