//! Where requests go: the nodes of one version of the topology, in order of preference for each shard.

use std::collections::HashMap;
use std::sync::Arc;

use tao_schema::ids::ShardId;
use tao_schema::topology::{Placement, TierRef, Topology};
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use super::node::Node;
use crate::connection::{Connection, ConnectionOptions, Service};
use crate::options::Options;

/// One version of the topology, ready to route by. Immutable.
pub(crate) struct Routes {
    pub(crate) topology: Topology,
    placement: Placement,
    /// Follower tiers, the preferred one first.
    tiers: Vec<(TierRef, Vec<Arc<Node>>)>,
}

impl Routes {
    /// Routes of `topology`; nodes that `before` knows under the same name and address keep their connections and
    /// what was learnt about them. `home` is a region.
    pub(crate) fn new(
        topology: Topology,
        home: Option<&str>,
        options: &Options,
        before: Option<&Self>,
    ) -> Self {
        let placement = Placement::compute(&topology);
        let connection: Arc<ConnectionOptions> = Arc::new(options.connection.clone());
        let known: HashMap<(&str, &str), &Arc<Node>> = before
            .into_iter()
            .flat_map(|routes| &routes.tiers)
            .flat_map(|(_, nodes)| nodes)
            .map(|node| ((node.name.as_str(), node.connection.address()), node))
            .collect();
        let mut tiers: Vec<_> = topology.tiers().filter(|(at, _)| at.tier != 0).collect();
        let home = home.and_then(|name| topology.region_named(name));
        // A stable sort: within each class the order of the topology stays.
        tiers.sort_by_key(|(at, tier)| {
            let preferred = options.tier.as_ref() == Some(&tier.name);
            (!preferred, home.is_some_and(|home| home != at.region))
        });
        let tiers = tiers
            .into_iter()
            .map(|(at, tier)| {
                let nodes = tier.nodes.iter().map(|node| {
                    known.get(&(node.name.as_str(), node.address.as_str())).map_or_else(
                        || {
                            let address = node.address.as_str();
                            let connection = Connection::new(address, Service::Tao, connection.clone());
                            let (failures, pause) = (options.circuit_failures, options.circuit_pause);
                            Arc::new(Node::new(node.name.clone(), connection, failures, pause))
                        },
                        |node| Arc::clone(node),
                    )
                });
                (at, nodes.collect())
            })
            .collect();
        Self { topology, placement, tiers }
    }

    /// The node to ask about `shard`: the first on the ring that is neither in `tried` nor passed over; then the other
    /// tiers. If there is none: one that is passed over, and at last one that was tried.
    ///
    /// # Errors
    /// `NoSuchShard`, or `Unavailable` if the topology has no follower.
    pub(crate) fn choose(&self, shard: ShardId, tried: &[Arc<Node>], now: Instant) -> Result<&Arc<Node>> {
        let untried = |node: &&Arc<Node>| !tried.iter().any(|other| Arc::ptr_eq(other, node));
        self.candidates(shard)
            .filter(untried)
            .find(|node| node.admits(now))
            .or_else(|| self.candidates(shard).find(untried))
            .or_else(|| self.candidates(shard).next())
            .ok_or_else(|| {
                let shards = self.topology.shards;
                if u32::from(shard.0) >= shards {
                    let message =
                        format!("shard {shard} of an id: the cluster has shards 0 to {}", shards - 1);
                    Error::new(ErrorCode::NoSuchShard, message)
                } else {
                    Error::unavailable("the topology names no follower")
                }
            })
    }

    /// Every node that may answer for `shard`, best first.
    fn candidates(&self, shard: ShardId) -> impl Iterator<Item = &Arc<Node>> {
        self.tiers.iter().flat_map(move |(at, nodes)| {
            self.placement.candidates(*at, shard).iter().filter_map(|node| nodes.get(usize::from(*node)))
        })
    }

    /// Addresses of all followers, best first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.tiers.iter().flat_map(|(_, nodes)| nodes).map(|node| node.connection.address())
    }

    /// Whether both would route the same way.
    pub(crate) fn same_as(&self, topology: &Topology) -> bool {
        self.topology == *topology
    }
}
