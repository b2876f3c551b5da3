//! Finding the cluster that a command talks to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tao_client::{Client, Options};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::ObjectType;
use tao_schema::topology::Topology;
use tao_server::ready::ReadyFile;

use crate::Common;
use crate::commands::UsageError;

/// A cluster that answers.
pub struct Cluster {
    client: Client,
    schema: Arc<GraphSchema>,
    topology: Topology,
}

impl Cluster {
    /// Connects to the cluster of `--cluster`, `TAO_CLUSTER`, or the local dev cluster.
    ///
    /// # Errors
    /// The file is not there or is none, or no node of it answers.
    pub async fn connect(common: &Common) -> Result<Self> {
        let (path, addresses) = match &common.cluster {
            Some(path) => (path.clone(), addresses(path, common.region.as_deref())?),
            None => {
                let path = ReadyFile::default_path();
                anyhow::ensure!(
                    path.exists(),
                    "no local dev cluster is running: start one with `tao dev`, or name a cluster with --cluster FILE"
                );
                let found = addresses(&path, common.region.as_deref())?;
                (path, found)
            }
        };
        anyhow::ensure!(
            common.timeout > 0.0 && common.timeout <= 60.0,
            UsageError(format!("--timeout {}: must be above 0 and at most 60 seconds", common.timeout))
        );
        let timeout = Duration::from_secs_f64(common.timeout);
        let mut options = Options { timeout, region: common.region.clone(), ..Options::new(addresses) };
        options.attempt_timeout = options.attempt_timeout.min(timeout);
        let client = Client::connect(options)
            .await
            .with_context(|| format!("cluster of {}: is it still running?", path.display()))?;
        let (schema, topology) = (client.schema(), client.topology());
        Ok(Self { client, schema, topology })
    }

    /// The SDK.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The cluster's graph schema.
    pub fn schema(&self) -> Arc<GraphSchema> {
        Arc::clone(&self.schema)
    }

    /// Where everything is.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The number of an object type.
    ///
    /// # Errors
    /// The schema has none of this name.
    pub fn object_type(&self, name: &str) -> Result<ObjectType> {
        self.schema.object_type_named(name).map(|def| def.id).ok_or_else(|| {
            let known: Vec<&str> = self.schema.object_types().map(|def| def.name.as_str()).collect();
            UsageError(format!("no object type \"{name}\"; there are {}", known.join(", "))).into()
        })
    }
}

/// Addresses of followers out of a ready file or a topology, of one region or of all.
fn addresses(path: &Path, only: Option<&str>) -> Result<Vec<String>> {
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(place)?;
    if text.trim_start().starts_with('{') {
        let ready: ReadyFile = serde_json::from_str(&text)
            .map_err(|error| UsageError(format!("{}: no ready file: {error}", place())))?;
        let names: Vec<&str> = ready.regions.iter().map(|region| region.name.as_str()).collect();
        check_region(&names, only)?;
        let regions = ready.regions.iter().filter(|region| only.is_none_or(|only| only == region.name));
        return Ok(regions.flat_map(|region| &region.followers).map(|node| node.address.clone()).collect());
    }
    let topology = Topology::parse(&text, &place()).map_err(|error| UsageError(error.to_string()))?;
    let names: Vec<&str> = topology.regions.iter().map(|region| region.name.as_str()).collect();
    check_region(&names, only)?;
    let region = only.and_then(|only| topology.region_named(only));
    let followers = topology
        .tiers()
        .filter(|(tier, _)| tier.tier != 0 && region.is_none_or(|region| region == tier.region));
    let addresses: Vec<String> =
        followers.flat_map(|(_, tier)| &tier.nodes).map(|node| node.address.clone()).collect();
    anyhow::ensure!(!addresses.is_empty(), "{}: no follower in the topology", place());
    Ok(addresses)
}

fn check_region(names: &[&str], only: Option<&str>) -> Result<()> {
    match only {
        Some(only) if !names.contains(&only) => {
            Err(UsageError(format!("--region {only}: the regions are {}", names.join(", "))).into())
        }
        _ => Ok(()),
    }
}
