//! The databases of a dev region: private servers, or the memory engine.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Dsn, Topology};
use tao_shard_store::fleet::{Fleet, FleetOptions, ServerBinary};
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore};

use super::{DevOptions, REGION};
use crate::config::StorageConfig;
use crate::ready::ReadyDatabase;
use crate::stores::{self, Stores};

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
    /// The user's own servers.
    Servers {
        /// Their addresses.
        dsns: Vec<Dsn>,
        /// As the first one says it.
        engine: String,
    },
    /// In this process.
    Memory(Vec<MemoryDatabase>),
}

/// How shards were laid out over the servers of a data folder.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Layout {
    shards: u32,
    db_servers: usize,
}

/// Refuses other numbers than the data was made with: shards would be looked for on servers that don't hold them.
fn same_layout(folder: &Path, options: &DevOptions) -> Result<()> {
    let asked = Layout { shards: options.shards, db_servers: options.db_servers };
    let path = folder.join("layout.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let kept: Layout = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            anyhow::ensure!(
                kept == asked,
                "{} was made with --shards {} --db-servers {}; start it with these, or take another folder",
                folder.display(),
                kept.shards,
                kept.db_servers
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
            anyhow::ensure!(
                options.data_dir.is_none(),
                "--data-dir: the memory engine keeps nothing; use --storage mysql"
            );
            let databases =
                (0..options.db_servers).map(|_| MemoryDatabase::new(MemoryOptions::default())).collect();
            return Ok(Self::Memory(databases));
        };
        if let Some(folder) = &options.data_dir {
            same_layout(folder, options)?;
        }
        let engine = format!("{} {}", binary.flavour(), binary.version());
        let fleet = FleetOptions {
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

    pub(super) fn databases(&self) -> Vec<ReadyDatabase> {
        match self {
            Self::MySql { fleet, .. } => fleet.servers().iter().map(ReadyDatabase::from).collect(),
            Self::Servers { dsns, .. } => dsns
                .iter()
                .enumerate()
                .map(|(index, dsn)| ReadyDatabase {
                    host_group: index as u16 + 1,
                    address: address(dsn),
                    dsn: dsn.expose().to_owned(),
                })
                .collect(),
            Self::Memory(_) => Vec::new(),
        }
    }

    /// The DSN of a host group; the memory engine has a name in its place.
    pub(super) fn dsn(&self, index: usize) -> String {
        match self {
            Self::MySql { fleet, .. } => fleet.servers()[index].dsn().expose(),
            Self::Servers { dsns, .. } => dsns[index].expose().to_owned(),
            Self::Memory(_) => format!("memory://{index}"),
        }
    }

    /// Stores for one leader: connections of its own, as a process of its own would have.
    pub(super) async fn open(&self, topology: &Topology) -> Result<Stores> {
        match self {
            Self::MySql { .. } | Self::Servers { .. } => {
                stores::open(topology, REGION, &StorageConfig::default()).await
            }
            Self::Memory(databases) => Ok(databases
                .iter()
                .enumerate()
                .map(|(index, database)| {
                    let store: SharedDatabase = Arc::new(MemoryStore::open(database));
                    (HostGroupId(index as u16 + 1), store)
                })
                .collect()),
        }
    }

    pub(super) async fn create_shards(&self, topology: &Topology) -> Result<()> {
        stores::create_shards(topology, &self.open(topology).await?).await
    }

    pub(super) async fn stop(self) {
        match self {
            Self::MySql { fleet, .. } => fleet.stop().await,
            Self::Servers { .. } | Self::Memory(_) => {}
        }
    }
}

/// `host:port` of a DSN, for people.
fn address(dsn: &Dsn) -> String {
    let shown = dsn.to_string();
    let rest = shown.split_once("://").map_or(shown.as_str(), |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    host.split(['/', '?']).next().unwrap_or(host).to_owned()
}
