//! The leaders as a follower knows them: who serves a shard, who is in good health, and how many calls each gets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::TierRef;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::options::FollowerOptions;
use crate::ports::{ClusterView, LeaderPeer, LeaderPeers};

/// How often a call that waits for a newer topology looks for it.
const TOPOLOGY_LOOK: Duration = Duration::from_millis(5);

/// One leader node.
pub(super) struct Leader {
    /// Its name in the topology.
    pub(super) name: Arc<str>,
    /// The way to it.
    pub(super) peer: Arc<dyn LeaderPeer>,
    reads: Semaphore,
    writes: Semaphore,
    /// Failures in a row.
    failures: AtomicU32,
    /// Whether its change stream is open and alive: then it is reached, whatever its database does.
    streaming: AtomicBool,
}

/// All leaders, and the choice among them.
pub(super) struct Leaders {
    cluster: ClusterView,
    tier: TierRef,
    peers: Arc<dyn LeaderPeers>,
    stale_topology: Arc<Notify>,
    known: RwLock<BTreeMap<String, Arc<Leader>>>,
    reads_per_leader: usize,
    writes_per_leader: usize,
    failures_to_pass_over: u32,
    /// Raised whenever a leader's health changes, so that shards are placed anew only then.
    health_version: AtomicU64,
}

impl Leaders {
    pub(super) fn new(
        cluster: ClusterView,
        region: u16,
        peers: Arc<dyn LeaderPeers>,
        stale_topology: Arc<Notify>,
        options: &FollowerOptions,
    ) -> Self {
        Self {
            cluster,
            tier: TierRef { region, tier: 0 },
            peers,
            stale_topology,
            known: RwLock::default(),
            reads_per_leader: options.reads_per_leader,
            writes_per_leader: options.writes_per_leader,
            failures_to_pass_over: options.leader_failures,
            health_version: AtomicU64::new(0),
        }
    }

    /// The leaders that may serve `shard`, best first: those in good health in the order of the ring, then the
    /// others, because a leader thought dead is a better try than none.
    pub(super) fn candidates(&self, shard: ShardId) -> Vec<Arc<Leader>> {
        let cluster = self.cluster.load();
        let Some(tier) = cluster.topology.tier(self.tier) else { return Vec::new() };
        let nodes = cluster.placement.candidates(self.tier, shard).iter();
        let names = nodes.filter_map(|node| tier.nodes.get(usize::from(*node))).map(|node| &node.name);
        let mut leaders: Vec<_> = names.filter_map(|name| self.get(name)).collect();
        // Stable: within both groups the order of the ring stays.
        leaders.sort_by_key(|leader| !self.healthy(leader));
        leaders
    }

    /// The first of [`Self::candidates`] that is not among `avoid`.
    pub(super) fn choose(&self, shard: ShardId, avoid: &[Arc<str>]) -> Option<Arc<Leader>> {
        self.candidates(shard).into_iter().find(|leader| !avoid.contains(&leader.name))
    }

    /// As [`Self::choose`], with the typed error when there is none.
    pub(super) fn first(&self, shard: ShardId, avoid: &[Arc<str>]) -> Result<Arc<Leader>> {
        self.choose(shard, avoid).ok_or_else(|| {
            Error::unavailable(format!(
                "no leader of shard {shard} is known; the topology may be out of date"
            ))
        })
    }

    /// A leader by name.
    fn get(&self, name: &str) -> Option<Arc<Leader>> {
        if let Some(leader) = self.known.read().get(name) {
            return Some(Arc::clone(leader));
        }
        let peer = self.peers.leader(name)?;
        let leader = Leader {
            name: name.into(),
            peer,
            reads: Semaphore::new(self.reads_per_leader),
            writes: Semaphore::new(self.writes_per_leader),
            failures: AtomicU32::new(0),
            streaming: AtomicBool::new(false),
        };
        Some(Arc::clone(self.known.write().entry(name.to_owned()).or_insert_with(|| Arc::new(leader))))
    }

    pub(super) fn healthy(&self, leader: &Leader) -> bool {
        leader.failures.load(Ordering::Relaxed) < self.failures_to_pass_over
    }

