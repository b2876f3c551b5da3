//! Delays between regions: one link for each pair of a region and an address in another region.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tao_schema::topology::Topology;
use tao_server::wan::{WanLink, WanOptions};

/// Open links; none if there is no delay.
#[derive(Default)]
pub(super) struct Links {
    /// By region that looks, and address as the topology has it.
    through: BTreeMap<(String, String), WanLink>,
}

impl Links {
    /// Opens a link from `region` to `address`, if there is a delay and none yet.
    pub(super) async fn open(&mut self, region: &str, address: &str, wan: Duration) -> Result<()> {
        let key = (region.to_owned(), address.to_owned());
        if wan.is_zero() || self.through.contains_key(&key) {
            return Ok(());
        }
        let target: SocketAddr = address.parse().with_context(|| address.to_owned())?;
        let link = WanLink::open(target, WanOptions::with_latency(wan)).await?;
        self.through.insert(key, link);
        Ok(())
    }

    /// Opens links between the nodes of different regions.
    pub(super) async fn between_nodes(mut self, topology: &Topology, wan: Duration) -> Result<Self> {
        for from in &topology.regions {
            for to in topology.regions.iter().filter(|to| to.name != from.name) {
                for node in std::iter::once(&to.leaders).chain(&to.followers).flat_map(|tier| &tier.nodes) {
                    self.open(&from.name, &node.address, wan).await?;
                }
            }
        }
        Ok(self)
    }

    /// The link from a region to an address.
    pub(super) fn address(&self, region: &str, address: &str) -> Option<SocketAddr> {
        let key = (region.to_owned(), address.to_owned());
        self.through.get(&key).map(WanLink::address)
    }

    /// Addresses of other regions, and through what this region reaches them.
    pub(super) fn seen_from(&self, region: &str) -> impl Iterator<Item = (String, String)> {
        let own = self.through.iter().filter(move |((from, _), _)| from == region);
        own.map(|((_, address), link)| (address.clone(), link.address().to_string()))
    }
}
