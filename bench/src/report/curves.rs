//! What the plot shows beside the rows.

use serde::Serialize;

/// All of it; each part may be empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Curves {
    /// Throughput against hit rate.
    pub hit_rates: Vec<HitPoint>,
    /// Latencies of hits and of misses, apart.
    pub latencies: Vec<PathLatency>,
    /// Memory of cached edges.
    pub memory: Vec<MemoryPoint>,
}

/// A system at a hit rate.
#[derive(Clone, Debug, Serialize)]
pub struct HitPoint {
    /// Whose.
    pub system: String,
    /// Asked for, by the size of the cache.
    pub target: f64,
    /// Measured.
    pub hit_rate: f64,
    /// Operations a second.
    pub rate: f64,
    /// Bytes that the cache was given.
    pub cache_bytes: u64,
}

/// How long hits or misses of a system took.
#[derive(Clone, Debug, Serialize)]
pub struct PathLatency {
    /// Whose.
    pub system: String,
    /// `hit` or `miss`.
    pub path: &'static str,
    /// Reads measured.
    pub reads: u64,
    /// Microseconds.
    pub p50_us: f64,
    /// Microseconds.
    pub mean_us: f64,
    /// Microseconds.
    pub p99_us: f64,
}

/// Memory of one edge.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryPoint {
    /// Whose, and how it was measured.
    pub system: String,
    /// Edges of each list.
    pub list_edges: u32,
    /// Bytes of an edge, keys and entries included.
    pub bytes_per_edge: f64,
}
