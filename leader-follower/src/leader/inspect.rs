//! What a leader holds, and what its databases say: for `tao check` and for operators.

use tao_schema::ids::{EdgeKey, Position, ShardId};
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, ScanPage, Snapshot, Table};
use tokio::time::{Instant, timeout_at};

use super::handle::LeaderHandle;
use crate::engine::{self, CachedEntry, EngineStats};

/// What a leader is doing.
#[derive(Clone, Debug)]
pub struct LeaderStatus {
    /// Its name.
    pub name: String,
    /// Engines and versions of its databases, each once.
    pub storage: Vec<String>,
    /// Its open shards: watermark, and whether the cache is served.
    pub shards: Vec<(Position, bool)>,
    /// Its cache.
    pub cache: EngineStats,
}

impl LeaderHandle {
    /// Every cached entry of a shard that would be served now. Walks the whole cache.
    pub fn cached(&self, shard: ShardId) -> Vec<CachedEntry> {
        let shards = &self.inner.shards;
        let Some(slot) = shards.open_slot(shard) else { return Vec::new() };
        engine::servable(shards.engine(), shard, &slot.core)
    }

    /// A page of a table of a shard, straight from the database.
    ///
    /// # Errors
    /// Those of the store; `NotOwner` or `NoSuchShard` if this leader can't reach the shard.
    pub async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
        deadline: Instant,
    ) -> Result<ScanPage> {
        let (group, _) = self.inner.routes.group(shard)?;
        let page = timeout_at(deadline, group.store.scan(shard, table, after, limit)).await;
        page.map_err(|_| late())?.map_err(Error::from)
    }

    /// Keys of one shard, straight from the database, in the order asked.
    ///
    /// # Errors
    /// As [`LeaderHandle::scan`].
    pub async fn read_store(
        &self,
        shard: ShardId,
        keys: Vec<ReadKey>,
        deadline: Instant,
    ) -> Result<Vec<Snapshot>> {
        if keys.iter().any(|key| key.shard() != shard) {
            return Err(Error::invalid(format!("all keys must be of shard {shard}")));
        }
        let (group, _) = self.inner.routes.group(shard)?;
        group.reader.read_all(shard, keys, deadline).await
    }

    /// What this leader is doing.
    pub fn status(&self) -> LeaderStatus {
        let inner = &self.inner;
        let mut storage: Vec<String> =
            inner.routes.groups.values().map(|group| group.store.describe()).collect();
        storage.sort_unstable();
        storage.dedup();
        let shards = inner.shards.all_open().map(|slot| (slot.core.position(), slot.core.is_continuous()));
        LeaderStatus {
            name: inner.routes.name.clone(),
            storage,
            shards: shards.collect(),
            cache: inner.shards.engine().stats(),
        }
    }
}

fn late() -> Error {
    Error::new(ErrorCode::DeadlineExceeded, "the deadline passed before the database answered")
}
