//! The rows, in groups that share a cluster and its data.

mod memory;
mod reads;
mod shards;
mod tao13;
mod writes;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::Bench;
use crate::measure::{Plan, closed_loop};
use crate::peers::{Pages, Store};
use crate::workloads::Workload;

/// All rows, by the names of `--rows`.
pub const NAMES: [&str; 18] = [
    "point16",
    "point64",
    "callers50",
    "range50",
    "half-p50",
    "half-p99",
    "tenfold",
    "write512",
    "write1",
    "added",
    "memory10",
    "memory1000",
    "tao13-memcached",
    "tao13-redis",
    "tao13-mysql",
    "tao13-callers",
    "tao13-curve",
    "shards",
];

/// Measures what is wanted. A group that fails does not take the others' figures with it.
pub async fn all(bench: &mut Bench) {
    let began = Instant::now();
    let outcome = Box::pin(reads::measure(bench)).await;
    bench.group("reads that hit", began, outcome);
    let began = Instant::now();
    let outcome = Box::pin(writes::measure(bench)).await;
    bench.group("durable writes", began, outcome);
    let began = Instant::now();
    let outcome = Box::pin(memory::measure(bench)).await;
    bench.group("memory", began, outcome);
    let began = Instant::now();
    let outcome = Box::pin(tao13::measure(bench)).await;
    bench.group("tao13", began, outcome);
    let began = Instant::now();
    let outcome = Box::pin(shards::measure(bench)).await;
    bench.group("shards", began, outcome);
}

/// Operations a second of these callers.
async fn rate<S: Store>(
    stores: Vec<S>,
    workload: &Arc<dyn Workload>,
    page: usize,
    plan: Plan,
) -> Result<f64> {
    Ok(closed_loop(Pages::of(stores, workload, page), plan).await?.rate)
}
