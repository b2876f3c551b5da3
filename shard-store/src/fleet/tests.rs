//! The fleet on every server found (see [`test_servers`]): what it starts is durable and ready, and nothing of it stays.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Opts};

use super::*;

/// Tells this test binary, run again by a test, to be the process that gets killed.
const VICTIM_VARIABLE: &str = "TAO_TEST_FLEET_VICTIM";
/// Far above the moments that the guards need.
const GONE_LIMIT: Duration = Duration::from_secs(20);

async fn ask<T: FromRow + Send + 'static>(server: &Server, sql: &str) -> T {
    let mut conn = Conn::new(Opts::from_url(&server.dsn().expose()).unwrap()).await.unwrap();
    let row = conn.query_first(sql).await.unwrap().unwrap();
    conn.disconnect().await.unwrap();
    row
}

fn alive(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}/exe")).read_link().is_ok()
}

fn assert_soon(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < GONE_LIMIT, "not within {GONE_LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn servers_are_durable_distinct_and_gone_after_stop() {
    for binary in test_servers().unwrap() {
        let fleet = Fleet::start(FleetOptions::new(binary.clone(), 2)).await.unwrap();
        let (root, servers) = (fleet.data_dir().to_owned(), fleet.servers().to_vec());
        let mut ids = Vec::new();
        for server in &servers {
            let settings: String = ask(server, include_str!("sql/test_settings.sql")).await;
            assert_eq!(settings, "log ROW FULL FULL 1 1 safe 500", "{binary}");
            ids.push(ask::<u32>(server, include_str!("sql/server_id.sql")).await);
            assert!(alive(server.pid().unwrap()));
        }
        assert_ne!(ids[0], ids[1]);
        fleet.stop().await;
        assert!(!root.exists(), "{binary}");
        assert!(servers.iter().all(|server| !alive(server.pid().unwrap())), "{binary}");
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_port_and_data() {
    for binary in test_servers().unwrap() {
        let mut fleet = Fleet::start(FleetOptions::new(binary.clone(), 1)).await.unwrap();
        let before = fleet.servers()[0].clone();
        let mut conn = Conn::new(Opts::from_url(&before.dsn().expose()).unwrap()).await.unwrap();
        conn.query_drop(include_str!("sql/test_keep.sql")).await.unwrap();
        assert!(fleet.restart(0).await.is_err(), "a running server must not be started twice");
        fleet.kill(0).await.unwrap();
        assert!(conn.ping().await.is_err());
        assert!(!alive(before.pid().unwrap()));
        assert_eq!(fleet.servers()[0].pid(), None);
        assert!(fleet.kill(0).await.is_err());
        fleet.restart(0).await.unwrap();
        let after = &fleet.servers()[0];
        assert_eq!(after.port(), before.port());
        assert_eq!(ask::<u32>(after, include_str!("sql/test_kept.sql")).await, 1, "{binary}");
        assert!(fleet.kill(1).await.is_err() && fleet.restart(1).await.is_err());
    }
}

#[tokio::test]
async fn a_named_folder_is_kept_and_used_again() {
    for binary in test_servers().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than a Unix socket address may be, and with what a settings file could misread.
        let data_dir = folder.path().join("a # folder").join("x".repeat(120));
        let options =
            FleetOptions { data_dir: Some(data_dir.clone()), ..FleetOptions::new(binary.clone(), 1) };
        let fleet = Fleet::start(options.clone()).await.unwrap();
        let mut conn = Conn::new(Opts::from_url(&fleet.servers()[0].dsn().expose()).unwrap()).await.unwrap();
        conn.query_drop(include_str!("sql/test_keep.sql")).await.unwrap();
        let first = ask::<u32>(&fleet.servers()[0], include_str!("sql/server_id.sql")).await;
        assert!(lock(&data_dir, Duration::ZERO).is_err(), "two fleets in one folder");
        fleet.stop().await;
        let fleet = Fleet::start(options).await.unwrap();
        assert_eq!(ask::<u32>(&fleet.servers()[0], include_str!("sql/test_kept.sql")).await, 1, "{binary}");
        assert_eq!(ask::<u32>(&fleet.servers()[0], include_str!("sql/server_id.sql")).await, first);
        drop(fleet);
        assert!(lock(&data_dir, Duration::ZERO).is_ok(), "dropping left a server");
    }
}

#[tokio::test]
async fn a_port_lost_between_reservation_and_start_is_replaced() {
    for binary in test_servers().unwrap() {
        let (plan, disks, folder) = prepare(FleetOptions::new(binary, 1)).unwrap();
        let fleet = Fleet { processes: Vec::new(), servers: Vec::new(), plan: Arc::new(plan), disks, folder };
        let (thief, port) = ReservedPort::take(None).unwrap().stolen().unwrap();
        let running = fleet.start_anywhere(0, port).await.unwrap();
        assert_ne!(running.port, thief.local_addr().unwrap().port());
    }
}

#[tokio::test]
async fn a_server_that_ends_at_once_shows_its_log() {
    let folder = tempfile::tempdir().unwrap();
    for binary in test_servers().unwrap() {
        let options = FleetOptions {
            data_dir: Some(folder.path().join(binary.to_string())),
            ..FleetOptions::new(binary, 1)
        };
        let broken = options.data_dir.clone().unwrap().join("server-0").join("data");
        std::fs::create_dir_all(&broken).unwrap();
        let error = Fleet::start(options).await.unwrap_err();
        assert!(matches!(&error, FleetError::Ended { index: 0, .. }), "{error}");
        assert!(error.to_string().contains("ERROR"), "{error}");
    }
}

#[tokio::test]
async fn data_of_the_other_engine_is_refused() {
    let servers = test_servers().unwrap();
    let [one, other] = servers.as_slice() else { return };
    let folder = tempfile::tempdir().unwrap();
    Identity::load(folder.path(), one).unwrap().save(folder.path()).unwrap();
    let options =
        FleetOptions { data_dir: Some(folder.path().into()), ..FleetOptions::new(other.clone(), 1) };
    let error = Fleet::start(options).await.unwrap_err();
    assert!(matches!(error, FleetError::BadData { .. }), "{error}");
}

#[test]
fn passwords_are_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(binary) = test_servers().unwrap().pop() else { return };
    let dsn = Identity::load(folder.path(), &binary).unwrap().dsn(4711);
    let password = dsn.expose().split([':', '@']).nth(2).unwrap().to_owned();
    assert_eq!(password.len(), 32);
    for text in [format!("{dsn}"), format!("{dsn:?}")] {
        assert!(text.contains("4711") && !text.contains(&password), "{text}");
    }
}

