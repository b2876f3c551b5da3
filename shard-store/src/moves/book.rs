//! What is written down of a move where the topology is: for people, and so that one worker goes on where another ended.
//! Never decisive (PROTOCOL R25): what happened is in the shard rows and in `shard_move` of the two servers.

use tao_schema::ids::{HostGroupId, ShardId};

use super::record::MoveId;

/// How far a move is, as its worker noted it last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MoveState {
    /// Ordered; nothing was done.
    Planned,
    /// Rows are being copied.
    Copying,
    /// Everything is copied, and the log is followed.
    Replicating,
    /// The two sides are being compared.
    Verifying,
    /// They are equal: the cutover may come.
    Ready,
    /// Between the fence and what decides: the one state in which writes wait.
    Cutover,
    /// The target serves, and the source follows it.
    Reversible,
    /// Over: what was left on the other side is gone, or is being deleted.
    Finalized,
    /// Over, or being cleaned up: the source serves as before.
    Aborted,
}

impl MoveState {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Planned,
        Self::Copying,
        Self::Replicating,
        Self::Verifying,
        Self::Ready,
        Self::Cutover,
        Self::Reversible,
        Self::Finalized,
        Self::Aborted,
    ];

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Copying => "COPYING",
            Self::Replicating => "REPLICATING",
            Self::Verifying => "VERIFYING",
            Self::Ready => "READY",
            Self::Cutover => "CUTOVER",
            Self::Reversible => "REVERSIBLE",
            Self::Finalized => "FINALIZED",
            Self::Aborted => "ABORTED",
        }
    }
}

/// A move as the book has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveEntry {
    /// The move, by which people know it.
    pub id: MoveId,
    /// Raised by every change.
    pub version: u64,
    /// The shard.
    pub shard: ShardId,
    /// Whether it is not over.
    pub open: bool,
    /// The host group that served when the move was ordered.
    pub home: HostGroupId,
    /// What the worker says.
    pub at: MoveProgress,
    /// What operators want: the mover's own text.
    pub orders: String,
    /// Who works on it, until when; it may have run out.
    pub lease: Option<MoveLease>,
    /// When it was ordered, in milliseconds since the Unix epoch, by the clock of this server, as all times here.
    pub created_at: u64,
    /// Its last change but for leases.
    pub changed_at: u64,
    /// When this was read.
    pub now: u64,
}

/// What only the worker writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveProgress {
    /// Where the shard goes away from: after a reversal the two have changed places.
    pub source: HostGroupId,
    /// Where it goes to.
    pub target: HostGroupId,
    /// The id by which the servers know what is under way.
    pub attempt: MoveId,
    /// That of the stream back.
    pub back: Option<MoveId>,
    /// How far it is.
    pub state: MoveState,
    /// The rest: the mover's own text.
    pub notes: String,
}

/// Who works on a move. Only a hint that keeps workers out of each other's way; what a worker does that was replaced is refused by
/// the servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveLease {
    /// The worker's name; at most 255 bytes.
    pub worker: String,
    /// Until when.
    pub until: u64,
}

/// A move to be written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewMove {
    /// From [`crate::mysql::MoveBook::next_id`]; also its first attempt.
    pub id: MoveId,
    /// The shard.
    pub shard: ShardId,
    /// Who serves it.
    pub source: HostGroupId,
    /// Where it is to go.
    pub target: HostGroupId,
    /// See [`MoveEntry::orders`].
    pub orders: String,
    /// See [`MoveProgress::notes`].
    pub notes: String,
}
