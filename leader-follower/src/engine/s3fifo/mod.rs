//! [`S3FifoEngine`]: entries in a table of our own, whose lookups can be begun for many keys at once.
//!
//! # Why not a library's
//!
//! A hit costs hardly more than the memory that it waits for: table, slot, entry, one line of the processor's cache each, in
//! turn. With a million entries that is most of a node's work. The requests of a frame are known together, so their lines can
//! be fetched together ([`Entries::touch`]), which needs a table that lets itself be looked at that way. What is kept is
//! decided by S3-FIFO, as in quick_cache, which stays as an engine to compare with.

mod ghosts;
mod index;
mod part;
mod slots;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{RwLock, RwLockReadGuard};
use tao_schema::ids::ShardId;

use self::index::KeyHash;
use self::part::{LetGo, Part, hash_of, slot_bytes};
use self::slots::Slot;
use super::{CacheEngine, CompactKey, EngineOptions, EngineStats};
use crate::core::{Entries, Entry, Key};

/// Slot 24, index 4 bytes at a load of 31 to 88 percent, half a ghost 2 to 3; see the test.
const OVERHEAD: u64 = 36;
/// The budget is split evenly into parts with a lock each. A part is kept at least this large, so that the heaviest
/// objects (1 MiB) fit many times and one of them does not sweep a part clean.
const MIN_PART_BYTES: u64 = 16 << 20;
/// More parts than threads that could meet. At most 256, see [`KeyHash`].
const MAX_PARTS: u64 = 64;
/// Budget of a segment of a part's index: about ten thousand entries, which are moved in a millisecond when it grows.
const SEGMENT_BYTES: u64 = 2 << 20;
/// An entry takes at most this share of a part.
const ENTRY_SHARE: u64 = 4;
/// Keys that are touched at once: more than a processor has loads under way, and few enough to stay in its first cache.
const TOUCHED: usize = 64;

/// Entries by S3-FIFO.
pub struct S3FifoEngine {
    /// A power of two of them.
    parts: Box<[RwLock<Part>]>,
    hasher: RandomState,
    max_entry: u64,
    evictions: AtomicU64,
    refused: AtomicU64,
}

