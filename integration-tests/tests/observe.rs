//! `tao observe` on regions of processes: it finds nothing where nothing is wrong, and what is wrong where it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use integration_tests::regions::{Regions, RegionsOptions};
use integration_tests::run_tao;
use integration_tests::servers::Source;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use serde_json::Value;
use tao_client::Client;
use tao_schema::topology::Dsn;
use tao_shard_store::fleet;
use tokio::task::JoinHandle;

/// An account that may read the tables, and later the log.
const ACCOUNT: &str = include_str!("../sql/observer_account.sql");
const LOG: &str = include_str!("../sql/observer_log.sql");

/// Objects and edges change all the time, deletions included.
async fn write(client: Client, stop: Arc<AtomicBool>) {
    let mut users = Vec::new();
    for at in 0..16 {
        users.push(client.object_add("user").set("name", format!("user {at}")).send().await.unwrap().id);
    }
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let (one, two) = (users[at % 16], users[(at * 7 + 3) % 16]);
        // While a promotion is under way, writes fail: then nothing changes, and nothing is to be seen.
        let _refused = client.object_update(one, "user").set("name", format!("change {at}")).send().await;
        if one != two {
            let _refused = client.assoc_add(one, "friend", two).time(at as u32).send().await;
        }
        if at % 3 == 2 {
            let _refused = client.assoc_delete(two, "friend", one).send().await;
        }
        at += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs `tao observe`, expects its exit code, and gives the result.
fn observe(regions: &Regions, code: i32, args: &'static [&'static str]) -> JoinHandle<Value> {
    let file = regions.topology_file.clone();
    tokio::task::spawn_blocking(move || {
        let args = [&["observe", "--samples-per-second", "40"], args].concat();
        let (found, report, talk) = run_tao(&file, &args).unwrap();
        assert_eq!(found, code, "tao {args:?}: {report:#} {talk}");
        report
    })
}

/// Looks of a verdict by age, in one region or in all.
fn counts(report: &Value, region: Option<&str>, verdict: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in report["nodes"].as_array().unwrap() {
        if region.is_none_or(|region| line["region"] == region) {
            let age = line["age"].as_str().unwrap().to_owned();
            *counts.entry(age).or_default() += line[verdict].as_u64().unwrap();
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn staleness_is_seen_where_it_is_and_nowhere_else() {
    for binary in fleet::test_servers().unwrap() {
        let regions = Regions::start(&Source::Local(binary), &RegionsOptions::default()).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write(regions.client("region-a").await.unwrap(), Arc::clone(&stop)));
        regions.caught_up(Duration::from_secs(30)).await.unwrap();

        let healthy = &["--duration", "2s", "--ages", "200ms,3s", "--databases"];
        let report = observe(&regions, 0, healthy).await.unwrap();
        let (judged, wrong) = (counts(&report, None, "judged"), counts(&report, None, "wrong"));
        println!("healthy: judged {judged:?}, unknown {}", report["unknown"]);
        // 2 followers, 2 leaders, and 2 databases in each of two regions.
        assert_eq!(report["nodes"].as_array().unwrap().len(), 8 * 2, "{report:#}");
        assert!(judged["3s"] >= 20 && wrong["200ms"] == 0, "{report:#}");

        // The other region's replication stands still, then goes on: stale at first, right in the end.
        regions.stop_replication().await.unwrap();
        let run = observe(&regions, 0, &["--duration", "2s", "--ages", "500ms,1s,9s"]);
        tokio::time::sleep(Duration::from_millis(4_200)).await;
        regions.start_replication().await.unwrap();
        let report = run.await.unwrap();
        let stale = counts(&report, Some("region-b"), "stale");
        println!("stopped for a while: stale {stale:?}");
        assert!(stale["500ms"] > 0 && stale["9s"] == 0, "{report:#}");
        assert_eq!(counts(&report, Some("region-a"), "stale").values().sum::<u64>(), 0, "{report:#}");

        // It stands still to the end: said item by item, with what the primary proves.
        regions.caught_up(Duration::from_secs(30)).await.unwrap();
        regions.stop_replication().await.unwrap();
        let report = observe(&regions, 1, &["--duration", "1s", "--ages", "100ms,1s"]).await.unwrap();
        let found = report["inconsistencies"].as_array().unwrap();
        println!("stopped: {} inconsistencies, such as {}", report["inconsistency_count"], found[0]);
        let stale = |one: &Value| one["region"] == "region-b" && one["verdict"] == "stale";
        assert!(!found.is_empty() && found.iter().all(stale), "{report:#}");
        assert!(found.iter().any(|one| one["proved"].is_string() && one["since"].is_string()), "{report:#}");
        regions.start_replication().await.unwrap();

        // Another region takes over meanwhile: the observer goes on at its logs.
        regions.caught_up(Duration::from_secs(30)).await.unwrap();
        let run = observe(&regions, 0, &["--duration", "8s", "--ages", "500ms,4s"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        regions.promote(1, &[]).await.unwrap();
        let report = run.await.unwrap();
        println!("promotion: {:?}, void {}", counts(&report, None, "judged"), report["void"]);
        for log in report["logs"].as_array().unwrap() {
            let primary = log["primary"].as_str().unwrap();
            assert!(log["following"] == true && primary.contains("region-b"), "{report:#}");
        }
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_only_read_is_enough_and_one_that_may_not_read_the_log_is_told_so() {
    for binary in fleet::test_servers().unwrap() {
        let options = RegionsOptions { regions: 1, groups: 1, ..RegionsOptions::default() };
        let regions = Regions::start(&Source::Local(binary), &options).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write(regions.client("region-a").await.unwrap(), Arc::clone(&stop)));

        let mut topology = regions.topology().clone();
        let dsn = topology.host_groups[0].servers["region-a"].clone();
        let mut server = Conn::new(Opts::from_url(dsn.expose()).unwrap()).await.unwrap();
        let mut run = async |statements: &str| {
            for statement in statements.lines() {
                server.query_drop(statement).await.unwrap();
            }
        };
        let (_, place) = dsn.expose().split_once('@').unwrap();
        let observer = Dsn::new(format!("mysql://observer:looks@{place}"));
        topology.host_groups[0].servers.insert("region-a".to_owned(), observer);
        let file = regions.folder().join("observer.toml");
        std::fs::write(&file, topology.to_toml()).unwrap();
        let file = file.display().to_string();
        let observe = async || {
            let (cluster, file) = (regions.topology_file.clone(), file.clone());
            tokio::task::spawn_blocking(move || {
                let args = ["observe", "--topology", &file, "--duration", "1s", "--ages", "1s"];
                run_tao(&cluster, &args).unwrap()
            })
            .await
            .unwrap()
        };

        run(ACCOUNT).await;
        let (code, _, talk) = observe().await;
        assert_eq!(code, 3, "{talk}");
        assert!(talk.contains("host group 1") && talk.contains("GRANT REPLICATION SLAVE"), "{talk}");
        run(LOG).await;
        let (code, report, talk) = observe().await;
        assert_eq!(code, 0, "{report:#} {talk}");
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
    }
}
