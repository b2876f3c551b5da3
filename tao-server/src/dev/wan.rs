//! The distance between the regions of a dev cluster: a link with a delay in front of every leader and database server,
//! for each other region.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tao_schema::topology::Topology;

use crate::translate::{Translate, server_address};
use crate::wan::{WanLink, WanOptions};

/// The links that are open.
#[derive(Default)]
pub struct Distance {
    /// By region, from the address in the topology to the link's.
    links: HashMap<String, BTreeMap<String, WanLink>>,
}

impl Distance {
    /// Opens links between all regions of `topology`; none without a latency, or on one region.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(topology: &Topology, latency: Duration) -> Result<Self> {
        let mut distance = Self::default();
        if latency.is_zero() {
            return Ok(distance);
        }
        for from in &topology.regions {
            let links = distance.links.entry(from.name.clone()).or_default();
            for to in topology.regions.iter().filter(|to| to.name != from.name) {
                let leaders = to.leaders.nodes.iter().map(|node| node.address.clone());
                let servers = topology.host_groups.iter().filter_map(|group| group.servers.get(&to.name));
                for address in leaders.chain(servers.map(server_address)) {
                    // The memory engine's servers are in this process and have no address.
                    let Ok(target) = address.parse::<SocketAddr>() else { continue };
                    let link = WanLink::open(target, WanOptions::with_latency(latency))
                        .await
                        .with_context(|| format!("link from {} to {address}", from.name))?;
                    links.insert(address, link);
                }
            }
        }
        Ok(distance)
    }

    /// Addresses of other regions as `region` sees them.
    pub fn translate(&self, region: &str) -> Translate {
        let links = self.links.get(region).into_iter().flatten();
        Translate::new(links.map(|(address, link)| (address.clone(), link.address().to_string())))
    }

    /// The link from `region` to `address`, if there is one.
    pub fn link(&self, region: &str, address: &str) -> Option<SocketAddr> {
        Some(self.links.get(region)?.get(address)?.address())
    }
}
