//! The databases of a dev cluster: private servers, the user's own, or the memory engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tao_schema::topology::{Dsn, HostGroup, Topology};
use tao_shard_store::fleet::{Fleet, FleetOptions, ServerBinary};
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::store::StoreErrorKind;

use super::DevOptions;
use super::memory::MemoryServers;
use super::wan::Distance;
use crate::config::StorageConfig;
use crate::node::{Databases, Plan};
use crate::stores::{self, Opening, RemoteServers};
use crate::topology;
use crate::translate::server_address;

/// How long replicas may take to follow a primary that has just begun.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Which engine to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StorageChoice {
    /// A MySQL or MariaDB server if a binary is found, else memory.
    #[default]
    Auto,
    /// A MySQL or MariaDB server, or an error.
    MySql,
    /// The memory engine: nothing is kept.
    Memory,
}

/// The databases.
pub enum Storage {
    /// Private server processes.
    MySql {
        /// The processes.
        fleet: Fleet,
        /// As the server says it.
        engine: String,
    },
    /// The user's own servers, for one region.
    Servers {
        /// Their addresses.
        dsns: Vec<Dsn>,
        /// As the first one says it.
        engine: String,
    },
    /// In this process.
    Memory(MemoryServers),
}

/// How shards were laid out over the servers of a data folder.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Layout {
    shards: u32,
    db_servers: usize,
    #[serde(default = "one")]
    regions: usize,
}

const fn one() -> usize {
    1
}

