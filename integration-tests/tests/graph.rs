//! A generated graph, loaded through a follower into each database that is installed, and compared.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use integration_tests::{DevRegion, run_tao};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
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

fn start(binary: &ServerBinary) -> DevRegion {
    println!("{} {}", binary.flavour(), binary.version());
    DevRegion::start_with(&["--storage", "mysql"], &[("TAO_MYSQLD", binary.path())]).unwrap()
}
