//! MySQL as an application would use it without the tier: prepared statements on connections that stay open, exact counts in
//! the transaction of the edge, a count touched only when the edge is new or gone, as the affected rows tell.

use anyhow::{Context, Result};
use bytes::Bytes;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Statement};
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId};

use super::{Page, Store};
use crate::workloads::{EdgeData, Op};

/// A transaction that meets others in a deadlock is repeated so often.
const TRIES: usize = 100;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Reads, and a write now and then: autocommit.
    Reads,
    /// Transactions only: no autocommit, so none of them needs a round trip to begin.
    Writes,
}

/// One connection with its statements prepared.
pub struct Database {
    connection: Conn,
    mode: Mode,
    statements: Statements,
}

struct Statements {
    object_get: Statement,
    object_add: Statement,
    object_update: Statement,
    object_delete: Statement,
    edge_get: Statement,
    edge_range: Statement,
    edge_time_range: Statement,
    count_get: Statement,
    edge_add: Statement,
    edge_delete: Statement,
    edge_change_type: Statement,
    count_up: Statement,
    count_down: Statement,
}

/// One caller with a connection of its own.
pub struct PlainMysql(Database);

/// A row of a list.
type EdgeRow = (u64, u32, Vec<u8>);

impl Database {
    /// Makes the tables, empty.
    ///
    /// # Errors
    /// The server can't be reached or refuses.
    pub async fn prepare(dsn: &str) -> Result<()> {
        let mut connection = Conn::new(options(dsn)?).await?;
        run_script(&mut connection, include_str!("../../sql/plain_schema.sql")).await?;
        run_script(&mut connection, include_str!("../../sql/plain_clear.sql")).await?;
        connection.disconnect().await?;
        Ok(())
    }

    /// Connects and prepares.
    ///
    /// # Errors
    /// The server can't be reached or refuses.
    pub async fn connect(dsn: &str, mode: Mode) -> Result<Self> {
        let mut connection = Conn::new(options(dsn)?).await?;
        let session = match mode {
            Mode::Reads => include_str!("../../sql/plain_reads_session.sql"),
            Mode::Writes => include_str!("../../sql/plain_writes_session.sql"),
        };
        run_script(&mut connection, session).await?;
        let statements = Statements {
            object_get: connection.prep(include_str!("../../sql/object_get.sql")).await?,
            object_add: connection.prep(include_str!("../../sql/object_add.sql")).await?,
            object_update: connection.prep(include_str!("../../sql/object_update.sql")).await?,
            object_delete: connection.prep(include_str!("../../sql/object_delete.sql")).await?,
            edge_get: connection.prep(include_str!("../../sql/edge_get.sql")).await?,
            edge_range: connection.prep(include_str!("../../sql/edge_range.sql")).await?,
            edge_time_range: connection.prep(include_str!("../../sql/edge_time_range.sql")).await?,
            count_get: connection.prep(include_str!("../../sql/count_get.sql")).await?,
            edge_add: connection.prep(include_str!("../../sql/edge_add.sql")).await?,
            edge_delete: connection.prep(include_str!("../../sql/edge_delete.sql")).await?,
            edge_change_type: connection.prep(include_str!("../../sql/edge_change_type.sql")).await?,
            count_up: connection.prep(include_str!("../../sql/count_up.sql")).await?,
            count_down: connection.prep(include_str!("../../sql/count_down.sql")).await?,
        };
        Ok(Self { connection, mode, statements })
    }

