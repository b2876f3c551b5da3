//! What is measured, and how it is printed.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies of one caller of a closed loop, from the call to its answer. Each caller has its own; they are added up.
pub struct Latency {
    micros: Histogram<u64>,
    operations: u64,
}

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Which work.
    pub work: String,
    /// Callers or connections at once.
    pub concurrency: usize,
    /// Operations done.
    pub operations: u64,
    /// Operations a second.
    pub rate: f64,
    /// Median latency of a call in microseconds.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Longest.
    pub max_us: u64,
}

impl Latency {
    /// Nothing recorded.
    ///
    /// # Errors
    /// None in practice: the bounds are constants.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { micros: Histogram::new_with_bounds(1, 60_000_000, 3)?, operations: 0 })
    }

    /// A call of `operations` operations took so long.
    pub fn record(&mut self, took: Duration, operations: u64) {
        self.micros.saturating_record(took.as_micros() as u64);
        self.operations += operations;
    }

    /// Adds another caller's.
    ///
    /// # Errors
    /// None in practice: the bounds are the same.
    pub fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.micros.add(&other.micros)?;
        self.operations += other.operations;
        Ok(())
    }

    /// The figures of a run that took `elapsed`.
    pub fn figures(&self, work: &str, concurrency: usize, elapsed: Duration) -> Figures {
        Figures {
            work: work.to_owned(),
            concurrency,
            operations: self.operations,
            rate: self.operations as f64 / elapsed.as_secs_f64().max(f64::EPSILON),
            p50_us: self.micros.value_at_quantile(0.5),
            p99_us: self.micros.value_at_quantile(0.99),
            max_us: self.micros.max(),
        }
    }
}

impl Figures {
    /// A line of the table.
    pub fn line(&self) -> String {
        format!(
            "{:<34} {:>5} callers {:>11.0}/s   p50 {:>8} us   p99 {:>8} us   max {:>9} us",
            self.work, self.concurrency, self.rate, self.p50_us, self.p99_us, self.max_us
        )
    }
}
