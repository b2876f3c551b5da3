//! Writer lanes: what turns many waiting writes into few transactions (DESIGN section 4).
//!
//! A host group has a few lanes, a shard always uses the same one. An idle lane commits what it gets at once; while
//! a commit runs, the next batch collects. So batching never waits for company, and a shard's own commits are
//! published in the order of its log. A lane waits for its store and for nothing else, least of all for another
//! lane or an RPC (R23): two leaders whose queues are full of each other's inverses still drain.

mod commit;
mod job;
mod lane;
mod metrics;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tao_schema::Result;
use tao_schema::ids::{Epoch, ShardId};
use tao_schema::rows::{ShardChange, ShardState};
use tao_shard_store::store::SharedStore;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use job::{Class, Committed, Done, Job, Ticket};
pub use lane::Lane;
pub use metrics::LaneMetrics;

/// Bounds and times of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneOptions {
    /// Lanes for each host group.
    pub lanes: usize,
    /// Operations of clients that wait at most, for each lane.
    pub queue_ops: usize,
    /// Their bytes at most.
    pub queue_bytes: usize,
    /// Inverse states that wait at most: room of their own, so that clients can't starve the other half of pairs
    /// (R23). As many again for bookkeeping.
    pub reserved_ops: usize,
    /// Their bytes at most.
    pub reserved_bytes: usize,
    /// Operations of one transaction; a single unit may have more.
    pub batch_ops: usize,
    /// Their bytes; a single unit may have more.
    pub batch_bytes: usize,
    /// How long bookkeeping waits for a batch to go with, before it goes alone.
    pub bookkeeping_wait: Duration,
    /// First and longest pause before a unit whose shard row is locked by another is tried again.
    pub busy_pause: (Duration, Duration),
    /// How many such units of a lane are tried at the same time, each on a connection.
    pub busy_parallel: usize,
    /// How long a lane waits for a unit that was taken alone, and for whose row the store may wait, before it goes on
    /// with other shards.
    pub lone_patience: Duration,
    /// How long a lane waits for a batch before it goes on with other shards: longer than a commit takes when all is
    /// well. A commit that got no answer holds its rows until the server has ended it (R4); other shards need not wait.
    pub batch_patience: Duration,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            lanes: 1,
            queue_ops: 16_384,
            queue_bytes: 64 << 20,
            reserved_ops: 8_192,
            reserved_bytes: 16 << 20,
            batch_ops: 1_024,
            batch_bytes: 4 << 20,
            bookkeeping_wait: Duration::from_millis(20),
            busy_pause: (Duration::from_millis(5), Duration::from_millis(200)),
            busy_parallel: 4,
            lone_patience: Duration::from_millis(20),
            batch_patience: Duration::from_millis(500),
        }
    }
}

/// Who learns what commits did, before any caller does.
pub trait CommitSink: Send + Sync + 'static {
    /// A change is committed for certain (R7). For each shard in the order of its log, unless another's lock came
    /// between; then a gap shows it.
    fn committed(&self, change: &Arc<ShardChange>);

    /// A unit's shard is not this leader's to write here and now.
    fn not_owned(&self, shard: ShardId, found: Option<(Epoch, ShardState)>);
}

/// The lanes of one host group. Cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    lanes: Arc<[Lane]>,
}

impl Lanes {
    /// Starts the lanes; their tasks run in `tasks` until [`Lanes::close`] and the end of what then waits.
    pub fn start(
        store: &SharedStore,
        sink: &Arc<dyn CommitSink>,
        options: LaneOptions,
        metrics: &Arc<LaneMetrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let lanes = (0..options.lanes.max(1))
            .map(|_| Lane::start(Arc::clone(store), Arc::clone(sink), options, Arc::clone(metrics), tasks))
            .collect();
        Self { lanes }
    }

    /// Puts a job into its shard's lane.
    ///
    /// # Errors
    /// As [`Lane::submit`].
    pub fn submit(&self, job: Job) -> Result<Ticket> {
        self.lane(job.unit.shard).submit(job)
    }

    /// Whether both shards use the same lane.
    pub fn same(&self, a: ShardId, b: ShardId) -> bool {
        self.index(a) == self.index(b)
    }

    /// Since when a commit that touches the shard is under way.
    pub fn committing_since(&self, shard: ShardId) -> Option<Instant> {
        self.lane(shard).committing_since(shard)
    }

    /// Refuses new jobs; those that wait are still done.
    pub fn close(&self) {
        for lane in self.lanes.iter() {
            lane.close();
        }
    }

    fn lane(&self, shard: ShardId) -> &Lane {
        &self.lanes[self.index(shard)]
    }

    fn index(&self, shard: ShardId) -> usize {
        // Not the plain remainder: host groups take shards by remainder already, and would then use few lanes.
        let mixed = u32::from(shard.0).wrapping_mul(0x9E37_79B1) >> 16;
        mixed as usize % self.lanes.len()
    }
}
