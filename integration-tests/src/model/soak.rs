//! The scenario `model`: cases for as long as is asked, on a cluster of its own or on one that is there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tao_shard_store::fleet::ServerBinary;

use super::{ModelOptions, Report, SCHEMA, run};
use crate::region::DevRegion;

/// What the cases are run on.
#[derive(Clone, Debug)]
pub enum On {
    /// A dev cluster with databases in memory.
    Memory,
    /// A dev cluster with private servers of this program.
    Servers(ServerBinary),
    /// Addresses of followers of a cluster that runs.
    Cluster(Vec<String>),
}

/// Runs cases for so long. `only`: see [`ModelOptions::only`].
///
/// # Errors
/// The cluster can't be started or reached. What is found wrong is in the report.
pub async fn soak(on: &On, seed: u64, time: Duration, only: Option<u64>) -> Result<Report> {
    let (storage, server): (_, Option<&Path>) = match on {
        On::Cluster(cluster) => {
            return run(ModelOptions { time, only, ..ModelOptions::new(cluster.clone(), seed) }).await;
        }
        On::Memory => ("memory", None),
        On::Servers(binary) => ("mysql", Some(binary.path())),
    };
    let folder = tempfile::tempdir()?;
    let schema = folder.path().join("graph.toml");
    std::fs::write(&schema, SCHEMA)?;
    let schema = schema.to_str().context("a path that is text")?;
    let arguments = ["--storage", storage, "--schema", schema, "--shards", "16", "--leaders", "2"];
    let environment: Vec<_> = server.iter().map(|path| ("TAO_MYSQLD", *path)).collect();
    let region = DevRegion::start_with(&arguments, &environment)?;
    let followers = region.ready.regions.iter().flat_map(|region| &region.followers);
    let cluster = followers.map(|node| node.address.clone());
    run(ModelOptions { time, only, ..ModelOptions::new(cluster, seed) }).await
}
