//! What a leader counts. Lanes: [`LaneMetrics`].

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tao_schema::ops::Source;

use crate::lanes::LaneMetrics;

/// Metrics of one leader.
#[derive(Debug)]
pub struct LeaderMetrics {
    /// Of its lanes.
    pub lanes: Arc<LaneMetrics>,
    /// Fills and reads by who had the answer.
    pub answers: Family<AnswerLabel, Counter>,
    /// Keys of each database read.
    pub read_batch_keys: Histogram,
    /// How long each database read took.
    pub read_seconds: Histogram,
    /// Caches of shards dropped, by reason.
    pub resets: Family<ResetLabel, Counter>,
    /// Shards that this leader serves.
    pub open_shards: Gauge,
    /// Pairs whose other side is not known to be applied and that this leader is at.
    pub outbox_pairs: Gauge,
    /// Attempts to bring inverses to their shard that failed.
    pub inverse_retries: Counter,
    /// Change streams open.
    pub streams: Gauge,
    /// Resets sent to subscribers.
    pub stream_resets: Counter,
}

/// What was asked and who had it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct AnswerLabel {
    /// `fill` or `read`.
    pub call: &'static str,
    /// `cache` or `database`.
    pub source: &'static str,
}

/// Why a shard's cache was dropped.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ResetLabel {
    /// `gap`: an own commit did not follow the last; `audit`: another leader wrote; `epoch`: the shard changed hands.
    pub reason: &'static str,
}

impl Default for LeaderMetrics {
    fn default() -> Self {
        Self {
            lanes: Arc::default(),
            answers: Family::default(),
            read_batch_keys: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            // From a memory engine's microseconds to a slow disk's seconds.
            read_seconds: Histogram::new(exponential_buckets(0.000_02, 2.0, 18)),
            resets: Family::default(),
            open_shards: Gauge::default(),
            outbox_pairs: Gauge::default(),
            inverse_retries: Counter::default(),
            streams: Gauge::default(),
            stream_resets: Counter::default(),
        }
    }
}

impl LeaderMetrics {
    /// Registers everything under `tao_leader_...`.
    pub fn register(&self, registry: &mut Registry) {
        self.lanes.register(registry);
        let registry = registry.sub_registry_with_prefix("tao_leader");
        registry.register("answers", "Fills and reads by who had the answer", self.answers.clone());
        registry.register("read_batch_keys", "Keys of one database read", self.read_batch_keys.clone());
        registry.register(
            "read_duration_seconds",
            "Duration of one database read",
            self.read_seconds.clone(),
        );
        registry.register("resets", "Caches of shards dropped, by reason", self.resets.clone());
        registry.register("open_shards", "Shards that this leader serves", self.open_shards.clone());
        registry.register(
            "outbox_pairs",
            "Pairs on their way to their other side",
            self.outbox_pairs.clone(),
        );
        registry.register(
            "inverse_retries",
            "Failed attempts to bring an inverse to its shard",
            self.inverse_retries.clone(),
        );
        registry.register("streams", "Open change streams", self.streams.clone());
        registry.register("stream_resets", "Resets sent to subscribers", self.stream_resets.clone());
    }

    pub(super) fn answered(&self, call: &'static str, source: Source) {
        let source = match source {
            Source::Database => "database",
            Source::LeaderCache | Source::FollowerCache => "cache",
        };
        self.answers.get_or_create(&AnswerLabel { call, source }).inc();
    }

    pub(super) fn reset(&self, reason: &'static str) {
        self.resets.get_or_create(&ResetLabel { reason }).inc();
    }
}
