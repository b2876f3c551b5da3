//! Faults of servers, on every server found.

use std::time::{Duration, Instant, SystemTime};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tokio::time::timeout;

use super::*;

const LIMIT: Duration = Duration::from_secs(90);

async fn session(server: &Server) -> Conn {
    Conn::new(Opts::from_url(&server.dsn().expose()).unwrap()).await.unwrap()
}

async fn make_table(server: &Server) {
    let mut conn = session(server).await;
    conn.query_drop(include_str!("sql/test_keep.sql")).await.unwrap();
    conn.query_drop(include_str!("sql/test_table.sql")).await.unwrap();
}

async fn write(server: &Server, word: &str) -> mysql_async::Result<()> {
    let mut conn = Conn::new(Opts::from_url(&server.dsn().expose()).unwrap()).await?;
    conn.exec_drop(include_str!("sql/test_insert.sql"), (word,)).await
}

/// Until a server that is about to end by itself has ended.
async fn ended(fleet: &mut Fleet) {
    let end = async {
        while fleet.is_running(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, end).await.expect("a server that breaks its connections ends");
}

async fn words(server: &Server) -> String {
    session(server).await.query_first(include_str!("sql/test_words.sql")).await.unwrap().unwrap()
}

/// How far a server's clock is ahead of this machine's, in whole seconds.
async fn ahead(server: &Server) -> i64 {
    let clock: i64 =
        session(server).await.query_first(include_str!("sql/test_clock.sql")).await.unwrap().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    clock - now.as_secs() as i64
}

#[tokio::test]
async fn a_delayed_replica_is_late_and_then_no_more() {
    for binary in test_servers().unwrap() {
        let options = FleetOptions { replicas: 1, ..FleetOptions::new(binary.clone(), 1) };
        let fleet = Fleet::start(options).await.unwrap();
        fleet.replicate(&[0], &|_, _| None).await.unwrap();
        let (primary, replica) = (fleet.servers()[0].clone(), fleet.servers()[1].clone());
        make_table(&primary).await;
        write(&primary, "early").await.unwrap();
        let admin = fleet.admin(1).unwrap();
        let wanted = fleet.admin(0).unwrap().executed().await.unwrap();
        admin.wait_executed(&wanted, LIMIT).await.unwrap();
        fleet.delay_replication(1, 3).await.unwrap();
        let began = Instant::now();
        write(&primary, "late").await.unwrap();
        let wanted = fleet.admin(0).unwrap().executed().await.unwrap();
        admin.wait_executed(&wanted, LIMIT).await.unwrap();
        // The server counts in whole seconds.
        assert!(began.elapsed() >= Duration::from_secs(2), "{binary}: {:?}", began.elapsed());
        assert_eq!(words(&replica).await, "early,late", "{binary}");
        fleet.delay_replication(1, 600).await.unwrap();
        write(&primary, "never").await.unwrap();
        fleet.delay_replication(1, 0).await.unwrap();
        let wanted = fleet.admin(0).unwrap().executed().await.unwrap();
        admin.wait_executed(&wanted, LIMIT).await.unwrap();
        assert!(fleet.delay_replication(0, 1).await.is_err(), "{binary}: a primary follows nobody");
    }
}

#[tokio::test]
async fn a_server_has_a_clock_of_its_own() {
    let Some(library) = clock_library() else {
        println!("not here: {NO_CLOCK_LIBRARY}");
        return;
    };
    for binary in test_servers().unwrap() {
        let options =
            FleetOptions { clock_library: Some(library.clone()), ..FleetOptions::new(binary.clone(), 2) };
        let fleet = Fleet::start(options).await.unwrap();
        let (server, other) = (fleet.servers()[0].clone(), fleet.servers()[1].clone());
        make_table(&server).await;
        for offset in [3_600, -3_600, 0] {
            fleet.set_clock_offset(0, offset).unwrap();
            let arrived = async {
                while (ahead(&server).await - offset).abs() > 5 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(LIMIT, arrived).await.expect("the clock jumps");
            assert!(ahead(&other).await.abs() <= 5, "{binary}: the other server's clock is right");
            // Work goes on: nothing waits for an hour.
            let began = Instant::now();
            write(&server, &format!("at {offset}")).await.unwrap();
            assert!(began.elapsed() < LIMIT, "{binary}: {:?}", began.elapsed());
        }
        assert!(fleet.set_clock_offset(2, 1).is_err());
    }
}

#[tokio::test]
async fn a_full_disk_takes_no_writes_until_there_is_room() {
    if let Err(why) = can_mount() {
        println!("not here: {why}");
        return;
    }
    for binary in test_servers().unwrap() {
        let options = FleetOptions { disk_bytes: Some(1 << 30), ..FleetOptions::new(binary.clone(), 1) };
        let mut fleet = Fleet::start(options).await.unwrap();
        let server = fleet.servers()[0].clone();
        make_table(&server).await;
        write(&server, "before").await.unwrap();
        fleet.fill_disk(0).await.unwrap();
        // A file that has room left in its last block takes a few more.
        let mut accepted = 0;
        let refused = loop {
            let word = format!("x{accepted}");
            match timeout(Duration::from_secs(3), write(&server, &word)).await {
                Ok(Ok(())) => accepted += 1,
                Ok(Err(error)) => {
                    // It gave up its log and ends. For a moment it is there still, and answers nobody any more.
                    if matches!(error, mysql_async::Error::Io(_)) {
                        ended(&mut fleet).await;
                    }
                    break error.to_string();
                }
                Err(_) => break "no answer".to_owned(),
            }
            assert!(accepted < 10_000, "{binary}: a full disk takes everything");
        };
        println!("{binary}: {accepted} writes, then: {refused}; runs: {}", fleet.is_running(0));
        fleet.empty_disk(0).await.unwrap();
        let began = Instant::now();
        if !fleet.is_running(0) {
            fleet.restart(0).await.unwrap();
        }
        timeout(LIMIT, write(&server, "after")).await.expect("it goes on").unwrap();
        println!("{binary}: goes on after {:?}", began.elapsed());
        let found = words(&server).await;
        assert!(found.starts_with("after,before"), "{binary}: {found}");
        // What it held is kept over a kill; the mount goes with the fleet.
        fleet.kill(0).await.unwrap();
        fleet.restart(0).await.unwrap();
        assert!(words(&server).await.starts_with("after,before"));
        let root = fleet.data_dir().display().to_string();
        assert!(std::fs::read_to_string("/proc/mounts").unwrap().contains(&root));
        drop(fleet);
        assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(&root), "{binary}: still mounted");
        assert!(!Path::new(&root).exists());
    }
    if let Some(binary) = test_servers().unwrap().pop() {
        let plain = Fleet::start(FleetOptions::new(binary, 1)).await.unwrap();
        assert!(matches!(plain.fill_disk(0).await, Err(FleetError::NotPrepared { index: 0, .. })));
    }
}
