//! What a move ends with, if not with its goal.

use tao_shard_store::StoreError;
use tao_shard_store::log::{TailError, TailErrorKind};
use tao_shard_store::moves::{CopyError, Refusal};
use tao_shard_store::store::StoreErrorKind;

/// What an error means to whoever ordered the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The order makes no sense: another one does.
    Usage,
    /// Looked at, and the answer is no: a check failed, rows differ, a limit was not kept. The shard is served as before.
    Refused,
    /// It can't go on now: servers don't answer, or another worker has it. The move stays, and `resume` goes on with it.
    Unavailable,
    /// It can't go on until somebody has changed something: the message says what.
    Stopped,
}

/// An error of a move. The message says what, which limit, and what to do next.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct MoveError {
    /// What it means.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

/// Why work on a move was interrupted; inside this module.
#[derive(Debug)]
pub(super) enum Halt {
    /// It may pass: look again in a while.
    Passing(String),
    /// The source's log can't be followed from where the copy is: it is to be copied anew.
    Recopy(String),
    /// The rows are not what was thought: look again at once.
    LookAgain(String),
    /// For whoever ordered it.
    Over(MoveError),
    /// A watcher ended it, as a crash would.
    Cut(anyhow::Error),
}

pub(super) type Done<T = ()> = Result<T, Halt>;

impl MoveError {
    /// An order that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Usage, message: message.into() }
    }

    /// The answer is no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Refused, message: message.into() }
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unavailable, message: message.into() }
    }

    /// Not before something is changed.
    pub fn stopped(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Stopped, message: message.into() }
    }
}

impl From<MoveError> for Halt {
    fn from(error: MoveError) -> Self {
        Self::Over(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error.kind {
            // Whatever was uncertain shows when it is looked at again.
            StoreErrorKind::Unavailable | StoreErrorKind::Uncertain => Self::Passing(error.message),
            StoreErrorKind::Rejected | StoreErrorKind::Incompatible => {
                Self::Over(MoveError::stopped(error.message))
            }
        }
    }
}

impl From<TailError> for Halt {
    fn from(error: TailError) -> Self {
        match error.kind {
            TailErrorKind::Disconnected => Self::Passing(error.message),
            TailErrorKind::PositionLost => Self::Recopy(error.message),
            TailErrorKind::NotUnderstood => Self::Over(MoveError::stopped(format!(
                "{}; a move can't pass it: give it up with `tao shard abort`, see that both sides have the same tables, and \
                 begin anew",
                error.message
            ))),
        }
    }
}

impl From<CopyError> for Halt {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::SourceLeft(_) => Self::LookAgain(error.to_string()),
            _ => Self::Recopy(error.to_string()),
        }
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        // Another worker went on, or decided.
        Self::LookAgain(refusal.to_string())
    }
}

impl From<Halt> for MoveError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Over(error) => error,
            Halt::Passing(message) | Halt::LookAgain(message) | Halt::Recopy(message) => {
                Self::unavailable(message)
            }
            Halt::Cut(error) => Self::unavailable(format!("{error:#}")),
        }
    }
}
