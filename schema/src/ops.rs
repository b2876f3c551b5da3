//! The operations of the API (DESIGN section 2), as values.

use std::time::Duration;

pub use crate::demand::{Demand, Freshness};
pub use crate::shown::{AnswerRef, EdgesRef, ObjectRef, ReadReplyRef};

use crate::edges::PackedEdges;
use crate::fields::EncodedFields;
use crate::ids::{
    AssocType, EdgeKey, FieldId, ListKey, ObjectId, ObjectType, Position, PrimaryTime, RequestId, Seq,
    ShardId, Time,
};
use crate::rows::{EdgeValue, ListRow, ObjectRow, ShardState};

/// A read of one object or one list.
#[derive(Clone, PartialEq, Debug)]
pub enum ReadOp {
    /// The object, or that there is none.
    ObjectGet(ObjectId),
    /// The edges of a list that end in `id2s`, within the time bounds (both inclusive).
    AssocGet {
        /// The list.
        list: ListKey,
        /// Where edges may end; at most [`crate::limits::MAX_ID2_SET`].
        id2s: Vec<ObjectId>,
        /// Newest time that counts.
        high: Option<Time>,
        /// Oldest time that counts.
        low: Option<Time>,
    },
    /// Number of edges of a list.
    AssocCount(ListKey),
    /// Edges `[pos, pos + limit)`, newest first.
    AssocRange {
        /// The list.
        list: ListKey,
        /// How many of the newest to skip.
        pos: u32,
        /// How many to return: from 1 to the type's query limit.
        limit: u32,
    },
    /// Edges with `high >= time >= low`, newest first.
    AssocTimeRange {
        /// The list.
        list: ListKey,
        /// Newest time that counts.
        high: Time,
        /// Oldest time that counts.
        low: Time,
        /// How many to return: from 1 to the type's query limit.
        limit: u32,
    },
}

impl ReadOp {
    /// The shard that holds the answer.
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::ObjectGet(id) => id.shard(),
            Self::AssocGet { list, .. }
            | Self::AssocCount(list)
            | Self::AssocRange { list, .. }
            | Self::AssocTimeRange { list, .. } => list.id1.shard(),
        }
    }

    /// The call's name as users know it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ObjectGet(_) => "object_get",
            Self::AssocGet { .. } => "assoc_get",
            Self::AssocCount(_) => "assoc_count",
            Self::AssocRange { .. } => "assoc_range",
            Self::AssocTimeRange { .. } => "assoc_time_range",
        }
    }
}

/// A read with what it demands.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadRequest {
    /// What to read.
    pub op: ReadOp,
    /// How fresh the answer must be.
    pub demand: Demand,
    /// Whether the reply says which path it took.
    pub explain: bool,
    /// A leader of another region sent this on: who can't answer refuses, and never sends it on again (R18). Set by
    /// leaders only.
    pub forwarded: bool,
}

impl ReadRequest {
    /// A read that takes what the nearest memory has.
    pub const fn local(op: ReadOp) -> Self {
        Self { op, demand: Demand::local(), explain: false, forwarded: false }
    }
}

/// The answer to a read.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadReply {
    /// The answer is right at this position.
    pub position: Position,
    /// The answer.
    pub answer: Answer,
    /// Present if it was asked for.
    pub explain: Option<Explain>,
    /// Nothing that the answer shows was committed later than this, by the clock of its host group's primary; absent if
    /// the node can't tell. What a session folds its positions into (R19).
    pub time: Option<PrimaryTime>,
}

/// What was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// Of `object_get`; `None`: it does not exist.
    Object(Option<(ObjectId, ObjectRow)>),
    /// Of `assoc_get`, `assoc_range`, `assoc_time_range`: edges newest first, and the list's version.
    Edges {
        /// The edges asked for.
        edges: PackedEdges,
        /// The list's version; zero if it was never written.
        version: Seq,
    },
    /// Of `assoc_count`.
    Count {
        /// Number of edges.
        count: u64,
        /// The list's version.
        version: Seq,
    },
}

/// Who had the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Source {
    /// The follower's memory.
    FollowerCache,
    /// The leader's memory.
    LeaderCache,
    /// MySQL, or the memory engine in its place.
    Database,
}

/// The path that an operation took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explain {
    /// Who had the answer.
    pub source: Source,
    /// Names of the nodes passed, first asked first.
    pub path: Vec<String>,
    /// Why the first node's memory did not answer; empty if it did.
    pub reason: String,
    /// The rule by which the answer was found fresh enough, with its figures: `R21 AtLeast: watermark 120, token 118`.
    pub rule: String,
}

