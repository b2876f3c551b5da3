//! What a leader counts. Lanes: [`LaneMetrics`].

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tao_schema::ids::HostGroupId;
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
    /// New epochs told to subscribers.
    pub stream_epochs: Counter,
    /// Calls that wait for a shard that changes hands (R25).
    pub holding: Gauge,
    /// How long they waited.
    pub hold_seconds: Histogram,
    /// Calls sent on to the master region, by call and reason.
    pub forwarded: Family<ForwardLabel, Counter>,
    /// Reads whose token memory did not satisfy, by reason.
    pub token_misses: Family<ResetLabel, Counter>,
    /// Of the logs that are followed.
    pub logs: LogMetrics,
}

/// Metrics of the logs that a leader follows, by host group.
#[derive(Clone, Debug, Default)]
pub struct LogMetrics {
    /// How old the knowledge of the group's shards is, in seconds; -1: nobody can tell (R20).
    pub age_seconds: Family<GroupLabel, Gauge<f64, AtomicU64>>,
    /// 1 while the log's news come in.
    pub following: Family<GroupLabel, Gauge>,
    /// 1 while the primary's log is followed in place of this region's server's.
    pub fallback: Family<GroupLabel, Gauge>,
    /// 1 while this region has the primary.
    pub master: Family<GroupLabel, Gauge>,
    /// 1 while this region's server is refused (H22).
    pub refused: Family<GroupLabel, Gauge>,
    /// Changes in the log that are not known to be committed (R7).
    pub held: Family<GroupLabel, Gauge>,
    /// How often the log was gone on with after it was lost, or at another server.
    pub reconnects: Family<GroupLabel, Counter>,
    /// How often all shards of the group had to start anew, by reason.
    pub starts: Family<GroupReasonLabel, Counter>,
    /// What must not be, and somebody has to look at, by reason.
    pub alarms: Family<GroupReasonLabel, Counter>,
}

/// The part of [`LogMetrics`] that is one host group's.
#[derive(Clone, Debug)]
pub(super) struct GroupMetrics {
    group: u16,
    all: LogMetrics,
    pub(super) held: Gauge,
    pub(super) reconnects: Counter,
}

/// A host group.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct GroupLabel {
    /// Its number.
    pub host_group: u16,
}

/// A host group and a reason.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct GroupReasonLabel {
    /// Its number.
    pub host_group: u16,
    /// `position_lost`, `not_understood`, `blind`, `refused`, `audit`, `handover`.
    pub reason: &'static str,
}

/// A call that was sent on to the master region, and why.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ForwardLabel {
    /// `read`, `fill` or `write`.
    pub call: &'static str,
    /// What this region lacks.
    pub reason: &'static str,
}

/// What was asked and who had it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct AnswerLabel {
    /// `fill` or `read`.
    pub call: &'static str,
    /// `cache` or `database`.
    pub source: &'static str,
}

/// Why a shard's cache was dropped, or a token was not satisfied.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ResetLabel {
    /// `gap`: a change did not follow the last; `audit`: the log had not brought what the row shows; `epoch`: the epoch
    /// before was cut off; `backwards`: the database lost something.
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
            stream_epochs: Counter::default(),
            forwarded: Family::default(),
            holding: Gauge::default(),
            // From a round trip to the longest deadline.
            hold_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            token_misses: Family::default(),
            logs: LogMetrics::default(),
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
        registry.register("stream_epochs", "New epochs told to subscribers", self.stream_epochs.clone());
        registry.register("holding", "Calls that wait for a shard that changes hands", self.holding.clone());
        registry.register(
            "hold_duration_seconds",
            "How long calls waited for a shard that changed hands",
            self.hold_seconds.clone(),
        );
        registry.register("forwarded", "Calls sent on to the master region", self.forwarded.clone());
        registry.register(
            "token_misses",
            "Reads whose token memory did not satisfy, by reason",
            self.token_misses.clone(),
        );
        self.logs.register(registry);
    }

    pub(super) fn answered(&self, call: &'static str, source: Source) {
        let source = match source {
            Source::Database => "database",
            Source::LeaderCache | Source::FollowerCache => "cache",
        };
        self.answers.get_or_create(&AnswerLabel { call, source }).inc();
    }

    pub(super) fn forwarded(&self, call: &'static str, reason: &'static str) {
        self.forwarded.get_or_create(&ForwardLabel { call, reason }).inc();
    }

    pub(super) fn token_missed(&self, reason: &'static str) {
        self.token_misses.get_or_create(&ResetLabel { reason }).inc();
    }

    pub(super) fn reset(&self, reason: &'static str) {
        self.resets.get_or_create(&ResetLabel { reason }).inc();
    }
}

impl LogMetrics {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("log");
        registry.register(
            "age_seconds",
            "How old the knowledge of the group's shards is; -1: nobody can tell",
            self.age_seconds.clone(),
        );
        registry.register("following", "1 while the log's news come in", self.following.clone());
        registry.register(
            "fallback",
            "1 while the primary's log is followed in place of this region's server's",
            self.fallback.clone(),
        );
        registry.register("master", "1 while this region has the primary", self.master.clone());
        registry.register("refused", "1 while this region's server is refused", self.refused.clone());
        registry.register("held_changes", "Changes not known to be committed yet", self.held.clone());
        registry.register("reconnects", "How often the log was gone on with", self.reconnects.clone());
        registry.register("starts", "How often all shards had to start anew", self.starts.clone());
        registry.register("alarms", "What must not be, by reason", self.alarms.clone());
    }

    pub(super) fn of(&self, group: HostGroupId) -> GroupMetrics {
        let label = GroupLabel { host_group: group.0 };
        GroupMetrics {
            group: group.0,
            held: self.held.get_or_create(&label).clone(),
            reconnects: self.reconnects.get_or_create(&label).clone(),
            all: self.clone(),
        }
    }
}

impl GroupMetrics {
    const fn label(&self) -> GroupLabel {
        GroupLabel { host_group: self.group }
    }

    pub(super) fn age(&self, age: Option<Duration>) {
        let seconds = age.map_or(-1.0, |age| age.as_secs_f64());
        self.all.age_seconds.get_or_create(&self.label()).set(seconds);
    }

    pub(super) fn following(&self, follows: bool, fallback: bool) {
        self.all.following.get_or_create(&self.label()).set(i64::from(follows));
        self.all.fallback.get_or_create(&self.label()).set(i64::from(fallback));
    }

    pub(super) fn master(&self, master: bool) {
        self.all.master.get_or_create(&self.label()).set(i64::from(master));
    }

    pub(super) fn refused(&self, refused: bool) {
        self.all.refused.get_or_create(&self.label()).set(i64::from(refused));
    }

    pub(super) fn start_over(&self, reason: &'static str) {
        self.all.starts.get_or_create(&GroupReasonLabel { host_group: self.group, reason }).inc();
    }

    pub(super) fn alarm(&self, reason: &'static str) {
        self.all.alarms.get_or_create(&GroupReasonLabel { host_group: self.group, reason }).inc();
    }
}
