//! Who is measured: the tier, and what people use in its place. Each does the same operations, written as a good engineer would.

mod look_memcached;
mod look_redis;
mod memcached;
mod mysql;
mod mysql_load;
mod redis;
mod redis_only;
mod servers;
mod tier;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use rand::rngs::StdRng;

pub use look_memcached::LookMemcached;
pub use look_redis::LookRedis;
use memcached::Memcached;
pub use mysql::{Database, Mode, PlainMysql};
pub use mysql_load::load as load_mysql;
use redis::Redis;
pub use redis_only::RedisOnly;
pub use servers::CacheServer;
pub use tier::{ExplainedTier, Tier, load as load_tier, warm as warm_tier};

use crate::measure::Caller;
use crate::workloads::{Op, Workload};

/// One caller's way to the data.
pub trait Store: Send + 'static {
    /// Does operations that don't depend on each other, as one page of an application asks for them.
    fn page(&mut self, ops: &[Op]) -> impl Future<Output = Result<Page>> + Send;
}

/// What a page came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Reads whose answer was in the cache; 0 where there is none, or it does not say.
    pub hits: u64,
    /// Reads.
    pub reads: u64,
    /// Objects and edges that were found, and lengths of lists: the same for all who hold the same data.
    pub found: u64,
}

/// A caller that draws pages of a workload.
pub struct Pages<S> {
    store: S,
    workload: Arc<dyn Workload>,
    size: usize,
    ops: Vec<Op>,
    totals: Arc<Totals>,
}

/// What all pages of some callers came to.
#[derive(Debug, Default)]
pub struct Totals {
    hits: AtomicU64,
    reads: AtomicU64,
}

impl<S: Store> Pages<S> {
    /// A caller for each store, with at least `size` operations in a page.
    pub fn of(stores: impl IntoIterator<Item = S>, workload: &Arc<dyn Workload>, size: usize) -> Vec<Self> {
        Self::counted(stores, workload, size, &Arc::default())
    }

    /// As [`Pages::of`], and adds what the pages come to.
    pub fn counted(
        stores: impl IntoIterator<Item = S>,
        workload: &Arc<dyn Workload>,
        size: usize,
        totals: &Arc<Totals>,
    ) -> Vec<Self> {
        let caller = |store| Self {
            store,
            workload: Arc::clone(workload),
            size,
            ops: Vec::new(),
            totals: Arc::clone(totals),
        };
        stores.into_iter().map(caller).collect()
    }
}

impl Totals {
    /// Part of the reads that were in the cache.
    pub fn hit_rate(&self) -> f64 {
        let reads = self.reads.load(Ordering::Relaxed);
        if reads == 0 { 0.0 } else { self.hits.load(Ordering::Relaxed) as f64 / reads as f64 }
    }

    fn add(&self, page: Page) {
        self.hits.fetch_add(page.hits, Ordering::Relaxed);
        self.reads.fetch_add(page.reads, Ordering::Relaxed);
    }
}

impl<S: Store> Caller for Pages<S> {
    async fn call(&mut self, random: &mut StdRng) -> Result<u64> {
        self.ops.clear();
        while self.ops.len() < self.size {
            self.workload.draw(random, &mut self.ops);
        }
        let page = self.store.page(&self.ops).await?;
        self.totals.add(page);
        Ok(self.ops.len() as u64)
    }
}

impl Page {
    /// Adds another one's.
    pub const fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.reads += other.reads;
        self.found += other.found;
    }
}
