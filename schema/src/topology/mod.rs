//! The topology: where everything is. Regions with their tiers of nodes, the database servers, and which of them
//! holds which shard.
//!
//! It starts as a TOML file:
//!
//! ```toml
//! version = 1            # raised with every change
//! cluster = "dev"
//! shards = 64            # fixed for the cluster's life
//!
//! [[regions]]
//! name = "local"
//! leaders = { name = "leaders", nodes = [{ name = "leader-1", address = "127.0.0.1:7101" }] }
//! [[regions.followers]]  # one for each follower tier
//! name = "followers"
//! nodes = [
//!     { name = "follower-1", address = "127.0.0.1:7201", admin = "127.0.0.1:7301" },
//!     { name = "follower-2", address = "127.0.0.1:7202" },
//! ]
//!
//! [[host_groups]]        # a primary database server and its replicas
//! id = 1
//! master = "local"       # region of the primary
//! servers = { local = "mysql://tao:secret@127.0.0.1:3306/tao" }
//!
//! [[assignments]]        # only shards that are not where the rule below puts them
//! shard = 7
//! host_group = 1
//! epoch = 2
//! ```
//!
//! From it, [`Placement`] computes who owns what:
//!
//! ```
//! use tao_schema::ids::ShardId;
//! use tao_schema::topology::{Placement, TierRef, Topology};
//!
//! let topology = Topology::parse(
//!     r#"
//!     version = 1
//!     cluster = "dev"
//!     shards = 64
//!     host_groups = [{ id = 1, master = "local", servers = { local = "mysql://tao@127.0.0.1:3306/tao" } }]
//!     [[regions]]
//!     name = "local"
//!     leaders = { name = "leaders", nodes = [{ name = "leader-1", address = "127.0.0.1:7101" }] }
//!     "#,
//!     "topology.toml",
//! )?;
//! let placement = Placement::compute(&topology);
//! let owner = placement.owner(TierRef::leaders(0), ShardId(63)).unwrap();
//! assert_eq!(topology.regions[0].leaders.nodes[usize::from(owner)].name, "leader-1");
//! # Ok::<(), tao_schema::topology::TopologyError>(())
//! ```
//!
//! A shard without an assignment is, in the group's epoch, on the host group at index `shard mod number of groups`, in the order
//! of the file. So before a group is added or removed, pin what is ([`Topology::pinned`]), or data would seem to move.

mod check;
mod dsn;
mod placement;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::check::TopologyProblem;
pub use self::dsn::Dsn;
pub use self::placement::{MAX_CANDIDATES, Placement};
use crate::ids::{Epoch, HostGroupId, ShardId};
pub use crate::toml_text::TomlError as TopologyError;

/// One version of the topology. Values from [`Topology::parse`] are consistent; who builds one by hand calls
/// [`Topology::check`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Raised with every change, from 1.
    pub version: u64,
    /// The cluster's name: tokens are bound to it.
    pub cluster: String,
    /// Number of shards, 1 to [`crate::limits::MAX_SHARDS`], for the cluster's life.
    pub shards: u32,
    /// The regions: each a full copy of the data. At least one.
    pub regions: Vec<Region>,
    /// The database servers. At least one.
    pub host_groups: Vec<HostGroup>,
    /// Shards that are not where the rule puts them (see the module's documentation).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignments: Vec<Assignment>,
}

/// A full copy of the data with the nodes that serve it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Its name, unique.
    pub name: String,
    /// Its leaders: each shard has one of them.
    pub leaders: Tier,
    /// Its follower tiers; a client uses one and fails over to the next.
    #[serde(default)]
    pub followers: Vec<Tier>,
}

/// A group of nodes that together hold all shards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its nodes, at least one, at most [`MAX_TIER_NODES`].
    pub nodes: Vec<Node>,
}

/// A process of a tier.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, unique in the cluster. It decides which shards the node owns: a new address under an old name keeps
    /// them.
    pub name: String,
    /// Where it serves: `host:port`.
    pub address: String,
    /// Where its admin page is: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// One primary database server with its replicas in other regions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostGroup {
    /// Its number, unique.
    pub id: HostGroupId,
    /// The region of its primary.
    pub master: String,
    /// The epoch of its shards that have no assignment of their own; raised by a promotion.
    #[serde(default = "first_epoch", skip_serializing_if = "is_first_epoch")]
    pub epoch: Epoch,
    /// What an acknowledged write is worth when the primary is lost (R5).
    #[serde(default, skip_serializing_if = "ReplicationMode::is_async")]
    pub mode: ReplicationMode,
    /// By region, how to reach the server. Empty in what clients get.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, Dsn>,
}

/// What an acknowledged write is worth when the primary is lost (R5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicationMode {
    /// Acknowledged when the primary has committed it. Writes that had not been replicated are lost with the primary,
    /// and listed one by one when its log can be read again.
    #[default]
    Async,
    /// Acknowledged when a replica has it as well (semi-synchronous, after-sync, without a time limit): none is lost.
    Lossless,
}

impl ReplicationMode {
    /// Whether this is [`ReplicationMode::Async`].
    pub const fn is_async(&self) -> bool {
        matches!(self, Self::Async)
    }
}

/// Where one shard is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The shard.
    pub shard: ShardId,
    /// The host group that holds it.
    pub host_group: HostGroupId,
    /// Its epoch there.
    pub epoch: Epoch,
}