/// One change to the graph, as the application says it.
#[derive(Clone, PartialEq, Debug)]
pub enum WriteOp {
    /// Creates an object.
    ObjectAdd {
        /// The id to create, which must not exist; `None`: the shard allocates one.
        id: Option<ObjectId>,
        /// The shard to allocate on; ignored with an `id`.
        shard: ShardId,
        /// Its type.
        otype: ObjectType,
        /// Its data.
        fields: EncodedFields,
    },
    /// Changes some fields of an object that exists.
    ObjectUpdate {
        /// Which object.
        id: ObjectId,
        /// Its type; another stored type is an error.
        otype: ObjectType,
        /// Fields to set.
        set: EncodedFields,
        /// Fields to unset.
        clear: Vec<FieldId>,
        /// Refuse unless the object has this version.
        expected: Option<Seq>,
    },
    /// Deletes an object. Its associations stay: they are other lists' data, too.
    ObjectDelete {
        /// Which object.
        id: ObjectId,
        /// Refuse unless the object has this version.
        expected: Option<Seq>,
    },
    /// Adds an association or overwrites its time and data; its inverse follows.
    AssocAdd {
        /// Which association.
        edge: EdgeKey,
        /// The application's time.
        time: Time,
        /// Its data.
        fields: EncodedFields,
        /// Refuse if it exists.
        create_only: bool,
        /// Refuse unless the list has this version.
        expected: Option<Seq>,
    },
    /// Deletes an association and its inverse.
    AssocDelete {
        /// Which association.
        edge: EdgeKey,
        /// Refuse unless the list has this version.
        expected: Option<Seq>,
    },
    /// Gives an association, if present, another type; time and data stay; inverses follow.
    AssocChangeType {
        /// Which association.
        edge: EdgeKey,
        /// Its new type.
        new_atype: AssocType,
        /// Refuse unless the list it leaves has this version.
        expected: Option<Seq>,
    },
}

impl WriteOp {
    /// The shard of the id that the application named. The shard that *orders* the write may be that of the other
    /// end: see `GraphSchema::canonical`.
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::ObjectAdd { id: None, shard, .. } => *shard,
            Self::ObjectAdd { id: Some(id), .. }
            | Self::ObjectUpdate { id, .. }
            | Self::ObjectDelete { id, .. } => id.shard(),
            Self::AssocAdd { edge, .. }
            | Self::AssocDelete { edge, .. }
            | Self::AssocChangeType { edge, .. } => edge.id1.shard(),
        }
    }

    /// The call's name as users know it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ObjectAdd { .. } => "object_add",
            Self::ObjectUpdate { .. } => "object_update",
            Self::ObjectDelete { .. } => "object_delete",
            Self::AssocAdd { .. } => "assoc_add",
            Self::AssocDelete { .. } => "assoc_delete",
            Self::AssocChangeType { .. } => "assoc_change_type",
        }
    }
}

/// A write: one operation, or several on one shard that happen together or not at all.
#[derive(Clone, PartialEq, Debug)]
pub struct WriteRequest {
    /// The same in every attempt.
    pub id: RequestId,
    /// Time since the first attempt, by the client's monotonic clock; zero in the first.
    pub age: Duration,
    /// At least one, at most [`crate::limits::MAX_ATOMIC_OPS`].
    pub ops: Vec<WriteOp>,
    /// A leader of another region sent this on: who is not the master refuses, and never sends it on again (R18).
    pub forwarded: bool,
}

/// The answer to a write that happened.
#[derive(Clone, PartialEq, Debug)]
pub struct WriteReply {
    /// Where it stands, in the log of each shard that it has changed; the ordering shard's first.
    pub positions: Vec<Position>,
    /// One for each operation, in order.
    pub outcomes: Vec<Outcome>,
    /// The other side of a pair is durable, but not applied yet: `positions` lack its shard.
    pub inverse_pending: bool,
    /// An earlier attempt had done it.
    pub replayed: bool,
    /// Not earlier than the commit, by the clock of the ordering shard's primary; absent if the leader can't tell.
    pub time: Option<PrimaryTime>,
}

/// What one operation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its effect.
    pub effect: Effect,
    /// The object's id, for object writes.
    pub id: Option<ObjectId>,
}

/// Effect of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Effect {
    /// It did not exist before.
    Created,
    /// It existed and has been written.
    Updated,
    /// It existed and is gone.
    Deleted,
    /// There was nothing to delete or retype.
    Nothing,
}

/// What a follower asks its leader for on a miss, or a leader another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FillRequest {
    /// What is missing.
    pub key: FillKey,
    /// The answer must not be older than this position of the key's shard.
    pub at_least: Option<Position>,
    /// As [`ReadRequest::forwarded`].
    pub forwarded: bool,
}

/// A key of a cache.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FillKey {
    /// An object.
    Object(ObjectId),
    /// An edge list.
    List {
        /// Which list.
        key: ListKey,
        /// How many of its newest edges are wanted at least; 0: the count is enough.
        edges: u32,
    },
}

impl FillKey {
    /// The shard that holds it.
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::List { key, .. } => key.id1.shard(),
        }
    }
}

/// The answer to a [`FillRequest`]: rows as they were at exactly one position (PROTOCOL R12).
#[derive(Clone, PartialEq, Debug)]
pub struct FillReply {
    /// The position of the snapshot, or of the cached entry.
    pub position: Position,
    /// The state of the shard at that position.
    pub state: ShardState,
    /// What was asked for.
    pub row: FillRow,
    /// Who had it.
    pub source: Source,
}

/// What a fill brings.
#[derive(Clone, PartialEq, Debug)]
pub enum FillRow {
    /// An object; `None`: it does not exist.
    Object(Option<ObjectRow>),
    /// A list; one that was never written is the default [`ListRow`].
    List(ListRow),
}

/// The state that the ordering side gave an association pair, for its other side (PROTOCOL R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InverseState {
    /// The edge on the other side: the one to write.
    pub edge: EdgeKey,
    /// Its state; `None`: deleted.
    pub value: Option<EdgeValue>,
    /// Where the ordering side wrote it: the newer one wins.
    pub origin: Position,
}
