//! Which node of a tier owns which shard: a consistent-hash ring with a load cap, computed once.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use consistent_hash::{Node as RingNode, RingHash, StaticHashRing};
use xxhash_rust::xxh3::Xxh3;

use super::{Tier, TierRef, Topology};
use crate::ids::{Epoch, HostGroupId, ShardId};

/// Points of each node on the ring: shares then differ by about 3%.
const VIRTUAL_NODES: usize = 1_000;
/// How much more than the mean a node may own, in percent.
const CAP_PERCENT: usize = 105;
/// How many nodes are listed for a shard: after so many failures, more of them would not help.
pub const MAX_CANDIDATES: usize = 8;

/// Owners of all shards in all tiers, and the host groups that hold them: arrays, for one version of a topology.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    tiers: BTreeMap<TierRef, Candidates>,
    host_groups: Vec<(HostGroupId, Epoch)>,
}

/// For each shard the indexes of its candidate nodes, `width` of them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Candidates {
    width: usize,
    nodes: Vec<u16>,
}

impl Placement {
    /// Computes who owns what. A pure function of the topology's shard count, tiers and node names: every node and
    /// client of the cluster gets the same answer.
    ///
    /// A shard's candidates are the nodes that follow its point on the ring. The first one owns it, unless that has
    /// its cap, `ceil(1.05 * mean)`, already: then the next that has not. Shards are placed in ascending order.
    pub fn compute(topology: &Topology) -> Self {
        let tiers = topology.tiers().map(|(at, tier)| (at, place(tier, topology.shards))).collect();
        let places = topology.all_assignments();
        let host_groups = places.iter().map(|place| (place.host_group, place.epoch)).collect();
        Self { tiers, host_groups }
    }

    /// Indexes into the tier's nodes: first the owner of the shard, then whom to ask if that fails, in this order; at
    /// most [`MAX_CANDIDATES`]. Empty if there is no such tier or shard.
    pub fn candidates(&self, tier: TierRef, shard: ShardId) -> &[u16] {
        let Some(Candidates { width, nodes }) = self.tiers.get(&tier) else { return &[] };
        let start = usize::from(shard.0) * width;
        nodes.get(start..start + width).unwrap_or(&[])
    }

    /// Index of the node that owns the shard.
    pub fn owner(&self, tier: TierRef, shard: ShardId) -> Option<u16> {
        self.candidates(tier, shard).first().copied()
    }

    /// The host group that holds the shard and its epoch there; `None`: there is no such shard.
    pub fn host_group(&self, shard: ShardId) -> Option<(HostGroupId, Epoch)> {
        self.host_groups.get(usize::from(shard.0)).copied()
    }

    /// All shards of the cluster.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = ShardId> + use<> {
        (0..self.host_groups.len()).map(|shard| ShardId(shard as u16))
    }

    /// The shards that a node owns, in ascending order.
    pub fn owned_by(&self, tier: TierRef, node: u16) -> impl Iterator<Item = ShardId> {
        self.shards().filter(move |shard| self.owner(tier, *shard) == Some(node))
    }
}

/// The most shards that one of `nodes` nodes may own: `ceil(1.05 * shards / nodes)`.
fn cap(shards: usize, nodes: usize) -> usize {
    (shards * CAP_PERCENT).div_ceil(nodes * 100)
}

fn place(tier: &Tier, shards: u32) -> Candidates {
    let width = tier.nodes.len().min(MAX_CANDIDATES);
    if width == 0 {
        return Candidates { width, nodes: Vec::new() };
    }
    let nodes =
        tier.nodes.iter().enumerate().map(|(index, node)| {
            RingNode::new(RingKey(&node.name)).value(index as u16).quantity(VIRTUAL_NODES)
        });
    let ring = StaticHashRing::new(StableHash, nodes);
    let cap = cap(shards as usize, tier.nodes.len());
    let mut owned = vec![0; tier.nodes.len()];
    let mut all = Vec::with_capacity(shards as usize * width);
    for shard in 0..shards {
        let mut following = ring.calc_candidates(&RingShard(shard)).map(|node| node.value);
        let mut passed = Vec::new();
        // Caps add up to at least `shards`, so some node still has room.
        for node in following.by_ref() {
            if owned[usize::from(node)] < cap {
                owned[usize::from(node)] += 1;
                all.push(node);
                break;
            }
            passed.push(node);
        }
        all.extend(passed.into_iter().chain(following).take(width - 1));
    }
    Candidates { width, nodes: all }
}

/// A node's name on the ring.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RingKey<'a>(&'a str);

/// A shard on the ring.
struct RingShard(u32);

// By hand, because the standard library's choice of what it feeds a hasher is not promised to stay, and ownership
// must be the same in every program that was ever built.
impl Hash for RingKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

impl Hash for RingShard {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.to_le_bytes());
    }
}

/// xxh3: a node's points are `xxh3_64(name ++ u64 LE point)`, a shard's is `xxh3_64(u32 LE shard)`.
struct StableHash;

impl RingHash for StableHash {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        let mut hasher = Xxh3::new();
        item.hash(&mut hasher);
        hasher.digest()
    }

    fn hash_vnode<K: Hash>(&self, node: &K, point: usize) -> u64 {
        let mut hasher = Xxh3::new();
        node.hash(&mut hasher);
        hasher.update(&(point as u64).to_le_bytes());
        hasher.digest()
    }
}
