//! [`MokaEngine`]: entries in a moka cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use moka::sync::Cache;
use tao_schema::ids::ShardId;

use super::{CacheEngine, CompactKey, EngineOptions, EngineStats, weight};
use crate::core::{Entries, Entry, Key};

/// Table slot, key and value cells, and two deque nodes of one entry: 152 to 184 bytes by its maintainer's count.
const OVERHEAD: u64 = 184;
/// An entry takes at most this share of the budget, as in the other engine's parts.
const ENTRY_SHARE: u64 = 4;

/// Entries in a moka cache.
pub struct MokaEngine {
    cache: Cache<CompactKey, Entry, RandomState>,
    max_entry: u64,
    evictions: Arc<AtomicU64>,
    refused: AtomicU64,
}

impl MokaEngine {
    /// An empty cache.
    pub fn new(options: EngineOptions) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(options.capacity_bytes)
            .weigher(|_, entry: &Entry| u32::try_from(weigh(entry)).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(RandomState::default());
        // The cache counts a weight in 32 bits.
        let max_entry = (options.capacity_bytes / ENTRY_SHARE).min(u64::from(u32::MAX));
        Self { cache, max_entry, evictions, refused: AtomicU64::new(0) }
    }
}

impl Entries for MokaEngine {
    fn get(&self, key: &Key) -> Option<Entry> {
        self.cache.get(&CompactKey::from(key))
    }

    fn put(&self, key: Key, entry: Entry) {
        let key = CompactKey::from(&key);
        if weigh(&entry) > self.max_entry {
            self.cache.invalidate(&key);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Plain insert and invalidate pass by the lock of `and_compute_with`; nobody uses that here, and writes to one
        // key come one at a time.
        self.cache.insert(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.cache.invalidate(&CompactKey::from(key));
    }
}

impl CacheEngine for MokaEngine {
    fn stats(&self) -> EngineStats {
        // Counts lag behind writes until housekeeping has run.
        self.cache.run_pending_tasks();
        EngineStats {
            entries: self.cache.entry_count(),
            bytes: self.cache.weighted_size(),
            evictions: self.evictions.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn for_shard(&self, shard: ShardId) -> Vec<(Key, Entry)> {
        self.cache
            .iter()
            .filter(|(key, _)| key.shard() == shard)
            .map(|(key, entry)| (Key::from(*key), entry))
            .collect()
    }

    fn max_entry_bytes(&self) -> u64 {
        self.max_entry.saturating_sub(OVERHEAD)
    }
}

fn weigh(entry: &Entry) -> u64 {
    OVERHEAD + weight(entry) as u64
}
