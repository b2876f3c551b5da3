//! [`ShardStore`]: what a leader asks of the database server of one host group.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tao_schema::error::{Error, ErrorCode};
use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, Position, Seq, ShardId, Time};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{EdgeValue, ListRow, ObjectRow, ShardState};

use crate::write::{Batch, BatchResult};

/// One host group's database. Implementations are cheap to share and safe to call from many tasks.
///
/// # The shard log
///
/// Every shard that lives here has one row `(shard, epoch, seq, state, next_id)`. Each committed transaction that
/// changes anything of a shard advances its `seq` by exactly one, so a shard's changes are totally ordered and
/// contiguous, whoever writes. Nothing of a shard is ever written without that advance in the same transaction (R2).
///
/// # Cancellation
///
/// No future here is cancellation-safe unless it says so: a caller that may give up spawns the call and drops the
/// handle, and the call runs to its end.
#[async_trait]
pub trait ShardStore: Send + Sync + 'static {
    /// Engine and version, as a person reads it: `MariaDB 10.11.19`, `MySQL 9.7.4`, `memory`.
    fn describe(&self) -> String;

    /// Commits a batch as one transaction (R1-R4).
    ///
    /// 1. Locks the rows of all shards that the batch's units need, without waiting (a row locked by another makes
    ///    its units [`UnitResult::Busy`](crate::write::UnitResult); a batch of one unit waits up to the lock limit).
    /// 2. Units whose shard is not `Serving` in the unit's epoch leave the batch as `NotOwned`; nothing of theirs is
    ///    written.
    /// 3. If the locked seq is not the one this store last saw, loads the request rows in between, so that requests
    ///    committed by another leader are recognised.
    /// 4. A unit whose request id is known gets the first outcome (`replayed`); one that claims an age beyond the
    ///    retention gets [`ErrorCode::RetryTooLate`].
    /// 5. Reads the rows touched, computes each unit's outcome in the order of the batch, each on top of those before
    ///    it; a unit whose precondition fails is refused and leaves no trace; later units go on.
    /// 6. Writes rows, the advanced shard rows, and one request row for each shard; commits.
    ///
    /// A shard none of whose units changed anything is not advanced.
    ///
    /// # Errors
    /// `Rejected`: nothing was written, the same batch may be split and tried again (a poison unit shows itself when
    /// tried alone). `Unavailable`: nothing was written. `Uncertain`: COMMIT was sent and its fate could not be
    /// established in time: every unit's outcome is unknown.
    async fn commit(&self, batch: Batch) -> Result<BatchResult, StoreError>;

    /// Reads keys, each with the position of the snapshot that it was read from, in the order asked.
    ///
    /// Each row is read in one statement together with its shard row (R12), so `position.seq` is exactly the last
    /// change that the row's content includes. Different keys may come from different snapshots.
    /// A key of a shard that has no row here answers `Err(NoSuchShard)` for that key alone.
    async fn read(&self, keys: &[ReadKey]) -> Result<Vec<Result<Snapshot, Error>>, StoreError>;

    /// All shard rows of this server, read in one statement.
    async fn shard_rows(&self) -> Result<Vec<ShardRow>, StoreError>;

    /// The rows of `shards`, of those that have one here, read in one statement. Costs nothing for the others of the server.
    async fn shard_rows_of(&self, shards: &[ShardId]) -> Result<Vec<ShardRow>, StoreError>;

    /// Creates the rows of `shards` in `epoch` as `Serving` with seq 0, where they don't exist. Idempotent.
    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> Result<(), StoreError>;

    /// Sets a shard's state if its row has `epoch` and state `from`. Advances `seq`, so that caches see it in the log.
    /// Answers whether it did.
    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> Result<bool, StoreError>;

    /// Outbox rows of a shard with keys after `after`, in key order, at most `limit`: pairs whose other side is not
    /// known to be applied (R22).
    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<Vec<PendingInverse>, StoreError>;

    /// One page of a table of one shard, in key order, with the position of its snapshot: for verification and moves.
    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<ScanPage, StoreError>;

    /// Deletes what is kept only for a time: request rows up to the seq `requests`, tombstones of age `tombstones` or more by
    /// the server's clock; zero deletes all of these. Which requests are old enough the caller knows by a clock that nobody
    /// sets.
    /// Works in small transactions; answers how many rows went.
    async fn purge(&self, shard: ShardId, requests: Seq, tombstones: Duration) -> Result<u64, StoreError>;
}

