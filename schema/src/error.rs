//! The error that users see, and its two questions: may I retry, and do I know what happened?

use std::fmt;

/// What went wrong. Small on purpose: a client matches on it. Mapped to a gRPC code once, in [`crate::wire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ErrorCode {
    /// The request contradicts the graph schema or a limit; the message names the thing.
    InvalidArgument,
    /// A precondition did not hold: the object exists already, or its version is another. Nothing was written.
    PreconditionFailed,
    /// The object that a write needs does not exist. (A read of an absent object is an answer, not an error.)
    NotFound,
    /// No place serves this shard or has this id.
    NoSuchShard,
    /// This node does not order the shard's writes now; reload the topology.
    NotOwner,
    /// A queue, a window or a budget is full. Nothing was done.
    Overloaded,
    /// A node or a database can't be reached, or is read-only. Nothing was done.
    Unavailable,
    /// The deadline passed before anything was sent on. Nothing was done.
    DeadlineExceeded,
    /// The write may or may not have happened (PROTOCOL R4). A retry with the same request id is safe.
    OutcomeUnknown,
    /// The retry came later than request ids are kept (PROTOCOL R3). Read, then decide.
    RetryTooLate,
    /// The token names a position that its epoch never reached or has lost (PROTOCOL R19).
    LostEpoch,
    /// Stored data or a peer's message can't be understood: schema versions differ, or data is damaged.
    Corrupt,
    /// A fault of ours.
    Internal,
}

impl ErrorCode {
    /// All codes, in wire order (index + 1 is the number on the wire).
    pub const ALL: [Self; 13] = [
        Self::InvalidArgument,
        Self::PreconditionFailed,
        Self::NotFound,
        Self::NoSuchShard,
        Self::NotOwner,
        Self::Overloaded,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::OutcomeUnknown,
        Self::RetryTooLate,
        Self::LostEpoch,
        Self::Corrupt,
        Self::Internal,
    ];

    /// Whether the same request, with the same request id, may succeed later.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::NotOwner
                | Self::Overloaded
                | Self::Unavailable
                | Self::DeadlineExceeded
                | Self::OutcomeUnknown
        )
    }

    /// Whether it is certain that nothing was written. "Failed" is said only then.
    pub const fn outcome_certain(self) -> bool {
        !matches!(self, Self::OutcomeUnknown | Self::RetryTooLate)
    }

    /// The code's name as operators see it in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::PreconditionFailed => "precondition_failed",
            Self::NotFound => "not_found",
            Self::NoSuchShard => "no_such_shard",
            Self::NotOwner => "not_owner",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RetryTooLate => "retry_too_late",
            Self::LostEpoch => "lost_epoch",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of the tier: a code to match on, and a sentence that names the thing, the limit and the next step.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} [{code}]")]
pub struct Error {
    /// What to match on.
    pub code: ErrorCode,
    /// What to read. Never contains data or secrets.
    pub message: String,
}

impl Error {
    /// An error with `code` that says `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`ErrorCode::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// [`ErrorCode::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// See [`ErrorCode::retryable`].
    pub const fn retryable(&self) -> bool {
        self.code.retryable()
    }
}

/// Result with the tier's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
