//! A file a verb.

pub mod assoc;
pub mod check;
pub mod dev;
pub mod doctor;
pub mod id;
pub mod lag;
pub mod load;
pub mod object;
pub mod observe;
mod reading;
pub mod region;
pub mod schema;
pub mod shard;
pub mod status;
pub mod topology;
mod values;

use tao_admin::shard::{ErrorKind, MoveError};
use tao_schema::{Error, ErrorCode};

/// The documented exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<MoveError>() {
        return match error.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Refused | ErrorKind::Stopped => 1,
            ErrorKind::Unavailable => 3,
        };
    }
    match error.downcast_ref::<Error>().map(|error| error.code) {
        Some(ErrorCode::OutcomeUnknown | ErrorCode::RetryTooLate) => 4,
        Some(ErrorCode::InvalidArgument | ErrorCode::NoSuchShard) => 2,
        Some(ErrorCode::NotFound | ErrorCode::PreconditionFailed) => 1,
        Some(_) => 3,
        None if error.downcast_ref::<UsageError>().is_some() => 2,
        None => 3,
    }
}

/// Input that can't be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
