//! [`ServerLog`]: the log of one database server, from which caches learn what was written, by whomever (DESIGN
//! section 4 "Stream", PROTOCOL R6-R10).
//!
//! On MySQL and MariaDB it is the server's own binlog, of a primary or of a replica; the memory engine has one with
//! the same promises. The log is the only source of cache maintenance: nothing is read again on an event.

mod position;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tao_schema::ids::{PrimaryTime, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};

pub use self::position::{LogPosition, NotAPosition};
use crate::store::{ShardRow, ShardStore, StoreError};

/// What a leader asks of a server's log, and of the two small things that travel through it: heartbeats, and the
/// stored topology.
#[async_trait]
pub trait ServerLog: Send + Sync + 'static {
    /// What keeps this server's log from being followed safely, or makes it unsafe to lean on: format, images,
    /// metadata, compression, replica updates, order of commits (R8). Empty: nothing.
    async fn preflight(&self) -> Result<Vec<Finding>, StoreError>;

    /// Opens the log. Events come in the order of the log, each shard's changes contiguous.
    ///
    /// # Errors
    /// [`TailErrorKind::PositionLost`] if the server no longer has what follows the position, or never had it.
    async fn open_tail(&self, start: TailStart) -> Result<Box<dyn LogTail>, TailError>;

    /// Every transaction that this server has executed.
    async fn executed(&self) -> Result<LogPosition, StoreError>;

    /// Writes the heartbeat row of `beat.writer`; answers the server's clock as the row has it. Only on a primary; on a
    /// lossless one it comes back when a replica has it, and so everything before it (R7).
    async fn beat(&self, beat: Beat) -> Result<PrimaryTime, StoreError>;

    /// All shard rows, the epoch histories, and the heartbeat row of `writer`, from one statement: one snapshot (R8).
    /// A nonce that it shows was committed after everything that the log's position counted before the nonce was
    /// written; so the rows show all of that (H9).
    async fn survey(&self, writer: BeatWriter) -> Result<Survey, StoreError>;

    /// The newest topology that is stored here; `None`: none yet.
    async fn stored_topology(&self) -> Result<Option<StoredTopology>, StoreError>;

    /// Stores a topology if the newest one here has version `topology.version - 1`, or if there is none: compare and
    /// set, by the primary key. Answers whether it did.
    async fn store_topology(&self, topology: &StoredTopology) -> Result<bool, StoreError>;
}

/// A database server as a leader uses it: rows and log.
pub trait Database: ShardStore + ServerLog {}

impl<T: ShardStore + ServerLog> Database for T {}

/// A handle to any engine's server.
pub type SharedDatabase = Arc<dyn Database>;

/// An open log.
#[async_trait]
pub trait LogTail: Send {
    /// What follows, of at least one transaction and of whole transactions only; waits until there is something.
    /// After an error the tail is used up: open it again after [`LogTail::position`].
    ///
    /// Cancel-safe: what was not given out comes with the next call.
    async fn next(&mut self) -> Result<Vec<TailEvent>, TailError>;

    /// Everything up to here was given out.
    fn position(&self) -> LogPosition;
}

/// Where a tail begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TailStart {
    /// After what another tail gave out, perhaps of another server of the host group.
    After(LogPosition),
    /// About so long ago, by the marks that heartbeats leave (R17); or as far back as the marks and the log reach.
    Back(Duration),
}

/// What the log tells.
#[derive(Clone, PartialEq, Debug)]
pub enum TailEvent {
    /// A shard entered an epoch. Comes before the first change of that epoch.
    Epoch {
        /// The shard.
        shard: ShardId,
        /// The epoch and its first seq.
        start: EpochStart,
    },
    /// What one transaction did to one shard, with the state that it left the shard row in. A shard row in a state
    /// that is not readable makes no change: its rows are not news (R9).
    Change {
        /// The change.
        change: Arc<ShardChange>,
        /// State of the shard row.
        state: ShardState,
    },
    /// A heartbeat came through.
    Beat {
        /// Whose.
        beat: Beat,
        /// The primary's clock when it was written.
        time: PrimaryTime,
    },
    /// A topology was stored.
    Topology {
        /// Its version.
        version: u64,
    },
}

/// Why a tail ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TailError {
    /// What to do about it.
    pub kind: TailErrorKind,
    /// What happened, naming the server.
    pub message: String,
}

/// What a [`TailError`] means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TailErrorKind {
    /// The connection is gone or can't be had: open it again at the position, there or at another server.
    Disconnected,
    /// The log does not have what follows the position (purged, or another history): every shard starts anew.
    PositionLost,
    /// The log holds what can't be followed: a statement in place of rows, a change of our tables, rows without their
    /// shard row, an event of a kind or form unknown. An alarm; every shard starts anew behind it (R9).
    NotUnderstood,
}

/// Names who writes heartbeats: `xxh3_64` of the node's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BeatWriter(pub u64);

impl BeatWriter {
    /// The writer that the node of this name is.
    pub fn of(node: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(node.as_bytes()))
    }
}

/// A heartbeat (R8, R10, R20).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// Who wrote it.
    pub writer: BeatWriter,
    /// Unlike the writer's others.
    pub nonce: u64,
}

/// See [`ServerLog::survey`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    /// All shard rows of the server.
    pub rows: Vec<ShardRow>,
    /// Every epoch of every shard, ascending.
    pub epochs: Vec<(ShardId, EpochStart)>,
    /// Nonce and time of the writer's heartbeat row.
    pub beat: Option<(u64, PrimaryTime)>,
}

/// A topology as the database holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredTopology {
    /// Its version, from 1.
    pub version: u64,
    /// The topology as TOML, DSNs included: never logged.
    pub toml: String,
}

/// Something about a server that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whether the server can't be used like this.
    pub fatal: bool,
    /// The setting, or what it is about.
    pub subject: String,
    /// What is, what must be and why, and the statement that sets it.
    pub message: String,
}

impl TailError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: TailErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
