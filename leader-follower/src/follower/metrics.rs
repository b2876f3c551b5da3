//! What a follower counts. Counters are resolved once: the hot path adds to an array element, and never looks a
//! label up.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tao_schema::ids::HostGroupId;
use tao_schema::ops::ReadOp;

const OPS: usize = 5;
const RESULTS: usize = ReadResult::ALL.len();

/// How a read ended at the follower's memory: the label `result` of `tao_follower_reads_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadResult {
    /// Answered from memory.
    Hit,
    /// Refused without asking anybody: it contradicts the graph schema or a limit.
    Refused,
    /// Nothing about the key is in memory.
    Absent,
    /// What is in memory is older than the read's token or the key's floor.
    TooOld,
    /// The shard's change stream is not continuous now (R16).
    NotContinuous,
    /// The read wants more of a list than memory holds.
    TooDeep,
    /// The read's token is of an epoch that memory can't be compared with (R19).
    OtherEpoch,
    /// Memory's knowledge of the shard is older than the node's limit (R21).
    Aged,
    /// It is older than the read allows (R21).
    Bounded,
    /// The read wants everything up to a time that memory has not come to (R19).
    NotBefore,
    /// The read names a position of an earlier epoch that memory can't place (R19).
    Lineage,
    /// The read wants the master region.
    Master,
    /// The read wants a proof from the primary (R21).
    Critical,
}

impl ReadResult {
    /// All results, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Hit,
        Self::Refused,
        Self::Absent,
        Self::TooOld,
        Self::NotContinuous,
        Self::TooDeep,
        Self::OtherEpoch,
        Self::Aged,
        Self::Bounded,
        Self::NotBefore,
        Self::Lineage,
        Self::Master,
        Self::Critical,
    ];

    /// The label's value; also the reason in a reply's `Explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Refused => "refused",
            Self::Absent => "absent",
            Self::TooOld => "too_old",
            Self::NotContinuous => "not_continuous",
            Self::TooDeep => "too_deep",
            Self::OtherEpoch => "other_epoch",
            Self::Aged => "aged",
            Self::Bounded => "bounded",
            Self::NotBefore => "not_before",
            Self::Lineage => "lineage",
            Self::Master => "master",
            Self::Critical => "critical",
        }
    }
}

/// Why the trust in a shard's memory ended: the label `reason` of `tao_follower_losses_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// The stream ended or broke.
    StreamEnded,
    /// The stream was silent for too long.
    Silent,
    /// A change was missing in the sequence.
    Gap,
    /// A heartbeat named a change that had not come.
    Heartbeat,
    /// The leader reset the shard.
    Reset,
    /// The leader refused the shard.
    Refused,
    /// The leader spoke of another epoch.
    Epoch,
    /// The shard was moved to another leader.
    Moved,
}

impl Loss {
    const ALL: [Self; 8] = [
        Self::StreamEnded,
        Self::Silent,
        Self::Gap,
        Self::Heartbeat,
        Self::Reset,
        Self::Refused,
        Self::Epoch,
        Self::Moved,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StreamEnded => "stream_ended",
            Self::Silent => "silent",
            Self::Gap => "gap",
            Self::Heartbeat => "heartbeat",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Epoch => "epoch",
            Self::Moved => "moved",
        }
    }
}

