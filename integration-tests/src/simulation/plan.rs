//! What a seed stands for: how large the cluster is, how it is set, and how much goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_leader_follower::follower::FollowerOptions;
use tao_leader_follower::leader::LeaderOptions;
use tao_schema::ids::{AssocType, FieldId, HostGroupId, ObjectId, ObjectType, ShardId};
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};

use super::network::Distances;

/// Types of objects and edges. Each has the field [`OPERATION`].
pub const SCHEMA: &str = r#"
format = 1
[object.thing]
id = 1
[object.thing.fields]
operation = { id = 1, kind = "int" }
[assoc.follows]
id = 1
[assoc.follows.fields]
operation = { id = 1, kind = "int" }
[assoc.friend]
id = 2
symmetric = true
[assoc.friend.fields]
operation = { id = 1, kind = "int" }
[assoc.likes]
id = 3
inverse = "liked_by"
[assoc.likes.fields]
operation = { id = 1, kind = "int" }
[assoc.liked_by]
id = 4
[assoc.watches]
id = 5
[assoc.watches.fields]
operation = { id = 1, kind = "int" }
"#;

/// The type of all objects.
pub const THING: ObjectType = ObjectType(1);
/// The types of edges that users write.
pub const ATYPES: [AssocType; 5] = [AssocType(1), AssocType(2), AssocType(3), AssocType(4), AssocType(5)];
/// The field that names the operation that wrote a value.
pub const OPERATION: FieldId = FieldId(1);

/// A run, as its seed has it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How long users work and things go wrong.
    pub busy: Duration,
    /// Everything must be whole again so long after the last fault, at the latest.
    pub quiet: Duration,
    /// Regions; each has a copy of the data.
    pub regions: usize,
    /// Leaders of each region.
    pub leaders: usize,
    /// Followers of each region, in one tier.
    pub followers: usize,
    /// Host groups.
    pub groups: usize,
    /// Shards.
    pub shards: u16,
    /// Objects that users touch, on each shard.
    pub things: u64,
    /// Users in each region.
    pub users: usize,
    /// Between two calls of a user, at most.
    pub think: Duration,
    /// Between two faults, on average.
    pub between_faults: Duration,
    /// Distances of the network.
    pub distances: Distances,
    /// From a primary's log to a replica's, within the replica's own server.
    pub replication_delay: Duration,
    /// What an acknowledgement is worth.
    pub mode: ReplicationMode,
    /// Options of leaders.
    pub leader: LeaderOptions,
    /// Options of followers.
    pub follower: FollowerOptions,
}

impl Plan {
    /// The run of a seed; it is busy for about this long.
    pub fn of(seed: u64, seconds: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x7461_6f00);
        let quiet = Duration::from_secs(20);
        let caches = [6 << 10, 16 << 10, 64 << 10, 4 << 20];
        let mut cache = || caches[random.random_range(0..caches.len())];
        let (leader_cache, follower_cache) = (cache(), cache());
        let mut leader = LeaderOptions { cache_bytes: leader_cache, ..LeaderOptions::default() };
        let mut follower = FollowerOptions { cache_bytes: follower_cache, ..FollowerOptions::default() };
        // Small, so that subscribers fall out of rings, and floors collapse.
        let ring = [4, 64, 4_096][random.random_range(0..3)];
        let floors = [2, 4_096][random.random_range(0..2)];
        for core in [&mut leader.core, &mut follower.core] {
            core.ring_changes = ring;
            core.max_floors = floors;
        }
        leader.lanes.lanes = random.random_range(1..=3);
        follower.list_fill_edges = random.random_range(1..=12);
        Self {
            seed,
            busy: Duration::from_secs(seconds),
            quiet,
            leaders: 2,
            followers: 2,
            regions: if random.random_bool(0.3) { 3 } else { 2 },
            groups: random.random_range(1..=2),
            shards: random.random_range(2..=5),
            things: random.random_range(2..=5),
            users: random.random_range(2..=4),
            think: Duration::from_millis(random.random_range(40..400)),
            between_faults: Duration::from_millis(random.random_range(300..4_000)),
            distances: Distances { near_ms: random.random_range(0..=3), far_ms: random.random_range(2..=80) },
            replication_delay: Duration::from_millis(random.random_range(0..=60)),
            mode: ReplicationMode::Async,
            leader,
            follower,
        }
    }

    /// A large cluster of one region, with as few surprises as there can be.
    pub fn large(shards: u16, leaders: usize, followers: usize) -> Self {
        Self {
            regions: 1,
            leaders,
            followers,
            groups: 4,
            shards,
            distances: Distances { near_ms: 1, far_ms: 1 },
            leader: LeaderOptions::default(),
            follower: FollowerOptions::default(),
            ..Self::of(1, 0)
        }
    }

    /// Names of the regions.
    pub fn region_names(&self) -> Vec<String> {
        (0..self.regions).map(|at| char::from(b'a' + at as u8).to_string()).collect()
    }

    /// Numbers of the host groups.
    pub fn group_ids(&self) -> impl Iterator<Item = HostGroupId> + use<> {
        (0..self.groups).map(|at| HostGroupId(at as u16 + 1))
    }

    /// All shards.
    pub fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// The objects that users touch.
    pub fn objects(&self) -> Vec<ObjectId> {
        let of = |shard| (0..self.things).map(move |local| ObjectId::new(shard, 1 << 40 | local));
        self.shard_ids().flat_map(of).collect()
    }

    /// The first topology. Primaries are spread over the first two regions.
    pub fn topology(&self) -> Topology {
        let names = self.region_names();
        let tier = |name: String, node: String, nodes: usize| {
            let node = |at: usize| Node {
                name: format!("{node}-{at}"),
                address: "127.0.0.1:1".to_owned(),
                admin: None,
            };
            Tier { name, nodes: (1..=nodes).map(node).collect() }
        };
        let region = |name: &String| Region {
            name: name.clone(),
            leaders: tier(format!("leaders-{name}"), format!("leader-{name}"), self.leaders),
            followers: vec![tier(format!("followers-{name}"), format!("follower-{name}"), self.followers)],
        };
        let group = |id: HostGroupId| HostGroup {
            id,
            master: names[usize::from(id.0 - 1) % names.len().min(2)].clone(),
            epoch: FIRST_EPOCH,
            mode: self.mode,
            servers: names
                .iter()
                .map(|name| (name.clone(), Dsn::new(format!("mysql://tao@{name}-{}:1/tao", id.0))))
                .collect::<BTreeMap<_, _>>(),
        };
        Topology {
            version: 1,
            cluster: "simulation".to_owned(),
            shards: self.shards.into(),
            regions: names.iter().map(region).collect(),
            host_groups: self.group_ids().map(group).collect(),
            assignments: Vec::new(),
        }
    }
}
