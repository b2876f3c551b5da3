//! Connections to one server: bounded, timed, and never used again after doubt.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Row};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::columns::{Columns, Unexpected};
use super::dialect::Dialect;
use super::error::Failure;
use super::options::Options;
use super::statements::{
    COMMIT, COMMIT_BLOCK, IN_TRANSACTION, ISOLATION, ROLLBACK, SESSION_READER, SESSION_WRITER, Sql,
};
use super::trip::{Trip, TripFailure};
use crate::store::{StoreError, StoreErrorKind};
use tao_schema::planted::{Bug, planted};

/// Prepared statements that a connection keeps: more than there are, so that none is prepared twice.
const STATEMENTS: usize = 256;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Transactions: no autocommit, short `wait_timeout` (R1, H4).
    Writer,
    /// Single statements.
    Reader,
}

/// A bounded set of connections of one role.
pub(super) struct Connections {
    opts: Opts,
    /// `host:port`, as errors name the server.
    pub(super) server: Arc<str>,
    role: Role,
    connect_timeout: Duration,
    statement_timeout: Duration,
    lock_wait: Duration,
    wait_timeout: Duration,
    /// Whether its server takes several statements as one.
    has_blocks: bool,
    permits: Arc<Semaphore>,
    /// Those not in use, the last used last.
    idle: Mutex<Vec<(Conn, Instant)>>,
}

/// A connection in use. It goes back by [`Lease::release`] only: dropped, it is closed, because nobody knows what
/// its server still does for it.
pub(super) struct Lease {
    conn: Conn,
    home: Arc<Connections>,
    /// Whether it had been used before: then its server may have closed it meanwhile.
    pub(super) reused: bool,
    /// Whether a statement got no answer. The answer may still come, and would be taken for that of the next one: so
    /// there must be no next one.
    broken: bool,
    _permit: OwnedSemaphorePermit,
}

/// Why a transaction did not end with an OK.
#[derive(Debug)]
pub(super) enum CommitFailure {
    /// A statement before COMMIT failed: nothing is committed.
    Before(Failure),
    /// COMMIT may have been done (R4).
    InDoubt(Failure),
}

impl Connections {
    /// Connections that are made when they are needed. `opts` names server, user and database; `dialect` is `None` as long
    /// as nobody has asked.
    pub(super) fn new(
        opts: &OptsBuilder,
        server: Arc<str>,
        role: Role,
        options: &Options,
        dialect: Option<&Dialect>,
    ) -> Arc<Self> {
        let (count, wait_timeout) = match role {
            Role::Writer => (options.writers, options.writer_wait_timeout),
            Role::Reader => (options.readers, Duration::from_secs(600)),
        };
        Arc::new(Self {
            opts: opts.clone().stmt_cache_size(STATEMENTS).into(),
            server,
            role,
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
            lock_wait: options.lock_wait,
            wait_timeout: if planted(Bug::ZombieLocks) { Duration::from_secs(28_800) } else { wait_timeout },
            has_blocks: dialect.is_some_and(Dialect::has_blocks),
            permits: Arc::new(Semaphore::new(count)),
            idle: Mutex::new(Vec::with_capacity(count)),
        })
    }