    /// The host group that the topology gives a shard.
    pub(super) fn host_group(&self, shard: ShardId) -> Option<HostGroupId> {
        self.cluster.load().placement.host_group(shard).map(|(group, _)| group)
    }

    /// The leaders that are passed over now.
    pub(super) fn passed_over(&self) -> Vec<Arc<Leader>> {
        self.known.read().values().filter(|leader| self.worth_a_probe(leader)).cloned().collect()
    }

    /// Whether it matters if this leader is back: calls pass it over, and the topology still has it.
    pub(super) fn worth_a_probe(&self, leader: &Leader) -> bool {
        let cluster = self.cluster.load();
        let tier = cluster.topology.tier(self.tier);
        !self.healthy(leader)
            && tier.is_some_and(|tier| tier.nodes.iter().any(|node| *node.name == *leader.name))
    }

    /// Changes whenever another choice of leaders is possible.
    pub(super) fn version(&self) -> (u64, u64) {
        (self.cluster.load().topology.version, self.health_version.load(Ordering::Relaxed))
    }

    /// Says that the topology in use seems to be out of date.
    pub(super) fn ask_for_topology(&self) {
        self.stale_topology.notify_one();
    }

    /// Version of the topology in use.
    pub(super) fn topology_version(&self) -> u64 {
        self.cluster.load().topology.version
    }

    /// Asks for a topology newer than version `known`, and waits for it until `deadline`.
    pub(super) async fn newer_topology(&self, known: u64, deadline: Instant) {
        self.ask_for_topology();
        // The view is a plain pointer that nobody announces changes of: it is looked at.
        while self.topology_version() == known && Instant::now() < deadline {
            tokio::time::sleep(TOPOLOGY_LOOK).await;
        }
    }

    /// Learns from the end of a call.
    pub(super) fn observe<T>(&self, leader: &Leader, result: &Result<T>) {
        match result {
            Ok(_) => self.succeeded(leader),
            // A leader whose stream is alive is there: what is unavailable is behind it, and the same for its
            // neighbours. Passing it over would only cool its cache.
            Err(error)
                if error.code == ErrorCode::Unavailable && !leader.streaming.load(Ordering::Relaxed) =>
            {
                self.failed(leader);
            }
            Err(_) => {}
        }
    }

    /// Says whether the change stream of `leader` is alive.
    pub(super) fn streaming(&self, leader: &Leader, alive: bool) {
        leader.streaming.store(alive, Ordering::Relaxed);
        if alive {
            self.succeeded(leader);
        } else {
            self.failed(leader);
        }
    }

    /// The change stream to `leader` was closed because nothing needs it.
    pub(super) fn stream_closed(&self, leader: &Leader) {
        leader.streaming.store(false, Ordering::Relaxed);
    }

    fn failed(&self, leader: &Leader) {
        let before = leader.failures.fetch_add(1, Ordering::Relaxed);
        if before + 1 == self.failures_to_pass_over {
            tracing::warn!(leader = %leader.name, "passing over a leader after {} failures in a row", before + 1);
            self.health_version.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn succeeded(&self, leader: &Leader) {
        if leader.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        if leader.failures.swap(0, Ordering::Relaxed) >= self.failures_to_pass_over {
            tracing::info!(leader = %leader.name, "a leader is back");
            self.health_version.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Leader {
    /// A place among the reads at this leader, or `Overloaded`.
    pub(super) fn read_permit(&self) -> Result<SemaphorePermit<'_>> {
        self.reads.try_acquire().map_err(|_| self.overloaded("reads"))
    }

    /// A place among the writes at this leader, or `Overloaded`.
    pub(super) fn write_permit(&self) -> Result<SemaphorePermit<'_>> {
        self.writes.try_acquire().map_err(|_| self.overloaded("writes"))
    }

    fn overloaded(&self, what: &str) -> Error {
        let message = format!("too many {what} are in flight at leader {}: try again later", self.name);
        Error::new(ErrorCode::Overloaded, message)
    }
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("name", &self.name).finish_non_exhaustive()
    }
}
