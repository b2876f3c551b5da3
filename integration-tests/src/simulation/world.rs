//! The cluster in one thread: databases, leaders and followers, and who of them is alive.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rand::Rng as _;
use tao_leader_follower::clock::{Clock, RuntimeClock, SharedClock};
use tao_leader_follower::follower::{Follower, FollowerContext, FollowerHandle};
use tao_leader_follower::leader::{Leader, LeaderContext};
use tao_leader_follower::ports::{Cluster, ClusterView, RemoteDatabases as _};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::{FIRST_EPOCH, Topology};
use tao_shard_store::ShardStore as _;
use tao_shard_store::apply::UnixMillis;
use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore, ReplicationOptions};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::databases::{RunningDatabases, Servers};
use super::moves::Moves;
use super::network::{End, Network, Process};
use super::peers::{Peers, RunningLeaders};
use super::plan::{Plan, SCHEMA};
use crate::history::{Collected, Collector, CollectorOptions, RunClock};

/// The cluster.
pub struct World {
    /// What it is made from.
    pub plan: Plan,
    /// Between everything.
    pub network: Network,
    /// The graph schema.
    pub schema: Arc<GraphSchema>,
    /// Leaders, by region and number.
    pub leader_ends: Vec<(u16, End)>,
    /// Followers.
    pub follower_ends: Vec<(u16, End)>,
    /// Users of each region.
    pub user_ends: Vec<End>,
    /// Servers by host group and region.
    pub database_ends: BTreeMap<(HostGroupId, String), End>,
    /// Leaders that run.
    pub leaders: RunningLeaders,
    /// Servers that run.
    pub databases: RunningDatabases,
    followers: Mutex<BTreeMap<End, FollowerHandle>>,
    nodes: BTreeMap<End, Node>,
    newest: ArcSwap<Topology>,
    /// By how much each server's wall clock is off, in milliseconds.
    wall: Arc<Mutex<BTreeMap<End, i64>>>,
    rebuilt: Mutex<u32>,
    /// Primaries that were passed over, and will be found and built anew.
    pub returning: AtomicUsize,
    /// Shards that move.
    pub moves: Moves,
    /// Times operations and changes.
    pub clock: RunClock,
    /// Reads the logs of all servers, those too that were replaced.
    collector: tokio::sync::Mutex<Option<Collector>>,
}

/// What a node has before and after a crash.
struct Node {
    region: u16,
    cluster: ClusterView,
    clock: Arc<NodeClock>,
}

/// A clock that can jump forward, as that of a machine does that was suspended.
struct NodeClock {
    base: RuntimeClock,
    ahead: Mutex<Duration>,
}

impl Clock for NodeClock {
    fn now(&self) -> Duration {
        self.base.now() + *self.ahead.lock()
    }
}

impl World {
    /// Databases with their replicas, and all nodes started.
    pub async fn start(plan: Plan, network: Network) -> Arc<Self> {
        let topology = plan.topology();
        let names = plan.region_names();
        let (mut leader_ends, mut follower_ends, mut nodes) = (Vec::new(), Vec::new(), BTreeMap::new());
        let view = || Arc::new(ArcSwap::from_pointee(Cluster::new(Arc::new(topology.clone()))));
        for (tier, content) in topology.tiers() {
            for node in &content.nodes {
                let end = network.add(&node.name, tier.region);
                let ends = if tier.tier == 0 { &mut leader_ends } else { &mut follower_ends };
                ends.push((tier.region, end));
                let clock = NodeClock { base: RuntimeClock::start(), ahead: Mutex::default() };
                let node = Node { region: tier.region, cluster: view(), clock: Arc::new(clock) };
                nodes.insert(end, node);
            }
        }
        let clock = RunClock::start();
        let mut database_ends = BTreeMap::new();
        for group in plan.group_ids() {
            for (region, name) in names.iter().enumerate() {
                let end = network.add(&format!("db-{name}-{}", group.0), region as u16);
                database_ends.insert((group, name.clone()), end);
            }
        }
        let user_ends =
            names.iter().enumerate().map(|(at, name)| network.add(&format!("users-{name}"), at as u16));
        let world = Arc::new(Self {
            user_ends: user_ends.collect(),
            schema: Arc::new(
                GraphSchema::parse(SCHEMA, "simulation.toml").expect("the schema of the simulation is right"),
            ),
            leader_ends,
            follower_ends,
            database_ends,
            leaders: RunningLeaders::default(),
            databases: RunningDatabases::default(),
            followers: Mutex::default(),
            nodes,
            newest: ArcSwap::from_pointee(topology),
            wall: Arc::default(),
            rebuilt: Mutex::default(),
            returning: AtomicUsize::new(0),
            moves: Moves::default(),
            collector: tokio::sync::Mutex::new(Some(Collector::new(
                clock.clone(),
                CollectorOptions::default(),
            ))),
            clock,
            network,
            plan,
        });
        world.create_databases().await;
        world.user_ends.iter().for_each(|end| drop(world.network.start(*end)));
        let ends: Vec<End> = world.nodes.keys().copied().collect();
        ends.into_iter().for_each(|end| world.start_node(end));
        world
    }

