//! Configuration of a node: flags over environment over file over defaults, unknown keys refused, everything checked
//! before anything starts.

mod layers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tao_leader_follower::engine::EngineKind;
use tao_schema::limits;

pub use layers::{ConfigError, Layers};

use crate::translate::Translate;

/// What a node is and how it runs. `tao-server config dump` prints it with every default.
///
/// Sizes are in bytes, times in milliseconds; the key says so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The node's name in the topology; there it has its role, region and advertised address.
    pub name: String,
    /// Where to listen for gRPC.
    pub listen: SocketAddr,
    /// Where to listen for `/livez`, `/readyz` and `/metrics`. Unauthenticated: keep it on loopback or a private net.
    pub admin_listen: SocketAddr,
    /// The topology file.
    pub topology: PathBuf,
    /// The graph schema file; empty: the built-in demo schema.
    pub schema: PathBuf,
    /// How long SIGTERM waits for requests in flight before it names who is still busy and ends.
    pub drain_ms: u64,
    /// Memory for cached entries.
    pub cache: CacheConfig,
    /// What is written to stderr.
    pub log: LogConfig,
    /// Bounds on what others may ask of this node.
    pub limits: LimitsConfig,
    /// Leaders only: writing and reading the databases.
    pub storage: StorageConfig,
    /// Leaders only: following the logs of the databases.
    pub tail: TailConfig,
    /// Where this node has to connect for an address of the topology, of a node or a database server, if that is not the
    /// address itself: `"host:port" = "host:port"`.
    pub translate: Translate,
}

/// `[cache]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Budget for entries with their overhead.
    pub bytes: u64,
    /// `s3fifo` (default: its lookups are the cheapest, and so are its tables), `quick` or `moka`.
    pub engine: EngineName,
    /// What is older than this is served from nobody's memory, unless the read itself says how old it may be: it is asked
    /// of the leader, and then of the master region.
    pub max_age_ms: u64,
    /// Recent changes kept for each shard, for late fills and for subscribers that come back.
    pub ring_changes: usize,
    /// Bytes of recent changes kept for each shard, at most.
    pub ring_bytes: usize,
    /// Bytes of recent changes kept for all shards together: each has its part of them. A leader keeps those of every
    /// shard of the cluster, so that it can take over from another one at once.
    pub rings_bytes: u64,
}

/// Name of a cache engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// Our own, by S3-FIFO.
    #[serde(rename = "s3fifo")]
    S3Fifo,
    /// quick_cache
    Quick,
    /// moka
    Moka,
}

impl From<EngineName> for EngineKind {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::S3Fifo => Self::S3Fifo,
            EngineName::Quick => Self::Quick,
            EngineName::Moka => Self::Moka,
        }
    }
}

/// `[log]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` for people, `json` for machines, `auto`: text on a terminal.
    pub format: LogFormat,
    /// A filter as `tracing` understands it: `info`, `warn,tao_server=debug`.
    pub level: String,
}

/// Form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// `[limits]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Deadline of a request that names none.
    pub default_deadline_ms: u64,
    /// Requests of one pipelined stream that may be under way at once.
    pub stream_requests: usize,
    /// Streams and calls of one connection.
    pub connection_streams: u32,
    /// Bytes of one message in either direction.
    pub message_bytes: usize,
}

/// `[storage]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Connections for reads, for each database server.
    pub read_connections: usize,
    /// Writer lanes for each host group: connections that commit at the same time, each with batches of its own. More for
    /// databases with many cores.
    pub writer_lanes: usize,
    /// Longest time of one SQL statement.
    pub statement_ms: u64,
}

