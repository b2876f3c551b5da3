//! The databases that a leader talks to.

mod layout;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tao_leader_follower::ports::RemoteDatabases;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Placement, Topology};
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::mysql::{self, MySqlStore};
use tao_shard_store::store::StoreError;

use crate::config::StorageConfig;

/// Stores by host group.
pub type Stores = HashMap<HostGroupId, SharedDatabase>;

/// Servers of other regions are not known to this node.
#[derive(Debug)]
pub struct OneRegion;

impl RemoteDatabases for OneRegion {
    fn server(&self, _group: HostGroupId, _region: &str) -> Option<SharedDatabase> {
        None
    }
}

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
        let store =
            open_one(dsn.expose(), config).await.with_context(|| format!("host group {}", group.id))?;
        anyhow::Ok((group.id, store))
    });
    Ok(try_join_all(opening).await?.into_iter().collect())
}

/// Opens one database server.
///
/// # Errors
/// As [`open`].
pub async fn open_one(dsn: &str, config: &StorageConfig) -> Result<SharedDatabase, StoreError> {
    let options = mysql::Options {
        // One connection for each lane, and one to settle an uncertain commit beside it (R4).
        writers: config.writer_lanes + 1,
        readers: config.read_connections,
        statement_timeout: Duration::from_millis(config.statement_ms),
        ..mysql::Options::default()
    };
    Ok(Arc::new(MySqlStore::open(dsn, options).await?))
}

/// [`open`], then [`create_shards`].
///
/// # Errors
/// As both.
pub async fn open_with_shards(topology: &Topology, region: &str, config: &StorageConfig) -> Result<Stores> {
    let stores = open(topology, region, config).await?;
    create_shards(topology, &stores).await?;
    Ok(stores)
}

/// Compares the shards that the databases hold with the topology, and makes the rows of all shards in databases that
/// hold none yet. Where nothing is missing nothing is written, so a server that is read-only for now will do.
///
/// # Errors
/// The topology contradicts the databases; a server can't be asked or written.
pub async fn create_shards(topology: &Topology, stores: &Stores) -> Result<()> {
    let placement = Placement::compute(topology);
    let held = try_join_all(topology.host_groups.iter().map(|group| async move {
        let store = store_of(stores, group.id)?;
        let rows = store.shard_rows().await.with_context(|| format!("host group {}", group.id))?;
        anyhow::Ok((group.id, rows))
    }))
    .await?;
    let missing = layout::missing(topology, &placement, &held)?;
    try_join_all(missing.into_iter().map(|((group, epoch), shards)| async move {
        let store = store_of(stores, group)?;
        store.create_shards(&shards, epoch).await.with_context(|| format!("host group {group}"))
    }))
    .await?;
    Ok(())
}

fn store_of(stores: &Stores, group: HostGroupId) -> Result<&SharedDatabase> {
    stores.get(&group).with_context(|| format!("host group {group} has no database"))
}
