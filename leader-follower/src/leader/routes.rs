//! Where a leader finds a shard: the server that holds it here, who orders its writes, and who serves it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::topology::TierRef;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::log::SharedDatabase;
use tokio::sync::Notify;

use super::reader::Reader;
use super::tail::GroupHealth;
use crate::lanes::Lanes;
use crate::ports::{Cluster, ClusterView, LeaderPeer, LeaderPeers};

/// One host group as this leader uses it.
pub(super) struct Group {
    pub(super) id: HostGroupId,
    /// This region's server.
    pub(super) database: SharedDatabase,
    pub(super) lanes: Lanes,
    pub(super) reader: Reader,
    /// What is known of its log.
    pub(super) health: Arc<GroupHealth>,
}

/// A leader's map.
pub(super) struct Routes {
    /// This node.
    pub(super) name: String,
    /// Its region; `None`: the topology did not have it when it started, so it is alone, as in a test of one.
    pub(super) region: Option<String>,
    pub(super) cluster: ClusterView,
    pub(super) groups: BTreeMap<HostGroupId, Group>,
    pub(super) peers: Arc<dyn LeaderPeers>,
    /// Told when the topology seems to be out of date.
    pub(super) stale_topology: Arc<Notify>,
    /// Told when a log says that a newer one was stored.
    pub(super) newer_topology: Arc<Notify>,
}

/// A shard's place, by one version of the topology.
pub(super) struct Place<'a> {
    pub(super) group: &'a Group,
    /// The shard's epoch, as the topology has it.
    pub(super) epoch: Epoch,
    /// Whether this region orders the shard's writes.
    pub(super) master: bool,
}

/// Who applies an inverse.
pub(super) enum Target {
    /// This leader, through its own lane.
    Own,
    /// Another one.
    Peer(Arc<dyn LeaderPeer>),
}