/// Refuses other numbers than the data was made with: shards would be looked for on servers that don't hold them.
fn same_layout(folder: &Path, options: &DevOptions) -> Result<()> {
    let asked = Layout { shards: options.shards, db_servers: options.db_servers, regions: options.regions };
    let path = folder.join("layout.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let kept: Layout = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            ensure!(
                kept == asked,
                "{} was made with --shards {} --db-servers {} --regions {}; start it with these, or take another folder",
                folder.display(),
                kept.shards,
                kept.db_servers,
                kept.regions
            );
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            std::fs::write(&path, serde_json::to_string(&asked)?).with_context(|| path.display().to_string())
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

impl Storage {
    pub(super) async fn start(options: &DevOptions) -> Result<Self> {
        if !options.dsns.is_empty() {
            return Self::connect(&options.dsns).await;
        }
        let binary = match options.storage {
            StorageChoice::Memory => None,
            StorageChoice::MySql => Some(ServerBinary::find()?),
            StorageChoice::Auto => ServerBinary::find().ok(),
        };
        let Some(binary) = binary else {
            ensure!(
                options.data_dir.is_none(),
                "--data-dir: the memory engine keeps nothing; use --storage mysql"
            );
            return Ok(Self::Memory(MemoryServers::new(options.db_servers, &options.region_names())));
        };
        if let Some(folder) = &options.data_dir {
            same_layout(folder, options)?;
        }
        let engine = format!("{} {}", binary.flavour(), binary.version());
        let fleet = FleetOptions {
            replicas: options.regions - 1,
            mode: options.mode,
            data_dir: options.data_dir.clone(),
            ..FleetOptions::new(binary, options.db_servers)
        };
        let fleet = Fleet::start(fleet).await.context("database servers")?;
        Ok(Self::MySql { fleet, engine })
    }

    /// Asks each server who it is, so that one that can't be used is named before anything starts.
    async fn connect(dsns: &[String]) -> Result<Self> {
        let mut engine = String::new();
        for (at, dsn) in dsns.iter().enumerate() {
            let store = stores::open_one(dsn, &StorageConfig::default())
                .await
                .with_context(|| format!("--dsn {}", Dsn::new(dsn.as_str())))?;
            if at == 0 {
                engine = store.describe();
            }
        }
        Ok(Self::Servers { dsns: dsns.iter().map(|dsn| Dsn::new(dsn.as_str())).collect(), engine })
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::MySql { .. } | Self::Servers { .. } => "mysql",
            Self::Memory(_) => "memory",
        }
    }

    pub(super) fn engine(&self) -> String {
        match self {
            Self::MySql { engine, .. } | Self::Servers { engine, .. } => engine.clone(),
            Self::Memory(_) => "memory".to_owned(),
        }
    }

    /// The DSN of a host group's server in a region; the memory engine has a name in its place.
    pub(super) fn dsn(&self, group: usize, region: usize) -> Result<String> {
        Ok(match self {
            Self::MySql { fleet, .. } => {
                fleet.server(group, region).context("a server for each host group and region")?.dsn().expose()
            }
            Self::Servers { dsns, .. } => dsns[group].expose().to_owned(),
            Self::Memory(_) => format!("memory://{group}.{region}"),
        })
    }

    /// The newest topology that any server of the first host group has: where the databases were left off.
    pub(super) async fn last_topology(&self, asked: &Topology) -> Result<Option<Topology>> {
        if matches!(self, Self::Memory(_)) {
            return Ok(None);
        }
        let mut newest: Option<Topology> = None;
        for dsn in asked.host_groups.first().into_iter().flat_map(|group| group.servers.values()) {
            let database = match stores::open_one(dsn.expose(), &StorageConfig::default()).await {
                Ok(database) => database,
                // Read-only and without tables: it never held anything.
                Err(error) if error.kind == StoreErrorKind::Unavailable => continue,
                Err(error) => return Err(error).with_context(|| server_address(dsn)),
            };
            let stored = topology::stored(&database).await.with_context(|| server_address(dsn))?;
            if let Some(stored) = stored
                && newest.as_ref().is_none_or(|newest| stored.version > newest.version)
            {
                newest = Some(stored);
            }
        }
        Ok(newest)
    }

    /// Opens the primaries that the topology names, and lets the others follow them, over the distance.
    pub(super) async fn replicate(
        &self,
        topology: &Topology,
        distance: &Distance,
        delay: Duration,
    ) -> Result<()> {
        match self {
            Self::Memory(servers) => servers.replicate(topology, delay),
            Self::Servers { .. } => Ok(()),
            Self::MySql { fleet, .. } if topology.regions.len() > 1 => {
                let masters = topology
                    .host_groups
                    .iter()
                    .map(|group| topology.region_named(&group.master).map_or(0, usize::from));
                let masters: Vec<usize> = masters.collect();
                let through = |group: usize, replica: usize| {
                    let group = topology.host_groups.get(group)?;
                    let region = &topology.regions.get(replica)?.name;
                    distance.link(region, &server_address(group.servers.get(&group.master)?))
                };
                Ok(fleet.replicate(&masters, &through).await?)
            }
            Self::MySql { .. } => Ok(()),
        }
    }

    /// Makes tables and shard rows on the primaries, stores the topology, and waits until the replicas have both.
    pub(super) async fn prepare(&self, topology: &Topology) -> Result<()> {
        for (at, group) in topology.host_groups.iter().enumerate() {
            let primary = self.primary(group).await?;
            stores::check_shards(topology, group.id, &group.master, &primary)
                .await
                .with_context(|| format!("host group {}", group.id))?;
            if at == 0 {
                topology::store(topology, &primary).await?;
            }
        }
        match self {
            Self::Memory(servers) => servers.caught_up(topology).await,
            Self::Servers { .. } => Ok(()),
            Self::MySql { fleet, .. } => caught_up(fleet, topology).await,
        }
    }

    async fn primary(&self, group: &HostGroup) -> Result<SharedDatabase> {
        match self {
            Self::Memory(servers) => {
                use tao_leader_follower::ports::RemoteDatabases as _;
                servers.server(group.id, &group.master).context("a server in the master region")
            }
            Self::MySql { .. } | Self::Servers { .. } => {
                let dsn = group.servers.get(&group.master).context("a server in the master region")?;
                stores::open_one(dsn.expose(), &StorageConfig::default())
                    .await
                    .with_context(|| format!("host group {} at {}", group.id, server_address(dsn)))
            }
        }
    }

    /// Databases for one leader: connections of its own, as a process of its own would have.
    pub(super) async fn open(&self, plan: &Plan) -> Result<Databases> {
        let region = plan.region_name();
        if let Self::Memory(servers) = self {
            return Ok(Databases { own: servers.of_region(&region), remote: Arc::new(servers.clone()) });
        }
        let opening = Opening {
            cluster: plan.topology.view(),
            config: plan.config.storage.clone(),
            translate: plan.config.translate.clone(),
        };
        let own = stores::of_region(&opening, &region)?;
        // All of them run: a node that starts without one would be ready too early.
        stores::reach_all(&own).await?;
        Ok(Databases { own, remote: Arc::new(RemoteServers::new(opening)) })
    }

    pub(super) async fn stop(self) {
        match self {
            Self::MySql { fleet, .. } => fleet.stop().await,
            Self::Servers { .. } | Self::Memory(_) => {}
        }
    }
}

/// Waits until all replicas have what their primaries have now.
async fn caught_up(fleet: &Fleet, topology: &Topology) -> Result<()> {
    for (at, group) in topology.host_groups.iter().enumerate() {
        let master = topology.region_named(&group.master).map_or(0, usize::from);
        let primary = fleet.server(at, master).context("a primary")?;
        let position = fleet.admin(primary.index())?.executed().await?;
        for server in
            fleet.servers().iter().filter(|server| server.group() == at && server.replica() != master)
        {
            fleet.admin(server.index())?.wait_executed(&position, CATCH_UP).await?;
        }
    }
    Ok(())
}
