//! [`ShardMover`]: what a move of a shard between servers asks of each of them (PROTOCOL R25, holes H29-H32).
//!
//! | file | is |
//! |---|---|
//! | `rows` | rows and keys of the seven tables as they are, pages and log transactions of them |
//! | `record` | what a server remembers of a move; answers and proofs |
//! | `rules` | which call does what in which state: pure, the same for every engine |
//! | `copier` | what to import next, given chunks and the log: pure |
//! | `start` | where the log is followed from |
//! | `verify` | the exact comparison of a chunk |
//!
//! The *target's* shard row decides a move: importing to serving, or to aborted, once. Everything that must come after
//! one of the two asks for the proof that it happened: [`Committed`], [`Aborted`].

mod copier;
mod record;
mod rows;
pub(crate) mod rules;
mod start;
mod verify;

use async_trait::async_trait;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};

pub use self::copier::{Copier, CopyError, Step};
pub use self::record::{
    Aborted, Answer, Committed, Copied, Fence, MoveId, MoveRecord, Outcome, Progress, Refusal, Role,
    ShardMoves,
};
pub(crate) use self::rows::id_range;
pub use self::rows::{
    MoveTable, PageLimit, RawKey, RawPage, RawRequest, RawRow, RawTail, RawTransaction, RowCounts,
};
pub use self::start::starting_point;
pub use self::verify::{Comparison, Difference, compare};
use crate::log::{Finding, LogPosition, TailError};
use crate::store::StoreError;

/// One server's part in moves. Every call that changes something may be repeated: after an error of any kind, the same call
/// with the same arguments finds out what became of it, because it takes the lock of the shard row first, which the
/// transaction in doubt holds until its end.
#[async_trait]
pub trait ShardMover: Send + Sync + 'static {
    /// What keeps this server from giving or taking a shard: privileges, the log's settings. Run on both servers, because a
    /// move may be reversed.
    async fn move_preflight(&self) -> Result<MovePreflight, StoreError>;

    /// Rows of one table from `copied` on, with the shard row of the same statement (R12). `copied` must not be
    /// [`Copied::ALL`].
    ///
    /// # Errors
    /// `Rejected` if the shard has no row here.
    async fn raw_page(&self, shard: ShardId, copied: Copied, limit: PageLimit)
    -> Result<RawPage, StoreError>;

    /// The log's transactions after `after` that changed rows of `shard`, as long as it is served or fenced here.
    async fn raw_tail(&self, shard: ShardId, after: LogPosition) -> Result<Box<dyn RawTail>, TailError>;

    /// The shard row and every move of it that this server knows, from one statement.
    async fn shard_moves(&self, shard: ShardId) -> Result<ShardMoves, StoreError>;

    /// How many rows each table holds of the shard: a scan, for reports.
    async fn rows_of_range(&self, shard: ShardId) -> Result<RowCounts, StoreError>;

    /// Makes the shard's row here, importing. Refused unless the row is absent, gone or aborted by another move, its epoch
    /// is older and no table holds a row of the shard.
    async fn begin_import(&self, begin: BeginImport) -> Result<Answer, StoreError>;

    /// Writes rows and deletions and the progress that they make, in one transaction, if the shard is importing by this
    /// move and the last import was `import.step` (H31: an import of a worker that was replaced comes too late).
    async fn import(&self, import: Import) -> Result<Answer, StoreError>;

    /// Serving to fenced, with a seq: waits for the row's lock, so for everything that is being written. Who commits
    /// later finds the fence (R2).
    async fn fence(&self, fence: FenceShard) -> Result<Answer<Fence>, StoreError>;

    /// Importing to serving: the one decision. Refused unless everything up to the fence is here. The new epoch begins
    /// one seq after the fence.
    async fn commit_import(&self, commit: CommitImport) -> Result<Answer<Committed>, StoreError>;

    /// Importing to aborted: the other decision. Also of a move that was never begun here, so that it can't be begun
    /// later.
    async fn abort_import(&self, abort: AbortImport) -> Result<Answer<Aborted>, StoreError>;

    /// Fenced to serving on the source, in the same epoch. If the fence was never set, it can't be set later by this move.
    async fn unfence(&self, proof: &Aborted) -> Result<Answer, StoreError>;

    /// Fenced to importing on the old source, of which all rows are there: from now on it can follow the new owner.
    async fn begin_reverse(&self, reverse: BeginReverse) -> Result<Answer, StoreError>;

    /// Fenced, or importing in reverse, to gone, with the first deletions in the same transaction: there is no way back.
    /// Answers how many rows went.
    async fn retire(&self, proof: &Committed, rows: usize) -> Result<Answer<u64>, StoreError>;

    /// Deletes at most `rows` rows of a shard that is gone or aborted here, in one transaction, table by table; answers
    /// how many went: 0, none is left.
    async fn delete_range(&self, shard: ShardId, rows: usize) -> Result<Answer<u64>, StoreError>;
}

/// See [`ShardMover::move_preflight`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MovePreflight {
    /// Names the tables' form: both servers must say the same.
    pub schema: String,
    /// What is not as it must be.
    pub findings: Vec<Finding>,
}

/// See [`ShardMover::begin_import`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeginImport {
    /// Which shard.
    pub shard: ShardId,
    /// Which move.
    pub move_id: MoveId,
    /// The epoch that it is to open here: newer than the source's.
    pub epoch: Epoch,
    /// The source's host group; at most 255 bytes.
    pub source: String,
    /// The source's seq; with `position` from [`starting_point`].
    pub applied: Seq,
    /// Where to follow the source's log from.
    pub position: LogPosition,
}

/// See [`ShardMover::import`]; made by [`Copier`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// Which shard.
    pub shard: ShardId,
    /// Which move.
    pub move_id: MoveId,
    /// The step that this one follows.
    pub step: u64,
    /// Rows to insert or overwrite.
    pub puts: Vec<RawRow>,
    /// Rows to delete, if they are there. No key is in both.
    pub deletes: Vec<RawKey>,
    /// What is done afterwards; its `step` is one more.
    pub progress: Progress,
}

/// See [`ShardMover::fence`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceShard {
    /// Which shard.
    pub shard: ShardId,
    /// Which move.
    pub move_id: MoveId,
    /// The epoch in which it serves here.
    pub epoch: Epoch,
    /// The target's host group; at most 255 bytes.
    pub target: String,
}

/// See [`ShardMover::commit_import`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitImport {
    /// Which shard.
    pub shard: ShardId,
    /// Which move.
    pub move_id: MoveId,
    /// The epoch that it opens.
    pub epoch: Epoch,
    /// Where the source was fenced.
    pub fence: Position,
    /// The next id to allocate: not below the source's.
    pub next_id: u64,
    /// What this server had executed before this call: a reverse stream starts there.
    pub executed: LogPosition,
}

/// See [`ShardMover::abort_import`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AbortImport {
    /// Which shard.
    pub shard: ShardId,
    /// Which move.
    pub move_id: MoveId,
    /// The epoch that it was to open.
    pub epoch: Epoch,
    /// The source's host group.
    pub source: String,
}

/// See [`ShardMover::begin_reverse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeginReverse {
    /// That the shard is served elsewhere.
    pub committed: Committed,
    /// The move back: an id of its own.
    pub move_id: MoveId,
    /// The epoch that it is to open here: newer than the one of `committed`.
    pub epoch: Epoch,
    /// The host group that serves now.
    pub source: String,
}