impl Routes {
    /// The shard's place as the topology has it now.
    pub(super) fn place(&self, shard: ShardId) -> Result<Place<'_>> {
        let cluster = self.cluster.load();
        let Some((id, epoch)) = cluster.placement.host_group(shard) else {
            let message = format!("there is no shard {shard}: the cluster has {}", cluster.topology.shards);
            return Err(Error::new(ErrorCode::NoSuchShard, message));
        };
        let group = self.groups.get(&id).ok_or_else(|| {
            self.stale_topology.notify_one();
            let message = format!(
                "leader {} has no connection to host group {id}, which holds shard {shard}",
                self.name
            );
            Error::new(ErrorCode::NotOwner, message)
        })?;
        Ok(Place { group, epoch, master: self.masters(&cluster, id) })
    }

    /// The host group of a shard and the shard's epoch there.
    pub(super) fn group(&self, shard: ShardId) -> Result<(&Group, Epoch)> {
        self.place(shard).map(|place| (place.group, place.epoch))
    }

    /// Whether this region orders the writes of a shard.
    pub(super) fn is_master(&self, shard: ShardId) -> bool {
        let cluster = self.cluster.load();
        cluster.placement.host_group(shard).is_some_and(|(group, _)| self.masters(&cluster, group))
    }

    /// Whether this region has the primary of a host group.
    pub(super) fn masters(&self, cluster: &Cluster, group: HostGroupId) -> bool {
        let Some(region) = &self.region else { return true };
        cluster.topology.host_group(group).is_some_and(|group| group.master == *region)
    }

    /// Region of the primary of a host group; `None`: it is this one, or there is no such group.
    pub(super) fn master_elsewhere(&self, group: HostGroupId) -> Option<String> {
        let cluster = self.cluster.load();
        if self.masters(&cluster, group) {
            return None;
        }
        cluster.topology.host_group(group).map(|group| group.master.clone())
    }

    /// Who has not the master's role says so, with what it knows (R18).
    pub(super) fn not_master(&self, shard: ShardId) -> Error {
        self.stale_topology.notify_one();
        let version = self.cluster.load().topology.version;
        let message = format!(
            "leader {} is not in the master region of shard {shard} by topology version {version}",
            self.name
        );
        Error::new(ErrorCode::NotOwner, message)
    }

    /// The epoch of `other` if a transaction of `shard` may write it, too: one server, one lane, and no other leader
    /// that would order it (R22). Both have their master here, or the lane would not write the first.
    pub(super) fn together(&self, shard: ShardId, other: ShardId) -> Option<Epoch> {
        let cluster = self.cluster.load();
        let (group, _) = cluster.placement.host_group(shard)?;
        let (other_group, epoch) = cluster.placement.host_group(other)?;
        let here = self.groups.get(&group)?;
        let fits = group == other_group
            && self.masters(&cluster, group)
            && here.lanes.same(shard, other)
            && self.owns(&cluster, other);
        fits.then_some(epoch)
    }

    /// The shards whose writes this node orders, as the topology has it now.
    pub(super) fn ordered_here(&self) -> Vec<ShardId> {
        let cluster = self.cluster.load();
        let Some((tier, node)) = cluster.topology.node_named(&self.name) else { return Vec::new() };
        let mastered: HashMap<HostGroupId, bool> =
            self.groups.keys().map(|group| (*group, self.masters(&cluster, *group))).collect();
        let here = |shard: &ShardId| {
            let group = cluster.placement.host_group(*shard).map(|(group, _)| group);
            group.is_some_and(|group| mastered.get(&group).copied().unwrap_or(false))
        };
        cluster.placement.owned_by(tier, node).filter(here).collect()
    }

    /// The shards that the topology puts into a host group.
    pub(super) fn shards_of(&self, group: HostGroupId) -> Vec<ShardId> {
        let cluster = self.cluster.load();
        let here = |shard: &ShardId| cluster.placement.host_group(*shard).is_some_and(|(at, _)| at == group);
        cluster.placement.shards().filter(here).collect()
    }

    /// Who is to be asked for the other side of a pair on `shard` at the `attempt`th try: the leaders of its master
    /// region, in the order of the ring.
    pub(super) fn target(&self, shard: ShardId, attempt: usize) -> Result<Target> {
        let cluster = self.cluster.load();
        let candidates = self.candidates(&cluster, shard);
        let Some(name) = candidates.get(attempt % candidates.len().max(1)) else {
            return Ok(Target::Own);
        };
        if *name == self.name {
            return Ok(Target::Own);
        }
        let peer = self.peers.leader(name);
        peer.map(Target::Peer).ok_or_else(|| Error::unavailable(format!("leader {name} is not known here")))
    }

    /// The leaders of the shard's master region, its owner there first.
    pub(super) fn up(&self, shard: ShardId) -> Vec<Arc<dyn LeaderPeer>> {
        let cluster = self.cluster.load();
        let names = self.candidates(&cluster, shard);
        names
            .into_iter()
            .filter(|name| *name != self.name)
            .filter_map(|name| self.peers.leader(name))
            .collect()
    }

    fn owns(&self, cluster: &Cluster, shard: ShardId) -> bool {
        // A leader that the topology does not know is alone, as in a test of one.
        self.candidates(cluster, shard).first().is_none_or(|name| *name == self.name)
    }

    /// Names of the leaders of the shard's master region, in the order of the ring.
    fn candidates<'a>(&self, cluster: &'a Cluster, shard: ShardId) -> Vec<&'a str> {
        if self.region.is_none() {
            return Vec::new();
        }
        let topology = &cluster.topology;
        let group = cluster.placement.host_group(shard).and_then(|(group, _)| topology.host_group(group));
        let region = group.and_then(|group| topology.region_named(&group.master));
        let Some(tier) = region.map(TierRef::leaders) else { return Vec::new() };
        let Some(leaders) = topology.tier(tier) else { return Vec::new() };
        let indexes = cluster.placement.candidates(tier, shard).iter();
        indexes.filter_map(|at| Some(leaders.nodes.get(usize::from(*at))?.name.as_str())).collect()
    }
}
