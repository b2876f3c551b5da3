//! Rows as the database holds them, and the changes that transactions make to them.

use crate::edges::PackedEdges;
use crate::fields::EncodedFields;
use crate::ids::{Epoch, ListKey, ObjectId, ObjectType, Position, Seq, ShardId, Time};

/// An object that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectRow {
    /// Its type, for life.
    pub otype: ObjectType,
    /// The seq that last changed it.
    pub version: Seq,
    /// Its data.
    pub fields: EncodedFields,
}

/// An edge list as a snapshot shows it: its count row and its newest edges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListRow {
    /// Number of edges in the list.
    pub count: u64,
    /// The seq that last changed the list; [`Seq::ZERO`] if it was never written (a count row, once made, stays: R13).
    pub version: Seq,
    /// Its newest edges, newest first; all of them if their number equals `count`.
    pub edges: PackedEdges,
}

/// Time and data of an edge that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EdgeValue {
    /// The application's time.
    pub time: Time,
    /// Its data.
    pub fields: EncodedFields,
}

/// State of a shard row. Only `Serving` takes writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ShardState {
    /// Takes reads and writes.
    Serving,
    /// Takes reads; writes are refused while a move or a promotion is under way.
    Fenced,
    /// A move copies the shard here; its rows are not news.
    Importing,
    /// A move to here was given up.
    Aborted,
    /// The shard has left this server.
    Gone,
}

impl ShardState {
    /// Whether a snapshot under this state may be cached (R12).
    pub const fn readable(self) -> bool {
        matches!(self, Self::Serving | Self::Fenced)
    }

    /// The number in the database and on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Serving => 1,
            Self::Fenced => 2,
            Self::Importing => 3,
            Self::Aborted => 4,
            Self::Gone => 5,
        }
    }

    /// The state of a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Serving,
            2 => Self::Fenced,
            3 => Self::Importing,
            4 => Self::Aborted,
            5 => Self::Gone,
            _ => return None,
        })
    }
}

/// Where an epoch of a shard begins. An epoch ends where the next one begins: a position of epoch `e` belongs to the
/// shard's present lineage if and only if it is below the first seq of the epoch after `e` (R19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// The first seq written in it.
    pub first_seq: Seq,
}

/// What one committed transaction changed on one shard: the unit of the change stream (DESIGN section 4).
/// All of it can be read from the transaction's row images, so that a binlog tail makes the same values.
#[derive(Clone, PartialEq, Debug)]
pub struct ShardChange {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch at commit.
    pub epoch: Epoch,
    /// Contiguous within the shard.
    pub seq: Seq,
    /// One for each object and list that changed. May be empty: bookkeeping advances the log, too.
    pub items: Vec<ChangeItem>,
}

impl ShardChange {
    /// Where this change stands.
    pub const fn position(&self) -> Position {
        Position { shard: self.shard, epoch: self.epoch, seq: self.seq }
    }
}

/// A changed object or list.
#[derive(Clone, PartialEq, Debug)]
pub enum ChangeItem {
    /// An object's whole new state; `None`: deleted.
    Object {
        /// Which object.
        id: ObjectId,
        /// Its state; `row.version` is the change's seq.
        row: Option<ObjectRow>,
    },
    /// What happened to a list.
    List(ListChange),
}

/// What one transaction did to one list. Its new version is the seq of the [`ShardChange`].
#[derive(Clone, PartialEq, Debug)]
pub struct ListChange {
    /// Which list.
    pub key: ListKey,
    /// The version before; a cache whose entry has another can't apply this (R13).
    pub prev_version: Seq,
    /// The count after: absolute.
    pub count: u64,
    /// New state of each edge touched, once each; `None`: deleted.
    pub edges: Vec<(ObjectId, Option<EdgeValue>)>,
}
