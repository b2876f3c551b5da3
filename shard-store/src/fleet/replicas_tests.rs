//! Fleets with replicas, on every server found.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

async fn session(server: &Server) -> Conn {
    Conn::new(Opts::from_url(&server.dsn().expose()).unwrap()).await.unwrap()
}

async fn make_table(server: &Server) {
    let mut conn = session(server).await;
    conn.query_drop(include_str!("sql/test_keep.sql")).await.unwrap();
    conn.query_drop(include_str!("sql/test_table.sql")).await.unwrap();
}

async fn write(server: &Server, word: &str) -> mysql_async::Result<()> {
    session(server).await.exec_drop(include_str!("sql/test_insert.sql"), (word,)).await
}

async fn words(server: &Server) -> String {
    session(server).await.query_first(include_str!("sql/test_words.sql")).await.unwrap().unwrap()
}

/// Waits until a server has all that another has.
async fn level(fleet: &Fleet, index: usize, with: usize) {
    let all = fleet.admin(with).unwrap().executed().await.unwrap();
    fleet.admin(index).unwrap().wait_executed(&all, LIMIT).await.unwrap();
}

#[tokio::test]
async fn replicas_follow_and_take_no_writes() {
    for binary in test_servers().unwrap() {
        let options = FleetOptions { replicas: 1, ..FleetOptions::new(binary.clone(), 2) };
        let mut fleet = Fleet::start(options).await.unwrap();
        let places: Vec<_> =
            fleet.servers().iter().map(|server| (server.group(), server.replica())).collect();
        assert_eq!(places, [(0, 0), (1, 0), (0, 1), (1, 1)]);
        let servers = fleet.servers().to_vec();
        assert!(write(&servers[0], "early").await.is_err(), "{binary}: open before anybody said so");
        // The second group's primary is in the other region.
        fleet.replicate(&[0, 1], &|_, _| None).await.unwrap();
        for (primary, replica) in [(0, 2), (3, 1)] {
            make_table(&servers[primary]).await;
            write(&servers[primary], "one").await.unwrap();
            level(&fleet, replica, primary).await;
            assert_eq!(words(&servers[replica]).await, "one", "{binary}");
            assert!(write(&servers[replica], "two").await.is_err(), "{binary}: a replica took a write");
        }
        // Again, and with a replica that was away.
        fleet.kill(2).await.unwrap();
        write(&servers[0], "two").await.unwrap();
        fleet.restart(2).await.unwrap();
        level(&fleet, 2, 0).await;
        fleet.replicate(&[0, 1], &|_, _| None).await.unwrap();
        assert!(fleet.replicate(&[1, 1], &|_, _| None).await.is_err(), "a replica was opened");

        fleet.stop_replication(2).await.unwrap();
        write(&servers[0], "three").await.unwrap();
        fleet.start_replication(2).await.unwrap();
        level(&fleet, 2, 0).await;
        assert_eq!(words(&servers[2]).await, "one,three,two");
        // A primary that comes back takes no writes by itself.
        fleet.kill(0).await.unwrap();
        fleet.restart(0).await.unwrap();
        assert!(write(&servers[0], "four").await.is_err());
        fleet.open(0).await.unwrap();
        write(&servers[0], "four").await.unwrap();
        level(&fleet, 2, 0).await;
    }
}
