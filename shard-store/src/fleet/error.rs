//! What can go wrong with the local fleet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::log::LogPosition;
use crate::store::StoreError;

/// An error of the fleet helper. None is worth a blind retry: each names what a person has to change.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No server binary was found.
    #[error(
        "no MariaDB or MySQL server binary found ({looked}); install one (Debian, Ubuntu: \
         apt-get install --no-install-recommends mariadb-server-core) or set {variable} to the path of one"
    )]
    NoBinary {
        /// Where it was looked for.
        looked: String,
        /// The environment variable that would name one.
        variable: &'static str,
    },
    /// A file is not a usable database server.
    #[error("{path} is not a usable database server: {reason}")]
    BadBinary {
        /// The file.
        path: PathBuf,
        /// What it said, or why it could not be asked.
        reason: String,
    },
    /// The options ask for something impossible.
    #[error("fleet options: {0}")]
    BadOptions(String),
    /// The data folder is held by another fleet.
    #[error("{path} is in use by another fleet (waited {waited:?} for its lock)")]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// How long its lock was waited for.
        waited: Duration,
    },
    /// The data folder was made by the other engine, or its description is damaged.
    #[error("{path} can't be reused: {reason}")]
    BadData {
        /// The data folder or the file in it.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The empty database that all servers are copied from could not be made.
    #[error("making the template database in {path} failed:\n{log}")]
    Template {
        /// The folder that was being filled.
        path: PathBuf,
        /// The end of the server's log.
        log: String,
    },
    /// A server ended before it answered.
    #[error("database server {index} on port {port} ended while starting; its error log ends:\n{log}")]
    Ended {
        /// Index of the server in the fleet.
        index: usize,
        /// The port it was to listen on.
        port: u16,
        /// The end of its error log.
        log: String,
    },
    /// A server did not answer in time.
    #[error(
        "database server {index} on port {port} gave no answer within {limit:?} ({last}); its error log ends:\n{log}"
    )]
    Timeout {
        /// Index of the server in the fleet.
        index: usize,
        /// The port it was to listen on.
        port: u16,
        /// [`FleetOptions::start_timeout`](super::FleetOptions).
        limit: Duration,
        /// The last answer or error of the connection attempts.
        last: String,
        /// The end of its error log.
        log: String,
    },
    /// The fleet has no server of this index, or it is not in the state that the call needs.
    #[error("database server {index}: {reason}")]
    NoSuchServer {
        /// The index asked for.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The fleet was not started with what the call needs.
    #[error("database server {index}: the fleet was started without {what}")]
    NotPrepared {
        /// Index of the server in the fleet.
        index: usize,
        /// What is missing.
        what: &'static str,
    },
    /// An administrator's call to a server failed.
    #[error("database server {index}: {source}")]
    Admin {
        /// Index of the server in the fleet.
        index: usize,
        /// What failed.
        source: StoreError,
    },
    /// A server can't follow its primary, because it has transactions that the primary lacks (H22).
    #[error(
        "database server {index} has {extra}, which server {primary}, its primary, lacks: it stays out until it is rebuilt"
    )]
    Diverged {
        /// Index of the server in the fleet.
        index: usize,
        /// Index of the primary.
        primary: usize,
        /// What only the server has.
        extra: LogPosition,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Adds what was being done to an I/O error.
pub(super) trait IoContext<T> {
    /// `what` and `path` make the message: "copy /a/b: no space left on device".
    fn at(self, what: &str, path: &Path) -> Result<T, FleetError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, what: &str, path: &Path) -> Result<T, FleetError> {
        self.map_err(|source| FleetError::Io { what: format!("{what} {}", path.display()), source })
    }
}
