//! The ready file of a running `tao dev`, for `tao-bench run`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use tao_client::{Client, Options};

/// What is used of a ready file.
#[derive(Debug, Deserialize)]
pub struct Ready {
    /// Engine and version of the databases.
    pub engine: String,
    /// Logical shards.
    pub shards: u32,
    regions: Vec<ReadyRegion>,
}

#[derive(Debug, Deserialize)]
struct ReadyRegion {
    followers: Vec<ReadyNode>,
    databases: Vec<ReadyDatabase>,
}

#[derive(Debug, Deserialize)]
struct ReadyNode {
    address: String,
}

#[derive(Debug, Deserialize)]
struct ReadyDatabase {
    dsn: String,
}

impl Ready {
    /// Reads it.
    ///
    /// # Errors
    /// It is not there, or none.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).context("the ready file of `tao dev`")
    }

    /// A client of its first region's followers.
    ///
    /// # Errors
    /// None of them answers.
    pub async fn client(&self) -> Result<Client> {
        let nodes = self.regions.iter().flat_map(|region| &region.followers);
        Ok(Client::connect(Options::new(nodes.map(|node| node.address.clone()))).await?)
    }

    /// The cluster's only database server.
    ///
    /// # Errors
    /// There are several, or none.
    pub fn dsn(&self) -> Result<String> {
        let databases: Vec<&ReadyDatabase> =
            self.regions.iter().flat_map(|region| &region.databases).collect();
        let [database] = databases[..] else {
            anyhow::bail!(
                "compare on one database server: start the cluster with --storage mysql --db-servers 1"
            );
        };
        Ok(database.dsn.clone())
    }
}
