//! The databases that a leader talks to: those of its own region, and for heartbeats and in need, those of others.

mod layout;
mod lazy;
mod remote;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use tao_leader_follower::ports::ClusterView;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Dsn, Placement, Topology};
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::mysql::{self, MySqlStore};
use tao_shard_store::store::{StoreError, StoreErrorKind};

use crate::config::StorageConfig;
use crate::translate::{Translate, server_address};

pub use lazy::{LazyDatabase, Opener, SharedLazy};
pub use remote::RemoteServers;

/// A region's databases by host group.
pub type Stores = HashMap<HostGroupId, SharedLazy>;

/// What opening a server needs to know beside its address.
#[derive(Clone)]
pub struct Opening {
    /// The topology in force: whose the shards are is compared with it when a server is opened.
    pub cluster: ClusterView,
    /// Connections and times.
    pub config: StorageConfig,
    /// Addresses as this node sees them.
    pub translate: Translate,
}

/// The databases of every host group as one region reads and writes them; none is opened yet.
///
/// # Errors
/// A host group has no server in the region.
pub fn of_region(opening: &Opening, region: &str) -> Result<Stores> {
    let topology = Arc::clone(&opening.cluster.load().topology);
    let server = |group: &tao_schema::topology::HostGroup| {
        let dsn = group
            .servers
            .get(region)
            .with_context(|| format!("host group {} has no server in region {region}", group.id))?;
        let place = format!("host group {} at {}", group.id, server_address(dsn));
        let opener = own_server(opening.clone(), group.id, region.to_owned(), opening.translate.dsn(dsn));
        Ok((group.id, Arc::new(LazyDatabase::new(place, opener))))
    };
    topology.host_groups.iter().map(server).collect()
}

/// Tries to open all of them. What can't be reached now is tried again when it is needed.
///
/// # Errors
/// What does not pass by itself: settings, versions, a topology that contradicts the data.
pub async fn reach_all(stores: &Stores) -> Result<()> {
    for reached in join_all(stores.values().map(|store| store.reach())).await {
        match reached {
            Err(error) if !passes(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn passes(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::Uncertain)
}

/// Opens one database server.
///
/// # Errors
/// It can't be reached or is not set as it must be; the message names it, never its password.
pub async fn open_one(dsn: &str, config: &StorageConfig) -> Result<SharedDatabase, StoreError> {
    // Two connections for each lane, which goes on with other shards while one settles an uncertain commit (R4).
    open_with(dsn, config, config.writer_lanes * 2 + 1, config.read_connections).await
}

async fn open_with(
    dsn: &str,
    config: &StorageConfig,
    writers: usize,
    readers: usize,
) -> Result<SharedDatabase, StoreError> {
    let options = mysql::Options {
        writers,
        readers,
        statement_timeout: Duration::from_millis(config.statement_ms),
        ..mysql::Options::default()
    };
    Ok(Arc::new(MySqlStore::open(dsn, options).await?))
}

/// Opens this region's server of a host group and compares its shards with the topology.
fn own_server(opening: Opening, group: HostGroupId, region: String, dsn: Dsn) -> Opener {
    Box::new(move || {
        let (opening, region, dsn) = (opening.clone(), region.clone(), dsn.clone());
        Box::pin(async move {
            let database = open_one(dsn.expose(), &opening.config).await?;
            let topology = Arc::clone(&opening.cluster.load().topology);
            check_shards(&topology, group, &region, &database).await?;
            Ok(database)
        })
    })
}

/// Compares the shards that a server holds with the topology; makes their rows in one that holds none yet, if it is the
/// primary: a replica gets them from there.
///
/// # Errors
/// `Incompatible`: the topology contradicts the database. `Unavailable`: a replica that has none yet; or the server
/// can't be asked or written.
pub async fn check_shards(
    topology: &Topology,
    group: HostGroupId,
    region: &str,
    database: &SharedDatabase,
) -> Result<(), StoreError> {
    let rows = database.shard_rows().await?;
    let missing = layout::missing(topology, &Placement::compute(topology), &[(group, rows)])
        .map_err(|error| StoreError::new(StoreErrorKind::Incompatible, format!("{error:#}")))?;
    let primary = topology.host_group(group).is_some_and(|group| group.master == region);
    if !missing.is_empty() && !primary {
        let message = "a replica that has no shards yet: replication from its primary has not brought them";
        return Err(StoreError::new(StoreErrorKind::Unavailable, message));
    }
    for ((_, epoch), shards) in missing {
        database.create_shards(&shards, epoch).await?;
    }
    Ok(())
}
