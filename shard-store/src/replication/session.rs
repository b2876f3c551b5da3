//! A session of an administrator: one connection for one piece of work.

use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Error as Driver, Opts, Params, Row, ServerError};

use super::statements::{Dialect, LOCAL, SET_ROLE, Sql, VERSION};
use crate::store::{StoreError, StoreErrorKind};

/// Longer than any lock that these statements may wait for.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// For a lock on tables, in whole seconds; shorter than the limit, so that the server says what was waited for.
const LOCK_WAIT_SECONDS: u64 = 20;

/// An open session. Nothing that it writes goes into the binlog, unless [`Session::logged`] made it.
pub(super) struct Session {
    conn: Conn,
    pub(super) dialect: &'static Dialect,
    server: String,
}

impl Session {
    /// A session whose writes other servers do not get: the settings are this server's own affair.
    pub(super) async fn open(opts: &Opts, server: &str, limit: Duration) -> Result<Self, StoreError> {
        let mut session = Self::logged(opts, server, limit).await?;
        session.run(&LOCAL).await?;
        Ok(session)
    }

    /// A session whose writes are replicated.
    pub(super) async fn logged(opts: &Opts, server: &str, limit: Duration) -> Result<Self, StoreError> {
        let connect = async {
            let mut conn = Conn::new(opts.clone()).await?;
            let version: Option<String> = conn.query_first(VERSION.body()).await?;
            Ok((conn, version.unwrap_or_default()))
        };
        let (conn, version) = match tokio::time::timeout(limit, connect).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(failure(&error, server, "connect")),
            Err(_) => return Err(no_answer(server, "connect", limit)),
        };
        let mut session = Self { conn, dialect: Dialect::of(&version), server: server.to_owned() };
        // Who has no such role must have the privileges without it: the statements that need them will say so.
        match session.conn.query_drop(SET_ROLE.body()).await {
            Ok(()) | Err(Driver::Server(_)) => {}
            Err(error) => return Err(failure(&error, server, SET_ROLE.name)),
        }
        session.execute(&session.dialect.session, (LOCK_WAIT_SECONDS,)).await?;
        Ok(session)
    }

    /// As errors name the server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Runs a statement without parameters.
    pub(super) async fn run(&mut self, sql: &Sql) -> Result<(), StoreError> {
        self.run_text(sql, sql.body()).await
    }

    /// Runs a statement whose text was completed.
    pub(super) async fn run_text(&mut self, sql: &Sql, text: &str) -> Result<(), StoreError> {
        timed(&self.server, sql, self.conn.query_drop(text)).await
    }

    /// Runs a statement; answers how many rows it affected.
    pub(super) async fn execute(&mut self, sql: &Sql, params: impl Into<Params>) -> Result<u64, StoreError> {
        timed(&self.server, sql, self.conn.exec_drop(sql.body(), params.into())).await?;
        Ok(self.conn.affected_rows())
    }

    /// The rows that a statement answers.
    pub(super) async fn rows(&mut self, sql: &Sql) -> Result<Vec<Row>, StoreError> {
        timed(&self.server, sql, self.conn.query(sql.body())).await
    }

    /// The one row that a statement answers.
    pub(super) async fn row<T: FromRow + Send + 'static>(&mut self, sql: &Sql) -> Result<T, StoreError> {
        let missing = || {
            let message = format!("{}: {}: an answer of an unexpected form", self.server, sql.name);
            StoreError::new(StoreErrorKind::Incompatible, message)
        };
        let rows: Vec<Row> = timed(&self.server, sql, self.conn.query(sql.body())).await?;
        let row = rows.into_iter().next().ok_or_else(missing)?;
        T::from_row_opt(row).map_err(|_| missing())
    }

    /// Ends the session in order.
    pub(super) async fn close(self) {
        // The server ends it anyway when the connection goes.
        let _already_gone = tokio::time::timeout(Duration::from_secs(1), self.conn.disconnect()).await;
    }
}

async fn timed<T>(
    server: &str,
    sql: &Sql,
    statement: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(STATEMENT_LIMIT, statement).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(&error, server, sql.name)),
        Err(_) => Err(no_answer(server, sql.name, STATEMENT_LIMIT)),
    }
}

fn no_answer(server: &str, what: &str, limit: Duration) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("{server}: {what}: no answer within {limit:?}"))
}

/// An administrator gets to read what the server says; only a complaint about syntax could quote a password.
fn failure(error: &Driver, server: &str, what: &str) -> StoreError {
    let (kind, text) = match error {
        Driver::Server(ServerError { code: 1064, .. }) => (
            StoreErrorKind::Incompatible,
            "the server does not understand the statement (error 1064)".to_owned(),
        ),
        Driver::Server(ServerError { code, message, .. }) => {
            let kind = match code {
                1205 | 1213 | 1040 | 1053 | 1158..=1161 | 1927 | 4031 => StoreErrorKind::Unavailable,
                1044 | 1045 | 1142 | 1227 | 1290 => StoreErrorKind::Incompatible,
                _ => StoreErrorKind::Rejected,
            };
            (kind, format!("{message} (error {code})"))
        }
        Driver::Io(error) => (StoreErrorKind::Unavailable, error.to_string()),
        Driver::Url(_) => (StoreErrorKind::Rejected, "the address is not valid".to_owned()),
        Driver::Driver(error) => (StoreErrorKind::Unavailable, error.to_string()),
        Driver::Other(_) => (StoreErrorKind::Unavailable, "the driver failed".to_owned()),
    };
    StoreError::new(kind, format!("{server}: {what}: {text}"))
}