    /// A connection: an idle one that its server surely still holds, or a new one.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Lease, Failure> {
        let permit = self.permit().await?;
        while let Some((conn, since)) = self.take_idle() {
            if since.elapsed() < self.wait_timeout / 2 {
                return Ok(Lease { conn, home: self.clone(), reused: true, broken: false, _permit: permit });
            }
        }
        self.connect(permit).await
    }

    /// A connection that was never used.
    pub(super) async fn get_new(self: &Arc<Self>) -> Result<Lease, Failure> {
        let permit = self.permit().await?;
        self.connect(permit).await
    }

    /// Closes idle connections: one of them was found dead, and the others are likely to be.
    pub(super) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    /// Runs a single statement that reads. One that finds its connection dead, although nothing had been asked of it
    /// for a while, is asked again on a new one.
    pub(super) async fn query(
        self: &Arc<Self>,
        sql: &Sql,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, Failure> {
        self.query_text(sql.name, sql.body(), params).await
    }

    /// As [`Connections::query`], for a text made from a template.
    pub(super) async fn query_text(
        self: &Arc<Self>,
        name: &'static str,
        text: &str,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, Failure> {
        let params = params.into();
        let mut lease = self.get().await?;
        let mut answer = lease.rows_of(name, text, params.clone()).await;
        if lease.reused && answer.as_ref().is_err_and(Failure::connection_lost) {
            self.forget_idle();
            drop(lease);
            lease = self.get_new().await?;
            answer = lease.rows_of(name, text, params).await;
        }
        lease.release();
        answer
    }

    /// Maps rows that a statement answered.
    pub(super) fn read<T>(
        &self,
        sql: &Sql,
        rows: Vec<Row>,
        read: impl Fn(&mut Columns) -> Result<T, Unexpected>,
    ) -> Result<Vec<T>, Failure> {
        let rows = rows.into_iter().map(|row| read(&mut Columns::from(row)));
        let read: Result<_, _> = rows.collect();
        read.map_err(|unexpected| Failure::unexpected(&self.server, sql.name, &unexpected))
    }

    fn take_idle(&self) -> Option<(Conn, Instant)> {
        self.idle.lock().pop()
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let what = "wait for a free connection";
        match tokio::time::timeout(self.statement_timeout, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed, so only time can have run out.
            Ok(Err(_)) | Err(_) => Err(Failure::timeout(&self.server, what, self.statement_timeout)),
        }
    }

    async fn connect(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Result<Lease, Failure> {
        let session = async {
            let mut conn = Conn::new(self.opts.clone()).await?;
            if !planted(Bug::RepeatableRead) {
                conn.query_drop(ISOLATION.body()).await?;
            }
            let setup = match self.role {
                Role::Writer => &SESSION_WRITER,
                Role::Reader => &SESSION_READER,
            };
            conn.exec_drop(setup.body(), (self.lock_wait.as_secs(), self.wait_timeout.as_secs())).await?;
            Ok(conn)
        };
        let conn = match tokio::time::timeout(self.connect_timeout, session).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(Failure::of(&error, &self.server, "connect")),
            Err(_) => return Err(Failure::timeout(&self.server, "connect", self.connect_timeout)),
        };
        Ok(Lease { conn, home: self.clone(), reused: false, broken: false, _permit: permit })
    }
}

impl Lease {
    /// The server's name.
    pub(super) fn server(&self) -> &str {
        &self.home.server
    }

    /// Gives the connection back, outside a transaction; closes it if it is broken.
    pub(super) fn release(self) {
        if !self.broken {
            self.home.idle.lock().push((self.conn, Instant::now()));
        }
    }

    /// Runs a statement and reads its rows.
    pub(super) async fn rows(&mut self, sql: &Sql, params: impl Into<Params>) -> Result<Vec<Row>, Failure> {
        self.rows_of(sql.name, sql.body(), params).await
    }

    /// As [`Lease::rows`], for a text made from a template.
    pub(super) async fn rows_of(
        &mut self,
        name: &'static str,
        text: &str,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, Failure> {
        let params = params.into();
        let answer = self.home.timed(name, self.conn.exec::<Row, _, _>(text, params)).await;
        self.note(answer)
    }

    /// Runs a statement and maps each row.
    pub(super) async fn map<T>(
        &mut self,
        sql: &Sql,
        params: impl Into<Params>,
        read: impl Fn(&mut Columns) -> Result<T, Unexpected>,
    ) -> Result<Vec<T>, Failure> {
        let rows = self.rows(sql, params).await?;
        self.home.read(sql, rows, read)
    }

    /// Runs a statement; answers how many rows it affected.
    pub(super) async fn run(&mut self, sql: &Sql, params: impl Into<Params>) -> Result<u64, Failure> {
        self.run_text(sql.name, sql.body(), params).await
    }

    /// As [`Lease::run`], for a text made from a template.
    pub(super) async fn run_text(
        &mut self,
        name: &'static str,
        text: &str,
        params: impl Into<Params>,
    ) -> Result<u64, Failure> {
        let params = params.into();
        let answer = self.home.timed(name, self.conn.exec_drop(text, params)).await;
        self.note(answer)?;
        Ok(self.conn.affected_rows())
    }

    /// Runs a statement that can't be prepared.
    pub(super) async fn plain(&mut self, name: &'static str, text: &str) -> Result<(), Failure> {
        let answer = self.home.timed(name, self.conn.query_drop(text)).await;
        self.note(answer)
    }

    /// Sends a trip; answers the rows of each of its statements.
    pub(super) async fn send(&mut self, trip: &mut Trip) -> Result<Vec<Vec<Row>>, TripFailure> {
        let answers = trip.send(&self.home, &mut self.conn).await;
        self.broken |= answer_is_doubtful(answers.as_ref().err().map(|failed| &failed.failure));
        answers
    }

    fn note<T>(&mut self, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.broken |= answer_is_doubtful(answer.as_ref().err());
        answer
    }

    /// Commits. An error says nothing about the outcome (R4).
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        self.plain(COMMIT.name, COMMIT.body()).await
    }

    /// Runs the last statements of a transaction and commits, in one round trip. Answers the rows of those that ask.
    pub(super) async fn commit_with(&mut self, mut last: Trip) -> Result<Vec<Vec<Row>>, CommitFailure> {
        if self.home.has_blocks && last.len() > 0 {
            return self.commit_in_block(last).await;
        }
        let commit = last.len();
        last.push(&COMMIT, &[])
            .map_err(|unexpected| CommitFailure::Before(self.home.unexpected(COMMIT.name, unexpected.0)))?;
        match self.send(&mut last).await {
            Ok(answers) => Ok(last.asked(answers)),
            // The server names the statement that failed, and has run none behind it: no COMMIT.
            Err(failed) if failed.failure.code.is_some() && failed.at < commit => {
                Err(CommitFailure::Before(failed.failure))
            }
            // An answer that did not come may be that of any statement: COMMIT is on its way with them all.
            Err(failed) => Err(CommitFailure::InDoubt(failed.failure)),
        }
    }

    /// As [`Lease::commit_with`], all as one statement. Its failure may be one of COMMIT; what tells is the transaction: one
    /// that is still open was not committed (R4).
    async fn commit_in_block(&mut self, last: Trip) -> Result<Vec<Vec<Row>>, CommitFailure> {
        let mut block = last.in_block(&COMMIT_BLOCK).map_err(|unexpected| {
            CommitFailure::Before(self.home.unexpected(COMMIT_BLOCK.name, unexpected.0))
        })?;
        let prepared = block.prepare(&self.home, &mut self.conn).await;
        self.note(prepared).map_err(CommitFailure::Before)?;
        let TripFailure { failure, .. } = match self.send(&mut block).await {
            Ok(answers) => return Ok(block.asked(answers)),
            Err(failed) => failed,
        };
        if failure.connection_usable() {
            let open = self.map(&IN_TRANSACTION, (), Columns::u64).await;
            if open.is_ok_and(|open| open == [1]) {
                return Err(CommitFailure::Before(failure));
            }
        }
        Err(CommitFailure::InDoubt(failure))
    }

    /// Ends a transaction that failed or wrote nothing (R1), and gives the connection back. A broken one is closed, and
    /// the server rolls back.
    pub(super) async fn roll_back(mut self) {
        if !self.broken && self.plain(ROLLBACK.name, ROLLBACK.body()).await.is_ok() {
            self.release();
        }
    }
}

/// Whether a connection must not be used again after this failure.
fn answer_is_doubtful(failure: Option<&Failure>) -> bool {
    failure.is_some_and(|failure| !failure.connection_usable())
}

impl Connections {
    /// An answer that is not what its statement asks for.
    pub(super) fn unexpected(&self, name: &str, found: &'static str) -> Failure {
        Failure::unexpected(&self.server, name, &Unexpected(found))
    }

    /// Waits for an answer as long as a statement may take.
    pub(super) async fn timed<T>(
        &self,
        name: &'static str,
        statement: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.statement_timeout, statement).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error, &self.server, name)),
            Err(_) => Err(Failure::timeout(&self.server, name, self.statement_timeout)),
        }
    }
}

