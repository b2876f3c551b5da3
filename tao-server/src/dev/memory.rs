//! Memory databases of a dev cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tao_leader_follower::ports::RemoteDatabases;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;
use tao_shard_store::log::{ServerLog as _, SharedDatabase};
use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore, ReplicationOptions};

use crate::stores::{LazyDatabase, Opener, Stores};

/// A server for each host group and region.
#[derive(Clone)]
pub struct MemoryServers(Arc<HashMap<HostGroupId, BTreeMap<String, MemoryDatabase>>>);

impl MemoryServers {
    /// Empty servers.
    pub fn new(groups: usize, regions: &[String]) -> Self {
        let server = |group: HostGroupId, region: &String| {
            let options = MemoryOptions { server: format!("{region}{group}"), ..MemoryOptions::default() };
            (region.clone(), MemoryDatabase::new(options))
        };
        let groups = (1..=groups).map(|group| {
            let group = HostGroupId(group as u16);
            (group, regions.iter().map(|region| server(group, region)).collect())
        });
        Self(Arc::new(groups.collect()))
    }

    /// Lets every group's servers follow that of its master region, so much later.
    ///
    /// # Errors
    /// A server has another history.
    pub fn replicate(&self, topology: &Topology, delay: Duration) -> Result<()> {
        for group in &topology.host_groups {
            let Some(servers) = self.0.get(&group.id) else { continue };
            let Some(primary) = servers.get(&group.master) else { continue };
            for (_, replica) in servers.iter().filter(|(region, _)| **region != group.master) {
                replica.replicate(primary, ReplicationOptions { delay })?;
            }
        }
        Ok(())
    }

    /// Waits until every server has executed what its primary has now.
    pub async fn caught_up(&self, topology: &Topology) -> Result<()> {
        for group in &topology.host_groups {
            let Some(servers) = self.0.get(&group.id) else { continue };
            let Some(primary) = servers.get(&group.master) else { continue };
            let position = MemoryStore::open(primary).executed().await?;
            for server in servers.values() {
                server.wait_executed(&position).await;
            }
        }
        Ok(())
    }

    /// The region's servers, by connections of their own.
    pub fn of_region(&self, region: &str) -> Stores {
        let servers =
            self.0.iter().filter_map(|(group, servers)| Some((*group, servers.get(region)?.clone())));
        servers
            .map(|(group, server)| {
                let open: Opener = Box::new(move || {
                    let store = Arc::new(MemoryStore::open(&server)) as SharedDatabase;
                    Box::pin(async move { Ok(store) })
                });
                (group, Arc::new(LazyDatabase::new(format!("host group {group} in memory"), open)))
            })
            .collect()
    }
}

impl RemoteDatabases for MemoryServers {
    fn server(&self, group: HostGroupId, region: &str) -> Option<SharedDatabase> {
        let server = self.0.get(&group)?.get(region)?;
        Some(Arc::new(MemoryStore::open(server)))
    }
}
