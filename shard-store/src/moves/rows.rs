//! Rows as the tables hold them, with nothing left out: what a move carries.

use async_trait::async_trait;
use bytes::Bytes;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, Position, Seq, ShardId};
use tao_schema::rows::{EpochStart, ObjectRow, ShardState};

use super::record::Copied;
use crate::apply::{CountRow, EdgeRow, LockedShard, OutboxRow, Tombstone, UnixMillis};
use crate::log::{LogPosition, TailError};

/// The tables that hold rows of a shard, in the order in which they are copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum MoveTable {
    /// `object`
    Object,
    /// `assoc`
    Assoc,
    /// `assoc_count`
    AssocCount,
    /// `outbox`
    Outbox,
    /// `tombstone`
    Tombstone,
    /// `request`
    Request,
    /// `epoch_history`
    EpochHistory,
}

impl MoveTable {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Object,
        Self::Assoc,
        Self::AssocCount,
        Self::Outbox,
        Self::Tombstone,
        Self::Request,
        Self::EpochHistory,
    ];

    /// The table after this one.
    pub fn next(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }

    /// Whether rows go by themselves after a time, without an advance of the shard.
    pub const fn purged(self) -> bool {
        matches!(self, Self::Tombstone | Self::Request)
    }
}

/// A row's table and primary key, in the order of the copy. Within its shard: keys of requests and epochs, which are kept
/// by shard, are `[seq, 0, 0]` and `[epoch, 0, 0]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RawKey {
    /// Which table.
    pub table: MoveTable,
    /// The key's columns.
    pub parts: [u64; 3],
}

/// A row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawRow {
    /// Of `object`.
    Object(ObjectId, ObjectRow),
    /// Of `assoc`.
    Assoc(EdgeKey, EdgeRow),
    /// Of `assoc_count`.
    AssocCount(ListKey, CountRow),
    /// Of `outbox`.
    Outbox(EdgeKey, OutboxRow),
    /// Of `tombstone`.
    Tombstone(EdgeKey, Tombstone),
    /// Of `request`.
    Request(RawRequest),
    /// Of `epoch_history`.
    EpochHistory(EpochStart),
}

/// A row of the request table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawRequest {
    /// Its place in the shard's log.
    pub seq: Seq,
    /// See `seq`.
    pub epoch: Epoch,
    /// By which a leader recognises its own batch (R4). The memory engine has none: zeros.
    pub nonce: [u8; 16],
    /// When it was written; for retention.
    pub at: UnixMillis,
    /// Encoded outcomes.
    pub body: Bytes,
}

impl RawKey {
    /// Key of an edge in `table`.
    pub fn edge(table: MoveTable, edge: EdgeKey) -> Self {
        Self { table, parts: [edge.id1.0, edge.atype.0.into(), edge.id2.0] }
    }

    /// Key of a list's count.
    pub fn list(list: ListKey) -> Self {
        Self { table: MoveTable::AssocCount, parts: [list.id1.0, list.atype.0.into(), 0] }
    }

    /// The key as an edge's, for tables that are keyed by one.
    pub fn as_edge(&self) -> EdgeKey {
        let [id1, atype, id2] = self.parts;
        // Made from an edge: the type fits.
        EdgeKey { id1: ObjectId(id1), atype: AssocType(atype as u16), id2: ObjectId(id2) }
    }
}

impl RawRow {
    /// The row's key.
    pub fn key(&self) -> RawKey {
        match self {
            Self::Object(id, _) => RawKey { table: MoveTable::Object, parts: [id.0, 0, 0] },
            Self::Assoc(edge, _) => RawKey::edge(MoveTable::Assoc, *edge),
            Self::AssocCount(list, _) => RawKey::list(*list),
            Self::Outbox(edge, _) => RawKey::edge(MoveTable::Outbox, *edge),
            Self::Tombstone(edge, _) => RawKey::edge(MoveTable::Tombstone, *edge),
            Self::Request(row) => RawKey { table: MoveTable::Request, parts: [row.seq.0, 0, 0] },
            Self::EpochHistory(start) => {
                RawKey { table: MoveTable::EpochHistory, parts: [start.epoch.0.into(), 0, 0] }
            }
        }
    }

    /// Bytes, about: for bounds and progress.
    pub fn bytes(&self) -> usize {
        let data = match self {
            Self::Object(_, row) => row.fields.len(),
            Self::Assoc(_, row) => row.value.fields.len(),
            Self::Outbox(_, row) => row.value.as_ref().map_or(0, |value| value.fields.len()),
            Self::Request(row) => row.body.len(),
            Self::AssocCount(..) | Self::Tombstone(..) | Self::EpochHistory(_) => 0,
        };
        data + 48
    }
}

/// How much a page may hold: rows, and bytes of their data (of at least one row whatever its size).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimit {
    /// At least 1; an engine takes at most 10,000.
    pub rows: usize,
    /// Bytes.
    pub bytes: usize,
}

/// Rows of one table, from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawPage {
    /// The shard row of the snapshot: everything up to its seq is in the rows, and nothing later.
    pub shard: LockedShard,
    /// What was asked for: rows behind this.
    pub from: Copied,
    /// In order of key.
    pub rows: Vec<RawRow>,
    /// What is copied once these rows are: their last key, or the table.
    pub to: Copied,
}

impl RawPage {
    /// Where the shard was when the page was read.
    pub fn at(&self) -> Position {
        Position { shard: self.shard.shard, epoch: self.shard.epoch, seq: self.shard.seq }
    }
}

/// What one transaction did to one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawTransaction {
    /// The seq that it advanced the shard to; `None`: it did not, like a purge of what is kept only for a time.
    pub seq: Option<Seq>,
    /// Epoch and state of the shard row afterwards, if it changed.
    pub shard: Option<(Epoch, ShardState)>,
    /// Rows as they were left.
    pub puts: Vec<RawRow>,
    /// Rows that are gone.
    pub deletes: Vec<RawKey>,
    /// The log up to and with this transaction.
    pub position: LogPosition,
}

impl RawTransaction {
    /// Bytes, about.
    pub fn bytes(&self) -> usize {
        self.puts.iter().map(RawRow::bytes).sum::<usize>() + 32 * self.deletes.len()
    }

    /// Where an epoch begins that this transaction opened.
    pub(crate) fn opens(&self, epoch: Epoch) -> Option<Seq> {
        self.puts.iter().find_map(|row| match row {
            RawRow::EpochHistory(start) if start.epoch == epoch => Some(start.first_seq),
            _ => None,
        })
    }
}

/// An open log of one shard's rows.
#[async_trait]
pub trait RawTail: Send {
    /// What follows; empty if the log went on without a change of the shard. Waits until there is something of the log.
    ///
    /// Cancel-safe.
    async fn next(&mut self) -> Result<Vec<RawTransaction>, TailError>;

    /// Everything up to here was given out.
    fn position(&self) -> LogPosition;
}

/// Rows of a shard, by table in the order of [`MoveTable::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowCounts(pub [u64; 7]);

impl RowCounts {
    /// All tables together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// First and last id of a shard, as keys are compared.
pub(crate) fn id_range(shard: ShardId) -> (u64, u64) {
    let (first, last) = shard.key_range();
    (first.0, last.0)
}
