//! The leader: orders the writes of its shards, and is the only one that talks to their databases.
//!
//! [`Leader::start`] wires the parts: [`Lanes`](crate::lanes::Lanes) commit, the [core](crate::core) keeps what is
//! cached right, the tails bring what anybody wrote, streams carry it to followers, inverses travel to their shards.
//! Any leader may serve any shard. In a region that has not the primary of a shard it reads the replica, and what that
//! can't answer, and every write, goes to the leader of the master region.

mod demand;
mod door;
mod fills;
mod foreign;
mod forward;
mod handle;
mod handover;
mod hold;
mod inspect;
mod inverse;
mod metrics;
mod options;
mod purge;
mod reader;
mod reads;
mod routes;
mod shards;
mod slot;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod units;
mod upkeep;
mod writes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{HostGroupId, RequestId};
use tao_schema::ops::FillKey;
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::store::SharedStore;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::fills::Fetched;
pub use self::handle::LeaderHandle;
pub use self::inspect::{GroupStatus, LeaderStatus};
pub use self::inverse::InverseOptions;
use self::inverse::Inverses;
pub use self::metrics::{
    AnswerLabel, ForwardLabel, GroupLabel, GroupReasonLabel, LeaderMetrics, LogMetrics, ResetLabel,
};
pub use self::options::LeaderOptions;
use self::reader::Reader;
pub use self::reader::ReaderOptions;
use self::routes::{Group, Routes};
use self::shards::Shards;
pub use self::stream::StreamOptions;
use self::tail::{Beats, GroupTail};
pub use self::tail::{TailOptions, TailState};
use crate::clock::SharedClock;
use crate::engine::{self, EngineOptions};
use crate::fills::FillTable;
use crate::lanes::{CommitSink, Lanes};
use crate::ports::{ClusterView, LeaderPeers, RemoteDatabases, WriteAnswer};

/// What a leader is given.
pub struct LeaderContext {
    /// Its name in the topology.
    pub node: String,
    /// The graph schema.
    pub schema: Arc<GraphSchema>,
    /// Where things are. Its number of shards must not change.
    pub cluster: ClusterView,
    /// This region's server of each host group. It may be out of reach, now or later.
    pub databases: HashMap<HostGroupId, SharedDatabase>,
    /// The other regions' servers.
    pub remote: Arc<dyn RemoteDatabases>,
    /// For ages: one that counts suspension ([`crate::clock::BootClock`]).
    pub clock: SharedClock,
    /// The other leaders.
    pub peers: Arc<dyn LeaderPeers>,
    /// Told when the topology seems to be out of date: load it anew into `cluster`.
    pub stale_topology: Arc<Notify>,
    /// Told when a log says that a newer topology *was stored*: that is no suspicion, and writers may be waiting for it.
    pub newer_topology: Arc<Notify>,
}

/// Starts leaders.
#[derive(Debug)]
pub struct Leader;

/// What all parts of a leader share.
struct Inner {
    options: LeaderOptions,
    schema: Arc<GraphSchema>,
    metrics: Arc<LeaderMetrics>,
    shards: Arc<Shards>,
    routes: Arc<Routes>,
    inverses: Arc<Inverses>,
    fills: FillTable<FillKey, Fetched>,
    writes: FillTable<RequestId, Arc<WriteAnswer>>,
    /// Calls to other regions.
    forwards: Semaphore,
    /// Calls that wait for a shard that changes hands.
    holds: Semaphore,
    /// Calls under way; closed when the leader stops.
    calls: TaskTracker,
    /// Streams, tails and upkeep.
    tasks: TaskTracker,
    stop_streams: CancellationToken,
    /// Lanes and database readers.
    workers: Mutex<JoinSet<()>>,
}

