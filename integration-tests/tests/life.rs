//! Starting and stopping: what a node waits for, what it refuses, and that nobody notices when it goes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use integration_tests::{DevRegion, Process, Region, RegionOptions, run_tao, tao, tao_server, wait_until};
use tao_client::Client;
use tao_schema::ids::{ObjectId, ObjectType};
use tao_schema::topology::Topology;
use tao_shard_store::fleet::{self, Fleet, FleetOptions};

const SHARDS: u32 = 16;

fn user(number: u32) -> ObjectId {
    ObjectId::named(ObjectType(1), number, SHARDS)
}

/// Writes and reads until told to stop; answers how often, or the first error that came through the SDK.
async fn work(client: Client, caller: u32, stop: Arc<AtomicBool>) -> Result<u32, tao_client::Error> {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let other = user(1_000 + done % 500);
        client.assoc_add(user(caller), "friend", other).time(done).send().await?;
        client.assoc_range(other, "friend").limit(5).send().await?;
        client.object_get(user(caller * 7 + done)).send().await?;
        done += 1;
    }
    Ok(done)
}

/// SIGTERM of a follower and of a leader under load: each ends within its `drain_ms`, and no caller sees an error.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_drain() {
    let binary = fleet::test_servers().unwrap().remove(0);
    let options = RegionOptions { db_servers: 1, leaders: 2, followers: 2, shards: SHARDS };
    let mut region = Region::start(binary, &options).await.unwrap();
    let client = region.client().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> =
        (0..16).map(|caller| tokio::spawn(work(client.clone(), caller, Arc::clone(&stop)))).collect();
    for name in ["follower-1", "leader-1", "follower-2", "leader-2"] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        // drain_ms is 10 s by default.
        assert_eq!(
            region.nodes.get_mut(name).unwrap().terminate(Duration::from_secs(10)).unwrap(),
            0,
            "{name}"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
        region.start_node(name).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for caller in callers {
        done += caller.await.unwrap().unwrap();
    }
    println!("{done} rounds");
    assert!(done > 100, "the run did too little to show anything: {done}");
    let (code, check, talk) = run_tao(&region.topology_file, &["check", "--deep"]).unwrap();
    assert_eq!((code, &check["difference_count"]), (0, &0.into()), "{check} {talk}");
}

