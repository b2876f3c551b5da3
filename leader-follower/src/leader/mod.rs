//! The leader: orders the writes of its shards, and is the only one that talks to their databases.
//!
//! [`Leader::start`] wires the parts: [`Lanes`](crate::lanes::Lanes) commit, the [core](crate::core) keeps what is
//! cached right, streams carry it to followers, inverses travel to their shards, the audit finds what other leaders
//! wrote. Any leader may serve any shard: a shard is opened on first use, at the position of its row.

mod audit;
mod fills;
mod handle;
mod inspect;
mod inverse;
mod metrics;
mod open;
mod options;
mod purge;
mod reader;
mod reads;
mod routes;
mod shards;
mod stream;
#[cfg(test)]
mod tests;
mod units;
mod writes;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{HostGroupId, RequestId};
use tao_schema::ops::FillKey;
use tao_shard_store::store::SharedStore;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::fills::Fetched;
pub use self::handle::LeaderHandle;
pub use self::inspect::LeaderStatus;
pub use self::inverse::InverseOptions;
use self::inverse::Inverses;
pub use self::metrics::{AnswerLabel, LeaderMetrics, ResetLabel};
pub use self::options::LeaderOptions;
use self::reader::Reader;
pub use self::reader::ReaderOptions;
use self::routes::{Group, Routes};
use self::shards::Shards;
pub use self::stream::StreamOptions;
use crate::engine::{self, EngineOptions};
use crate::fills::FillTable;
use crate::lanes::{CommitSink, Lanes};
use crate::ports::{ClusterView, LeaderPeers, WriteAnswer};

/// What a leader is given.
pub struct LeaderContext {
    /// Its name in the topology.
    pub node: String,
    /// The graph schema.
    pub schema: Arc<GraphSchema>,
    /// Where things are. Its number of shards must not change.
    pub cluster: ClusterView,
    /// The databases that it can reach.
    pub stores: HashMap<HostGroupId, SharedStore>,
    /// The other leaders.
    pub peers: Arc<dyn LeaderPeers>,
    /// Told when the topology seems to be out of date: load it anew into `cluster`.
    pub stale_topology: Arc<Notify>,
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
    /// Calls under way; closed when the leader stops.
    calls: TaskTracker,
    /// Streams and the audit.
    tasks: TaskTracker,
    stop_streams: CancellationToken,
    /// Lanes and database readers.
    workers: Mutex<JoinSet<()>>,
}

impl Leader {
    /// Starts a leader on the current runtime. It opens the shards that the topology gives it, and drains their
    /// outboxes, in the background.
    pub fn start(options: LeaderOptions, context: LeaderContext, registry: &mut Registry) -> LeaderHandle {
        let metrics = Arc::new(LeaderMetrics::default());
        metrics.register(registry);
        let engine = EngineOptions { capacity_bytes: options.cache_bytes, ..EngineOptions::default() };
        let shards = Arc::new(Shards::new(
            engine::open(options.engine, engine),
            options.core,
            context.cluster.load().topology.shards,
            Arc::clone(&metrics),
            Arc::clone(&context.stale_topology),
        ));
        let mut workers = JoinSet::new();
        let routes = Arc::new(Routes {
            name: context.node,
            cluster: context.cluster,
            groups: groups(context.stores, &shards, &options, &metrics, &mut workers),
            peers: context.peers,
            stale_topology: context.stale_topology,
        });
        let inverses = Inverses::start(
            options.inverse,
            Arc::clone(&routes),
            Arc::clone(&metrics),
            CancellationToken::new(),
        );
        let inner = Arc::new(Inner {
            fills: FillTable::new(options.fills),
            writes: FillTable::new(options.writes),
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
        inner.tasks.spawn(Arc::clone(&inner).audit_forever());
        inner.tasks.spawn(Arc::clone(&inner).purge_forever());
        LeaderHandle::new(inner)
    }
}

fn groups(
    stores: HashMap<HostGroupId, SharedStore>,
    shards: &Arc<Shards>,
    options: &LeaderOptions,
    metrics: &Arc<LeaderMetrics>,
    workers: &mut JoinSet<()>,
) -> HashMap<HostGroupId, Group> {
    let sink: Arc<dyn CommitSink> = Arc::clone(shards) as _;
    let group = |store: SharedStore| {
        let lanes = Lanes::start(&store, &sink, options.lanes, &metrics.lanes, workers);
        let reader = Reader::start(&store, options.reader, metrics, workers);
        Group { store, lanes, reader }
    };
    let mut group = group;
    stores.into_iter().map(|(id, store)| (id, group(store))).collect()
}
