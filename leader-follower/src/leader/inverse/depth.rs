//! How many pairs are on their way, and the limit of that.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};
use tao_schema::{Error, ErrorCode, Result};

pub(super) struct Depth {
    counts: Arc<Mutex<Counts>>,
    per_shard: usize,
    all: usize,
}

struct Counts {
    shards: HashMap<ShardId, usize, foldhash::fast::RandomState>,
    all: usize,
    gauge: Gauge,
}

/// A pair's place among those on their way; given back on drop.
pub(crate) struct Permit {
    counts: Arc<Mutex<Counts>>,
    shard: ShardId,
}

impl Depth {
    pub(super) fn new(per_shard: usize, all: usize, gauge: Gauge) -> Self {
        let counts = Counts { shards: HashMap::default(), all: 0, gauge };
        Self { counts: Arc::new(Mutex::new(counts)), per_shard, all }
    }

    pub(super) fn take(&self, shard: ShardId) -> Result<Permit> {
        let mut counts = self.counts.lock();
        let here = counts.shards.get(&shard).copied().unwrap_or(0);
        if (here >= self.per_shard || counts.all >= self.all) && !planted(Bug::OutboxUnbounded) {
            let message = format!(
                "{here} association pairs of shard {shard} and {} in all wait for their other side: try again later",
                counts.all
            );
            return Err(Error::new(ErrorCode::Overloaded, message));
        }
        *counts.shards.entry(shard).or_default() += 1;
        counts.all += 1;
        counts.gauge.inc();
        Ok(Permit { counts: Arc::clone(&self.counts), shard })
    }

    /// Whether less than half of the room is taken: draining old rows leaves the rest to new writes.
    pub(super) fn is_light(&self, shard: ShardId) -> bool {
        let counts = self.counts.lock();
        let here = counts.shards.get(&shard).copied().unwrap_or(0);
        here < self.per_shard.div_ceil(2) && counts.all < self.all.div_ceil(2)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.all -= 1;
        counts.gauge.dec();
        if let Some(here) = counts.shards.get_mut(&self.shard) {
            *here -= 1;
            if *here == 0 {
                counts.shards.remove(&self.shard);
            }
        }
    }
}
