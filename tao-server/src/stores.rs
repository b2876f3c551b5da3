//! The databases that a leader talks to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::topology::{Placement, Topology};
use tao_shard_store::mysql::{self, MySqlStore};
use tao_shard_store::store::SharedStore;

use crate::config::StorageConfig;

/// Stores by host group.
pub type Stores = HashMap<HostGroupId, SharedStore>;

/// Opens the database of every host group, as one region reads and writes it.
///
/// # Errors
/// A server can't be reached or is not set as it must be; the message names it, never its password.
pub async fn open(topology: &Topology, region: &str, config: &StorageConfig) -> Result<Stores> {
    let opening = topology.host_groups.iter().map(|group| async move {
        let dsn = group
            .servers
            .get(region)
            .with_context(|| format!("host group {} has no server in region {region}", group.id))?;
        let options = mysql::Options {
            // One connection for each lane, and one to settle an uncertain commit beside it (R4).
            writers: config.writer_lanes + 1,
            readers: config.read_connections,
            statement_timeout: Duration::from_millis(config.statement_ms),
            ..mysql::Options::default()
        };
        let store = MySqlStore::open(dsn.expose(), options)
            .await
            .with_context(|| format!("host group {}", group.id))?;
        anyhow::Ok((group.id, Arc::new(store) as SharedStore))
    });
    Ok(try_join_all(opening).await?.into_iter().collect())
}

/// Makes the rows of all shards where they don't exist yet.
///
/// # Errors
/// A server can't be written.
pub async fn create_shards(topology: &Topology, stores: &Stores) -> Result<()> {
    let placement = Placement::compute(topology);
    let mut by_group: HashMap<(HostGroupId, Epoch), Vec<ShardId>> = HashMap::new();
    for shard in placement.shards() {
        let owner =
            placement.host_group(shard).with_context(|| format!("shard {shard} has no host group"))?;
        by_group.entry(owner).or_default().push(shard);
    }
    try_join_all(by_group.into_iter().map(|((group, epoch), shards)| async move {
        let store = stores.get(&group).with_context(|| format!("host group {group} has no database"))?;
        store.create_shards(&shards, epoch).await.with_context(|| format!("host group {group}"))
    }))
    .await?;
    Ok(())
}
