//! Fills the plain tables with a workload's data: many rows in a transaction.

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params};

use super::mysql::{options, run_script};
use crate::workloads::Workload;

/// Rows of a transaction.
const ROWS: usize = 2_000;

/// Adds all objects, edges and counts.
///
/// # Errors
/// The server refuses.
pub async fn load(dsn: &str, workload: &dyn Workload) -> Result<()> {
    let mut connection = Conn::new(options(dsn)?).await?;
    run_script(&mut connection, include_str!("../../sql/plain_writes_session.sql")).await?;
    let object = include_str!("../../sql/object_add.sql");
    let edge = include_str!("../../sql/edge_add.sql");
    let count = include_str!("../../sql/count_load.sql");
    let mut rows: [(&str, Vec<Params>); 3] = [(object, Vec::new()), (edge, Vec::new()), (count, Vec::new())];
    for number in 0..workload.objects() {
        let (id, data) = workload.object(number);
        rows[0].1.push((id.0, data.to_vec()).into());
        flush(&mut connection, &mut rows, ROWS).await?;
    }
    for number in 0..workload.lists() {
        let (list, edges) = workload.list(number);
        if !edges.is_empty() {
            rows[2].1.push((list.id1.0, list.atype.0, edges.len() as u64).into());
        }
        for edge in edges {
            rows[1].1.push((list.id1.0, list.atype.0, edge.id2.0, edge.time, edge.data.to_vec()).into());
        }
        flush(&mut connection, &mut rows, ROWS).await?;
    }
    flush(&mut connection, &mut rows, 1).await?;
    connection.disconnect().await?;
    Ok(())
}

async fn flush(connection: &mut Conn, rows: &mut [(&str, Vec<Params>); 3], least: usize) -> Result<()> {
    if rows.iter().map(|(_, rows)| rows.len()).sum::<usize>() < least {
        return Ok(());
    }
    for (statement, rows) in rows.iter_mut().filter(|(_, rows)| !rows.is_empty()) {
        connection.exec_batch(*statement, std::mem::take(rows)).await?;
    }
    connection.query_drop(include_str!("../../sql/commit.sql")).await?;
    Ok(())
}