/// Reads a DSN, `mysql://user:password@host:port`.
///
/// # Errors
/// `Rejected` with a message that never quotes the DSN, because it holds a password.
pub(super) fn parse_dsn(dsn: &str, database: &str) -> Result<(OptsBuilder, Arc<str>), StoreError> {
    let rejected = |what: &str| {
        let form = "expected mysql://user:password@host:port";
        StoreError::new(StoreErrorKind::Rejected, format!("database address: {what}; {form}"))
    };
    let opts = Opts::from_url(dsn).map_err(|_| rejected("not valid"))?;
    if opts.db_name().is_some_and(|name| !name.is_empty() && name != database) {
        return Err(rejected("names another database than the option `database`"));
    }
    let server = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port()).into();
    // Through the address that was given and nothing else: the driver would move to a local socket by itself.
    let builder = OptsBuilder::from_opts(opts).prefer_socket(false).db_name(None::<String>);
    Ok((builder, server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_its_password_kept_secret() {
        let (_, server) = parse_dsn("mysql://root:pa55@db1:3307", "tao").unwrap();
        assert_eq!(&*server, "db1:3307");
        for bad in ["mysql://root:pa55@db1:port", "mysql://root:pa55@db1/other", "pg://root:pa55@db1"] {
            let error = parse_dsn(bad, "tao").map(|_| ()).unwrap_err();
            assert!(!error.message.contains("pa55"), "{error}");
        }
    }
}
