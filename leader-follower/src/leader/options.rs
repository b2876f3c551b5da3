//! Bounds and times of a leader.

use std::time::Duration;

use super::inverse::InverseOptions;
use super::reader::ReaderOptions;
use super::stream::StreamOptions;
use super::tail::TailOptions;
use crate::core::CoreOptions;
use crate::engine::EngineKind;
use crate::fills::FillLimits;
use crate::lanes::LaneOptions;

/// Options of a leader. The defaults fit a node with a few cores and a gigabyte or two.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    /// Writer lanes.
    pub lanes: LaneOptions,
    /// Database reads.
    pub reader: ReaderOptions,
    /// Inverse edges.
    pub inverse: InverseOptions,
    /// Change streams.
    pub stream: StreamOptions,
    /// Bounds of each shard's ring and floors.
    pub core: CoreOptions,
    /// Which cache holds the entries.
    pub engine: EngineKind,
    /// Bytes that cached entries may take.
    pub cache_bytes: u64,
    /// Fills in flight, and callers that wait for another's.
    pub fills: FillLimits,
    /// Writes in flight, and callers that wait for an earlier attempt of the same request.
    pub writes: FillLimits,
    /// The logs of the database servers.
    pub tail: TailOptions,
    /// Bytes of recent changes that all shards keep together; each gets an equal share, at most `core.ring_bytes`.
    pub ring_bytes: usize,
    /// What is older than this is served from nobody's memory, unless a read allows more or less (R21).
    pub max_age: Duration,
    /// Calls on their way to other regions; more are refused as `Overloaded`.
    pub forwards: usize,
    /// Calls that wait for a shard that changes hands; more are refused as `Overloaded`.
    pub holds: usize,
    /// Between two looks at what has become of the shards: new owners, outboxes that others left.
    pub upkeep_every: Duration,
    /// Between two removals of request rows that are too old to matter (R3).
    pub purge_every: Duration,
    /// Between two looks at all tombstones for those that are too old (R22).
    pub purge_tombstones_every: Duration,
    /// How long a shutdown waits for requests and inverses on their way.
    pub grace: Duration,
}

impl Default for LeaderOptions {
    fn default() -> Self {
        Self {
            lanes: LaneOptions::default(),
            reader: ReaderOptions::default(),
            inverse: InverseOptions::default(),
            stream: StreamOptions::default(),
            core: CoreOptions::default(),
            engine: EngineKind::default(),
            cache_bytes: 256 << 20,
            fills: FillLimits { in_flight: 65_536, waiting: 65_536 },
            writes: FillLimits { in_flight: 65_536, waiting: 16_384 },
            tail: TailOptions::default(),
            ring_bytes: 256 << 20,
            max_age: Duration::from_secs(10),
            forwards: 8_192,
            holds: 8_192,
            upkeep_every: Duration::from_millis(500),
            purge_every: Duration::from_secs(60),
            purge_tombstones_every: Duration::from_secs(3_600),
            grace: Duration::from_secs(5),
        }
    }
}

/// A shard's ring keeps at least this: some changes of usual size.
const SMALLEST_RING: usize = 16 << 10;

impl LeaderOptions {
    /// The bounds of one shard's core in a cluster of `shards` shards: all of them are open in every leader.
    pub(super) fn core_of(&self, shards: u32) -> CoreOptions {
        let share = self.ring_bytes / (shards.max(1) as usize);
        let ring_bytes = self.core.ring_bytes.min(share.max(SMALLEST_RING));
        CoreOptions { ring_bytes, ..self.core }
    }
}
