//! [`ShardMover`]: what a move of a shard between servers asks of each of them (PROTOCOL R25, holes H29-H32).
//!
//! | file | is |
//! |---|---|
//! | `rows` | rows and keys of the seven tables as they are, pages and log transactions of them |
//! | `record` | what a server remembers of a move; answers and proofs |
//! | `rules` | which call does what in which state: pure, the same for every engine |
//! | `promotion` | what a promotion does with a row, and leaves to moves: pure |
//! | `book` | what is written down of a move where the topology is |
//! | `copier` | what to import next, given chunks and the log: pure |
//! | `start` | where the log is followed from |
//! | `verify` | the exact comparison of a chunk |
//!
//! The *target's* shard row decides a move: importing to serving, or to aborted, once. Everything that must come after
//! one of the two asks for the proof that it happened: [`Committed`], [`Aborted`].
//!
//! Ids of moves only grow, shard by shard: a server that knows of a move refuses to begin, fence or turn round for one with a
//! smaller id. So whatever a worker that was replaced still has under way comes too late. Each try of a cutover has an id of
//! its own: what was aborted stays so, and the next try continues from its rows ([`BeginImport::continues`]).
//!
//! An epoch is opened by a commit, the fence's and one more; by taking a fence away, the fence's and two more, because that
//! commit may have happened on a server that is gone; and by a promotion, on either side, at any time. So nobody chooses an
//! epoch beforehand, and what is applied is told as epoch and seq.

mod book;
mod copier;
pub(crate) mod promotion;
mod record;
mod rows;
pub(crate) mod rules;
mod start;
mod verify;

use async_trait::async_trait;
use tao_schema::ids::{Epoch, Position, ShardId};

pub use self::book::{MoveEntry, MoveLease, MoveProgress, MoveState, NewMove};
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

    /// Makes the shard's row here, importing, in the source's epoch. Refused unless the row is absent, gone or aborted, its
    /// epoch is not newer than the source's and no table holds a row of the shard; or it is aborted and the move goes on
    /// with those rows, see [`BeginImport::continues`].
    async fn begin_import(&self, begin: BeginImport) -> Result<Answer, StoreError>;

    /// Writes rows and deletions and the progress that they make, in one transaction, if the shard is importing by this
    /// move and the last import was `import.step` (H31: an import of a worker that was replaced comes too late).
    async fn import(&self, import: Import) -> Result<Answer, StoreError>;

    /// Serving to fenced, with a seq: waits for the row's lock, so for everything that is being written. Who commits
    /// later finds the fence (R2).
    async fn fence(&self, fence: FenceShard) -> Result<Answer<Fence>, StoreError>;

    /// Importing to serving: the one decision. Refused unless exactly everything up to the fence, epoch and seq, is here.
    /// Opens the fence's epoch + 1, which begins one seq after the fence, whatever epoch the row had meanwhile.
    async fn commit_import(&self, commit: CommitImport) -> Result<Answer<Committed>, StoreError>;

    /// Importing to aborted: the other decision. Also of a move that was never begun here, so that it can't be begun
    /// later.
    async fn abort_import(&self, abort: AbortImport) -> Result<Answer<Aborted>, StoreError>;

    /// Fenced to serving on the source, in the fence's epoch + 2, which begins one seq after the fence; answers that
    /// position. If the fence was never set, it can't be set later by this move, and the answer is where the shard is.
    ///
    /// The caller sees to it that the abort is on every server that could become the target's primary, and the fence on
    /// every one that could become the source's.
    async fn unfence(&self, proof: &Aborted) -> Result<Answer<Position>, StoreError>;

    /// Fenced to importing on the old source, of which all rows are there: from now on it can follow the new owner. Keeps its
    /// epoch.
    async fn begin_reverse(&self, reverse: BeginReverse) -> Result<Answer, StoreError>;

    /// Fenced, or importing in reverse or done with that, to gone, with the first deletions in the same transaction: there is
    /// no way back. Answers how many rows went.
    async fn retire(&self, proof: &Committed, rows: usize) -> Result<Answer<u64>, StoreError>;

    /// Deletes at most `rows` rows of a shard that is gone or aborted here, in one transaction, table by table; answers
    /// how many went: 0, none is left. One that was aborted is gone then: no other try can go on with its rows.
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
    /// Which move: above all that this server knows of the shard.
    pub move_id: MoveId,
    /// The source's host group; at most 255 bytes.
    pub source: String,
    /// Where the source is; with `position` from [`starting_point`].
    pub applied: Position,
    /// Where to follow the source's log from.
    pub position: LogPosition,
    /// The move that was aborted here last and had begun: this one goes on from its rows and its progress, and `applied` and
    /// `position` are not looked at. What was written on the source since then is in its log.
    pub continues: Option<MoveId>,
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
    /// Which move: above all that this server knows of the shard.
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
    /// The source's host group; at most 255 bytes.
    pub source: String,
}

/// See [`ShardMover::begin_reverse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeginReverse {
    /// That the shard is served elsewhere.
    pub committed: Committed,
    /// The move back: an id of its own, above all that this server knows of the shard.
    pub move_id: MoveId,
    /// The host group that serves now; at most 255 bytes.
    pub source: String,
}
