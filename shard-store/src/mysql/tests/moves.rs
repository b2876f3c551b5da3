//! Moves between two databases of one server: their logs are one, and each tail keeps to its own.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use tao_schema::ids::ShardId;

use super::support::{fleets, open, options, session};
use crate::conformance::{End, Failure, MoveFactory, assert_moves};
use crate::fleet::Server;
use crate::log::{Beat, BeatWriter, ServerLog as _};
use crate::moves::ShardMover;

struct TwoDatabases(Server);

#[async_trait]
impl MoveFactory for TwoDatabases {
    async fn open(&self, _shard: ShardId) -> Result<(End, End), Failure> {
        Ok((end(&self.0, "move_source").await?, end(&self.0, "move_target").await?))
    }
}

async fn end(server: &Server, database: &str) -> Result<End, Failure> {
    let store = Arc::new(open(server, options(database)).await?);
    Ok(End { store: store.clone(), mover: store.clone(), log: store })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_moves_shards() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = fleet.servers()[0].clone();
        assert_moves(&TwoDatabases(server.clone())).await;
        privileges_are_looked_at(&server).await;
        history_shows(&server).await;
    }))
    .await;
}

async fn privileges_are_looked_at(server: &Server) {
    let store = open(server, options("move_source")).await.unwrap();
    let good = store.move_preflight().await.unwrap();
    assert!(good.findings.iter().all(|finding| !finding.fatal), "{:?}", good.findings);
    session(server, "move_source").await.query_drop(include_str!("sql/moves/reader.sql")).await.unwrap();
    let dsn = format!("mysql://mover:mover@127.0.0.1:{}", server.port());
    let reader = super::super::MySqlStore::open(&dsn, options("move_source")).await.unwrap();
    let poor = reader.move_preflight().await.unwrap();
    let missing =
        |name: &str| poor.findings.iter().any(|finding| finding.fatal && finding.message.contains(name));
    assert!(missing("INSERT, UPDATE, DELETE"), "{:?}", poor.findings);
    assert_eq!(poor.schema, good.schema);
}

/// A read that stays open keeps what was changed since, and the server says how much.
async fn history_shows(server: &Server) {
    let store = open(server, options("move_source")).await.unwrap();
    let mut reader = session(server, "move_source").await;
    reader.query_drop(include_str!("sql/moves/keep_reads.sql")).await.unwrap();
    reader.query_drop(include_str!("sql/moves/snapshot.sql")).await.unwrap();
    let writer = BeatWriter::of("history");
    for nonce in 0..=50 {
        store.beat(Beat { writer, nonce }).await.unwrap();
    }
    let length = store.history_length().await.unwrap();
    assert!(length.is_some_and(|length| length >= 50), "{length:?}");
}
