//! The whole API against a plain graph in memory: see `integration_tests::model`.

use std::time::Duration;

use integration_tests::model::{On, soak};
use tao_shard_store::fleet;

/// Another seed: TAO_MODEL_SEED; only one of its cases: TAO_MODEL_CASE.
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

async fn conforms(on: On, time: Duration) {
    let seed = from_environment("TAO_MODEL_SEED").unwrap_or_else(rand::random);
    println!("{on:?}, seed {seed} (TAO_MODEL_SEED)");
    let report = soak(&on, seed, time, from_environment("TAO_MODEL_CASE")).await.unwrap();
    println!("{}", serde_json::to_string(&report).unwrap());
    if let Err(error) = report.verdict() {
        panic!("seed {seed}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tier_does_what_the_model_does_on_memory() {
    conforms(On::Memory, Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tier_does_what_the_model_does_on_every_installed_database() {
    for binary in fleet::test_servers().unwrap() {
        conforms(On::Servers(binary), Duration::from_secs(5)).await;
    }
}
