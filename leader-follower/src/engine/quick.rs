//! [`QuickEngine`]: entries in a quick_cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use tao_schema::ids::ShardId;

use super::{CacheEngine, CompactKey, EngineOptions, EngineStats, weight};
use crate::core::{Entries, Entry, Key};

/// Slot, links and hash table of one entry, with its share of ghosts: by `memory_used` of full caches of several sizes
/// (see the test), 76 bytes on average, rounded up.
const OVERHEAD: u64 = 80;
/// The budget is split evenly into parts with a lock each. A part is kept at least this large, so that the heaviest
/// objects (1 MiB) fit many times and one of them does not sweep a part clean.
const MIN_PART_BYTES: u64 = 16 << 20;
/// More parts than threads that could meet.
const MAX_PARTS: u64 = 64;
/// An entry takes at most this share of a part.
const ENTRY_SHARE: u64 = 4;

/// Entries in a quick_cache.
pub struct QuickEngine {
    cache: Cache<CompactKey, Entry, Weigh, RandomState, CountEvictions>,
    max_entry: u64,
    evictions: Arc<AtomicU64>,
    refused: AtomicU64,
}

#[derive(Clone)]
struct Weigh;

#[derive(Clone)]
struct CountEvictions(Arc<AtomicU64>);

impl QuickEngine {
    /// An empty cache.
    pub fn new(options: EngineOptions) -> Self {
        let parts = (options.capacity_bytes / MIN_PART_BYTES).clamp(1, MAX_PARTS);
        // The builder rounds up to a power of two: round down here, so that no part is too small.
        let parts = 1usize << parts.ilog2();
        let items = (options.capacity_bytes / options.usual_entry_bytes.max(1)).max(1);
        let built = OptionsBuilder::new()
            .shards(parts)
            .estimated_items_capacity(usize::try_from(items).unwrap_or(usize::MAX))
            .weight_capacity(options.capacity_bytes)
            .build()
            .expect("both capacities are set, and nothing else is required");
        let evictions = Arc::new(AtomicU64::new(0));
        let cache =
            Cache::with_options(built, Weigh, RandomState::default(), CountEvictions(Arc::clone(&evictions)));
        let max_entry = cache.shard_capacity() / ENTRY_SHARE;
        Self { cache, max_entry, evictions, refused: AtomicU64::new(0) }
    }
}

impl Entries for QuickEngine {
    fn get(&self, key: &Key) -> Option<Entry> {
        self.cache.get(&CompactKey::from(key))
    }

    fn put(&self, key: Key, entry: Entry) {
        let key = CompactKey::from(&key);
        if Weigh.weight(&key, &entry) > self.max_entry {
            // Refused here, not by the cache, which would not say so. The one before must not stay.
            self.cache.remove(&key);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.cache.insert(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.cache.remove(&CompactKey::from(key));
    }
}

impl CacheEngine for QuickEngine {
    fn stats(&self) -> EngineStats {
        EngineStats {
            entries: self.cache.len() as u64,
            bytes: self.cache.weight(),
            evictions: self.evictions.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn for_shard(&self, shard: ShardId) -> Vec<(Key, Entry)> {
        self.cache
            .iter()
            .filter(|(key, _)| key.shard() == shard)
            .map(|(key, entry)| (Key::from(key), entry))
            .collect()
    }

    fn max_entry_bytes(&self) -> u64 {
        self.max_entry.saturating_sub(OVERHEAD)
    }
}

impl Weighter<CompactKey, Entry> for Weigh {
    fn weight(&self, _key: &CompactKey, entry: &Entry) -> u64 {
        OVERHEAD + weight(entry) as u64
    }
}

impl Lifecycle<CompactKey, Entry> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _key: CompactKey, _entry: Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::{ObjectId, Seq};

    use super::*;
    use crate::core::Body;

    /// The cache's own account of its tables, against what we reckon for each entry. Tables grow by doubling, so some
    /// sizes are dearer than others: the reckoning must hold on the average of a doubling.
    #[test]
    fn the_overhead_is_what_the_cache_says() {
        let sizes = [5_000, 6_000, 7_000, 8_000, 9_000];
        let mut total = 0.0;
        for entries in sizes {
            let entry = Entry::new(0, Seq(1), &Body::Object(None));
            let key = |id| Key::Object(ObjectId::new(ShardId(1), id));
            let usual_entry_bytes = Weigh.weight(&CompactKey::from(&key(0)), &entry);
            let options = EngineOptions { capacity_bytes: entries * usual_entry_bytes, usual_entry_bytes };
            let engine = QuickEngine::new(options);
            for id in 0..entries * 4 {
                engine.put(key(id), entry.clone());
            }
            let used = engine.cache.memory_used();
            let each = (used.entries + used.map) as f64 / engine.cache.len() as f64;
            println!("{entries}: {each:.1} bytes each for {} entries", engine.cache.len());
            total += each;
        }
        let mean = total / sizes.len() as f64;
        assert!(mean <= OVERHEAD as f64, "{mean:.1} bytes on average");
        assert!(mean >= OVERHEAD as f64 / 1.5, "{mean:.1} bytes on average: reckon less");
    }
}
