//! What lanes count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Metrics of all lanes of a leader.
#[derive(Debug)]
pub struct LaneMetrics {
    /// Operations of each transaction.
    pub batch_operations: Histogram,
    /// How long each transaction took.
    pub commit_seconds: Histogram,
    /// How long each job waited in its queue.
    pub wait_seconds: Histogram,
    /// Operations that wait in the queues of all lanes.
    pub queue_operations: Gauge,
    /// Units by what became of them.
    pub units: Family<UnitLabel, Counter>,
    /// Batches that were split because the database refused them.
    pub splits: Counter,
}

/// What became of a unit.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct UnitLabel {
    /// `done`, `replayed`, `refused`, `not_owned`, `busy`, `expired`, `rejected`, `unavailable`, `uncertain`.
    pub result: &'static str,
}

impl Default for LaneMetrics {
    fn default() -> Self {
        // Commits take from some 50 us (memory) over milliseconds (fsync) to the lock limit of a second.
        let seconds = || exponential_buckets(0.000_05, 2.0, 18);
        Self {
            batch_operations: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            commit_seconds: Histogram::new(seconds()),
            wait_seconds: Histogram::new(seconds()),
            queue_operations: Gauge::default(),
            units: Family::default(),
            splits: Counter::default(),
        }
    }
}

impl LaneMetrics {
    /// Registers everything under `tao_leader_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tao_leader");
        registry.register(
            "commit_batch_operations",
            "Operations of one transaction",
            self.batch_operations.clone(),
        );
        registry.register(
            "commit_duration_seconds",
            "Duration of one transaction",
            self.commit_seconds.clone(),
        );
        registry.register(
            "lane_wait_seconds",
            "Time that a write waited in its lane's queue",
            self.wait_seconds.clone(),
        );
        registry.register(
            "lane_queue_operations",
            "Operations that wait in the queues of all lanes",
            self.queue_operations.clone(),
        );
        registry.register("commit_units", "Units by what became of them", self.units.clone());
        registry.register(
            "commit_splits",
            "Batches split because the database refused them",
            self.splits.clone(),
        );
    }

    pub(super) fn count(&self, result: &'static str, units: usize) {
        self.units.get_or_create(&UnitLabel { result }).inc_by(units as u64);
    }
}
