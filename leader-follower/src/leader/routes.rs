//! Where a leader finds a shard: the database that holds it, and the leader that serves it.

use std::collections::HashMap;
use std::sync::Arc;

use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::topology::TierRef;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::SharedStore;
use tokio::sync::Notify;

use super::reader::Reader;
use crate::lanes::Lanes;
use crate::ports::{Cluster, ClusterView, LeaderPeer, LeaderPeers};

/// One host group as this leader uses it.
pub(super) struct Group {
    pub(super) store: SharedStore,
    pub(super) lanes: Lanes,
    pub(super) reader: Reader,
}

/// A leader's map.
pub(super) struct Routes {
    /// This node.
    pub(super) name: String,
    pub(super) cluster: ClusterView,
    pub(super) groups: HashMap<HostGroupId, Group>,
    pub(super) peers: Arc<dyn LeaderPeers>,
    /// Told when the topology seems to be out of date.
    pub(super) stale_topology: Arc<Notify>,
}

/// Who applies an inverse.
pub(super) enum Target {
    /// This leader, through its own lane.
    Own,
    /// Another one.
    Peer(Arc<dyn LeaderPeer>),
}

impl Routes {
    /// The host group of a shard and the shard's epoch there.
    pub(super) fn group(&self, shard: ShardId) -> Result<(&Group, Epoch)> {
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
        Ok((group, epoch))
    }

    /// The epoch of `other` if a transaction of `shard` may write it, too: one server, one lane, and no other leader
    /// whose cache would miss the change (R22).
    pub(super) fn together(&self, shard: ShardId, other: ShardId) -> Option<Epoch> {
        let cluster = self.cluster.load();
        let (group, _) = cluster.placement.host_group(shard)?;
        let (other_group, epoch) = cluster.placement.host_group(other)?;
        let here = self.groups.get(&group)?;
        let fits = group == other_group && here.lanes.same(shard, other) && self.owns(&cluster, other);
        fits.then_some(epoch)
    }

    /// The shards that the topology gives to this node.
    pub(super) fn own_shards(&self) -> Vec<ShardId> {
        let cluster = self.cluster.load();
        match cluster.topology.node_named(&self.name) {
            Some((tier, node)) => cluster.placement.owned_by(tier, node).collect(),
            None => Vec::new(),
        }
    }

    /// Who is to be asked for `shard` at the `attempt`th try: its leaders in the order of the ring.
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

    fn owns(&self, cluster: &Cluster, shard: ShardId) -> bool {
        // A leader that the topology does not know is alone, as in a test of one.
        self.candidates(cluster, shard).first().is_none_or(|name| *name == self.name)
    }

    fn candidates<'a>(&self, cluster: &'a Cluster, shard: ShardId) -> Vec<&'a str> {
        let region = cluster.topology.node_named(&self.name).map(|(tier, _)| tier.region);
        let Some(tier) = region.map(TierRef::leaders) else { return Vec::new() };
        let Some(leaders) = cluster.topology.tier(tier) else { return Vec::new() };
        let indexes = cluster.placement.candidates(tier, shard).iter();
        indexes.filter_map(|at| Some(leaders.nodes.get(usize::from(*at))?.name.as_str())).collect()
    }
}