    async fn create_databases(&self) {
        let topology = self.topology();
        for ((group, region), end) in &self.database_ends {
            self.databases.put(*end, self.new_database(*end, &format!("{region}{}", group.0)));
            self.network.start(*end);
        }
        for group in &topology.host_groups {
            let primary = self.database(group.id, &group.master);
            let shards: Vec<ShardId> = self.shards_of(group.id);
            MemoryStore::open(&primary)
                .create_shards(&shards, FIRST_EPOCH)
                .await
                .expect("a new memory database takes its shards");
            for region in self.plan.region_names().iter().filter(|region| **region != group.master) {
                let options = ReplicationOptions { delay: self.plan.replication_delay };
                let replica = self.database(group.id, region);
                replica.replicate(&primary, options).expect("an empty server can follow any other");
            }
            // The primary first: it says where the shards stand.
            self.collect(&format!("{}{}", group.master, group.id), &primary).await;
            for region in self.plan.region_names().iter().filter(|region| **region != group.master) {
                self.collect(&format!("{region}{}", group.id), &self.database(group.id, region)).await;
            }
        }
    }

    /// An empty server with a clock of its own.
    fn new_database(&self, end: End, name: &str) -> MemoryDatabase {
        let (trace, wall) = (self.network.trace().clone(), Arc::clone(&self.wall));
        let clock = move || {
            let off = wall.lock().get(&end).copied().unwrap_or(0);
            let now = (1 << 40) + trace.elapsed().as_millis() as u64;
            UnixMillis(now.saturating_add_signed(off))
        };
        MemoryDatabase::new(MemoryOptions {
            server: name.to_owned(),
            clock: Arc::new(clock),
            // All of it: the log is what happened.
            log_transactions: usize::MAX,
            ..MemoryOptions::default()
        })
    }

    /// Reads a server's log from now on.
    async fn collect(&self, name: &str, database: &MemoryDatabase) {
        if let Some(collector) = &mut *self.collector.lock().await {
            let store = Arc::new(MemoryStore::open(database));
            collector.follow(name, store).await.expect("a server that was just made answers");
        }
    }

    /// Everything that the servers' logs have told.
    ///
    /// # Errors
    /// A log does not come to its end in time, or leaves a gap; or this was asked before.
    pub async fn truth(&self, limit: Duration) -> anyhow::Result<Collected> {
        let collector = self.collector.lock().await.take();
        collector.context("the logs were read before")?.finish(limit).await
    }

    /// Replaces a server by an empty one, as an administrator does with one that has what nobody else has (H22). What
    /// only the old one has stays readable for who reads the logs; nodes see the new one.
    pub fn rebuild(self: &Arc<Self>, group: HostGroupId, region: &str) -> MemoryDatabase {
        let end = self.database_ends[&(group, region.to_owned())];
        let number = {
            let mut rebuilt = self.rebuilt.lock();
            *rebuilt += 1;
            *rebuilt
        };
        let name = format!("{region}{}x{number}", group.0);
        let new = self.new_database(end, &name);
        let old = self.databases.get(end);
        self.network.kill(end);
        self.network.start(end);
        old.set_read_only(true);
        old.forget_source();
        old.bring_up();
        let (world, follow) = (Arc::clone(self), new.clone());
        tokio::spawn(async move { world.collect(&name, &follow).await });
        self.databases.put(end, new.clone());
        old.break_tails();
        new
    }

    /// The server of a host group in a region.
    pub fn database(&self, group: HostGroupId, region: &str) -> MemoryDatabase {
        self.databases.get(self.database_ends[&(group, region.to_owned())])
    }

    /// Shards of a host group, by the newest topology.
    pub fn shards_of(&self, group: HostGroupId) -> Vec<ShardId> {
        let placed = self.topology();
        let here = |shard: &ShardId| placed.assignment(*shard).is_some_and(|it| it.host_group == group);
        self.plan.shard_ids().filter(here).collect()
    }

    /// The newest topology.
    pub fn topology(&self) -> Arc<Topology> {
        self.newest.load_full()
    }

    /// A newer topology, which each node learns in its own time.
    pub fn publish(self: &Arc<Self>, topology: Topology) {
        self.newest.store(Arc::new(topology));
        for end in self.nodes.keys().copied() {
            let (world, wait) = (Arc::clone(self), self.network.draw(|random| random.random_range(0..3_000)));
            tokio::spawn(async move {
                sleep(Duration::from_millis(wait)).await;
                world.learn_topology(end);
            });
        }
    }

