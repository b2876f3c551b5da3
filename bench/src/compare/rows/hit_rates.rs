//! The systems of the tao13 rows, and how the size of a cache is found that gives a hit rate.

use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use rand::rngs::StdRng;

use crate::cluster::Cluster;
use crate::compare::Rounds;
use crate::machine::Cores;
use crate::measure::{Caller, Latency, Plan, closed_loop};
use crate::peers::{
    CacheServer, Database, ExplainedTier, LookMemcached, LookRedis, Mode, Pages, PlainMysql, Store, Tier,
    Totals,
};
use crate::report::PathLatency;
use crate::say;
use crate::workloads::{Op, Workload};

/// Operations of one page.
pub const PAGE: usize = 16;
/// Callers, each with connections of its own where a system has any.
const CALLERS: usize = 16;
/// Callers of the latencies: few, so that nobody waits in line.
const FEW: usize = 2;
/// The least that a leader may have.
const LEADER_BYTES: u64 = 1 << 20;
/// Sizes that are tried for a hit rate, and how near is near enough.
const TRIES: usize = 6;
const NEAR: f64 = 0.004;
/// Writes and first reads miss in any cache, so this is as good as everything.
const SATURATED: f64 = 0.994;
/// Longest warm-up, in rounds, and the change of the hit rate at which it is over.
const WARM_UPS: usize = 20;
const STEADY: f64 = 0.002;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

    /// Bytes of an entry beside its data, about: where the search for a size begins.
    const fn overhead(self) -> u64 {
        match self {
            Self::Memcached => 90,
            Self::Tier | Self::Redis | Self::Mysql => 120,
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

    /// Callers of each system.
    pub const fn callers(&self) -> usize {
        CALLERS
    }

    /// Ends everything.
    pub async fn stop(self) {
        drop((self.memcached, self.redis));
        self.cluster.stop().await;
    }

    /// Gives a system's cache the size at which it hits as often as `target`, and warms it up: the bytes; none if it is not
    /// installed.
    ///
    /// # Errors
    /// Something does not start, or a call fails.
    pub async fn reach(&mut self, who: Who, target: f64) -> Result<Option<u64>> {
        let mut bytes = self.first_guess(who, target);
        let mut nearest: Option<(f64, u64)> = None;
        let mut at = 0;
        for _ in 0..TRIES {
            if !self.resize(who, bytes).await? {
                return Ok(None);
            }
            at = bytes;
            let reached = self.warm(who).await?;
            say(&format!("  {} with {bytes} bytes: {:.2} % hits", who.name(), reached * 100.0));
            let off = (reached - target).abs();
            if nearest.is_none_or(|(before, _)| off < before) {
                nearest = Some((off, bytes));
            }
            if off <= NEAR {
                return Ok(Some(bytes));
            }
            bytes = better(bytes, reached, target);
        }
        let best = nearest.map_or(bytes, |(_, bytes)| bytes);
        if best != at {
            self.resize(who, best).await?;
            self.warm(who).await?;
        }
        Ok(Some(best))
    }

    /// Runs the workload.
    ///
    /// # Errors
    /// A call fails.
    pub async fn run(&self, who: Who, plan: Plan) -> Result<Measured> {
        let totals = Arc::new(Totals::default());
        let dsn = self.cluster.peer_dsn()?;
        match who {
            Who::Tier => {
                let client = self.cluster.client().await?;
                let gauges = self.cluster.gauges();
                let before = gauges.reads()?;
                let rate = self.rate(Tier::callers(&client, CALLERS), &totals, plan).await?;
                Ok(Measured { rate, hit_rate: gauges.reads()?.since(before).hit_rate() })
            }
            Who::Memcached => {
                let databases = Database::pool(&dsn, Mode::Reads, CALLERS).await?;
                let callers = LookMemcached::callers(address(&self.memcached), databases).await?;
                let rate = self.rate(callers, &totals, plan).await?;
                Ok(Measured { rate, hit_rate: totals.hit_rate() })
            }
            Who::Redis => {
                let databases = Database::pool(&dsn, Mode::Reads, CALLERS).await?;
                let callers = LookRedis::callers(address(&self.redis), databases).await?;
                let rate = self.rate(callers, &totals, plan).await?;
                Ok(Measured { rate, hit_rate: totals.hit_rate() })
            }
            Who::Mysql => {
                let callers = PlainMysql::callers(&dsn, Mode::Reads, CALLERS).await?;
                Ok(Measured { rate: self.rate(callers, &totals, plan).await?, hit_rate: 0.0 })
            }
        }
    }

    /// Latencies of single reads, those that hit and those that miss apart, with few callers; empty if the system is not there.
    ///
    /// # Errors
    /// A call fails.
    pub async fn latencies(&self, who: Who) -> Result<Vec<PathLatency>> {
        let dsn = self.cluster.peer_dsn()?;
        let plan = self.rounds.plan(99);
        match (who, &self.memcached, &self.redis) {
            (Who::Tier, ..) => {
                let client = self.cluster.client().await?;
                self.split(who, ExplainedTier::callers(&client, FEW), plan).await
            }
            (Who::Memcached, Some(_), _) => {
                let databases = Database::pool(&dsn, Mode::Reads, FEW).await?;
                let callers = LookMemcached::callers(address(&self.memcached), databases).await?;
                self.split(who, callers, plan).await
            }
            (Who::Redis, _, Some(_)) => {
                let databases = Database::pool(&dsn, Mode::Reads, FEW).await?;
                let callers = LookRedis::callers(address(&self.redis), databases).await?;
                self.split(who, callers, plan).await
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn rate<S: Store>(&self, stores: Vec<S>, totals: &Arc<Totals>, plan: Plan) -> Result<f64> {
        let callers = Pages::counted(stores, &self.workload, PAGE, totals);
        Ok(closed_loop(callers, plan).await?.rate)
    }

    /// Starts a system with an empty cache of a size; whether it is installed.
    async fn resize(&mut self, who: Who, bytes: u64) -> Result<bool> {
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

    /// Runs until the hit rate stays: what it is then.
    async fn warm(&self, who: Who) -> Result<f64> {
        let mut before = 0.0;
        for round in 0..WARM_UPS {
            let mut plan = self.rounds.plan(1_000 + round);
            plan.time = plan.time.max(std::time::Duration::from_secs(1));
            let reached = self.run(who, plan).await?.hit_rate;
            if (reached - before).abs() <= STEADY {
                return Ok(reached);
            }
            before = reached;
        }
        Ok(before)
    }

    /// The data that this part of all entries has.
    fn first_guess(&self, who: Who, target: f64) -> u64 {
        let mut bytes = 0u64;
        for number in 0..self.workload.objects() {
            bytes += self.workload.object(number).1.len() as u64 + who.overhead();
        }
        for number in 0..self.workload.lists() {
            let edges = self.workload.list(number).1;
            bytes += who.overhead() + edges.iter().map(|edge| edge.data.len() as u64 + 20).sum::<u64>();
        }
        (bytes as f64 * part_needed(target)) as u64
    }

    async fn split<S: Store>(&self, who: Who, stores: Vec<S>, plan: Plan) -> Result<Vec<PathLatency>> {
        let seen = Arc::new(Mutex::new([Latency::new()?, Latency::new()?]));
        let caller = |store| Split { store, workload: Arc::clone(&self.workload), seen: Arc::clone(&seen) };
        closed_loop(stores.into_iter().map(caller).collect(), plan).await?;
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
}

/// A caller of single reads that keeps hits and misses apart.
struct Split<S> {
    store: S,
    workload: Arc<dyn Workload>,
    seen: Arc<Mutex<[Latency; 2]>>,
}

impl<S: Store> Caller for Split<S> {
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

fn address(server: &Option<CacheServer>) -> &str {
    server.as_ref().map_or("", CacheServer::address)
}

/// With a skew of 0.8 the most popular part `f` of all entries is asked for in `f^0.2` of all reads.
fn part_needed(target: f64) -> f64 {
    target.clamp(0.01, 1.0).powi(5)
}

/// The next size to try, if this one reached so much: as much larger as the law says. Where nearly everything hits, the law says
/// nothing any more: the cache may be far larger than what there is.
fn better(bytes: u64, reached: f64, target: f64) -> u64 {
    let factor = part_needed(target) / part_needed(reached);
    let factor = if reached > SATURATED && target < SATURATED { factor.min(0.6) } else { factor };
    (bytes as f64 * factor.clamp(0.4, 2.5)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_hits_too_seldom_gets_more() {
        assert!(better(1_000, 0.90, 0.96) > 1_000);
        assert!(better(1_000, 0.99, 0.96) < 1_000);
        assert_eq!(better(1_000, 0.96, 0.96), 1_000);
        assert_eq!(better(1_000, 0.998, 0.96), 600, "far too large");
        assert!(part_needed(0.85) < part_needed(0.96) && part_needed(1.0) <= 1.0);
    }
}