/// Names a tier within one version of a topology.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TierRef {
    /// Index of the region.
    pub region: u16,
    /// 0: the leaders; `n`: the follower tier at index `n - 1`.
    pub tier: u16,
}

/// Nodes of one tier.
pub const MAX_TIER_NODES: usize = 1_024;
/// Regions of a cluster.
pub const MAX_REGIONS: usize = 16;
/// Follower tiers of a region.
pub const MAX_FOLLOWER_TIERS: usize = 16;
/// Host groups of a cluster.
pub const MAX_HOST_GROUPS: usize = 4_096;

/// The epoch of a shard that never moved.
pub const FIRST_EPOCH: Epoch = Epoch(1);

const fn first_epoch() -> Epoch {
    FIRST_EPOCH
}

fn is_first_epoch(epoch: &Epoch) -> bool {
    *epoch == FIRST_EPOCH
}

impl TierRef {
    /// The leaders of a region.
    pub const fn leaders(region: u16) -> Self {
        Self { region, tier: 0 }
    }

    /// A follower tier of a region, by its index.
    pub const fn followers(region: u16, index: u16) -> Self {
        Self { region, tier: index + 1 }
    }
}

impl Topology {
    /// Parses and checks a topology. `file` is what errors call it.
    ///
    /// # Errors
    /// Anything unknown, missing, out of range or contradictory; the error names file, line and key.
    pub fn parse(toml: &str, file: &str) -> Result<Self, TopologyError> {
        let text = crate::toml_text::TomlText { text: toml, file };
        let topology: Self = text.parse().map_err(without_dsn)?;
        topology.check().map_err(|problem| {
            let line = text.line_of(&problem.anchor, problem.nth, problem.key.rsplit('.').next());
            TopologyError { file: file.to_owned(), line, key: problem.key, message: problem.message }
        })?;
        Ok(topology)
    }

    /// The whole topology as TOML, passwords included: for the topology store and for files that only nodes read.
    pub fn to_toml(&self) -> String {
        toml::to_string(self)
            .expect("a topology has only strings, numbers, tables and arrays, all of which TOML has")
    }

    /// The topology as clients get it: without DSNs, because these hold secrets and no client needs them.
    pub fn to_client_toml(&self) -> String {
        let mut public = self.clone();
        for group in &mut public.host_groups {
            group.servers.clear();
        }
        public.to_toml()
    }

    /// The tier of a reference.
    pub fn tier(&self, tier: TierRef) -> Option<&Tier> {
        let region = self.regions.get(usize::from(tier.region))?;
        match tier.tier {
            0 => Some(&region.leaders),
            n => region.followers.get(usize::from(n) - 1),
        }
    }

    /// All tiers: of each region first the leaders, then its follower tiers.
    pub fn tiers(&self) -> impl Iterator<Item = (TierRef, &Tier)> {
        self.regions.iter().enumerate().flat_map(|(region, content)| {
            let tiers = std::iter::once(&content.leaders).chain(&content.followers).enumerate();
            tiers.map(move |(tier, content)| (TierRef { region: region as u16, tier: tier as u16 }, content))
        })
    }

    /// Index of the region of a name.
    pub fn region_named(&self, name: &str) -> Option<u16> {
        self.regions.iter().position(|region| region.name == name).map(|at| at as u16)
    }

    /// The tier and index of the node of a name.
    pub fn node_named(&self, name: &str) -> Option<(TierRef, u16)> {
        self.tiers().find_map(|(at, tier)| {
            let node = tier.nodes.iter().position(|node| node.name == name)?;
            Some((at, node as u16))
        })
    }

    /// The host group of a number.
    pub fn host_group(&self, id: HostGroupId) -> Option<&HostGroup> {
        self.host_groups.iter().find(|group| group.id == id)
    }

    /// Where a shard is and in which epoch; `None`: there is no such shard. Walks the assignments: who asks for every
    /// request uses [`Placement::host_group`].
    pub fn assignment(&self, shard: ShardId) -> Option<Assignment> {
        if u32::from(shard.0) >= self.shards {
            return None;
        }
        let explicit = self.assignments.iter().find(|assignment| assignment.shard == shard);
        explicit.copied().or_else(|| self.default_assignment(shard))
    }

    /// The same topology with every shard's place written down, so that host groups can be added and removed.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self { assignments: self.all_assignments(), ..self.clone() }
    }

    /// The places of all shards, in order.
    pub fn all_assignments(&self) -> Vec<Assignment> {
        let mut all: Vec<Assignment> = (0..self.shards)
            .filter_map(|shard| self.default_assignment(ShardId(u16::try_from(shard).ok()?)))
            .collect();
        for explicit in &self.assignments {
            if let Some(place) = all.get_mut(usize::from(explicit.shard.0)) {
                *place = *explicit;
            }
        }
        all
    }

    fn default_assignment(&self, shard: ShardId) -> Option<Assignment> {
        let index = usize::from(shard.0).checked_rem(self.host_groups.len())?;
        let group = &self.host_groups[index];
        Some(Assignment { shard, host_group: group.id, epoch: group.epoch })
    }
}

/// An error of the deserializer may quote the value that it did not expect: a DSN under a wrong key, for example.
fn without_dsn(error: TopologyError) -> TopologyError {
    if !error.message.contains("://") {
        return error;
    }
    let message = "the value has another form than the key takes; it is not shown, as it may hold a password";
    TopologyError { message: message.to_owned(), ..error }
}
