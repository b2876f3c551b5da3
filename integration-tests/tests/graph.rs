//! A generated graph, loaded through a follower into each database that is installed, and compared.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use integration_tests::{DevRegion, Process, Region, RegionOptions, run_tao, tao};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::ids::{ObjectId, ObjectType};
use tao_shard_store::fleet::{self, ServerBinary};

/// Lines of a temporal edge list over few nodes, so that pairs repeat; and the distinct edges.
fn edge_list(seed: u64, lines: usize) -> (String, BTreeSet<(u32, u32)>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::new();
    let mut edges = BTreeSet::new();
    for time in 0..lines {
        let (from, to) = (random.random_range(0..200), random.random_range(0..200));
        edges.insert((from, to));
        writeln!(text, "{from} {to} {}", 1_000_000 + time).unwrap();
    }
    (text, edges)
}

fn load_and_check(region: &DevRegion) {
    let seed = 20_130_626;
    println!("seed {seed}");
    let (text, edges) = edge_list(seed, 3_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edges.txt");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let cluster = region.cluster();
    let load = ["load", "--format", "snap-temporal", "--assoc", "follows", "--object-type", "user", &file];
    for _twice in 0..2 {
        let (code, report, talk) = run_tao(&cluster, &load).unwrap();
        assert_eq!(code, 0, "{talk}");
        assert_eq!(report["distinct_edges"], edges.len());
    }
    let (code, check, talk) = run_tao(&cluster, &["check", "--deep"]).unwrap();
    assert_eq!((code, &check["difference_count"]), (0, &0.into()), "{check} {talk}");
    // Forward and inverse.
    assert_eq!(check["edges"], 2 * edges.len());
    assert_eq!(check["inverses"], 2 * edges.len());
    assert!(check["objects"].as_u64().unwrap() <= 200);
    let out_of_7 = edges.iter().filter(|(from, _)| *from == 7).count();
    let (_, id, _) = run_tao(&cluster, &["id", "user", "7"]).unwrap();
    let (_, count, _) = run_tao(&cluster, &["assoc", "count", &id["id"].to_string(), "follows"]).unwrap();
    assert_eq!(count["count"], out_of_7);
}

#[test]
fn loads_into_memory() {
    load_and_check(&DevRegion::start(&["--storage", "memory"]).unwrap());
}

#[test]
fn loads_into_every_installed_database() {
    for binary in fleet::test_servers().unwrap() {
        load_and_check(&start(&binary));
    }
}

/// A leader dies in the middle of a load, and the loader with it. The same command again ends in the same state as one
/// that nothing had happened to: each pair occurs once here, so that state is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_cut_off_is_run_again() {
    let binary = fleet::test_servers().unwrap().remove(0);
    let options = RegionOptions { db_servers: 1, leaders: 2, followers: 1, shards: 16 };
    let mut region = Region::start(binary, &options).await.unwrap();
    let (from, to) = (20_u32, 100_u32);
    let time = |a: u32, b: u32| 1_000_000 + a * 1_000 + b;
    let pairs = || (0..from).flat_map(|a| (from..to).map(move |b| (a, b)));
    let text: String = pairs().map(|(a, b)| format!("{a} {b} {}\n", time(a, b))).collect();
    let file = region.folder().join("edges.txt");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let load =
        ["load", "--format", "snap-temporal", "--assoc", "follows", "--object-type", "user", file.as_str()];
    let cluster = region.topology_file.display().to_string();
    let first: Vec<&str> = ["--cluster", cluster.as_str()].into_iter().chain(load).collect();
    let mut loader =
        Process::start("tao load", &tao().unwrap(), &first, &region.folder().join("load.log")).unwrap();
    let user = |number| ObjectId::named(ObjectType(1), number, 16);
    let client = region.client().await.unwrap();
    // Some of it is there, and some is not.
    let count = async || {
        let mut sum = 0;
        for a in 0..from {
            sum += client.assoc_count(user(a), "follows").send().await.unwrap().count;
        }
        sum
    };
    while count().await < 100 {
        assert!(loader.runs().unwrap(), "the load ended before anything was seen of it");
    }
    region.kill_node("leader-1").unwrap();
    loader.kill().unwrap();
    region.start_node("leader-1").unwrap();
    let before = count().await;
    assert!(before < pairs().count() as u64, "the load was over before it was cut off");

    let (code, _, talk) = run_tao(&region.topology_file, &load).unwrap();
    assert_eq!(code, 0, "{talk}");
    for a in 0..from {
        let list = client.assoc_range(user(a), "follows").limit(6_000).send().await.unwrap();
        let found: Vec<_> = list.iter().map(|edge| (edge.id2, edge.time.0)).collect();
        let wanted: Vec<_> = (from..to).rev().map(|b| (user(b), time(a, b))).collect();
        assert_eq!(found, wanted, "list of {a}");
    }
    let (code, check, talk) = run_tao(&region.topology_file, &["check", "--deep"]).unwrap();
    assert_eq!((code, &check["difference_count"]), (0, &0.into()), "{check} {talk}");
    assert_eq!((&check["edges"], &check["objects"]), (&(2 * pairs().count()).into(), &to.into()));
}

fn start(binary: &ServerBinary) -> DevRegion {
    println!("{} {}", binary.flavour(), binary.version());
    DevRegion::start_with(&["--storage", "mysql"], &[("TAO_MYSQLD", binary.path())]).unwrap()
}
