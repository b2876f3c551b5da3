//! Database servers as an operator names them: by DSN, by a topology file, or by the ready file of a dev cluster.

use std::path::Path;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use tao_schema::topology::{Dsn, Topology};
use tao_server::config::StorageConfig;
use tao_server::ready::ReadyFile;
use tao_server::stores;
use tao_server::topology;
use tao_server::translate::server_address;
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::replication::{Role, ServerAdmin};
use tao_shard_store::store::{StoreError, StoreErrorKind};

use crate::commands::UsageError;

/// A database server of the cluster.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its host group.
    pub group: u32,
    /// Its region.
    pub region: String,
    /// `host:port`.
    pub address: String,
    /// How to log in.
    pub dsn: Dsn,
}

/// What a server says of its replication.
pub struct Replication {
    /// Which server.
    pub server: Server,
    role: Result<Role, StoreError>,
}

/// The database servers that a file names: none if it has no DSNs, or if there is no file and no local dev cluster.
///
/// # Errors
/// The file can't be read or is neither.
pub fn known(file: Option<&Path>) -> Result<Vec<Server>> {
    let default = ReadyFile::default_path();
    let path = match file {
        Some(path) => path,
        None if default.exists() => &default,
        None => return Ok(Vec::new()),
    };
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(place)?;
    if text.trim_start().starts_with('{') {
        let ready: ReadyFile = serde_json::from_str(&text)
            .map_err(|error| UsageError(format!("{}: no ready file: {error}", place())))?;
        let servers = ready.regions.into_iter().flat_map(|region| {
            let name = region.name;
            region.databases.into_iter().map(move |database| Server {
                group: u32::from(database.host_group),
                region: name.clone(),
                address: database.address,
                dsn: Dsn::new(database.dsn),
            })
        });
        return Ok(servers.collect());
    }
    let topology = Topology::parse(&text, &place()).map_err(|error| UsageError(error.to_string()))?;
    Ok(of_topology(&topology))
}

/// The servers that a topology names.
pub fn of_topology(topology: &Topology) -> Vec<Server> {
    let servers = topology.host_groups.iter().flat_map(|group| {
        group.servers.iter().map(|(region, dsn)| Server {
            group: u32::from(group.id.0),
            region: region.clone(),
            address: server_address(dsn),
            dsn: dsn.clone(),
        })
    });
    servers.collect()
}

/// Opens a server as a leader would.
///
/// # Errors
/// It can't be reached, or is not set as it must be.
pub async fn open(dsn: &Dsn) -> Result<SharedDatabase, StoreError> {
    stores::open_one(dsn.expose(), &StorageConfig::default()).await
}

/// The newest topology that any of the servers of the first host group has stored, with the primary of that group, where
/// the next one is written. `None`: none is stored.
///
/// # Errors
/// None of them answers, or what is stored can't be read.
pub async fn stored(servers: &[Server]) -> Result<Option<(Topology, SharedDatabase)>> {
    let Some(first) = servers.first().map(|server| server.group) else {
        anyhow::bail!(UsageError(
            "no database server is known: name a topology file with DSNs, --topology FILE".to_owned()
        ));
    };
    let mut newest: Option<Topology> = None;
    let mut failure = None;
    for server in servers.iter().filter(|server| server.group == first) {
        let found = async { topology::stored(&open(&server.dsn).await?).await };
        match found.await {
            Ok(Some(found)) => {
                if newest.as_ref().is_none_or(|newest| found.version > newest.version) {
                    newest = Some(found);
                }
            }
            Ok(None) => {}
            Err(error) => failure = Some(anyhow::Error::from(error).context(server.address.clone())),
        }
    }
    match (newest, failure) {
        (Some(newest), _) => {
            let group = newest.host_groups.first().context("a stored topology has host groups")?;
            let dsn = group.servers.get(&group.master).with_context(|| {
                format!(
                    "the stored topology names no server in region {}, the master of host group {}",
                    group.master, group.id
                )
            })?;
            let primary = open(dsn).await.with_context(|| format!("primary of host group {}", group.id))?;
            Ok(Some((newest, primary)))
        }
        (None, Some(failure)) => Err(failure),
        (None, None) => Ok(None),
    }
}

/// Who a server is, and whom it follows.
///
/// # Errors
/// It can't be reached, or does not let the account of the DSN ask.
pub async fn admin_role(server: &Server) -> Result<Role, StoreError> {
    ServerAdmin::connect(server.dsn.expose()).await?.role().await
}

/// Asks every server for its replication.
pub async fn replication(servers: &[Server]) -> Vec<Replication> {
    let asked = servers
        .iter()
        .filter(|server| server.dsn.expose().starts_with("mysql://"))
        .map(|server| async { Replication { server: server.clone(), role: admin_role(server).await } });
    join_all(asked).await
}

impl Replication {
    /// In a few words.
    pub fn state(&self) -> String {
        match &self.role {
            Err(error) if error.kind == StoreErrorKind::Unavailable => "unreachable".to_owned(),
            Err(_) => "unknown".to_owned(),
            Ok(role) => {
                let open = if role.read_only { "read-only" } else { "open" };
                match &role.following {
                    None => format!("follows nobody, {open}"),
                    Some(now) if !now.receiver_on && !now.applier_on => "stopped".to_owned(),
                    Some(now) if !now.applier_on => "applier stopped".to_owned(),
                    Some(now) if !now.receiver_on => "receiver stopped".to_owned(),
                    Some(now) if !now.connected => format!("connecting to {}", now.source),
                    Some(_) if !role.read_only => "running, but open for writes".to_owned(),
                    Some(_) => "running".to_owned(),
                }
            }
        }
    }

    /// What went wrong last.
    pub fn error(&self) -> Option<&str> {
        match &self.role {
            Err(error) => Some(&error.message),
            Ok(role) => role.following.as_ref()?.error.as_deref(),
        }
    }

    /// What the server is, if it answered.
    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref().ok()
    }
}