/// Status line and body of a path of an admin port.
fn get(address: &str, path: &str) -> anyhow::Result<(String, String)> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(address)?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let status = text.lines().next().unwrap_or_default().to_owned();
    Ok((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// A leader whose database is down lives, says why it is not ready, and starts when the database is back. A topology
/// that contradicts what the database holds ends it, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_waits_for_its_database_but_not_for_a_wrong_topology() {
    let binary = fleet::test_servers().unwrap().remove(0);
    let options = RegionOptions { db_servers: 1, leaders: 1, followers: 1, shards: SHARDS };
    let mut region = Region::start(binary, &options).await.unwrap();
    assert_eq!(region.nodes.get_mut("leader-1").unwrap().terminate(Duration::from_secs(10)).unwrap(), 0);

    region.fleet.kill(0).await.unwrap();
    let text = std::fs::read_to_string(&region.topology_file).unwrap();
    let topology = Topology::parse(&text, "topology.toml").unwrap();
    let address = topology.regions[0].leaders.nodes[0].address.clone();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
    let args = |topology: &Path| {
        let topology = topology.display().to_string();
        [
            set("name", "leader-1"),
            set("listen", &address),
            set("admin_listen", &admin),
            set("topology", &topology),
        ]
        .concat()
    };
    let log = region.folder().join("waiting.log");
    let waiting = args(&region.topology_file);
    let waiting: Vec<&str> = waiting.iter().map(String::as_str).collect();
    let mut leader = Process::start("leader-1", &tao_server().unwrap(), &waiting, &log).unwrap();
    let soon = Duration::from_secs(30);
    wait_until("it says what it waits for", soon, || {
        Ok(get(&admin, "/readyz")
            .is_ok_and(|(status, body)| status.contains("503") && body.contains("host group 1")))
    })
    .unwrap();
    assert!(get(&admin, "/livez").unwrap().0.contains("200"));
    region.fleet.restart(0).await.unwrap();
    wait_until("it is ready", soon, || Ok(get(&admin, "/readyz")?.0.contains("200"))).unwrap();
    assert_eq!(leader.terminate(Duration::from_secs(10)).unwrap(), 0);

    for (from, to, wanted) in [
        ("shards = 16", "shards = 8", "holds shard 8, but the topology has shards = 8"),
        ("shards = 16", "shards = 32", "not shard 16"),
        ("name = \"leader-1\"", "name = \"leader-9\"", "no node of this name"),
        ("name = \"leader-1\"", "name = \"follower-1\"", "there already"),
    ] {
        let wrong = region.folder().join("wrong.toml");
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        std::fs::write(&wrong, changed).unwrap();
        let output = Command::new(tao_server().unwrap()).args(args(&wrong)).output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{talk}");
        assert!(talk.contains(wanted), "{talk}");
    }
}

/// Processes whose command line names `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}

/// `tao dev` ends at any moment, by any signal, without leaving a process or a folder.
#[test]
fn dev_leaves_nothing_behind() {
    let binary = fleet::test_servers().unwrap().remove(0);
    for (after, kill) in [(100, false), (600, false), (4_000, false), (700, true), (4_000, true)] {
        let home = tempfile::tempdir().unwrap();
        let temporary = home.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let ready = home.path().join("ready.json");
        let ready_text = ready.display().to_string();
        let args = ["dev", "--storage", "mysql", "--port", "0", "--ready-file", &ready_text];
        let environment = [("TMPDIR", temporary.as_path()), ("TAO_MYSQLD", binary.path())];
        let log = home.path().join("dev.log");
        let mut dev = Process::start_with("tao dev", &tao().unwrap(), &args, &log, &environment).unwrap();
        // At about these moments it catches signals, starts servers, and runs.
        std::thread::sleep(Duration::from_millis(after));
        if kill {
            dev.kill().unwrap();
        } else {
            let code = dev.terminate(Duration::from_secs(30)).unwrap();
            assert_eq!(code, 0, "after {after} ms: {}", std::fs::read_to_string(&log).unwrap());
            assert!(!ready.exists(), "after {after} ms");
        }
        wait_until("everything is gone", Duration::from_secs(30), || {
            let left = std::fs::read_dir(&temporary)?.count();
            Ok(left == 0 && processes_of(&temporary).is_empty())
        })
        .unwrap_or_else(|error| {
            let left = Command::new("find").arg(&temporary).args(["-maxdepth", "2"]).output().unwrap().stdout;
            let (left, processes) = (String::from_utf8_lossy(&left).into_owned(), processes_of(&temporary));
            panic!("after {after} ms, kill {kill}: {error}: {left}{processes:?}")
        });
    }
}

/// `tao dev --data-dir` and `--dsn` go on with the data they had.
#[tokio::test(flavor = "multi_thread")]
async fn dev_goes_on_with_its_data() {
    let binary = fleet::test_servers().unwrap().remove(0);
    let fleet = Fleet::start(FleetOptions::new(binary.clone(), 2)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("data").display().to_string();
    let dsns: Vec<String> = fleet.servers().iter().map(|server| server.dsn().expose()).collect();
    for storage in [["--storage", "mysql", "--data-dir", &kept], ["--dsn", &dsns[0], "--dsn", &dsns[1]]] {
        let environment = [("TAO_MYSQLD", binary.path())];
        let mut id = String::new();
        for round in 0..2 {
            let mut dev = DevRegion::start_with(&storage, &environment).unwrap();
            assert_eq!((dev.ready.storage.as_str(), dev.ready.databases().count()), ("mysql", 2));
            if round == 0 {
                let (code, added, talk) =
                    run_tao(&dev.cluster(), &["object", "add", "user", "name=Ann"]).unwrap();
                assert_eq!(code, 0, "{talk}");
                id = added["id"].to_string();
            }
            let (_, found, talk) = run_tao(&dev.cluster(), &["object", "get", &id]).unwrap();
            assert_eq!(found["fields"]["name"], "Ann", "{talk}");
            assert_eq!(dev.process.terminate(Duration::from_secs(30)).unwrap(), 0);
        }
    }
    fleet.stop().await;
}

/// The topology in the operator's guide is one.
#[test]
fn the_documented_topology_parses() {
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    let example = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let topology = Topology::parse(example, "docs/operations.md").unwrap();
    assert_eq!(topology.tiers().count(), 2);
}

/// Names of metrics in a text.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').filter(|name| name.starts_with("tao_") && !name.contains(char::is_whitespace))
}

/// The operator's guide lists the metrics that nodes export: all of them, and no others.
#[test]
fn the_documented_metrics_are_those_exported() {
    let region = DevRegion::start(&["--storage", "memory"]).unwrap();
    // Metrics with labels appear with their first value.
    for args in [
        &["object", "add", "user"][..],
        &["assoc", "add", "1", "friend", "2"],
        &["assoc", "count", "1", "friend"],
        &["assoc", "range", "2", "friend"],
    ] {
        assert_eq!(run_tao(&region.cluster(), args).unwrap().0, 0);
    }
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    let tables = guide.lines().filter(|line| line.starts_with("| `tao_"));
    let always: std::collections::BTreeSet<&str> = tables
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(metrics)
        // No node's: `tao observe` and `tao shard` export them.
        .filter(|name| !["tao_observer_", "tao_move_"].iter().any(|tool| name.starts_with(tool)))
        .collect();
    // Those that only appear when something has happened are in a list.
    let lists = guide.lines().filter(|line| line.starts_with("- `tao_"));
    let sometimes: std::collections::BTreeSet<&str> =
        lists.filter_map(|line| line.split(':').next()).flat_map(metrics).collect();
    let mut exported = std::collections::BTreeSet::new();
    for node in region.ready.nodes() {
        for line in get(&node.admin, "/metrics").unwrap().1.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
                && kind != "info"
            {
                exported.insert(format!("{name}{}", if kind == "counter" { "_total" } else { "" }));
            }
        }
    }
    let exported: std::collections::BTreeSet<&str> = exported.iter().map(String::as_str).collect();
    let missing: Vec<_> = always.difference(&exported).collect();
    assert!(missing.is_empty(), "documented, not exported: {missing:?}");
    let unknown: Vec<_> =
        exported.iter().filter(|name| !always.contains(*name) && !sometimes.contains(*name)).collect();
    assert!(unknown.is_empty(), "exported, not documented: {unknown:?}");
}

/// `tao check` that can't ask a node knows nothing, and says so: not 0, not 1.
#[test]
fn a_check_without_an_answer_is_no_check() {
    let binary = fleet::test_servers().unwrap().remove(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = RegionOptions { db_servers: 1, leaders: 1, followers: 2, shards: SHARDS };
    let mut region = runtime.block_on(Region::start(binary, &options)).unwrap();
    region.kill_node("follower-2").unwrap();
    let (code, _, talk) = run_tao(&region.topology_file, &["check"]).unwrap();
    assert_eq!(code, 3, "{talk}");
    assert!(talk.contains("follower-2"), "{talk}");
}