impl S3FifoEngine {
    /// An empty cache.
    pub fn new(options: EngineOptions) -> Self {
        let parts = (options.capacity_bytes / MIN_PART_BYTES).clamp(1, MAX_PARTS);
        // Rounded down to a power of two, so that no part is too small.
        let parts = 1u64 << parts.ilog2();
        let capacity = options.capacity_bytes / parts;
        let segments = usize::try_from(capacity / SEGMENT_BYTES).unwrap_or(usize::MAX);
        Self {
            parts: (0..parts).map(|_| RwLock::new(Part::new(capacity, segments))).collect(),
            hasher: RandomState::default(),
            max_entry: capacity / ENTRY_SHARE,
            evictions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    #[inline]
    fn part_of(&self, hash: KeyHash) -> &RwLock<Part> {
        &self.parts[hash.part(self.parts.len())]
    }

    /// Touches at most [`TOUCHED`] keys. All first steps, then all second ones, and so on: none waits for another of its
    /// kind, so the processor has them under way together. That needs all locks beforehand, because taking one waits for
    /// every load before it. They are held for some microseconds, while writers of these parts wait.
    fn touch_some(&self, keys: &[Key]) {
        let mut hashes = [KeyHash(0); TOUCHED];
        let mut held: [Option<RwLockReadGuard<'_, Part>>; MAX_PARTS as usize] = [const { None }; _];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = hash_of(&self.hasher, key.into());
            let part = hash.part(self.parts.len());
            if held[part].is_none() {
                // Tried, not waited for: whoever holds one lock and waits for another can stand in a circle. A part that
                // is being written is left out; then its keys are found more slowly.
                held[part] = self.parts[part].try_read();
            }
        }
        let hashes = &hashes[..keys.len().min(TOUCHED)];
        let part = |hash: KeyHash| held[hash.part(self.parts.len())].as_deref();
        let lines = hashes.iter().filter_map(|hash| Some(part(*hash)?.touch_line(*hash)));
        black_box(lines.fold(0, std::ops::BitXor::bitxor));
        let mut slots: [Option<&Slot>; TOUCHED] = [None; _];
        for (slot, hash) in slots.iter_mut().zip(hashes) {
            *slot = part(*hash).and_then(|part| part.touch_slot(*hash));
        }
        black_box(slots.iter().flatten().fold(0, |all, slot| all ^ slot.touch()));
        let entries = slots.iter().flatten().filter_map(|slot| slot.entry.as_ref());
        black_box(entries.fold(0, |all, entry| all ^ entry.touch()));
    }
}

impl Entries for S3FifoEngine {
    #[inline]
    fn get(&self, key: &Key) -> Option<Entry> {
        let key = CompactKey::from(key);
        let hash = hash_of(&self.hasher, key);
        let part = self.part_of(hash).read();
        let slot = part.get(hash, key)?;
        slot.used();
        slot.entry.clone()
    }

    fn put(&self, key: Key, entry: Entry) {
        if slot_bytes(&entry) > self.max_entry {
            // The one before must not stay.
            self.remove(&key);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let key = CompactKey::from(&key);
        let hash = hash_of(&self.hasher, key);
        // Freed after the lock.
        let mut gone = LetGo::new();
        let evicted = self.part_of(hash).write().put(hash, key, entry, &self.hasher, &mut gone);
        if evicted > 0 {
            self.evictions.fetch_add(evicted, Ordering::Relaxed);
        }
    }

    fn remove(&self, key: &Key) {
        let key = CompactKey::from(key);
        let hash = hash_of(&self.hasher, key);
        let gone = self.part_of(hash).write().remove(hash, key);
        drop(gone);
    }

    fn touch(&self, keys: &[Key]) {
        keys.chunks(TOUCHED).for_each(|some| self.touch_some(some));
    }
}

impl CacheEngine for S3FifoEngine {
    fn stats(&self) -> EngineStats {
        let mut stats = EngineStats {
            evictions: self.evictions.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            ..EngineStats::default()
        };
        for part in &self.parts {
            let part = part.read();
            stats.entries += part.live() as u64;
            stats.bytes += part.bytes();
        }
        stats
    }

    fn for_shard(&self, shard: ShardId) -> Vec<(Key, Entry)> {
        let mut found = Vec::new();
        for part in &self.parts {
            let part = part.read();
            let entries = part.entries().filter(|slot| slot.key().shard() == shard);
            found.extend(entries.filter_map(|slot| Some((Key::from(slot.key()), slot.entry.clone()?))));
        }
        found
    }

    fn max_entry_bytes(&self) -> u64 {
        self.max_entry.saturating_sub(OVERHEAD)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tao_schema::ids::{ObjectId, Seq};

    use super::*;
    use crate::core::Body;

    fn key(id: u64) -> Key {
        Key::Object(ObjectId::new(ShardId(1), id))
    }

    fn entry(seq: u64) -> Entry {
        Entry::new(0, Seq(seq), &Body::Object(None))
    }

    fn engine(entries: u64) -> S3FifoEngine {
        let each = slot_bytes(&entry(0));
        S3FifoEngine::new(EngineOptions { capacity_bytes: entries * each, usual_entry_bytes: each })
    }

    /// What the tables of full caches take, against what we reckon. The index grows by doubling, so some sizes are dearer
    /// than others: the reckoning must hold on the average of a doubling.
    #[test]
    fn the_overhead_is_what_the_tables_take() {
        let sizes = [50_000, 60_000, 70_000, 80_000, 90_000];
        let mut total = 0.0;
        for entries in sizes {
            let engine = engine(entries);
            for id in 0..entries * 4 {
                engine.put(key(id), entry(1));
            }
            let tables: usize = engine.parts.iter().map(|part| part.read().table_bytes()).sum();
            let each = tables as f64 / engine.stats().entries as f64;
            println!("{entries}: {each:.1} bytes each for {} entries", engine.stats().entries);
            total += each;
        }
        let mean = total / sizes.len() as f64;
        assert!(mean <= OVERHEAD as f64, "{mean:.1} bytes on average");
        assert!(mean >= OVERHEAD as f64 / 1.2, "{mean:.1} bytes on average: reckon less");
    }

    /// What the core leans on: a get gives the last put of its key or nothing, also while others write, read and touch.
    #[test]
    fn a_get_never_goes_back() {
        const KEYS: u64 = 3_000;
        let engine = engine(1_000);
        let reader = || {
            let mut newest = vec![Seq(0); KEYS as usize];
            for at in 0..200_000u64 {
                let id = at.wrapping_mul(0x9E37_79B9) % KEYS;
                if at % 64 == 0 {
                    let next = (at..at + 64).map(|at| key(at.wrapping_mul(0x9E37_79B9) % KEYS));
                    engine.touch(&next.collect::<Vec<_>>());
                }
                if let Some(entry) = engine.get(&key(id)) {
                    assert!(entry.as_of() >= newest[id as usize], "{id}");
                    newest[id as usize] = entry.as_of();
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(reader);
            scope.spawn(reader);
            // One writer a key, as the contract says.
            for at in 0..200_000u64 {
                let id = at.wrapping_mul(0x85EB_CA6B) % KEYS;
                if at % 7 == 0 { engine.remove(&key(id)) } else { engine.put(key(id), entry(at)) }
            }
        });
    }
}