/// `[tail]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TailConfig {
    /// Between two heartbeats, which tell how old a leader's knowledge is: ages are at least as coarse as this.
    pub heartbeat_ms: u64,
    /// Between two comparisons of the shard rows with what the log has brought.
    pub audit_ms: u64,
    /// How far back a log is read at the start, so that subscribers who were away for less find what they missed.
    pub back_ms: u64,
    /// When this region's server could not be followed for so long, the log of the primary is followed instead.
    pub fallback_ms: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 7480)),
            topology: PathBuf::from("topology.toml"),
            schema: PathBuf::new(),
            drain_ms: 10_000,
            cache: CacheConfig::default(),
            log: LogConfig::default(),
            limits: LimitsConfig::default(),
            storage: StorageConfig::default(),
            tail: TailConfig::default(),
            translate: Translate::default(),
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            engine: EngineName::S3Fifo,
            max_age_ms: 10_000,
            ring_changes: 4096,
            ring_bytes: 4 << 20,
            rings_bytes: 256 << 20,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            default_deadline_ms: 5_000,
            stream_requests: 4_096,
            connection_streams: 128,
            message_bytes: limits::MAX_MESSAGE_BYTES,
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { read_connections: 16, writer_lanes: 2, statement_ms: 2_000 }
    }
}

impl Default for TailConfig {
    fn default() -> Self {
        Self { heartbeat_ms: 250, audit_ms: 10_000, back_ms: 60_000, fallback_ms: 5_000 }
    }
}

impl NodeConfig {
    /// Checks what types can't say.
    ///
    /// # Errors
    /// Names the key, its value and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, wanted: &str| {
            Err(ConfigError::Value { key: key.to_owned(), value, wanted: wanted.to_owned() })
        };
        if self.name.is_empty() {
            return refuse("name", "\"\"".to_owned(), "the node's name in the topology");
        }
        if let Some((from, to)) = self.translate.wrong() {
            return refuse(&format!("translate.\"{from}\""), format!("{to:?}"), "host:port for host:port");
        }
        if self.cache.rings_bytes < 1 << 20 {
            return refuse(
                "cache.rings_bytes",
                self.cache.rings_bytes.to_string(),
                "at least 1048576 (1 MiB)",
            );
        }
        if self.cache.bytes < 1 << 20 {
            return refuse("cache.bytes", self.cache.bytes.to_string(), "at least 1048576 (1 MiB)");
        }
        let deadline = self.limits.default_deadline_ms;
        if deadline == 0 || Duration::from_millis(deadline) > limits::MAX_DEADLINE {
            return refuse("limits.default_deadline_ms", deadline.to_string(), "1 to 60000");
        }
        // Timeouts nest (DESIGN section 6): a caller must outlive the statement that it waits for.
        if self.storage.statement_ms == 0 || self.storage.statement_ms >= deadline {
            return refuse(
                "storage.statement_ms",
                self.storage.statement_ms.to_string(),
                "above 0 and below limits.default_deadline_ms, so that a caller outlives the statement it waits for",
            );
        }
        let age = self.cache.max_age_ms;
        let heartbeat = self.tail.heartbeat_ms;
        // A leader's knowledge is as old as its newest heartbeat; a follower's older by the time of a probe.
        if age < 4 * heartbeat.max(250) {
            return refuse(
                "cache.max_age_ms",
                age.to_string(),
                "at least 1000 and 4 times tail.heartbeat_ms, or every late heartbeat would empty the caches",
            );
        }
        let bytes = self.limits.message_bytes;
        if !(1 << 16..=limits::MAX_MESSAGE_BYTES).contains(&bytes) {
            return refuse("limits.message_bytes", bytes.to_string(), "65536 to 4194304");
        }
        for (key, value, most) in [
            ("limits.stream_requests", self.limits.stream_requests, 1 << 20),
            ("limits.connection_streams", self.limits.connection_streams as usize, 1 << 16),
            ("cache.ring_changes", self.cache.ring_changes, 1 << 24),
            ("cache.ring_bytes", self.cache.ring_bytes, 1 << 30),
            ("storage.read_connections", self.storage.read_connections, 1 << 12),
            ("storage.writer_lanes", self.storage.writer_lanes, 64),
            ("tail.heartbeat_ms", self.tail.heartbeat_ms as usize, 10_000),
            ("tail.audit_ms", self.tail.audit_ms as usize, 3_600_000),
            ("tail.back_ms", self.tail.back_ms as usize, 3_600_000),
            ("tail.fallback_ms", self.tail.fallback_ms as usize, 3_600_000),
        ] {
            if value == 0 || value > most {
                return refuse(key, value.to_string(), &format!("1 to {most}"));
            }
        }
        Ok(())
    }
}
