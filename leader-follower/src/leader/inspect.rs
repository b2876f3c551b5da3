//! What a leader holds, and what its databases say: for `tao check` and for operators.

use std::time::Duration;

use tao_schema::ids::{EdgeKey, HostGroupId, Position, PrimaryTime, ShardId};
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, ScanPage, Snapshot, Table};
use tokio::time::{Instant, timeout_at};

use super::handle::LeaderHandle;
use super::routes::Group;
use super::tail::TailState;
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
    /// Its host groups, in order: the logs that it follows.
    pub groups: Vec<GroupStatus>,
}

/// One host group as a leader sees it.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its number.
    pub host_group: HostGroupId,
    /// Whether this leader's region has the primary, by the topology that it knows.
    pub master: bool,
    /// Region of the primary.
    pub master_region: String,
    /// How the log is followed.
    pub state: TailState,
    /// Region of the server whose log is followed; `None`: none yet.
    pub followed: Option<String>,
    /// How old the knowledge of the group's shards is; `None`: nobody can tell.
    pub age: Option<Duration>,
    /// The primary's clock in the newest heartbeat that this node had written and that came through.
    pub time: Option<PrimaryTime>,
    /// Everything up to here was taken in, as the server's dialect writes it.
    pub position: String,
    /// Why this region's server is refused; `None`: it is not.
    pub refused: Option<String>,
    /// The last thing that went wrong; `None` since it went well again.
    pub error: Option<String>,
}

impl LeaderHandle {
    /// Every cached entry of a shard that would be served now. Walks the whole cache.
    pub fn cached(&self, shard: ShardId) -> Vec<CachedEntry> {
        let shards = &self.inner.shards;
        let Some(slot) = shards.slot(shard).filter(|slot| slot.is_open()) else { return Vec::new() };
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
        let page = timeout_at(deadline, group.database.scan(shard, table, after, limit)).await;
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
            inner.routes.groups.values().map(|group| group.database.describe()).collect();
        storage.sort_unstable();
        storage.dedup();
        let shards = inner.shards.all_open().map(|slot| (slot.core.position(), slot.core.is_continuous()));
        LeaderStatus {
            name: inner.routes.name.clone(),
            storage,
            shards: shards.collect(),
            cache: inner.shards.engine().stats(),
            groups: self.groups(),
        }
    }

    /// The logs that it follows, by host group.
    pub fn groups(&self) -> Vec<GroupStatus> {
        let routes = &self.inner.routes;
        let cluster = routes.cluster.load();
        let status = |group: &Group| {
            let facts = group.health.facts();
            GroupStatus {
                host_group: group.id,
                master: routes.masters(&cluster, group.id),
                master_region: cluster
                    .topology
                    .host_group(group.id)
                    .map_or_else(String::new, |known| known.master.clone()),
                state: facts.state,
                followed: facts.followed,
                age: group.health.age(),
                time: group.health.known_at().map(|(_, time)| time),
                position: group.health.position().to_string(),
                refused: facts.refused,
                error: facts.error,
            }
        };
        let mut groups: Vec<GroupStatus> = routes.groups.values().map(status).collect();
        groups.sort_unstable_by_key(|group| group.host_group);
        groups
    }
}

fn late() -> Error {
    Error::new(ErrorCode::DeadlineExceeded, "the deadline passed before the database answered")
}
