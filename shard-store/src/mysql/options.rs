//! What an operator may set about the connection to one database server.

use std::time::Duration;

use crate::store::{StoreError, StoreErrorKind};

/// Settings of a [`MySqlStore`](super::MySqlStore).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Database that holds the tables; made if it does not exist. Lower-case letters, digits and `_`, at most 59: the
    /// topology is in a second one, whose name goes on with `_meta`.
    pub database: String,
    /// Connections for transactions at once. One for each writer lane is enough.
    pub writers: usize,
    /// Connections for reads at once.
    pub readers: usize,
    /// Time to connect and to set up the session.
    pub connect_timeout: Duration,
    /// Time for one statement, and for a free connection. Longer than `lock_wait`.
    pub statement_timeout: Duration,
    /// How long a transaction waits for a row lock; whole seconds (R1).
    pub lock_wait: Duration,
    /// After this time of silence the server ends a writer's session and frees its locks (R1, H4); whole seconds.
    pub writer_wait_timeout: Duration,
    /// How long the outcome of a COMMIT without an answer is looked for (R4). Longer than `writer_wait_timeout`, so
    /// that the lost session's locks go away meanwhile; much shorter than request rows are kept.
    pub resolve_timeout: Duration,
    /// Units that a batch may hold.
    pub max_batch_units: usize,
    /// Bytes of row images that one transaction may have for a tail to follow it: a tail holds a transaction until it is
    /// whole. More than any batch can make.
    pub tail_transaction_bytes: usize,
    /// When a lone write is tried in one round trip.
    pub one_trip: OneTrip,
    /// Accept a server that may lose or reorder acknowledged commits in a crash (R1). Not for data that matters.
    pub allow_unsafe_durability: bool,
}

/// When a lone write is sent before the database was asked, planned from what this store believes to be there. The outcome is
/// the same either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OneTrip {
    /// While most of what was believed lately came true.
    WhenItPays,
    /// Whenever there is a belief at all.
    Always,
    /// Never: lock and read first.
    Never,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            database: "tao".to_owned(),
            writers: 4,
            readers: 8,
            connect_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            lock_wait: Duration::from_secs(1),
            writer_wait_timeout: Duration::from_secs(5),
            resolve_timeout: Duration::from_secs(10),
            max_batch_units: 2_048,
            tail_transaction_bytes: 256 << 20,
            one_trip: OneTrip::WhenItPays,
            allow_unsafe_durability: false,
        }
    }
}

impl Options {
    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// `Rejected`, naming the setting and what it must be.
    pub fn validate(&self) -> Result<(), StoreError> {
        let name_ok = (1..=59).contains(&self.database.len())
            && self.database.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let whole_seconds = |time: Duration| time.subsec_nanos() == 0 && !time.is_zero();
        let rules = [
            (name_ok, "database: 1 to 59 lower-case letters, digits or _"),
            (self.writers > 0 && self.readers > 0, "writers, readers: at least 1"),
            (whole_seconds(self.lock_wait), "lock_wait: whole seconds, at least 1"),
            (whole_seconds(self.writer_wait_timeout), "writer_wait_timeout: whole seconds, at least 1"),
            (self.statement_timeout > self.lock_wait, "statement_timeout: longer than lock_wait"),
            (
                self.resolve_timeout > self.writer_wait_timeout,
                "resolve_timeout: longer than writer_wait_timeout",
            ),
            (
                self.resolve_timeout < crate::write::MAX_RETRY_AGE,
                "resolve_timeout: shorter than the retry age of requests",
            ),
            (self.max_batch_units > 0, "max_batch_units: at least 1"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => {
                Err(StoreError::new(StoreErrorKind::Rejected, format!("MySQL store option {rule}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_together_and_nonsense_is_named() {
        Options::default().validate().unwrap();
        let bad = Options { database: "tao`; DROP".to_owned(), ..Options::default() };
        assert!(bad.validate().unwrap_err().message.contains("database"));
        let bad = Options { resolve_timeout: Duration::from_secs(5), ..Options::default() };
        assert!(bad.validate().unwrap_err().message.contains("resolve_timeout"));
    }
}
