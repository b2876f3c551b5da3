//! Bounds and times of a leader.

use std::time::Duration;

use super::inverse::InverseOptions;
use super::reader::ReaderOptions;
use super::stream::StreamOptions;
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
    /// Between two audits of the shard rows (R8).
    pub audit_every: Duration,
    /// Between two removals of request rows that are too old to matter (R3).
    pub purge_every: Duration,
    /// Between two looks at all tombstones for those that are too old (R22).
    pub purge_tombstones_every: Duration,
    /// Shards that are opened at the same time when the node starts.
    pub parallel_opens: usize,
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
            audit_every: Duration::from_millis(500),
            purge_every: Duration::from_secs(60),
            purge_tombstones_every: Duration::from_secs(3_600),
            parallel_opens: 8,
            grace: Duration::from_secs(5),
        }
    }
}
