//! The statements, and everything in which MariaDB and MySQL differ.

use mysql_async::Row;

use crate::log::LogPosition;
use crate::store::{StoreError, StoreErrorKind};

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flavour {
    MariaDb,
    MySql,
}

/// One statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    /// Its file, as errors name it.
    pub(super) name: &'static str,
    text: &'static str,
}

/// What the two servers say with different words.
pub(super) struct Dialect {
    pub(super) flavour: Flavour,
    pub(super) session: Sql,
    pub(super) identity: Sql,
    pub(super) positions: Sql,
    pub(super) status: Sql,
    pub(super) close: Sql,
    pub(super) open: Sql,
    pub(super) admin_only: Sql,
    pub(super) start: Sql,
    pub(super) stop: Sql,
    pub(super) stop_receiver: Sql,
    pub(super) start_receiver: Sql,
    pub(super) start_applier: Sql,
    pub(super) forget: Sql,
    pub(super) change_source: Sql,
    pub(super) change_delay: Sql,
    pub(super) mode: Sql,
    pub(super) lossless_primary: Sql,
    pub(super) lossless_replica: Sql,
    pub(super) asynchronous: Sql,
    columns: Columns,
}

/// Names in the answer about a replica.
struct Columns {
    host: &'static str,
    port: &'static str,
    receiver: &'static str,
    applier: &'static str,
    retrieved: &'static str,
    behind: &'static str,
}

/// Whom a server follows, and how it gets on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Following {
    /// `host:port` of the source.
    pub source: String,
    /// Whether the thread that fetches the source's log is on, connected or trying to be.
    pub receiver_on: bool,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether the thread that applies what was fetched is on.
    pub applier_on: bool,
    /// What went wrong last with either, as the server says it.
    pub error: Option<String>,
    /// What was fetched, as far as the server tells: on MariaDB the last transaction of each domain, on MySQL those
    /// since replication was set up.
    pub retrieved: LogPosition,
    /// The server's own guess of its lag in whole seconds; `None`: it has none.
    pub behind_seconds: Option<u64>,
}

macro_rules! sql {
    ($file:expr) => {
        Sql {
            name: concat!("replication/", $file),
            text: include_str!(concat!("../../sql/replication/", $file, ".sql")),
        }
    };
}

macro_rules! dialect {
    ($folder:literal, $flavour:expr, $columns:expr) => {
        Dialect {
            flavour: $flavour,
            session: sql!(concat!($folder, "/session")),
            identity: sql!(concat!($folder, "/identity")),
            positions: sql!(concat!($folder, "/positions")),
            status: sql!(concat!($folder, "/status")),
            close: sql!(concat!($folder, "/close")),
            open: sql!(concat!($folder, "/open")),
            admin_only: sql!(concat!($folder, "/admin_only")),
            start: sql!(concat!($folder, "/start")),
            stop: sql!(concat!($folder, "/stop")),
            stop_receiver: sql!(concat!($folder, "/stop_receiver")),
            start_receiver: sql!(concat!($folder, "/start_receiver")),
            start_applier: sql!(concat!($folder, "/start_applier")),
            forget: sql!(concat!($folder, "/forget")),
            change_source: sql!(concat!($folder, "/change_source")),
            change_delay: sql!(concat!($folder, "/change_delay")),
            mode: sql!(concat!($folder, "/mode")),
            lossless_primary: sql!(concat!($folder, "/lossless_primary")),
            lossless_replica: sql!(concat!($folder, "/lossless_replica")),
            asynchronous: sql!(concat!($folder, "/async")),
            columns: $columns,
        }
    };
}

pub(super) const VERSION: Sql =
    Sql { name: "bootstrap/version", text: include_str!("../../sql/bootstrap/version.sql") };
pub(super) const SET_ROLE: Sql = sql!("set_role");
pub(super) const LOCAL: Sql = sql!("local");
pub(super) const LOCK: Sql = sql!("lock");
pub(super) const UNLOCK: Sql = sql!("unlock");
pub(super) const BEGIN: Sql = sql!("begin");
pub(super) const COMMIT: Sql =
    Sql { name: "commit/commit", text: include_str!("../../sql/commit/commit.sql") };
