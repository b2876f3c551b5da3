//! Where requests go: the nodes of one version of the topology, in order of preference for each shard.

use std::collections::HashMap;
use std::sync::Arc;

use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};
use tao_schema::session::Place;
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
    /// For each shard the best node of the first tier: what nearly all requests ask for.
    best: Vec<Option<u16>>,
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
            (!preferred, home.is_some_and(|home| (home != at.region) != planted(Bug::OtherRegionFirst)))
        });
        let tiers: Vec<(TierRef, Vec<Arc<Node>>)> = tiers
            .into_iter()
            .map(|(at, tier)| {
                let nodes = tier.nodes.iter().map(|node| {
                    let address = options.dialed(&node.address);
                    known.get(&(node.name.as_str(), address)).map_or_else(
                        || {
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
        let best = tiers.first().map_or_else(Vec::new, |(at, nodes)| {
            let best = |shard: u16| {
                let best = placement.candidates(*at, ShardId(shard)).first().copied();
                best.filter(|node| usize::from(*node) < nodes.len())
            };
            (0..=u16::MAX).take(topology.shards as usize).map(best).collect()
        });
        Self { topology, placement, tiers, best }
    }

    /// The node to ask about `shard` if nothing is wrong with it.
    #[inline]
    fn best(&self, shard: ShardId) -> Option<&Arc<Node>> {
        let node = (*self.best.get(usize::from(shard.0))?)?;
        self.tiers.first()?.1.get(usize::from(node)).filter(|node| !node.is_passed_over())
    }

    /// The node to ask about `shard`: the first on the ring that is neither in `tried` nor passed over; then the other
    /// tiers. If there is none: one that is passed over, and at last one that was tried.
    ///
    /// # Errors
    /// `NoSuchShard`, or `Unavailable` if the topology has no follower.
    #[inline]
    pub(crate) fn choose(&self, shard: ShardId, tried: &[Arc<Node>], now: Instant) -> Result<&Arc<Node>> {
        match self.best(shard) {
            Some(node) if tried.is_empty() => Ok(node),
            _ => self.choose_among(shard, tried, now),
        }
    }

    fn choose_among(&self, shard: ShardId, tried: &[Arc<Node>], now: Instant) -> Result<&Arc<Node>> {
        let untried = |node: &&Arc<Node>| !tried.iter().any(|other| Arc::ptr_eq(other, node));
        self.candidates(shard)
            .filter(untried)
            .find(|node| node.admits(now))
            .or_else(|| self.candidates(shard).find(untried))
            .or_else(|| self.candidates(shard).next())
            .ok_or_else(|| self.nobody_for(shard))
    }

    /// The node that requests about `shard` go to, without being a request.
    ///
    /// # Errors
    /// As [`Routes::choose`].
    pub(crate) fn preferred(&self, shard: ShardId) -> Result<&Arc<Node>> {
        self.candidates(shard)
            .find(|node| !node.is_passed_over())
            .or_else(|| self.candidates(shard).next())
            .ok_or_else(|| self.nobody_for(shard))
    }

    /// Where this topology has a shard; `None`: there is no such shard.
    pub(crate) fn place(&self, shard: ShardId) -> Option<Place> {
        self.placement.host_group(shard).map(|(group, epoch)| Place { group, epoch })
    }

    fn nobody_for(&self, shard: ShardId) -> Error {
        let shards = self.topology.shards;
        if u32::from(shard.0) >= shards {
            let message = format!("shard {shard} of an id: the cluster has shards 0 to {}", shards - 1);
            Error::new(ErrorCode::NoSuchShard, message)
        } else {
            Error::unavailable("the topology names no follower")
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn two_regions() -> Topology {
        let tier = |name: &str| {
            let nodes = [1, 2].map(|at| format!("{{ name = \"{name}{at}\", address = \"{name}{at}:1\" }}"));
            format!("name = \"{name}\"\nnodes = [{}]\n", nodes.join(", "))
        };
        let region = |name: &str, tiers: [&str; 2]| {
            let followers = tiers.map(|name| format!("[[regions.followers]]\n{}", tier(name))).concat();
            let leaders = format!(
                "{{ name = \"l-{name}\", nodes = [{{ name = \"l-{name}\", address = \"l-{name}:1\" }}] }}"
            );
            format!("[[regions]]\nname = \"{name}\"\nleaders = {leaders}\n{followers}")
        };
        let toml = format!(
            "version = 1\ncluster = \"c\"\nshards = 8\n{}{}[[host_groups]]\nid = 1\nmaster = \"east\"\n",
            region("east", ["ea", "eb"]),
            region("west", ["wa", "wb"])
        );
        Topology::parse(&toml, "test").unwrap()
    }

    fn tiers_in_order(routes: &Routes) -> Vec<String> {
        let mut tiers: Vec<String> =
            routes.candidates(ShardId(3)).map(|node| node.name[..2].to_owned()).collect();
        tiers.dedup();
        tiers
    }

    #[tokio::test(start_paused = true)]
    async fn own_region_first_and_the_preferred_tier_before_all() {
        let options = Options::new(["x:1"]);
        let routes = Routes::new(two_regions(), Some("west"), &options, None);
        assert_eq!(tiers_in_order(&routes), ["wa", "wb", "ea", "eb"]);
        let options = Options { tier: Some("wb".into()), ..options };
        let routes = Routes::new(two_regions(), Some("west"), &options, None);
        assert_eq!(tiers_in_order(&routes), ["wb", "wa", "ea", "eb"]);

        // The whole region fails: another one is asked, node after node, and at last the first again.
        let mut tried = Vec::new();
        for _ in 0..8 {
            let node = routes.choose(ShardId(3), &tried, Instant::now()).unwrap().clone();
            assert!(!tried.iter().any(|before| Arc::ptr_eq(before, &node)));
            tried.push(node);
        }
        let again = routes.choose(ShardId(3), &tried, Instant::now()).unwrap();
        assert!(Arc::ptr_eq(again, &tried[0]));
        let none = routes.choose(ShardId(8), &[], Instant::now()).map(|_| ()).unwrap_err();
        assert_eq!(none.code, ErrorCode::NoSuchShard);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_topology_keeps_what_is_known_of_nodes() {
        let options = Options::new(["x:1"]);
        let before = Routes::new(two_regions(), None, &options, None);
        let mut topology = two_regions();
        topology.version = 2;
        topology.regions[0].followers[0].nodes[0].address = "elsewhere:1".into();
        let after = Routes::new(topology.clone(), None, &options, Some(&before));
        for (old, new) in before.tiers.iter().zip(&after.tiers) {
            for (old, new) in old.1.iter().zip(&new.1) {
                assert_eq!(Arc::ptr_eq(old, new), old.name != "ea1", "{}", old.name);
            }
        }
        // Behind a translated address a node is known by the address that is dialed.
        let translate = [("elsewhere:1".to_owned(), "proxy:9".to_owned())].into();
        let options = Options { translate, ..options };
        let translated = Routes::new(topology.clone(), None, &options, Some(&after));
        let address = |routes: &Routes| routes.tiers[0].1[0].connection.address().to_owned();
        assert_eq!((address(&after), address(&translated)), ("elsewhere:1".to_owned(), "proxy:9".to_owned()));
        let again = Routes::new(topology, None, &options, Some(&translated));
        assert!(Arc::ptr_eq(&again.tiers[0].1[0], &translated.tiers[0].1[0]));
    }
}