    /// So many connections.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn pool(dsn: &str, mode: Mode, number: usize) -> Result<Vec<Self>> {
        let mut pool = Vec::new();
        for _ in 0..number {
            pool.push(Self::connect(dsn, mode).await?);
        }
        Ok(pool)
    }

    /// An object's data.
    ///
    /// # Errors
    /// The server refuses, as in all that follow.
    pub async fn object(&mut self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        Ok(self.connection.exec_first(&self.statements.object_get, (id.0,)).await?)
    }

    /// The newest edges of a list.
    ///
    /// # Errors
    /// See [`Database::object`].
    pub async fn range(&mut self, list: ListKey, limit: u32) -> Result<Vec<EdgeData>> {
        let parameters = (list.id1.0, list.atype.0, limit);
        Ok(edges(self.connection.exec(&self.statements.edge_range, parameters).await?))
    }

    /// The newest edges of a list that are not older than `low`.
    ///
    /// # Errors
    /// See [`Database::object`].
    pub async fn time_range(&mut self, list: ListKey, low: u32, limit: u32) -> Result<Vec<EdgeData>> {
        let parameters = (list.id1.0, list.atype.0, low, limit);
        Ok(edges(self.connection.exec(&self.statements.edge_time_range, parameters).await?))
    }

    /// One edge of a list.
    ///
    /// # Errors
    /// See [`Database::object`].
    pub async fn edge(&mut self, list: ListKey, id2: ObjectId) -> Result<Option<EdgeData>> {
        let parameters = (list.id1.0, list.atype.0, id2.0);
        let found: Vec<EdgeRow> = self.connection.exec(&self.statements.edge_get, parameters).await?;
        Ok(edges(found).pop())
    }

    /// A list's length.
    ///
    /// # Errors
    /// See [`Database::object`].
    pub async fn count(&mut self, list: ListKey) -> Result<u64> {
        let parameters = (list.id1.0, list.atype.0);
        Ok(self.connection.exec_first(&self.statements.count_get, parameters).await?.unwrap_or(0))
    }

    /// Does a write, durable when this returns.
    ///
    /// # Errors
    /// See [`Database::object`]; deadlocks only after many of them.
    pub async fn write(&mut self, op: &Op) -> Result<()> {
        for _ in 0..TRIES {
            match self.try_write(op).await {
                Ok(()) => return Ok(()),
                // The server has broken it by rolling this transaction back; it is the client's to repeat.
                Err(error) if is_deadlock(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("{op:?}")),
            }
        }
        anyhow::bail!("{TRIES} deadlocks in a row at {op:?}")
    }

    async fn try_write(&mut self, op: &Op) -> mysql_async::Result<()> {
        let one = matches!(op, Op::ObjectAdd(..) | Op::ObjectUpdate(..) | Op::ObjectDelete(..));
        if self.mode == Mode::Reads && !one {
            self.connection.query_drop(include_str!("../../sql/begin.sql")).await?;
        }
        match op {
            Op::ObjectAdd(id, data) => {
                self.connection.exec_drop(&self.statements.object_add, (id.0, &data[..])).await?;
            }
            Op::ObjectUpdate(id, data) => {
                self.connection.exec_drop(&self.statements.object_update, (&data[..], id.0)).await?;
            }
            Op::ObjectDelete(id) => {
                self.connection.exec_drop(&self.statements.object_delete, (id.0,)).await?;
            }
            Op::AssocAdd(edge, time, data) => self.add(*edge, *time, data).await?,
            Op::AssocDelete(edge) => {
                let key = (edge.id1.0, edge.atype.0, edge.id2.0);
                self.connection.exec_drop(&self.statements.edge_delete, key).await?;
                if self.connection.affected_rows() == 1 {
                    self.count_down(*edge, edge.atype).await?;
                }
            }
            Op::AssocChangeType(edge, to) => {
                let parameters = (to.0, edge.id1.0, edge.atype.0, edge.id2.0);
                self.connection.exec_drop(&self.statements.edge_change_type, parameters).await?;
                if self.connection.affected_rows() == 1 {
                    self.count_down(*edge, edge.atype).await?;
                    self.connection.exec_drop(&self.statements.count_up, (edge.id1.0, to.0)).await?;
                }
            }
            _ => {}
        }
        if self.mode == Mode::Writes || !one {
            self.connection.query_drop(include_str!("../../sql/commit.sql")).await?;
        }
        Ok(())
    }

    async fn add(&mut self, edge: EdgeKey, time: u32, data: &Bytes) -> mysql_async::Result<()> {
        let row = (edge.id1.0, edge.atype.0, edge.id2.0, time, &data[..]);
        self.connection.exec_drop(&self.statements.edge_add, row).await?;
        // 1: inserted; 2: updated; 0: as it was.
        if self.connection.affected_rows() == 1 {
            self.connection.exec_drop(&self.statements.count_up, (edge.id1.0, edge.atype.0)).await?;
        }
        Ok(())
    }

    async fn count_down(&mut self, edge: EdgeKey, atype: AssocType) -> mysql_async::Result<()> {
        self.connection.exec_drop(&self.statements.count_down, (edge.id1.0, atype.0)).await
    }
}

impl PlainMysql {
    /// So many callers.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn callers(dsn: &str, mode: Mode, number: usize) -> Result<Vec<Self>> {
        Ok(Database::pool(dsn, mode, number).await?.into_iter().map(Self).collect())
    }
}

impl Store for PlainMysql {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        let mut page = Page::default();
        for op in ops {
            page.reads += u64::from(op.is_read());
            page.found += match op {
                Op::ObjectGet(id) => u64::from(self.0.object(*id).await?.is_some()),
                Op::AssocGet(list, ends) => {
                    let mut found = 0;
                    for end in ends {
                        found += u64::from(self.0.edge(*list, *end).await?.is_some());
                    }
                    found
                }
                Op::AssocRange(list, limit) => self.0.range(*list, *limit).await?.len() as u64,
                Op::AssocTimeRange(list, low, limit) => {
                    self.0.time_range(*list, *low, *limit).await?.len() as u64
                }
                Op::AssocCount(list) => self.0.count(*list).await?,
                write => {
                    self.0.write(write).await?;
                    0
                }
            };
        }
        Ok(page)
    }
}

pub(super) fn options(dsn: &str) -> Result<Opts> {
    let options = Opts::from_url(dsn).context("the database's DSN")?;
    Ok(OptsBuilder::from_opts(options).stmt_cache_size(64).into())
}

/// Runs a file's statements, one after the other.
pub(super) async fn run_script(connection: &mut Conn, script: &str) -> Result<()> {
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in lines.join("\n").split(';').filter(|statement| !statement.trim().is_empty()) {
        connection.query_drop(statement).await?;
    }
    Ok(())
}

fn edges(rows: Vec<EdgeRow>) -> Vec<EdgeData> {
    let edge = |(id2, time, data)| EdgeData { id2: ObjectId(id2), time, data: Bytes::from(data) };
    rows.into_iter().map(edge).collect()
}

fn is_deadlock(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(server) if server.code == 1213 || server.code == 1205)
}
