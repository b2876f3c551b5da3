//! Names, ports and topology of a dev cluster.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};
use tokio::net::TcpListener;

use super::wan::Distance;
use super::{DevOptions, Place, Storage};
use crate::config::{CacheConfig, NodeConfig};

/// Ports that each region has to itself, if it has no more nodes.
const PORTS: usize = 10;

/// The regions' names: `local`, or `region-a`, `region-b` and so on.
pub(super) fn region_names(regions: usize) -> Vec<String> {
    if regions == 1 {
        return vec!["local".to_owned()];
    }
    (b'a'..=b'z').take(regions).map(|letter| format!("region-{}", char::from(letter))).collect()
}

/// Binds a port for every node, leaders first: a node's address must be in the topology before the node starts.
pub(super) async fn listen(options: &DevOptions) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for leader in [true, false] {
        for (index, region) in options.region_names().into_iter().enumerate() {
            let (role, number) =
                if leader { ("leader", options.leaders) } else { ("follower", options.followers) };
            for n in 1..=number {
                // With one region as before regions were: leader-1; else leader-a-1.
                let letter =
                    region.strip_prefix("region-").map(|letter| format!("{letter}-")).unwrap_or_default();
                let name = format!("{role}-{letter}{n}");
                let stride = PORTS.max(options.leaders + options.followers);
                let offset = index * stride + if leader { n - 1 } else { options.leaders + n - 1 };
                let wanted = match options.base_port {
                    0 => 0,
                    base => base.saturating_add(offset as u16),
                };
                let listener = bind(wanted).await?;
                places.push(Place { name, region: region.clone(), leader, listener });
            }
        }
    }
    Ok(places)
}

/// The wanted port if it is free, else any.
async fn bind(wanted: u16) -> Result<TcpListener> {
    match TcpListener::bind(local(wanted)).await {
        Ok(listener) => Ok(listener),
        Err(_) if wanted != 0 => TcpListener::bind(local(0)).await.context("no free port"),
        Err(error) => Err(error).context("no free port"),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(super) fn config(options: &DevOptions, place: &Place, distance: &Distance) -> NodeConfig {
    NodeConfig {
        name: place.name.clone(),
        admin_listen: local(0),
        drain_ms: 3_000,
        cache: CacheConfig { bytes: options.cache_bytes, ..CacheConfig::default() },
        translate: distance.translate(&place.region),
        ..NodeConfig::default()
    }
}

pub(super) fn topology(options: &DevOptions, places: &[Place], storage: &Storage) -> Result<Topology> {
    let names = options.region_names();
    let nodes = |region: &str, leaders: bool| -> Result<Vec<Node>> {
        let places = places.iter().filter(|place| place.region == region && place.leader == leaders);
        places
            .map(|place| {
                let address = place.listener.local_addr()?.to_string();
                Ok(Node { name: place.name.clone(), address, admin: None })
            })
            .collect()
    };
    let tier = |role: &str, region: &str| {
        let letter = region.strip_prefix("region-").map(|letter| format!("-{letter}")).unwrap_or_default();
        format!("{role}s{letter}")
    };
    let region = |name: &String| -> Result<Region> {
        Ok(Region {
            name: name.clone(),
            leaders: Tier { name: tier("leader", name), nodes: nodes(name, true)? },
            followers: vec![Tier { name: tier("follower", name), nodes: nodes(name, false)? }],
        })
    };
    let group = |index: usize| -> Result<HostGroup> {
        let master = options.master.clone().unwrap_or_else(|| names[index % names.len()].clone());
        let servers = names
            .iter()
            .enumerate()
            .map(|(at, region)| Ok((region.clone(), Dsn::new(storage.dsn(index, at)?))));
        Ok(HostGroup {
            id: HostGroupId(index as u16 + 1),
            master,
            epoch: FIRST_EPOCH,
            // On one region there is no replica to wait for.
            mode: if names.len() > 1 { options.mode } else { ReplicationMode::Async },
            servers: servers.collect::<Result<_>>()?,
        })
    };
    Ok(Topology {
        version: 1,
        cluster: "dev".to_owned(),
        shards: options.shards,
        regions: names.iter().map(region).collect::<Result<_>>()?,
        host_groups: (0..options.host_groups()).map(group).collect::<Result<_>>()?,
        assignments: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_region_is_local_and_more_have_letters() {
        assert_eq!(region_names(1), ["local"]);
        assert_eq!(region_names(3), ["region-a", "region-b", "region-c"]);
    }
}