/// Counters and gauges of one follower.
#[derive(Debug)]
pub struct FollowerMetrics {
    reads: [[Counter; RESULTS]; OPS],
    losses: [Counter; Loss::ALL.len()],
    /// Fills sent to leaders.
    pub fills: Counter,
    /// Misses that waited for the fill of another caller.
    pub fills_shared: Counter,
    /// Reads that went up to a leader without leaving anything in memory.
    pub reads_through: Counter,
    /// Time of a fill at the leader, in seconds.
    pub fill_seconds: Histogram,
    /// Writes forwarded.
    pub writes: Counter,
    /// Writes tried again, at another leader or with a newer topology.
    pub write_retries: Counter,
    /// Minimum versions noted (R15).
    pub floors_raised: Counter,
    /// Shards subscribed now.
    pub shards_subscribed: Gauge,
    /// Change streams open now.
    pub streams_open: Gauge,
    /// Reads with a token that memory answered.
    pub token_reads_local: Counter,
    /// Reads with a token that went up: the share of these among both is the tokens' price.
    pub token_reads_up: Counter,
    /// Epochs that the streams told of.
    pub stream_epochs: Counter,
    /// Subscribed shards whose age nobody vouches for: they are not served from memory.
    pub shards_unvouched: Gauge,
    age_family: Family<GroupLabels, Gauge<f64, AtomicU64>>,
    read_family: Family<ReadLabels, Counter>,
    loss_family: Family<LossLabels, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReadLabels {
    op: &'static str,
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct GroupLabels {
    host_group: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LossLabels {
    reason: &'static str,
}

impl Default for FollowerMetrics {
    fn default() -> Self {
        let read_family = Family::<ReadLabels, Counter>::default();
        let loss_family = Family::<LossLabels, Counter>::default();
        let ops = ["object_get", "assoc_get", "assoc_count", "assoc_range", "assoc_time_range"];
        let reads = ops.map(|op| {
            ReadResult::ALL
                .map(|result| read_family.get_or_create(&ReadLabels { op, result: result.name() }).clone())
        });
        let losses =
            Loss::ALL.map(|reason| loss_family.get_or_create(&LossLabels { reason: reason.name() }).clone());
        Self {
            reads,
            losses,
            fills: Counter::default(),
            fills_shared: Counter::default(),
            reads_through: Counter::default(),
            // 50 us (memory of a leader next door) to 1.6 s (a database in trouble), doubling.
            fill_seconds: Histogram::new(exponential_buckets(50e-6, 2.0, 16)),
            writes: Counter::default(),
            write_retries: Counter::default(),
            floors_raised: Counter::default(),
            shards_subscribed: Gauge::default(),
            streams_open: Gauge::default(),
            token_reads_local: Counter::default(),
            token_reads_up: Counter::default(),
            stream_epochs: Counter::default(),
            shards_unvouched: Gauge::default(),
            age_family: Family::default(),
            read_family,
            loss_family,
        }
    }
}

impl FollowerMetrics {
    /// Adds everything to `registry` under `tao_follower_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tao_follower");
        registry.register("reads", "Reads by operation and by what memory had", self.read_family.clone());
        registry.register("losses", "Ends of trust in a shard's memory", self.loss_family.clone());
        registry.register("fills", "Fills sent to leaders", self.fills.clone());
        registry.register("fills_shared", "Misses that joined another's fill", self.fills_shared.clone());
        registry.register("reads_through", "Reads answered by a leader", self.reads_through.clone());
        registry.register("fill_seconds", "Time of a fill at the leader", self.fill_seconds.clone());
        registry.register("writes", "Writes forwarded", self.writes.clone());
        registry.register("write_retries", "Writes tried again", self.write_retries.clone());
        registry.register("floors_raised", "Minimum versions noted", self.floors_raised.clone());
        registry.register("shards_subscribed", "Shards subscribed", self.shards_subscribed.clone());
        registry.register("streams_open", "Change streams open", self.streams_open.clone());
        let local = self.token_reads_local.clone();
        registry.register("token_reads_local", "Reads with a token answered from memory", local);
        registry.register("token_reads_up", "Reads with a token that went up", self.token_reads_up.clone());
        registry.register("stream_epochs", "Epochs that the streams told of", self.stream_epochs.clone());
        let unvouched = self.shards_unvouched.clone();
        registry.register("shards_unvouched", "Subscribed shards of unknown age", unvouched);
        registry.register(
            "age_seconds",
            "Age of what is known, of the host group's oldest shard",
            self.age_family.clone(),
        );
    }

    /// Counts a read.
    #[inline]
    pub(super) fn read(&self, op: &ReadOp, result: ReadResult) {
        self.reads[op_index(op)][result as usize].inc();
    }

    /// Reads counted so far of the kind of `op` that ended in `result`.
    pub fn reads_of(&self, op: &ReadOp, result: ReadResult) -> u64 {
        self.reads[op_index(op)][result as usize].get()
    }

    /// Sets the age of the oldest shard of a host group; `None`: it has none here any longer.
    pub(super) fn show_age(&self, group: HostGroupId, age: Option<Duration>) {
        let labels = GroupLabels { host_group: u64::from(group.0) };
        match age {
            Some(age) => _ = self.age_family.get_or_create(&labels).set(age.as_secs_f64()),
            None => _ = self.age_family.remove(&labels),
        }
    }

    /// Counts the end of trust in `shards` shards.
    pub(super) fn lost(&self, reason: Loss, shards: u64) {
        self.losses[reason as usize].inc_by(shards);
    }

    /// Shards lost so far for `reason`.
    pub fn losses_of(&self, reason: Loss) -> u64 {
        self.losses[reason as usize].get()
    }
}

const fn op_index(op: &ReadOp) -> usize {
    match op {
        ReadOp::ObjectGet(_) => 0,
        ReadOp::AssocGet { .. } => 1,
        ReadOp::AssocCount(_) => 2,
        ReadOp::AssocRange { .. } => 3,
        ReadOp::AssocTimeRange { .. } => 4,
    }
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::ObjectId;

    use super::*;

    #[test]
    fn counters_reach_the_registry_under_their_names() {
        let (metrics, mut registry) = (FollowerMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let get = ReadOp::ObjectGet(ObjectId(1));
        metrics.read(&get, ReadResult::Hit);
        metrics.lost(Loss::Gap, 2);
        assert_eq!((metrics.reads_of(&get, ReadResult::Hit), metrics.losses_of(Loss::Gap)), (1, 2));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "tao_follower_reads_total{op=\"object_get\",result=\"hit\"} 1",
            "tao_follower_losses_total{reason=\"gap\"} 2",
            "tao_follower_fill_seconds_count 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
