//! Latencies, and the figures that are printed of them.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Bounds of what is told apart: a tenth of a microsecond, and ten minutes.
const LOWEST_NS: u64 = 100;
const HIGHEST_NS: u64 = 600_000_000_000;

/// Latencies of calls. Each caller has its own; they are added up.
#[derive(Clone, Debug)]
pub struct Latency {
    nanos: Histogram<u64>,
    operations: u64,
}

/// Figures of one run. Times are in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Callers or connections at once.
    pub concurrency: usize,
    /// Operations done.
    pub operations: u64,
    /// Operations a second.
    pub rate: f64,
    /// Mean latency of a call.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// Longest.
    pub max_us: f64,
}

impl Latency {
    /// Nothing recorded.
    ///
    /// # Errors
    /// None in practice: the bounds are constants.
    pub fn new() -> Result<Self> {
        Ok(Self { nanos: Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3)?, operations: 0 })
    }

    /// A call of `operations` operations took so long.
    pub fn record(&mut self, took: Duration, operations: u64) {
        self.nanos.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.operations += operations;
    }

    /// Adds another caller's.
    ///
    /// # Errors
    /// None in practice: the bounds are the same.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.nanos.add(&other.nanos)?;
        self.operations += other.operations;
        Ok(())
    }

    /// Number of calls.
    pub fn calls(&self) -> u64 {
        self.nanos.len()
    }

    /// The figures of a run that took `elapsed`.
    pub fn figures(&self, concurrency: usize, elapsed: Duration) -> Figures {
        let at = |quantile| self.nanos.value_at_quantile(quantile) as f64 / 1e3;
        Figures {
            concurrency,
            operations: self.operations,
            rate: self.operations as f64 / elapsed.as_secs_f64().max(f64::EPSILON),
            mean_us: self.nanos.mean() / 1e3,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.nanos.max() as f64 / 1e3,
        }
    }
}

impl Figures {
    /// A line of a table.
    pub fn line(&self, work: &str) -> String {
        format!(
            "{work:<40} {:>5} callers {:>11.0}/s   p50 {:>9.1} us   p99 {:>9.1} us   max {:>10.1} us",
            self.concurrency, self.rate, self.p50_us, self.p99_us, self.max_us
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_all_callers() {
        let (mut one, mut other) = (Latency::new().unwrap(), Latency::new().unwrap());
        for _ in 0..99 {
            one.record(Duration::from_micros(10), 16);
        }
        other.record(Duration::from_millis(5), 16);
        one.add(&other).unwrap();
        let figures = one.figures(2, Duration::from_secs(2));
        assert_eq!((figures.operations, one.calls()), (1600, 100));
        assert!((figures.rate - 800.0).abs() < 1e-6);
        assert!((figures.p50_us - 10.0).abs() < 0.1 && (figures.max_us - 5000.0).abs() < 10.0);
        assert!(figures.line("x").contains("800/s"));
    }
}
