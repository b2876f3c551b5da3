//! Which places of several regions have links between them.

use std::time::Duration;

use anyhow::Result;
use tao_schema::topology::{Node, Region, Topology};
use tao_shard_store::fleet::Fleet;

use super::databases::{address, place};
use super::{RegionsOptions, region_name};
use crate::faults::{Network, Place};

/// Where links are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Links {
    /// Between regions, if there is a delay between them.
    #[default]
    BetweenRegions,
    /// On every connection: clients to followers, nodes to leaders and database servers, replicas to primaries.
    Everywhere,
}

/// Links from each replica, as which any server may serve one day, to the servers of its group.
pub(super) async fn between_servers(
    network: &mut Network,
    fleet: &Fleet,
    options: &RegionsOptions,
) -> Result<()> {
    for server in fleet.servers() {
        network.place(place(server), &region_name(server.replica()));
    }
    for from in fleet.servers() {
        let others = fleet.servers().iter().filter(|to| to.group() == from.group());
        for to in others.filter(|to| to.replica() != from.replica()) {
            let ends = (&place(from), &place(to));
            open(network, options, ends, from.replica() != to.replica(), &address(to)).await?;
        }
    }
    Ok(())
}

/// Links from clients to followers and from nodes to leaders and servers, as far as they are wanted.
pub(super) async fn between_nodes(
    network: &mut Network,
    fleet: &Fleet,
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
                for server in fleet.servers().iter().filter(|server| region_name(server.replica()) == to.name)
                {
                    let ends = (&Place::node(&node.name), &place(server));
                    open(network, options, ends, far, &address(server)).await?;
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
