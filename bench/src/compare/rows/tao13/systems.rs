//! The systems of the tao13 rows: started with a cache of some size, filled, run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use rand::rngs::StdRng;

use crate::cluster::Cluster;
use crate::compare::Rounds;
use crate::machine::Cores;
use crate::measure::{Caller, Latency, Plan, closed_loop};
use crate::peers::{
    CacheServer, Database, ExplainedTier, LookMemcached, LookRedis, Mode, Page, Pages, PlainMysql, Store,
    Tier, Totals,
};
use crate::report::PathLatency;
use crate::workloads::{Op, Workload};

/// Operations of one page.
pub const PAGE: usize = 16;
/// Callers, each with connections of its own where a system has any.
pub const CALLERS: usize = 64;
/// Callers of the latencies: few, so that nobody waits in line.
const FEW: usize = 2;
/// The least that a leader may have.
const LEADER_BYTES: u64 = 1 << 20;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// The tier.
    Tier,
    /// memcached over MySQL.
    Memcached,
    /// Redis over MySQL.
    Redis,
    /// MySQL alone.
    Mysql,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Operations a second.
    pub rate: f64,
    /// Part of the reads that the cache had.
    pub hit_rate: f64,
}

/// All of them, over the same data.
pub struct Systems {
    cluster: Cluster,
    workload: Arc<dyn Workload>,
    rounds: Rounds,
    cores: Cores,
    memcached: Option<CacheServer>,
    redis: Option<CacheServer>,
}

/// A caller of any of them.
enum System {
    Tier(Tier),
    Explained(ExplainedTier),
    Memcached(LookMemcached),
    Redis(LookRedis),
    Mysql(PlainMysql),
}

impl Store for System {
    async fn page(&mut self, ops: &[Op]) -> Result<Page> {
        match self {
            Self::Tier(caller) => caller.page(ops).await,
            Self::Explained(caller) => caller.page(ops).await,
            Self::Memcached(caller) => caller.page(ops).await,
            Self::Redis(caller) => caller.page(ops).await,
            Self::Mysql(caller) => caller.page(ops).await,
        }
    }
}

impl Who {
    /// Those with a cache.
    pub const CACHES: [Self; 3] = [Self::Tier, Self::Memcached, Self::Redis];

    /// For the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Memcached => "memcached + MySQL",
            Self::Redis => "Redis + MySQL",
            Self::Mysql => "plain MySQL",
        }
    }

    /// What must be installed.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Tier => "tao-server",
            Self::Memcached => "memcached",
            Self::Redis => "redis-server",
            Self::Mysql => "mysqld",
        }
    }

    /// Bytes that a size is a multiple of.
    pub const fn grain(self) -> u64 {
        match self {
            Self::Memcached => 1 << 20,
            Self::Tier | Self::Redis | Self::Mysql => 64 << 10,
        }
    }
}

impl Systems {
    /// Over a cluster with the workload's data in both databases.
    pub fn new(cluster: Cluster, workload: Arc<dyn Workload>, rounds: Rounds, cores: Cores) -> Self {
        Self { cluster, workload, rounds, cores, memcached: None, redis: None }
    }

    /// The tier's.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What is asked.
    pub fn workload(&self) -> &dyn Workload {
        &*self.workload
    }

    /// Ends everything.
    pub async fn stop(self) {
        drop((self.memcached, self.redis));
        self.cluster.stop().await;
    }

    /// Starts a system with an empty cache of a size; whether it is installed.
    ///
    /// # Errors
    /// It does not start.
    pub async fn resize(&mut self, who: Who, bytes: u64) -> Result<bool> {
        let folder = self.cluster.folder().to_owned();
        match who {
            Who::Tier => self.cluster.restart(bytes.max(1 << 20), LEADER_BYTES).await?,
            Who::Memcached => {
                drop(self.memcached.take());
                self.memcached =
                    CacheServer::memcached(&folder, bytes.div_ceil(1 << 20), &self.cores).await?;
                return Ok(self.memcached.is_some());
            }
            Who::Redis => {
                drop(self.redis.take());
                self.redis = CacheServer::redis(&folder, Some(bytes), &self.cores).await?;
                return Ok(self.redis.is_some());
            }
            Who::Mysql => {}
        }
        Ok(true)
    }

