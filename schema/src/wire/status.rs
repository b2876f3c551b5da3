//! Errors on the wire: as a `tao.v1.Error` in replies and frames, as a gRPC status of a call.

use prost::Message;
use tonic::{Code, Status};

use super::proto;
use crate::error::{Error, ErrorCode};

/// Longest message that is sent, in bytes: a status travels in HTTP headers.
const MAX_MESSAGE_BYTES: usize = 1_024;

impl ErrorCode {
    /// The code's number on the wire, from 1.
    pub fn number(self) -> u32 {
        Self::ALL.iter().position(|code| *code == self).map_or(0, |index| index as u32 + 1)
    }

    /// The code of a number; `None`: this program does not know it.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    /// The gRPC code: for clients and proxies that know nothing else.
    pub const fn grpc(self) -> Code {
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::PreconditionFailed | Self::RetryTooLate => Code::FailedPrecondition,
            Self::NotFound => Code::NotFound,
            Self::NoSuchShard => Code::OutOfRange,
            // "Retry at a higher level": after reloading the topology.
            Self::NotOwner => Code::Aborted,
            Self::Overloaded => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::OutcomeUnknown => Code::Unknown,
            Self::LostEpoch | Self::Corrupt => Code::DataLoss,
            Self::Internal => Code::Internal,
        }
    }
}

impl From<Error> for proto::Error {
    fn from(error: Error) -> Self {
        Self {
            code: error.code.number(),
            message: shortened(error.message),
            retryable: error.code.retryable(),
            outcome_certain: error.code.outcome_certain(),
            name: error.code.name().to_owned(),
        }
    }
}

impl From<proto::Error> for Error {
    /// A code that a newer program made becomes [`ErrorCode::Internal`] with the same message; but where the sender
    /// is not certain of the outcome, we aren't either (R4).
    fn from(error: proto::Error) -> Self {
        let code = ErrorCode::from_number(error.code).unwrap_or(if error.outcome_certain {
            ErrorCode::Internal
        } else {
            ErrorCode::OutcomeUnknown
        });
        Self { code, message: shortened(error.message) }
    }
}

impl From<Error> for Status {
    /// The details hold the `tao.v1.Error`, so that nothing is lost on the way.
    fn from(error: Error) -> Self {
        let code = error.code.grpc();
        let error = proto::Error::from(error);
        Self::with_details(code, error.message.clone(), error.encode_to_vec().into())
    }
}

/// The error of a failed call.
///
/// A status with details comes from a node of the tier and says exactly what happened. One without comes from the
/// road: a connection broke, a deadline passed, a proxy spoke. If a write was on that road, it may have happened
/// (R4): with `write_sent` such a status is [`ErrorCode::OutcomeUnknown`], else what the gRPC code suggests.
pub fn error_of_status(status: &Status, write_sent: bool) -> Error {
    if !status.details().is_empty()
        && let Ok(error) = proto::Error::decode(status.details())
        && error.code != 0
    {
        return error.into();
    }
    let code = match status.code() {
        // Said by the server's gRPC layer before it reads the request, or about how it is written.
        Code::Unimplemented => ErrorCode::Unavailable,
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => ErrorCode::InvalidArgument,
        _ if write_sent => ErrorCode::OutcomeUnknown,
        Code::DeadlineExceeded => ErrorCode::DeadlineExceeded,
        Code::ResourceExhausted => ErrorCode::Overloaded,
        Code::Internal | Code::DataLoss => ErrorCode::Internal,
        _ => ErrorCode::Unavailable,
    };
    Error::new(code, shortened(format!("gRPC {:?}: {}", status.code(), status.message())))
}

impl From<Status> for Error {
    /// As [`error_of_status`] for a write that was sent: the careful reading.
    fn from(status: Status) -> Self {
        error_of_status(&status, true)
    }
}

fn shortened(mut message: String) -> String {
    const MARK: &str = "...";
    if message.len() > MAX_MESSAGE_BYTES {
        let most = MAX_MESSAGE_BYTES - MARK.len();
        let cut = (0..=most).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(cut);
        message.push_str(MARK);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_published_ones() {
        for (at, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code.number(), at as u32 + 1);
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
        assert_eq!(ErrorCode::from_number(ErrorCode::ALL.len() as u32 + 1), None);
    }

    #[test]
    fn every_error_comes_back_from_a_status() {
        for code in ErrorCode::ALL {
            let error = Error::new(code, format!("about {code}"));
            assert_eq!(Error::from(Status::from(error.clone())), error);
            assert_eq!(Error::from(proto::Error::from(error.clone())), error);
        }
    }

    #[test]
    fn a_code_of_the_future_keeps_its_certainty() {
        let from_future = |outcome_certain| {
            let error =
                proto::Error { code: 999, message: "new".into(), outcome_certain, ..Default::default() };
            Error::from(error)
        };
        assert_eq!(from_future(true), Error::internal("new"));
        assert_eq!(from_future(false), Error::new(ErrorCode::OutcomeUnknown, "new"));
    }

    #[test]
    fn a_broken_connection_never_says_that_a_write_failed() {
        for code in
            [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown, Code::Internal]
        {
            let status = Status::new(code, "transport error");
            assert_eq!(error_of_status(&status, true).code, ErrorCode::OutcomeUnknown, "{code:?}");
            assert_ne!(error_of_status(&status, false).code, ErrorCode::OutcomeUnknown, "{code:?}");
        }
        let foreign = Status::with_details(Code::Unavailable, "proxy", vec![0xff, 0xff].into());
        assert_eq!(error_of_status(&foreign, false).code, ErrorCode::Unavailable);
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let sent = proto::Error::from(Error::internal("é".repeat(2_000)));
        assert!(sent.message.len() <= MAX_MESSAGE_BYTES && sent.message.ends_with("é..."));
    }
}
