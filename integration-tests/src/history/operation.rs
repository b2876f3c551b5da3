//! What was done and seen, and what judges say of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tao_schema::ErrorCode;
use tao_schema::ops::{ReadReply, ReadRequest, WriteReply, WriteRequest};

/// One user: calls of one session follow each other, or overlap where the application lets them. Number 0 is nobody:
/// calls without a session, which promise each other nothing (I3 does not judge them).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u32);

impl SessionId {
    /// Calls without a session.
    pub const NONE: Self = Self(0);
}

/// One call with its outcome. Times count from the run's beginning, by one clock for all.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Unique in the run.
    pub id: u64,
    /// Who called.
    pub session: SessionId,
    /// Where: the name of the node or the region that was asked.
    pub place: String,
    /// When it was sent.
    pub start: Duration,
    /// When its outcome was known.
    pub end: Duration,
    /// What was asked.
    pub call: Call,
    /// What came back. [`ErrorCode::OutcomeUnknown`] and timeouts of writes are unknown, never failed (I1).
    pub result: Result<Reply, ErrorCode>,
}

/// What was asked, with what it demanded.
#[derive(Clone, Debug)]
pub enum Call {
    /// A read; its demand carries the session's position.
    Read(ReadRequest),
    /// A write of one operation or of an atomic batch (I8).
    Write(WriteRequest),
}

/// What came back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To a read.
    Read(ReadReply),
    /// To a write.
    Write(WriteReply),
}

/// Everything that clients did.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// In the order of their ends.
    pub operations: Vec<Operation>,
}

/// What must hold in every run, whatever happens to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Invariant {
    /// Acknowledged writes are in the log and in the tables; the log replayed gives the tables.
    I1,
    /// A read with a token is right at a position that is not below it, or fails openly.
    I2,
    /// Within a session, what was seen of a key never gets older.
    I3,
    /// After writes have stopped, every cache holds what the primary holds.
    I4,
    /// Every edge has its inverse, and no inverse is alone.
    I5,
    /// A count is the length of its list.
    I6,
    /// A move leaves nothing behind and loses nothing; no key has two owners.
    I7,
    /// A batch is there whole or not at all.
    I8,
    /// When faults are over, the cluster works again, within bounds; and a run did enough to mean something.
    I9,
}

/// Something that must not be.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Violation {
    /// What it breaks.
    pub invariant: Invariant,
    /// What is wrong, with the thing, the positions and the values.
    pub message: String,
    /// The shortest part of history and log that shows it, a line each.
    pub slice: Vec<String>,
}

/// What judges found.
#[derive(Clone, Default, Debug, serde::Serialize)]
pub struct Judgement {
    /// How many single facts were checked for each invariant: a judge that had nothing to judge is seen.
    pub checked: BTreeMap<Invariant, u64>,
    /// What is wrong: the first of it.
    pub violations: Vec<Violation>,
    /// Violations that are not listed.
    pub unlisted: u64,
    /// Answers of which nothing could be said: what they show was written before the log that is known.
    pub unjudged: u64,
    /// Acknowledged writes that a promotion lost, as its mode allows.
    pub lost: u64,
    /// Edges whose other side is not the same since a lossy promotion, as long as R23's applied mark is missing: known, neither passed nor
    /// refused.
    pub halved: u64,
}
