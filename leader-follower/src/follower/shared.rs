//! What the parts of a follower share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Position, Seq, ShardId};
use tao_schema::ops::{FillKey, Source};
use tao_schema::{Error, ErrorCode, Result};

use super::fills::Shareable;
use super::leaders::Leaders;
use super::metrics::FollowerMetrics;
use super::options::FollowerOptions;
use super::shards::{ShardSlot, Shards};
use crate::core::{Entry, Key};
use crate::engine::CacheEngine;
use crate::fills::FillTable;

/// One follower.
pub(super) struct Shared {
    pub(super) node: String,
    pub(super) options: FollowerOptions,
    pub(super) schema: Arc<GraphSchema>,
    pub(super) entries: Arc<dyn CacheEngine>,
    pub(super) shards: Shards,
    pub(super) leaders: Leaders,
    pub(super) fills: FillTable<FillKey, Shareable>,
    pub(super) metrics: Arc<FollowerMetrics>,
    /// Set once: no new work is taken.
    pub(super) stopped: AtomicBool,
}

/// An entry as a fill brought it, shared among those who missed it.
#[derive(Clone, Debug)]
pub(super) struct FilledEntry {
    /// The entry.
    pub(super) entry: Arc<Entry>,
    /// It is right at this position.
    pub(super) position: Position,
    /// Who had it.
    pub(super) source: Source,
    /// The leader that answered.
    pub(super) leader: Arc<str>,
}

impl Shared {
    /// The shard, made if it is new.
    pub(super) fn touch(&self, shard: ShardId) -> Result<&ShardSlot> {
        self.shards.touch(shard).ok_or_else(|| no_such_shard(shard))
    }

    /// Refuses work after the end.
    pub(super) fn check_running(&self) -> Result<()> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(Error::unavailable(format!("follower {} is shutting down: try another", self.node)));
        }
        Ok(())
    }

    /// Says that the topology seems to be out of date; returns at once.
    pub(super) fn ask_for_topology(&self) {
        self.leaders.ask_for_topology();
    }

    /// Notes that `seq` of this key was shown, or was written through this node: no later answer may be older (R15).
    pub(super) fn raise_floor(&self, slot: &ShardSlot, key: Key, seq: Seq) {
        let raised = slot.core.with(|core| {
            core.raise_floor(key, seq, &*self.entries);
            seq > core.watermark()
        });
        if raised {
            self.metrics.floors_raised.inc();
        }
    }
}

pub(super) fn no_such_shard(shard: ShardId) -> Error {
    let message = format!("shard {shard} is not in this cluster; is the id from another one?");
    Error::new(ErrorCode::NoSuchShard, message)
}
