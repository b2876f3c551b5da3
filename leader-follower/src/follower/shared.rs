//! What the parts of a follower share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Epoch, Position, ShardId};
use tao_schema::ops::{FillKey, Source};
use tao_schema::{Error, ErrorCode, Result};

use super::fills::Shareable;
use super::leaders::Leaders;
use super::metrics::FollowerMetrics;
use super::options::FollowerOptions;
use super::shards::{ShardSlot, Shards};
use crate::clock::SharedClock;
use crate::core::{Entry, Key};
use crate::engine::CacheEngine;
use crate::fills::FillTable;

/// One follower.
pub(super) struct Shared {
    pub(super) node: String,
    pub(super) options: FollowerOptions,
    /// For ages.
    pub(super) clock: SharedClock,
    /// The option `max_age`, in microseconds.
    pub(super) max_age: u64,
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
    pub(super) entry: Entry,
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

    /// Notes that this key was shown as it is at `position`, or was written there through this node: no later answer
    /// may be older (R15).
    pub(super) fn has_shown(&self, slot: &ShardSlot, key: Key, position: Position) {
        let before = slot.core.with(|core| {
            let before = core.position();
            core.promise(key, position, &*self.entries);
            before
        });
        if position.seq > before.seq {
            self.metrics.floors_raised.inc();
        }
        // A shard that was never subscribed knows of no epoch: that says nothing about the topology.
        if position.epoch > before.epoch && before.epoch != Epoch(0) {
            self.ask_for_topology();
        }
    }
}

pub(super) fn no_such_shard(shard: ShardId) -> Error {
    let message = format!("shard {shard} is not in this cluster; is the id from another one?");
    Error::new(ErrorCode::NoSuchShard, message)
}
