//! What a server remembers of a move, in `shard_move`; answers, and proofs of the decision.

use std::fmt;

use tao_schema::ids::{Epoch, Position, ShardId};
use tao_schema::rows::ShardState;

use super::rows::{MoveTable, RawKey};
use crate::apply::LockedShard;
use crate::log::LogPosition;

/// Names a move, or one try of it. Never used again, and a later one of the same shard has a greater id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MoveId(pub u64);

impl fmt::Display for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What this server is in a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// The shard comes here.
    Target,
    /// It goes away from here.
    Source,
}

/// What came of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Outcome {
    /// Not decided, as far as this server knows.
    Running,
    /// On a target: it serves since. On a source: it knows that the target does.
    Committed,
    /// Given up.
    Aborted,
    /// On a source: committed, and the shard's rows went since.
    Retired,
}

/// How far the copy is, in the order of keys: tables before `table` are copied, and of `table` all up to `last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Copied {
    /// The table that is being copied; `None`: all are.
    pub table: Option<MoveTable>,
    /// The last key of it that is copied.
    pub last: Option<[u64; 3]>,
}

impl Copied {
    /// Nothing yet.
    pub const NOTHING: Self = Self { table: Some(MoveTable::Object), last: None };
    /// Everything.
    pub const ALL: Self = Self { table: None, last: None };

    /// Up to a key of `table`.
    pub const fn up_to(table: MoveTable, last: [u64; 3]) -> Self {
        Self { table: Some(table), last: Some(last) }
    }

    /// All of `table`.
    pub fn whole(table: MoveTable) -> Self {
        Self { table: table.next(), last: None }
    }

    /// Whether a row of this key, whether it exists or not, is copied: whether changes of it are to be applied.
    pub fn covers(&self, key: &RawKey) -> bool {
        match self.table {
            None => true,
            Some(table) => key.table < table || key.table == table && Some(key.parts) <= self.last,
        }
    }
}

/// How far an import is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Which rows are here.
    pub copied: Copied,
    /// They are as of this position of the source.
    pub applied: Position,
    /// Where to go on in the source's log: nothing of the shard after `applied` stands before it.
    pub position: LogPosition,
    /// Counts imports.
    pub step: u64,
}

/// A row of `shard_move`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveRecord {
    /// The shard.
    pub shard: ShardId,
    /// The move.
    pub move_id: MoveId,
    /// What this server is in it.
    pub role: Role,
    /// On a target, the source's epoch when it began, and once committed the one that it opened; on a source, the one that
    /// was fenced. Epoch 0, which no shard is in: given up before it began here.
    pub epoch: Epoch,
    /// The other host group.
    pub peer: String,
    /// What came of it.
    pub outcome: Outcome,
    /// On a target, how far it is; once committed, `applied` is the fence and `position` where a reverse stream starts. On a
    /// source `applied` is the fence.
    pub progress: Progress,
}

impl MoveRecord {
    /// Whether anything was done here: rows imported, or the shard fenced.
    pub fn began(&self) -> bool {
        self.epoch != NEVER
    }
}

/// Epoch of a record of a move that never began.
pub(crate) const NEVER: Epoch = Epoch(0);

/// See [`super::ShardMover::shard_moves`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardMoves {
    /// The shard's row.
    pub row: Option<LockedShard>,
    /// In order of id.
    pub moves: Vec<MoveRecord>,
}

impl ShardMoves {
    /// The record of a move.
    pub fn of(&self, id: MoveId) -> Option<&MoveRecord> {
        self.moves.iter().find(|record| record.move_id == id)
    }

    /// Whether this server has seen the move come to `outcome`, whatever came after: for replicas, which must have it before
    /// what follows may be done. Records are written in one transaction with the shard's row.
    pub fn has_seen(&self, id: MoveId, role: Role, outcome: Outcome) -> bool {
        let record = self.of(id).filter(|record| record.role == role);
        record.is_some_and(|record| match outcome {
            Outcome::Running => record.began(),
            Outcome::Committed => matches!(record.outcome, Outcome::Committed | Outcome::Retired),
            Outcome::Aborted | Outcome::Retired => record.outcome == outcome,
        })
    }
}

/// What came of a call that changes something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T = ()> {
    /// Done now.
    Done(T),
    /// Done by an earlier call.
    AlreadyDone(T),
    /// Nothing was changed, because of this.
    Refused(Refusal),
}

impl<T> Answer<T> {
    /// What is true now, whoever did it.
    ///
    /// # Errors
    /// The refusal.
    pub fn accepted(self) -> Result<T, Refusal> {
        match self {
            Self::Done(value) | Self::AlreadyDone(value) => Ok(value),
            Self::Refused(refusal) => Err(refusal),
        }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Done(value) => Answer::Done(f(value)),
            Self::AlreadyDone(value) => Answer::AlreadyDone(f(value)),
            Self::Refused(refusal) => Answer::Refused(refusal),
        }
    }
}

/// Why a call was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The shard's row is in a state in which this can't be done, or there is none.
    #[error("the shard is {0:?} here")]
    State(Option<(Epoch, ShardState)>),
    /// Another move has the shard, or a later one had it.
    #[error("move {0} has or had the shard")]
    OtherMove(MoveId),
    /// This server does not know the move.
    #[error("the move is not known here")]
    UnknownMove,
    /// The move has this server for the other side.
    #[error("this server is the {0:?} of the move")]
    WrongRole(Role),
    /// The move was given up.
    #[error("the move was aborted")]
    Aborted,
    /// The move is done.
    #[error("the move was committed")]
    Committed,
    /// The shard was in this epoch already, which is newer than the source's.
    #[error("the shard was in epoch {0} here")]
    Epoch(Epoch),
    /// The target holds rows of the shard that no move of now brought there.
    #[error("rows of the shard are here already: delete the range, or find out whose they are")]
    RowsExist,
    /// Not everything up to the fence is here.
    #[error("not all is copied and applied: applied is {0}")]
    NotDrained(Position),
    /// Another worker went on: the last import is this.
    #[error("the last import was step {0}")]
    Step(u64),
}

/// Where the source was fenced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Epoch and seq of the fence: the last of that epoch.
    pub at: Position,
    /// The next id to allocate.
    pub next_id: u64,
}

/// Proof that a target serves, or did. Only [`super::ShardMover::commit_import`] makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    pub(crate) move_id: MoveId,
    pub(crate) at: Position,
    pub(crate) reverse_from: LogPosition,
}

impl Committed {
    /// The first position of the new epoch, one seq after the fence.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The move.
    pub fn move_id(&self) -> MoveId {
        self.move_id
    }
}

/// Proof that a target never will serve by this move. Only [`super::ShardMover::abort_import`] makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aborted {
    pub(crate) shard: ShardId,
    pub(crate) move_id: MoveId,
}

impl Aborted {
    /// The shard and the move.
    pub fn of(&self) -> (ShardId, MoveId) {
        (self.shard, self.move_id)
    }
}
