//! What a run found, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// The outcome of a run. Times are in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The databases: engine and version, or where they come from.
    pub engine: String,
    /// The run's seed.
    pub seed: u64,
    /// Number of regions.
    pub regions: usize,
    /// Injected delay between regions, each way.
    pub wan_one_way_ms: u64,
    /// `async` or `lossless`.
    pub mode: String,
    /// How long users were at work.
    pub seconds: f64,
    /// All calls that were answered.
    pub operations: u64,
    /// By kind.
    pub counts: BTreeMap<String, Count>,
    /// Calls that failed as calls may, by kind and code.
    pub errors: BTreeMap<String, u64>,
    /// What must be zero.
    pub violation_count: u64,
    /// The first of them.
    pub violations: Vec<String>,
    /// Of acknowledged writes.
    pub write_latency_ms: Option<Quantiles>,
    /// The longest time in which no write of a probe was acknowledged.
    pub longest_outage_ms: Option<f64>,
    /// What happened, with how long it took and what it found, or why it is impossible here.
    pub events: Vec<serde_json::Value>,
    /// From commit in one region to visible in another.
    pub visible: Option<Visible>,
    /// How long it took after the work until every region knew the present.
    pub catch_up_seconds: f64,
    /// `tao check --deep`, by region.
    pub checks: BTreeMap<String, serde_json::Value>,
    /// `tao lag` at the end.
    pub lag: serde_json::Value,
}

/// Calls of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Count {
    /// Answered.
    pub done: u64,
    /// From the memory of the follower that was asked.
    pub follower: u64,
    /// From a leader, or the database, of the region that was asked.
    pub region: u64,
    /// From another region.
    pub elsewhere: u64,
    /// Time of all of them.
    pub total_micros: u64,
    /// Time of the longest.
    pub longest_micros: u64,
}

/// Of many times.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Half of them are below.
    pub p50: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// From the acknowledgement of a write to its visibility elsewhere.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Visible {
    /// In the other region's database: MySQL's own part.
    pub replica: Quantiles,
    /// In the other region's follower.
    pub follower: Quantiles,
    /// What the follower was later than the database, write by write: our part.
    pub ours: Quantiles,
}

impl Quantiles {
    /// Sorts them; `None` of none.
    pub(crate) fn of(times: &mut [Duration]) -> Option<Self> {
        times.sort_unstable();
        let at = |part: f64| {
            let index = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(index).map(|time| time.as_secs_f64() * 1e3)
        };
        Some(Self { count: times.len() as u64, p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)? })
    }
}