    /// A node takes the newest topology.
    pub fn learn_topology(&self, end: End) {
        let (node, newest) = (&self.nodes[&end], self.topology());
        if node.cluster.load().topology.version < newest.version {
            node.cluster.store(Arc::new(Cluster::new(newest)));
        }
    }

    /// A machine was suspended, as far as its clock is concerned.
    pub fn jump(&self, end: End, by: Duration) {
        if let Some(node) = self.nodes.get(&end) {
            *node.clock.ahead.lock() += by;
        }
    }

    /// Sets a server's wall clock.
    pub fn set_wall(&self, end: End, off_ms: i64) {
        self.wall.lock().insert(end, off_ms);
    }

    /// All nodes.
    pub fn node_ends(&self) -> Vec<End> {
        self.nodes.keys().copied().collect()
    }

    /// Everything that a region has, with the number of its region.
    pub fn ends_by_region(&self) -> Vec<(u16, End)> {
        let names = self.plan.region_names();
        let number = |name: &String| names.iter().position(|known| known == name).unwrap_or(0) as u16;
        let databases = self.database_ends.iter().map(|((_, region), end)| (number(region), *end));
        let users = self.user_ends.iter().enumerate().map(|(at, end)| (at as u16, *end));
        let nodes = self.leader_ends.iter().chain(&self.follower_ends).copied();
        nodes.chain(databases).chain(users).collect()
    }

    /// The follower that runs at an end.
    pub fn follower(&self, end: End) -> Option<FollowerHandle> {
        self.followers.lock().get(&end).cloned()
    }

    /// Starts a node with an empty memory.
    pub fn start_node(self: &Arc<Self>, end: End) {
        let process = self.network.start(end);
        let node = &self.nodes[&end];
        let stale = Arc::new(Notify::new());
        tokio::spawn(Arc::clone(self).look_for_topologies(process.clone(), Arc::clone(&stale)));
        if self.leader_ends.iter().any(|(_, leader)| *leader == end) {
            self.start_leader(node, &process, stale);
        } else {
            self.start_follower(node, &process, stale);
        }
    }

    fn start_leader(&self, node: &Node, process: &Process, stale_topology: Arc<Notify>) {
        let servers = Servers::new(process, &self.network, &self.databases, &self.database_ends);
        let region = &self.plan.region_names()[usize::from(node.region)];
        let local = |group| Some((group, servers.server(group, region)?));
        let databases: HashMap<_, _> = self.plan.group_ids().filter_map(local).collect();
        let leaders: Vec<End> = self.leader_ends.iter().map(|(_, end)| *end).collect();
        let context = LeaderContext {
            node: self.network.name(process.end),
            schema: Arc::clone(&self.schema),
            cluster: Arc::clone(&node.cluster),
            databases,
            remote: Arc::new(servers),
            clock: Arc::clone(&node.clock) as SharedClock,
            peers: Arc::new(Peers::new(process, &self.network, &self.leaders, &leaders)),
            newer_topology: Arc::clone(&stale_topology),
            stale_topology,
        };
        let handle = Leader::start(self.plan.leader.clone(), context, &mut Registry::default());
        self.leaders.put(process.end, handle);
    }

    fn start_follower(&self, node: &Node, process: &Process, stale_topology: Arc<Notify>) {
        let leaders: Vec<End> = self.leader_ends.iter().map(|(_, end)| *end).collect();
        let context = FollowerContext {
            node: self.network.name(process.end),
            schema: Arc::clone(&self.schema),
            cluster: Arc::clone(&node.cluster),
            region: node.region,
            peers: Arc::new(Peers::new(process, &self.network, &self.leaders, &leaders)),
            stale_topology,
            clock: Arc::clone(&node.clock) as SharedClock,
            metrics: Arc::default(),
        };
        let handle = Follower::start(self.plan.follower.clone(), context)
            .expect("the options of a plan and its regions are right");
        self.followers.lock().insert(process.end, handle);
    }

    /// A crash: cut off from everything at once; what its tasks still do reaches nobody.
    pub fn kill_node(&self, end: End) {
        self.network.kill(end);
        if let Some(leader) = self.leaders.take(end) {
            tokio::spawn(async move { leader.kill().await });
        }
        if let Some(follower) = self.followers.lock().remove(&end) {
            follower.kill();
        }
    }

    /// Whoever suspects that there is a newer topology gets it a little later.
    async fn look_for_topologies(self: Arc<Self>, process: Process, stale: Arc<Notify>) {
        loop {
            tokio::select! {
                biased;
                () = process.dead.cancelled() => return,
                () = stale.notified() => {}
            }
            let wait = self.network.draw(|random| random.random_range(20..600));
            sleep(Duration::from_millis(wait)).await;
            self.learn_topology(process.end);
        }
    }
}
