//! Who is measured: the tier, and what people use in its place. Each does the same operations, written as a good engineer would.

mod mysql;
mod mysql_load;
mod redis;
mod redis_only;
mod servers;
mod tier;
mod wire;

use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use rand::rngs::StdRng;

pub use mysql::{Database, Mode, PlainMysql};
pub use mysql_load::load as load_mysql;
use redis::Redis;
pub use redis_only::RedisOnly;
pub use servers::CacheServer;
pub use tier::{Tier, load as load_tier, warm as warm_tier};

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
    total: Page,
}

impl<S: Store> Pages<S> {
    /// With at least `size` operations in each.
    pub fn new(store: S, workload: &Arc<dyn Workload>, size: usize) -> Self {
        Self { store, workload: Arc::clone(workload), size, ops: Vec::new(), total: Page::default() }
    }

    /// One for each store.
    pub fn of(stores: impl IntoIterator<Item = S>, workload: &Arc<dyn Workload>, size: usize) -> Vec<Self> {
        stores.into_iter().map(|store| Self::new(store, workload, size)).collect()
    }
}

impl<S: Store> Caller for Pages<S> {
    async fn call(&mut self, random: &mut StdRng) -> Result<u64> {
        self.ops.clear();
        while self.ops.len() < self.size {
            self.workload.draw(random, &mut self.ops);
        }
        let page = self.store.page(&self.ops).await?;
        self.total.add(page);
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
