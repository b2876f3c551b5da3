//! The ready file: one line of JSON that tells other programs where a cluster is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::translate::Translate;

/// A running cluster.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadyFile {
    /// Name of the cluster.
    pub cluster: String,
    /// Process that runs it.
    pub pid: u32,
    /// `mysql` or `memory`.
    pub storage: String,
    /// Engine and version: `MariaDB 10.11.19`, `MySQL 9.7.4`, `memory`.
    pub engine: String,
    /// Number of logical shards.
    pub shards: u32,
    /// Seconds from the command to ready.
    pub ready_seconds: f64,
    /// Its regions.
    pub regions: Vec<ReadyRegion>,
}

/// A region's nodes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadyRegion {
    /// Name of the region.
    pub name: String,
    /// What clients connect to.
    pub followers: Vec<ReadyNode>,
    /// What followers connect to.
    pub leaders: Vec<ReadyNode>,
    /// Its database servers; none on the memory engine.
    pub databases: Vec<ReadyDatabase>,
    /// Addresses of other regions as this one reaches them, over the injected distance.
    #[serde(default)]
    pub translate: Translate,
}

/// A node's addresses.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadyNode {
    /// Name in the topology.
    pub name: String,
    /// gRPC, `host:port`.
    pub address: String,
    /// `/livez`, `/readyz`, `/metrics`, `host:port`.
    pub admin: String,
}

/// A database server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadyDatabase {
    /// Its host group.
    pub host_group: u16,
    /// Whether it was the primary when the cluster started.
    pub primary: bool,
    /// `host:port`.
    pub address: String,
    /// With user and password of the private server; the file is readable by its owner only.
    pub dsn: String,
}

impl ReadyFile {
    /// Where `tao dev` leaves its ready file for the other commands of the same user.
    pub fn default_path() -> PathBuf {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .unwrap_or_else(std::env::temp_dir);
        base.join("tao").join("dev.json")
    }

    /// Writes the file at once, as its owner's only: readers see all of it or nothing.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    }

    /// Reads a ready file.
    ///
    /// # Errors
    /// It is not there or is none.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }

    /// All database servers.
    pub fn databases(&self) -> impl Iterator<Item = &ReadyDatabase> {
        self.regions.iter().flat_map(|region| &region.databases)
    }

    /// All nodes, followers first.
    pub fn nodes(&self) -> impl Iterator<Item = &ReadyNode> {
        self.regions.iter().flat_map(|region| region.followers.iter().chain(&region.leaders))
    }
}
