//! Fills the plain tables with a workload's data: many rows in a statement, many statements in a transaction.

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};

use super::mysql::{options, run_script};
use crate::workloads::Workload;

/// Rows of the statements that insert many.
const TOGETHER: usize = 64;
/// Statements of a transaction.
const STATEMENTS: u32 = 32;

/// One table's rows that wait.
struct Table {
    many: &'static str,
    one: &'static str,
    columns: usize,
    waiting: Vec<Value>,
}

struct Loader {
    connection: Conn,
    objects: Table,
    edges: Table,
    counts: Table,
    statements: u32,
}

/// Adds all objects, edges and counts.
///
/// # Errors
/// The server refuses.
pub async fn load(dsn: &str, workload: &dyn Workload) -> Result<()> {
    let mut connection = Conn::new(options(dsn)?).await?;
    run_script(&mut connection, include_str!("../../sql/plain_writes_session.sql")).await?;
    let table = |many, one, columns| Table { many, one, columns, waiting: Vec::new() };
    let object = (include_str!("../../sql/object_load.sql"), include_str!("../../sql/object_add.sql"));
    let edge = (include_str!("../../sql/edge_load.sql"), include_str!("../../sql/edge_add.sql"));
    let count = (include_str!("../../sql/count_load.sql"), include_str!("../../sql/count_add.sql"));
    let mut loader = Loader {
        connection,
        objects: table(object.0, object.1, 2),
        edges: table(edge.0, edge.1, 5),
        counts: table(count.0, count.1, 3),
        statements: 0,
    };
    for number in 0..workload.objects() {
        let (id, data) = workload.object(number);
        loader.objects.waiting.extend([id.0.into(), data.to_vec().into()]);
        loader.flush(TOGETHER).await?;
    }
    for number in 0..workload.lists() {
        let (list, edges) = workload.list(number);
        if !edges.is_empty() {
            let count = edges.len() as u64;
            loader.counts.waiting.extend([list.id1.0.into(), list.atype.0.into(), count.into()]);
        }
        for edge in edges {
            let key: [Value; 3] = [list.id1.0.into(), list.atype.0.into(), edge.id2.0.into()];
            loader.edges.waiting.extend(key);
            loader.edges.waiting.extend([Value::from(edge.time), edge.data.to_vec().into()]);
        }
        loader.flush(TOGETHER).await?;
    }
    loader.flush(1).await?;
    loader.commit().await?;
    loader.connection.disconnect().await?;
    Ok(())
}

impl Loader {
    /// Inserts what waits, as long as a table has `least` rows.
    async fn flush(&mut self, least: usize) -> Result<()> {
        for table in [&mut self.objects, &mut self.edges, &mut self.counts] {
            while table.waiting.len() >= least * table.columns {
                let all = table.waiting.len() >= TOGETHER * table.columns;
                let (statement, rows) = if all { (table.many, TOGETHER) } else { (table.one, 1) };
                let row: Vec<Value> = table.waiting.drain(..rows * table.columns).collect();
                self.connection.exec_drop(statement, Params::Positional(row)).await?;
                self.statements += 1;
            }
        }
        if self.statements >= STATEMENTS {
            self.commit().await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.statements = 0;
        self.connection.query_drop(include_str!("../../sql/commit.sql")).await?;
        Ok(())
    }
}