    /// Reads each of `ops` once, in about their order, as the workload's own callers would.
    ///
    /// # Errors
    /// A call fails.
    pub async fn fill(&self, who: Who, ops: Vec<Op>) -> Result<()> {
        let shared = Arc::new((ops, AtomicUsize::new(0)));
        let fillers = self.callers(who, CALLERS, false).await?.into_iter().map(|mut caller| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                loop {
                    let at = shared.1.fetch_add(PAGE, Ordering::Relaxed);
                    let Some(rest) = shared.0.get(at..).filter(|rest| !rest.is_empty()) else {
                        return anyhow::Ok(());
                    };
                    caller.page(&rest[..rest.len().min(PAGE)]).await?;
                }
            })
        });
        try_join_all(fillers).await?.into_iter().collect()
    }

    /// Runs the workload with so many callers. A read is a hit if the cache had the answer: the tier by its follower's counters, the others by what
    /// their callers got.
    ///
    /// # Errors
    /// A call fails.
    pub async fn run(&self, who: Who, callers: usize, plan: Plan) -> Result<Measured> {
        let totals = Arc::new(Totals::default());
        let callers = Pages::counted(self.callers(who, callers, false).await?, &self.workload, PAGE, &totals);
        let gauges = self.cluster.gauges();
        let before = gauges.reads()?;
        let rate = closed_loop(callers, plan).await?.rate;
        let hit_rate = match who {
            Who::Tier => gauges.reads()?.since(before).hit_rate(),
            Who::Memcached | Who::Redis | Who::Mysql => totals.hit_rate(),
        };
        Ok(Measured { rate, hit_rate })
    }

    /// Latencies of single reads, those that hit and those that miss apart, with few callers; empty if the system is not there.
    ///
    /// # Errors
    /// A call fails.
    pub async fn latencies(&self, who: Who) -> Result<Vec<PathLatency>> {
        let missing = match who {
            Who::Memcached => self.memcached.is_none(),
            Who::Redis => self.redis.is_none(),
            Who::Tier | Who::Mysql => false,
        };
        if missing {
            return Ok(Vec::new());
        }
        let plan = self.rounds.plan(99);
        let seen = Arc::new(Mutex::new([Latency::new()?, Latency::new()?]));
        let caller = |store| Split { store, workload: Arc::clone(&self.workload), seen: Arc::clone(&seen) };
        let callers = self.callers(who, FEW, true).await?;
        closed_loop(callers.into_iter().map(caller).collect(), plan).await?;
        let seen = seen.lock().clone();
        let path = |(latency, path): (&Latency, &'static str)| {
            let figures = latency.figures(FEW, plan.time);
            PathLatency {
                system: who.name().to_owned(),
                path,
                reads: latency.calls(),
                p50_us: figures.p50_us,
                mean_us: figures.mean_us,
                p99_us: figures.p99_us,
            }
        };
        Ok(seen.iter().zip(["hit", "miss"]).map(path).collect())
    }

    /// Callers of a system; those that are `explained` know of each read whether it hit.
    async fn callers(&self, who: Who, number: usize, explained: bool) -> Result<Vec<System>> {
        if who == Who::Tier {
            let client = self.cluster.client().await?;
            return Ok(if explained {
                ExplainedTier::callers(&client, number).into_iter().map(System::Explained).collect()
            } else {
                Tier::callers(&client, number).into_iter().map(System::Tier).collect()
            });
        }
        let dsn = self.cluster.peer_dsn()?;
        if who == Who::Mysql {
            let callers = PlainMysql::callers(&dsn, Mode::Reads, number).await?;
            return Ok(callers.into_iter().map(System::Mysql).collect());
        }
        let databases = Database::pool(&dsn, Mode::Reads, number).await?;
        let address = |server: &Option<CacheServer>| {
            server.as_ref().map(|server| server.address().to_owned()).context("its cache runs")
        };
        if who == Who::Memcached {
            let callers = LookMemcached::callers(&address(&self.memcached)?, databases).await?;
            return Ok(callers.into_iter().map(System::Memcached).collect());
        }
        let callers = LookRedis::callers(&address(&self.redis)?, databases).await?;
        Ok(callers.into_iter().map(System::Redis).collect())
    }
}

/// A caller of single reads that keeps hits and misses apart.
struct Split {
    store: System,
    workload: Arc<dyn Workload>,
    seen: Arc<Mutex<[Latency; 2]>>,
}

impl Caller for Split {
    async fn call(&mut self, random: &mut StdRng) -> Result<u64> {
        let mut ops: Vec<Op> = Vec::new();
        while ops.is_empty() {
            self.workload.draw(random, &mut ops);
            ops.retain(Op::is_read);
        }
        let begun = std::time::Instant::now();
        let page = self.store.page(&ops).await?;
        let took = begun.elapsed();
        self.seen.lock()[usize::from(page.hits == 0)].record(took, 1);
        Ok(1)
    }
}