#[test]
fn impossible_numbers_of_servers_are_refused() {
    let Some(binary) = test_servers().unwrap().pop() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for servers in [0, SERVERS_MAX + 1] {
        let result = runtime.block_on(Fleet::start(FleetOptions::new(binary.clone(), servers)));
        assert!(matches!(result, Err(FleetError::BadOptions(_))));
    }
}

/// Not a test of its own: what the test below runs in another process. Starts a fleet of the server named by the
/// variable, prints where it is, and waits to be killed.
#[tokio::test]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM_VARIABLE) else { return };
    let binary = ServerBinary::at(Path::new(&path)).unwrap();
    let fleet = Fleet::start(FleetOptions::new(binary, 2)).await.unwrap();
    let pids: Vec<String> = fleet.servers().iter().map(|server| server.pid().unwrap().to_string()).collect();
    println!("\nfleet {} {}", pids.join(","), fleet.data_dir().display());
    std::future::pending::<()>().await;
}

#[test]
fn nothing_outlives_a_killed_parent() {
    use std::io::{BufRead as _, BufReader};
    for binary in test_servers().unwrap() {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fleet::tests::victim", "--nocapture"])
            .env(VICTIM_VARIABLE, binary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        let report = lines.into_iter().find(|line| line.starts_with("fleet "));
        let report = report.expect("the victim starts its fleet");
        let (pids, root) = report["fleet ".len()..].split_once(' ').unwrap();
        let pids: Vec<u32> = pids.split(',').map(|pid| pid.parse().unwrap()).collect();
        assert!(pids.iter().all(|pid| alive(*pid)) && Path::new(root).is_dir());
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_soon(&format!("{binary}: processes {pids:?} ended"), || !pids.iter().any(|pid| alive(*pid)));
        assert_soon(&format!("{binary}: {root} removed"), || !Path::new(root).exists());
    }
}