impl Leader {
    /// Starts a leader on the current runtime. It follows the logs of its databases, opens all shards as it comes to
    /// know them, and drains the outboxes of its own, in the background.
    pub fn start(options: LeaderOptions, context: LeaderContext, registry: &mut Registry) -> LeaderHandle {
        let metrics = Arc::new(LeaderMetrics::default());
        metrics.register(registry);
        let topology = Arc::clone(&context.cluster.load().topology);
        let engine = EngineOptions { capacity_bytes: options.cache_bytes, ..EngineOptions::default() };
        let shards = Arc::new(Shards::new(
            engine::open(options.engine, engine),
            options.core_of(topology.shards),
            topology.shards,
            Arc::clone(&metrics),
            Arc::clone(&context.stale_topology),
        ));
        let mut workers = JoinSet::new();
        let region = topology.node_named(&context.node).map(|(tier, _)| usize::from(tier.region));
        let routes = Arc::new(Routes {
            region: region.and_then(|at| Some(topology.regions.get(at)?.name.clone())),
            name: context.node,
            cluster: context.cluster,
            groups: groups(&context.databases, &context.clock, &shards, &options, &metrics, &mut workers),
            peers: context.peers,
            stale_topology: context.stale_topology,
            newer_topology: context.newer_topology,
        });
        tell_of_commits(&shards, &routes);
        let inverses = Inverses::start(
            options.inverse,
            Arc::clone(&routes),
            Arc::clone(&metrics),
            CancellationToken::new(),
        );
        let inner = Arc::new(Inner {
            fills: FillTable::new(options.fills),
            writes: FillTable::new(options.writes),
            forwards: Semaphore::new(options.forwards),
            holds: Semaphore::new(options.holds),
            options,
            schema: context.schema,
            metrics,
            shards,
            routes,
            inverses,
            calls: TaskTracker::new(),
            tasks: TaskTracker::new(),
            stop_streams: CancellationToken::new(),
            workers: Mutex::new(workers),
        });
        inner.follow_logs(&context.remote, &context.clock);
        inner.tasks.spawn(Arc::clone(&inner).upkeep_forever());
        inner.tasks.spawn(Arc::clone(&inner).purge_forever());
        LeaderHandle::new(inner)
    }
}

impl Inner {
    fn follow_logs(&self, remote: &Arc<dyn RemoteDatabases>, clock: &SharedClock) {
        for group in self.routes.groups.values() {
            let tail = Arc::new(GroupTail {
                id: group.id,
                local: Arc::clone(&group.database),
                remote: Arc::clone(remote),
                routes: Arc::clone(&self.routes),
                shards: Arc::clone(&self.shards),
                health: Arc::clone(&group.health),
                metrics: Arc::new(self.metrics.logs.of(group.id)),
                clock: Arc::clone(clock),
                options: self.options.tail,
                stop: self.stop_streams.clone(),
                beats: Beats::new(&self.routes.name),
                arrived: Notify::new(),
                audit_wanted: Notify::new(),
            });
            self.tasks.spawn(Arc::clone(&tail).beat_forever());
            self.tasks.spawn(tail.run());
        }
    }
}

/// Own commits prove what the log has brought before them (R7).
fn tell_of_commits(shards: &Shards, routes: &Arc<Routes>) {
    let routes = Arc::downgrade(routes);
    shards.on_committed(move |shard| {
        if let Some(routes) = routes.upgrade()
            && let Ok((group, _)) = routes.group(shard)
        {
            group.health.committed();
        }
    });
}

fn groups(
    databases: &HashMap<HostGroupId, SharedDatabase>,
    clock: &SharedClock,
    shards: &Arc<Shards>,
    options: &LeaderOptions,
    metrics: &Arc<LeaderMetrics>,
    workers: &mut JoinSet<()>,
) -> BTreeMap<HostGroupId, Group> {
    let sink: Arc<dyn CommitSink> = Arc::clone(shards) as _;
    let mut group = |(id, database): (&HostGroupId, &SharedDatabase)| {
        let store: SharedStore = Arc::clone(database) as _;
        let lanes = Lanes::start(&store, &sink, options.lanes, &metrics.lanes, workers);
        let reader = Reader::start(&store, options.reader, metrics, workers);
        let health = GroupTail::health(clock);
        (*id, Group { id: *id, database: Arc::clone(database), lanes, reader, health })
    };
    // In the order of their numbers: so are their tasks started, whatever the map.
    let databases: BTreeMap<_, _> = databases.iter().collect();
    databases.into_iter().map(&mut group).collect()
}
