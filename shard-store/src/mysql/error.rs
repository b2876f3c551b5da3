//! What a database error means to the caller: the one place that knows server error codes.

use mysql_async::{DriverError, Error as Driver};

use super::columns::Unexpected;
use crate::store::{StoreError, StoreErrorKind};

/// Error codes that callers inside this module act upon.
pub(super) mod code {
    pub(in crate::mysql) const LOCK_WAIT_TIMEOUT: u16 = 1205;
    pub(in crate::mysql) const DUPLICATE_KEY: u16 = 1062;
}

/// A statement that failed, before it is told to the caller.
#[derive(Debug)]
pub(super) struct Failure {
    /// The server's error code, if the server answered at all.
    pub(super) code: Option<u16>,
    lost: bool,
    /// What the caller hears. Says "nothing was written": of COMMIT, only [`super::resolve`] decides.
    pub(super) error: StoreError,
}

impl Failure {
    /// Translates an error of the driver. `server` and `what` are named in the message; data and secrets are not:
    /// server messages that quote values (1062, 1264, 1366, 1406) are replaced.
    pub(super) fn of(error: &Driver, server: &str, what: &str) -> Self {
        let (code, kind, text) = match error {
            Driver::Server(error) => {
                let (kind, text) = meaning(error.code);
                (Some(error.code), kind, format!("{text} (error {})", error.code))
            }
            Driver::Io(error) => (None, StoreErrorKind::Unavailable, format!("connection lost: {error}")),
            Driver::Driver(DriverError::PacketTooLarge) => {
                (None, StoreErrorKind::Rejected, "a packet larger than the server takes".to_owned())
            }
            Driver::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
                (None, StoreErrorKind::Unavailable, "connection closed".to_owned())
            }
            Driver::Driver(DriverError::FromValue { .. } | DriverError::FromRow { .. }) => {
                (None, StoreErrorKind::Incompatible, "an answer of an unexpected type".to_owned())
            }
            Driver::Driver(DriverError::UnexpectedPacket { .. } | DriverError::PacketOutOfOrder) => {
                (None, StoreErrorKind::Unavailable, "an answer out of order".to_owned())
            }
            Driver::Driver(DriverError::UnknownAuthPlugin { .. } | DriverError::CleartextPluginDisabled) => {
                let text =
                    "access denied: user unknown, or of an authentication method that is not supported";
                (None, StoreErrorKind::Incompatible, text.to_owned())
            }
            Driver::Driver(error) => (None, StoreErrorKind::Rejected, error.to_string()),
            Driver::Other(_) => (None, StoreErrorKind::Unavailable, "the driver failed".to_owned()),
            Driver::Url(_) => (None, StoreErrorKind::Rejected, "the address is not valid".to_owned()),
        };
        let lost = match error {
            Driver::Io(_) => true,
            Driver::Driver(error) => matches!(error, DriverError::ConnectionClosed),
            Driver::Server(error) => matches!(error.code, 1053 | 1927 | 4031),
            Driver::Other(_) | Driver::Url(_) => false,
        };
        Self { code, lost, error: StoreError::new(kind, format!("{server}: {what}: {text}")) }
    }

    /// A statement that took too long; its connection is not to be used again.
    pub(super) fn timeout(server: &str, what: &str, limit: std::time::Duration) -> Self {
        let message = format!("{server}: {what}: no answer within {limit:?}");
        Self { code: None, lost: false, error: StoreError::new(StoreErrorKind::Unavailable, message) }
    }

    /// An answer that is not what its statement asks for.
    pub(super) fn unexpected(server: &str, what: &str, unexpected: &Unexpected) -> Self {
        let message = format!("{server}: {what}: answered {}", unexpected.0);
        Self { code: None, lost: false, error: StoreError::new(StoreErrorKind::Incompatible, message) }
    }

    /// Whether the connection may be used again after a ROLLBACK: the server answered, and did not say goodbye.
    pub(super) fn connection_usable(&self) -> bool {
        self.code.is_some() && !self.lost
    }

    /// Whether the connection was dead.
    pub(super) fn connection_lost(&self) -> bool {
        self.lost
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// What a server's error code means to us, in our words.
fn meaning(code: u16) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Incompatible, Rejected, Unavailable};
    match code {
        1205 => (Unavailable, "another transaction held a row lock for too long"),
        1213 => (Unavailable, "rolled back to break a deadlock"),
        1290 | 1792 | 1836 => (Unavailable, "the server is read-only: it is a replica or is being moved"),
        1040 | 1203 | 1226 | 1461 => (Unavailable, "the server has no connection or statement left"),
        1021 | 1114 | 3675 => (Unavailable, "the server's disk or table space is full"),
        1053 | 1927 | 1969 | 1317 | 3024 | 4031 => (Unavailable, "the server ended the session or statement"),
        1041 | 1037 | 1038 => (Unavailable, "the server is out of memory"),
        1129 | 1130 => (Unavailable, "the server refuses connections from this host"),
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 => {
            (Incompatible, "access denied: check user, password and grants")
        }
        1049 | 1051 | 1054 | 1146 => {
            (Incompatible, "a database, table or column is missing: the schema is not the expected one")
        }
        1064 | 1193 | 1305 | 1235 => (Incompatible, "the server does not understand the statement"),
        1153 | 1301 => (Rejected, "a packet larger than the server's max_allowed_packet"),
        1690 => (Rejected, "a statement affected another number of rows than was planned"),
        1062 => (Rejected, "a row exists already that must not"),
        1264 | 1366 | 1406 | 1048 => (Rejected, "a value does not fit its column"),
        _ => (Rejected, "the server refused the statement"),
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    #[test]
    fn codes_have_meanings_and_messages_no_data() {
        let check = |code: u16, kind| {
            let message = "secret value".to_owned();
            let error = Driver::Server(ServerError { code, message, state: "HY000".to_owned() });
            let failure = Failure::of(&error, "db1:3306", "commit/put_edges");
            assert_eq!((failure.code, failure.error.kind), (Some(code), kind), "{code}");
            assert!(failure.error.message.starts_with("db1:3306: commit/put_edges: "));
            assert!(!failure.error.message.contains("secret"));
        };
        for code in [1205, 1213, 1290, 1836, 1040, 1021, 1114, 1053] {
            check(code, StoreErrorKind::Unavailable);
        }
        for code in [1146, 1054, 1045, 1064] {
            check(code, StoreErrorKind::Incompatible);
        }
        for code in [1153, 1062, 1406, 9999] {
            check(code, StoreErrorKind::Rejected);
        }
    }
}