/// A handle to any engine.
pub type SharedStore = Arc<dyn ShardStore>;

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ReadKey {
    /// An object.
    Object(ObjectId),
    /// A list: its count row and its newest `edges` edges.
    List {
        /// Which list.
        key: ListKey,
        /// How many of its newest edges; 0: the count is enough.
        edges: u32,
    },
    /// Part of a list, as deep as needed: edges `[pos, pos + limit)` of those with `high >= time >= low`.
    Slice {
        /// Which list.
        key: ListKey,
        /// Newest time that counts.
        high: Time,
        /// Oldest time that counts.
        low: Time,
        /// How many of these to skip.
        pos: u32,
        /// How many to return.
        limit: u32,
    },
    /// One edge.
    Edge(EdgeKey),
}

impl ReadKey {
    /// The shard of the key.
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::List { key, .. } | Self::Slice { key, .. } => key.id1.shard(),
            Self::Edge(edge) => edge.id1.shard(),
        }
    }
}

/// A row with the position of the snapshot it was read from.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// The shard row of the same statement.
    pub position: Position,
    /// Its state: a snapshot under a state that is not `readable` is no news to a cache.
    pub state: ShardState,
    /// The content.
    pub row: Row,
}

/// Content of a [`Snapshot`].
#[derive(Clone, PartialEq, Debug)]
pub enum Row {
    /// Of [`ReadKey::Object`].
    Object(Option<ObjectRow>),
    /// Of [`ReadKey::List`], and of [`ReadKey::Slice`] with the edges of the slice (newest first).
    List(ListRow),
    /// Of [`ReadKey::Edge`]. The position is that in the log of the shard that orders the edge, see
    /// [`ScanPage::edges`].
    Edge(Option<(EdgeValue, Epoch, Seq)>),
}

/// A shard's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardRow {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its last change.
    pub seq: Seq,
    /// Whether it takes writes.
    pub state: ShardState,
}

/// The latest state of a pair, to be brought to its other side.
#[derive(Clone, PartialEq, Debug)]
pub struct PendingInverse {
    /// The ordering side's edge; its shard holds the outbox row.
    pub edge: EdgeKey,
    /// The edge to write on the shard of `edge.id2`.
    pub inverse: EdgeKey,
    /// Its state; `None`: deleted.
    pub value: Option<EdgeValue>,
    /// Where the ordering side wrote this state.
    pub origin: Position,
}

/// Tables that can be scanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Table {
    /// Objects, keyed by `(id, 0, 0)`.
    Objects,
    /// Edges.
    Edges,
    /// Counts, keyed by `(id1, atype, 0)`.
    Counts,
    /// Outbox rows.
    Outbox,
}

/// A page of a scan.
#[derive(Clone, PartialEq, Debug)]
pub struct ScanPage {
    /// The snapshot's position.
    pub position: Position,
    /// Of [`Table::Objects`].
    pub objects: Vec<(ObjectId, ObjectRow)>,
    /// Of [`Table::Edges`], with the position (epoch, seq) in the log of the shard that orders the edge: for the
    /// ordering side that is its own shard.
    pub edges: Vec<(EdgeKey, EdgeValue, Epoch, Seq)>,
    /// Of [`Table::Counts`]: count and list version.
    pub counts: Vec<(ListKey, u64, Seq)>,
    /// Of [`Table::Outbox`].
    pub outbox: Vec<PendingInverse>,
    /// The key to go on after; `None`: the end was reached.
    pub next: Option<EdgeKey>,
}

/// Why a store call failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// What happened, naming server and statement, never data or secrets.
    pub message: String,
}

/// What a [`StoreError`] means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum StoreErrorKind {
    /// The database refused the statement: the same call fails again. Nothing was written.
    Rejected,
    /// Unreachable, read-only, out of connections or too slow. Nothing was written; later it may work.
    Unavailable,
    /// Commit was sent and its outcome can't be established now (R4).
    Uncertain,
    /// The database is not what this program understands: wrong schema version or setting, damaged data.
    Incompatible,
}

impl StoreError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let code = match error.kind {
            StoreErrorKind::Rejected => ErrorCode::Internal,
            StoreErrorKind::Unavailable => ErrorCode::Unavailable,
            StoreErrorKind::Uncertain if planted(Bug::UncertainSaidFailed) => ErrorCode::Unavailable,
            StoreErrorKind::Uncertain => ErrorCode::OutcomeUnknown,
            StoreErrorKind::Incompatible => ErrorCode::Corrupt,
        };
        Self::new(code, error.message)
    }
}
