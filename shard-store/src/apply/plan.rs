//! What a transaction writes.

use std::sync::Arc;

use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, Seq, ShardId};
use tao_schema::rows::{ObjectRow, ShardChange};

use super::request_row::RequestRow;
use super::rows::{CountRow, EdgeRow, OutboxRow, Tombstone};
use crate::write::{BatchResult, UnitResult};

/// Everything to write, each row at most once, in order of key; and what to answer once it is committed.
#[derive(Debug)]
pub struct Plan {
    /// Shard rows to advance, in order of shard. Empty: nothing is to be written, roll back.
    pub advances: Vec<Advance>,
    /// Object rows.
    pub objects: Mutations<ObjectId, ObjectRow>,
    /// Edge rows.
    pub edges: Mutations<EdgeKey, EdgeRow>,
    /// Count rows; never deleted (R13).
    pub counts: Vec<(ListKey, CountRow)>,
    /// Tombstones of inverse edges.
    pub tombstones: Mutations<EdgeKey, Tombstone>,
    /// Outbox rows.
    pub outbox: Mutations<EdgeKey, OutboxRow>,
    /// At most one for each advanced shard (R3).
    pub requests: Vec<RequestRow>,
    /// One for each advanced shard, in order of shard; exactly what the row images above show.
    pub changes: Vec<Arc<ShardChange>>,
    /// One for each unit of the batch, in order.
    pub units: Vec<UnitResult>,
}

impl Plan {
    /// The answer, once the transaction is committed.
    pub fn into_result(self) -> BatchResult {
        BatchResult { changes: self.changes, units: self.units }
    }
}

/// A shard row's step. Write it with `WHERE seq = old_seq` and assert that one row changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advance {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch, as locked.
    pub epoch: Epoch,
    /// Its seq, as locked.
    pub old_seq: Seq,
    /// `old_seq` + 1.
    pub new_seq: Seq,
    /// Local part of the next id to allocate.
    pub next_id: u64,
}

/// Final row images of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutations<K, R> {
    /// Rows to insert or overwrite.
    pub puts: Vec<(K, R)>,
    /// How many of them overwrite a row, which they differ from.
    pub overwrites: usize,
    /// Rows to delete; all of them exist.
    pub deletes: Vec<K>,
}
