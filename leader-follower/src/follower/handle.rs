//! [`Follower`] and its handle: what a server, or a test, holds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tao_schema::graph_schema::GraphSchema;
use tao_schema::ops::{ReadOp, ReadReply, ReadReplyRef, ReadRequest, WriteReply, WriteRequest};
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::age::micros;
use super::leaders::Leaders;
use super::metrics::FollowerMetrics;
use super::options::FollowerOptions;
use super::shards::Shards;
use super::shared::Shared;
use super::stream::Subscriptions;
use crate::clock::SharedClock;
use crate::engine::{self, EngineOptions};
use crate::fills::FillTable;
use crate::ports::{ClusterView, LeaderPeers};

/// Starts followers.
#[derive(Debug)]
pub struct Follower;

/// What a follower is given.
pub struct FollowerContext {
    /// Its name in the topology.
    pub node: String,
    /// The graph schema of the cluster.
    pub schema: Arc<GraphSchema>,
    /// The topology in use, replaced as a whole when a newer one is known. Its number of shards never changes.
    pub cluster: ClusterView,
    /// Index of the follower's region in the topology: its leaders are those of this region.
    pub region: u16,
    /// The way to leaders.
    pub peers: Arc<dyn LeaderPeers>,
    /// Told when the topology seems to be out of date: load it anew into `cluster`.
    pub stale_topology: Arc<Notify>,
    /// The clock of the ages of what it knows: one that counts suspension (R20).
    pub clock: SharedClock,
    /// What it counts.
    pub metrics: Arc<FollowerMetrics>,
}

/// A running follower. Cheap to clone. It runs until [`FollowerHandle::shutdown`], or until its runtime ends.
#[derive(Clone)]
pub struct FollowerHandle {
    pub(super) shared: Arc<Shared>,
    /// Writes under way: they outlive their callers.
    writes: TaskTracker,
    services: TaskTracker,
    stop: CancellationToken,
}

impl Follower {
    /// Starts a follower on the current runtime. Does not connect: a shard's stream is opened when it is first read.
    ///
    /// # Errors
    /// `InvalidArgument` if the options contradict each other or the topology lacks the region.
    pub fn start(options: FollowerOptions, context: FollowerContext) -> Result<FollowerHandle> {
        options.validate()?;
        let topology = Arc::clone(&context.cluster.load().topology);
        if topology.regions.get(usize::from(context.region)).is_none() {
            let message = format!("the topology has no region number {}", context.region);
            return Err(Error::invalid(message));
        }
        let (wanted, wanted_here) = mpsc::channel(options.subscribe_queue);
        let shards = Shards::new(topology.shards, &options, wanted);
        let leaders =
            Leaders::new(context.cluster, context.region, context.peers, context.stale_topology, &options);
        let engine = EngineOptions { capacity_bytes: options.cache_bytes, ..EngineOptions::default() };
        let entries = engine::open(options.engine, engine);
        let shared = Arc::new(Shared {
            node: context.node,
            fills: FillTable::new(options.fills),
            clock: context.clock,
            max_age: micros(options.max_age),
            options,
            schema: context.schema,
            entries,
            shards,
            leaders,
            metrics: context.metrics,
            stopped: AtomicBool::new(false),
        });
        let (stop, services) = (CancellationToken::new(), TaskTracker::new());
        services.spawn(Subscriptions::new(Arc::clone(&shared), wanted_here).run(stop.clone()));
        Ok(FollowerHandle { shared, writes: TaskTracker::new(), services, stop })
    }
}

impl FollowerHandle {
    /// The node's name.
    pub fn node(&self) -> &str {
        &self.shared.node
    }

    /// The graph schema that requests are checked against.
    pub fn schema(&self) -> &Arc<GraphSchema> {
        &self.shared.schema
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<FollowerMetrics> {
        &self.shared.metrics
    }

    /// These reads come next, in calls of [`Self::try_show`]: has their entries fetched from memory together, where they
    /// would wait for one after the other. Changes no answer.
    #[inline]
    pub fn expect<'r>(&self, reads: impl Iterator<Item = &'r ReadOp>) {
        self.shared.expect(reads);
    }

    /// Answers at once, if that is possible: from memory, or with a refusal that no leader could change. `None`: call
    /// [`Self::read`]. Does not wait, start tasks or take a lock that is held for long.
    #[inline]
    pub fn try_read(&self, request: &ReadRequest) -> Option<Result<ReadReply>> {
        self.try_show(request, |reply| reply.into_owned())
    }

    /// As [`Self::try_read`], but the answer is shown where it lies: for those who only write it somewhere.
    #[inline]
    pub fn try_show<R>(
        &self,
        request: &ReadRequest,
        show: impl FnOnce(ReadReplyRef<'_>) -> R,
    ) -> Option<Result<R>> {
        self.shared.try_show(request, show)
    }

    /// Answers from memory or by asking a leader. Cancel-safe: a caller that goes away leaves its fill to others.
    ///
    /// # Errors
    /// `InvalidArgument`, `NoSuchShard`: nobody can answer. `Overloaded`: a bound of the options is reached.
    /// `Unavailable`: no leader answered, or the node stops. `DeadlineExceeded`. What the leader said.
    pub async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        self.shared.read(request, deadline).await
    }

    /// Forwards a write to the leader that orders it. Goes on if the caller goes away; a retry with the same request
    /// id learns what became of it.
    ///
    /// # Errors
    /// As the leader says; `OutcomeUnknown` if it may have happened. `InvalidArgument`, `NoSuchShard` and `Overloaded`
    /// are said here before anything is sent.
    pub async fn write(&self, request: WriteRequest, deadline: Instant) -> Result<WriteReply> {
        let (follower, id) = (self.clone(), request.id);
        let task = tokio::spawn(async move { follower.write_to_its_end(request, deadline).await });
        task.await.unwrap_or_else(|error| {
            // Only a panic, or the end of the runtime, ends the task early.
            tracing::error!(%error, "the task of a write ended early");
            Err(Error::new(ErrorCode::OutcomeUnknown, format!("the node lost track of write {id}")))
        })
    }

    /// As [`Self::write`], for callers that are never cancelled: it goes on only as long as they do, and costs no task.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_to_its_end(&self, request: WriteRequest, deadline: Instant) -> Result<WriteReply> {
        // Counted first: a stop that comes after the check waits, one that came before is seen.
        let _counted = self.writes.token();
        self.shared.check_running()?;
        let shard = self.shared.check_write(&request)?;
        self.shared.metrics.writes.inc();
        self.shared.forward(shard, request, deadline).await
    }

    /// Takes no more work, waits for writes under way (at most the option `drain`), then ends all streams. Answers
    /// whether every write came to its end.
    pub async fn shutdown(&self) -> bool {
        self.shared.stopped.store(true, Ordering::Release);
        self.writes.close();
        self.services.close();
        let drained = tokio::time::timeout(self.shared.options.drain, self.writes.wait()).await.is_ok();
        if !drained {
            tracing::warn!(writes = self.writes.len(), "stopping with writes under way");
        }
        self.stop.cancel();
        self.services.wait().await;
        drained
    }
}

impl FollowerHandle {
    /// Stops at once, as a crash does: takes no more work, waits for nothing. For tests and simulations of failures.
    pub fn kill(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.writes.close();
        self.services.close();
        self.stop.cancel();
    }
}

impl fmt::Debug for FollowerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerHandle").field("node", &self.shared.node).finish_non_exhaustive()
    }
}
