//! Which places of several regions have links between them.

use std::time::Duration;

use anyhow::Result;
use tao_schema::topology::{Node, Region, Topology};

use super::databases::place;
use super::{RegionsOptions, region_name};
use crate::faults::{Network, Place};
use crate::servers::{Servers, resolve};

/// Where links are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Links {
    /// Between regions, if there is a delay between them.
    #[default]
    BetweenRegions,
    /// On every connection: clients to followers, nodes to leaders and database servers, replicas to primaries.
    Everywhere,
}

/// Links from each replica, as which any server may serve one day, to the servers of its group. A server of another machine
/// can't reach a link, which listens here on loopback: it follows the others directly.
pub(super) async fn between_servers(
    network: &mut Network,
    servers: &Servers,
    options: &RegionsOptions,
) -> Result<()> {
    for (group, region) in servers.places() {
        network.place(place(group, region), &region_name(region));
    }
    for (index, (group, from)) in servers.places().enumerate() {
        if !resolve(&servers.address(index)?).await?.ip().is_loopback() {
            continue;
        }
        for to in (0..options.regions).filter(|to| *to != from) {
            let address = servers.address(servers.index(group, to)?)?;
            open(network, options, (&place(group, from), &place(group, to)), true, &address).await?;
        }
    }
    Ok(())
}

/// Links from clients to followers and from nodes to leaders and servers, as far as they are wanted.
pub(super) async fn between_nodes(
    network: &mut Network,
    servers: &Servers,
    topology: &Topology,
    options: &RegionsOptions,
) -> Result<()> {
    for region in &topology.regions {
        network.place(Place::client(&region.name), &region.name);
        for node in leaders(region).chain(followers(region)) {
            network.place(Place::node(&node.name), &region.name);
        }
    }
    for from in &topology.regions {
        for to in &topology.regions {
            let far = from.name != to.name;
            // A client may have to go to the followers of another region; it does not talk to leaders.
            for follower in followers(to) {
                let ends = (&Place::client(&from.name), &Place::node(&follower.name));
                open(network, options, ends, far, &follower.address).await?;
            }
            for node in leaders(from).chain(followers(from)) {
                for leader in leaders(to).filter(|leader| leader.name != node.name) {
                    let ends = (&Place::node(&node.name), &Place::node(&leader.name));
                    open(network, options, ends, far, &leader.address).await?;
                }
            }
            for node in leaders(from) {
                for (index, (group, region)) in servers.places().enumerate() {
                    if region_name(region) == to.name {
                        let ends = (&Place::node(&node.name), &place(group, region));
                        open(network, options, ends, far, &servers.address(index)?).await?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn leaders(region: &Region) -> impl Iterator<Item = &Node> {
    region.leaders.nodes.iter()
}

fn followers(region: &Region) -> impl Iterator<Item = &Node> {
    region.followers.iter().flat_map(|tier| &tier.nodes)
}

async fn open(
    network: &mut Network,
    options: &RegionsOptions,
    (from, to): (&Place, &Place),
    far: bool,
    address: &str,
) -> Result<()> {
    let latency = if far { options.wan } else { Duration::ZERO };
    if options.links == Links::BetweenRegions && latency.is_zero() {
        return Ok(());
    }
    network.open(from, to, address, latency).await
}