pub(super) const SHARDS_FOR_UPDATE: Sql = sql!("shards_for_update");
pub(super) const HAS_MOVES: Sql = sql!("has_moves");
pub(super) const FENCED_BY_MOVES: Sql = sql!("fenced_by_moves");
pub(super) const OPEN_HISTORY: Sql = sql!("open_history");
pub(super) const OPEN_REQUESTS: Sql = sql!("open_requests");
pub(super) const OPEN_SHARDS: Sql = sql!("open_shards");
/// MariaDB only.
pub(super) const CONTINUE_OWN: Sql = sql!("mariadb/continue_own");
/// MySQL only, as the next ones.
pub(super) const PLUGINS: Sql = sql!("mysql/plugins");
pub(super) const INSTALL_SOURCE: Sql = sql!("mysql/install_source");
pub(super) const INSTALL_REPLICA: Sql = sql!("mysql/install_replica");

static MARIADB: Dialect = dialect!(
    "mariadb",
    Flavour::MariaDb,
    Columns {
        host: "Master_Host",
        port: "Master_Port",
        receiver: "Slave_IO_Running",
        applier: "Slave_SQL_Running",
        retrieved: "Gtid_IO_Pos",
        behind: "Seconds_Behind_Master",
    }
);

static MYSQL: Dialect = dialect!(
    "mysql",
    Flavour::MySql,
    Columns {
        host: "Source_Host",
        port: "Source_Port",
        receiver: "Replica_IO_Running",
        applier: "Replica_SQL_Running",
        retrieved: "Retrieved_Gtid_Set",
        behind: "Seconds_Behind_Source",
    }
);

impl Sql {
    /// What is sent: the file without its leading comments.
    pub(super) fn body(&self) -> &'static str {
        let mut text = self.text;
        while text.starts_with("--") {
            text = text.split_once('\n').map_or("", |(_, rest)| rest);
        }
        text.trim_end()
    }
}

impl Dialect {
    /// The dialect of a server that says this version.
    pub(super) fn of(version: &str) -> &'static Self {
        if version.to_ascii_lowercase().contains("mariadb") { &MARIADB } else { &MYSQL }
    }

    /// Reads the answer to `status`.
    pub(super) fn following(&self, row: &Row, server: &str) -> Result<Following, StoreError> {
        let text = |column: &str| -> Result<Option<String>, StoreError> {
            match row.get_opt::<Option<String>, _>(column) {
                Some(Ok(text)) => Ok(text.filter(|text| !text.is_empty())),
                _ => {
                    let message = format!("{server}: {}: no text in {column}", self.status.name);
                    Err(StoreError::new(StoreErrorKind::Incompatible, message))
                }
            }
        };
        let names = &self.columns;
        let receiver = text(names.receiver)?.unwrap_or_default();
        let errors = [text("Last_IO_Error")?, text("Last_SQL_Error")?];
        let error = errors.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Ok(Following {
            source: format!(
                "{}:{}",
                text(names.host)?.unwrap_or_default(),
                text(names.port)?.unwrap_or_default()
            ),
            receiver_on: receiver != "No",
            connected: receiver == "Yes",
            applier_on: text(names.applier)?.as_deref() == Some("Yes"),
            error: (!error.is_empty()).then_some(error),
            retrieved: position(&text(names.retrieved)?.unwrap_or_default(), server)?,
            behind_seconds: text(names.behind)?.and_then(|seconds| seconds.parse().ok()),
        })
    }
}

/// Reads a set of transactions as the server writes it: MySQL breaks the lines.
pub(super) fn position(text: &str, server: &str) -> Result<LogPosition, StoreError> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text.parse().map_err(|error| StoreError::new(StoreErrorKind::Incompatible, format!("{server}: {error}")))
}

/// A text in quotes, for the statements that take no parameters.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialects_use_their_own_words_and_texts_are_quoted() {
        assert!(Dialect::of("10.11.19-MariaDB-log").status.body().contains("SLAVE"));
        assert!(Dialect::of("9.7.4").status.body().contains("REPLICA"));
        assert!(MYSQL.change_source.body().starts_with("CHANGE"), "without its comment");
        assert_eq!(quoted(r"a'b\c"), r"'a''b\\c'");
        assert!(
            position(
                "11111111-2222-3333-4444-555555555555:1-5,\n11111111-2222-3333-4444-555555555556:1",
                "s"
            )
            .is_ok_and(|position| position.len() == 6)
        );
    }
}
