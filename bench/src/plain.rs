//! The peer: a plain MySQL client that gets the same effect as `assoc_add`, one prepared transaction an operation.
//!
//! Written the way a good engineer would: prepared statements, no BEGIN (autocommit is off), the count touched only
//! when the edge is new, as the affected rows tell. Three round trips for a new edge.

use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use rand::Rng;

use crate::closed_loop;
use crate::report::Figures;
use crate::workload::Space;

/// Edges written by the plain client.
pub struct Plain {
    options: Opts,
}

impl Plain {
    /// Makes the tables.
    ///
    /// # Errors
    /// The server can't be reached or refuses.
    pub async fn prepare(dsn: &str) -> Result<Self> {
        let options: Opts = OptsBuilder::from_opts(Opts::from_url(dsn).context("the database's DSN")?)
            .stmt_cache_size(16)
            .into();
        let mut connection = Conn::new(options.clone()).await?;
        run_script(&mut connection, include_str!("../sql/plain_schema.sql")).await?;
        connection.disconnect().await?;
        Ok(Self { options })
    }

    /// Writes for `time` over `connections`, each one transaction after the other.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn run(&self, connections: usize, time: Duration, space: Space, seed: u64) -> Result<Figures> {
        let mut open = Vec::new();
        for _ in 0..connections {
            let mut connection = Conn::new(self.options.clone()).await?;
            run_script(&mut connection, include_str!("../sql/plain_session.sql")).await?;
            open.push(connection);
        }
        closed_loop::run(
            "plain MySQL, edge and count",
            open,
            time,
            seed,
            move |mut connection, mut random| async move {
                let (id1, id2) = space.edge(&mut random);
                // A deadlock between two such transactions is the server's to break and the client's to repeat.
                while let Err(error) = write(&mut connection, id1, id2, random.random()).await {
                    anyhow::ensure!(is_deadlock(&error), "plain client: {error}");
                }
                Ok((connection, random, 1))
            },
        )
        .await
    }
}

/// Runs a file's statements, one after the other.
async fn run_script(connection: &mut Conn, script: &str) -> mysql_async::Result<()> {
    for statement in script.split(';').filter(|statement| !statement.trim().is_empty()) {
        connection.query_drop(statement).await?;
    }
    Ok(())
}

async fn write(connection: &mut Conn, id1: u64, id2: u64, time: u32) -> mysql_async::Result<()> {
    let edge = include_str!("../sql/plain_edge.sql");
    connection.exec_drop(edge, (id1, 1u16, id2, time, &b""[..])).await?;
    if connection.affected_rows() == 1 {
        connection.exec_drop(include_str!("../sql/plain_count.sql"), (id1, 1u16)).await?;
    }
    connection.query_drop(include_str!("../sql/plain_commit.sql")).await
}

fn is_deadlock(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(server) if server.code == 1213 || server.code == 1205)
}
