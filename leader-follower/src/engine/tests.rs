//! The same tests for every engine.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectType, Seq};
use tao_schema::rows::ObjectRow;

use super::*;
use crate::core::Body;

const KINDS: [EngineKind; 3] = [EngineKind::S3Fifo, EngineKind::Quick, EngineKind::Moka];

fn object(version: u64, bytes: usize) -> Entry {
    let fields = EncodedFields(Bytes::from(vec![0; bytes]));
    let row = ObjectRow { otype: ObjectType(1), version: Seq(version), fields };
    Entry::new(0, Seq(version), &Body::Object(Some(row)))
}

fn engine(kind: EngineKind, capacity_bytes: u64) -> Arc<dyn CacheEngine> {
    open(kind, EngineOptions { capacity_bytes, usual_entry_bytes: 256 })
}

fn key(shard: u16, id: u64) -> Key {
    Key::Object(ObjectId::new(ShardId(shard), id))
}

#[test]
fn keeps_the_last_put_and_nothing_after_remove() {
    for kind in KINDS {
        let engine = engine(kind, 1 << 20);
        engine.put(key(1, 1), object(1, 10));
        engine.put(key(1, 1), object(2, 10));
        assert_eq!(engine.get(&key(1, 1)).unwrap().as_of(), Seq(2), "{kind:?}");
        assert!(engine.get(&key(1, 2)).is_none(), "{kind:?}");
        engine.remove(&key(1, 1));
        assert!(engine.get(&key(1, 1)).is_none(), "{kind:?}");
        assert_eq!((engine.stats().entries, engine.stats().bytes), (0, 0), "{kind:?}");
    }
}

#[test]
fn objects_and_lists_of_one_id_are_different_keys() {
    let id = ObjectId::new(ShardId(7), 9);
    let keys = [
        Key::Object(id),
        Key::List(ListKey { id1: id, atype: AssocType(0) }),
        Key::List(ListKey { id1: id, atype: AssocType(u16::MAX) }),
    ];
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(Key::from(CompactKey::from(key)), *key);
        for other in &keys[..i] {
            assert_ne!(CompactKey::from(other), CompactKey::from(key));
        }
    }
    assert_eq!(size_of::<CompactKey>(), 12);
}

#[test]
fn stays_within_its_bytes_and_counts_evictions() {
    for kind in KINDS {
        let engine = engine(kind, 1 << 20);
        for id in 0..10_000 {
            engine.put(key(1, id), object(1, 400));
        }
        let stats = engine.stats();
        assert!(stats.bytes <= (1 << 20) + 64, "{kind:?}: {stats:?}");
        assert!(stats.entries > 500, "{kind:?}: {stats:?}");
        assert!(stats.bytes >= stats.entries * 400, "{kind:?}: {stats:?}");
        assert_eq!(stats.evictions + stats.entries, 10_000, "{kind:?}: {stats:?}");
    }
}

#[test]
fn an_entry_too_heavy_is_refused_and_what_it_replaces_is_gone() {
    for kind in KINDS {
        let engine = engine(kind, 1 << 20);
        engine.put(key(1, 1), object(1, 10));
        let heavy = object(2, usize::try_from(engine.max_entry_bytes()).unwrap());
        engine.put(key(1, 1), heavy);
        assert!(engine.get(&key(1, 1)).is_none(), "{kind:?}");
        let stats = engine.stats();
        assert_eq!((stats.refused, stats.entries, stats.bytes), (1, 0, 0), "{kind:?}");
    }
}

#[test]
fn the_largest_object_fits_a_cache_of_the_usual_size() {
    for kind in KINDS {
        let engine = engine(kind, 256 << 20);
        engine.put(key(1, 1), object(1, tao_schema::limits::MAX_OBJECT_BYTES));
        assert!(engine.get(&key(1, 1)).is_some(), "{kind:?}");
        assert!(engine.stats().bytes > tao_schema::limits::MAX_OBJECT_BYTES as u64, "{kind:?}");
    }
}

#[test]
fn lists_the_entries_of_one_shard() {
    for kind in KINDS {
        let engine = engine(kind, 1 << 20);
        for id in 0..20 {
            engine.put(key(1 + (id % 2) as u16, id), object(id, 1));
        }
        let mut found: Vec<u64> = engine
            .for_shard(ShardId(2))
            .into_iter()
            .map(|(key, entry)| {
                assert_eq!(key.shard(), ShardId(2));
                entry.as_of().0
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, (0..20).filter(|id| id % 2 == 1).collect::<Vec<_>>(), "{kind:?}");
    }
}

/// Draws of a Zipf distribution over `keys`.
struct Zipf {
    sums: Vec<f64>,
    random: StdRng,
}

impl Zipf {
    fn new(keys: usize, exponent: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=keys).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self { sums: sums.collect(), random: StdRng::seed_from_u64(seed) }
    }

    fn draw(&mut self) -> u64 {
        let drawn = self.random.random_range(0.0..self.sums[self.sums.len() - 1]);
        self.sums.partition_point(|sum| *sum < drawn) as u64
    }
}

/// What is asked for beside a Zipf distribution.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Asked {
    /// Nothing.
    Steadily,
    /// One of ten gets is of a key that never comes again.
    Scans,
    /// Other keys become the most popular ones, a twentieth of all at a time.
    Drifts,
}

/// Share of gets that hit, in percent, of `gets` after as many, in a cache with room for `room` entries.
fn hit_rate(kind: EngineKind, room: u64, exponent: f64, asked: Asked, gets: u64) -> f64 {
    const KEYS: u64 = 20_000;
    let probe = engine(kind, 1 << 20);
    probe.put(key(1, 1), object(1, 100));
    let engine = engine(kind, room * probe.stats().bytes);
    let mut zipf = Zipf::new(KEYS as usize, exponent, 7);
    let mut hits = 0;
    for at in 0..2 * gets {
        let id = match asked {
            Asked::Scans if at % 10 == 0 => KEYS + at,
            Asked::Drifts => (zipf.draw() + at / (gets / 10) * (KEYS / 20)) % KEYS,
            _ => zipf.draw(),
        };
        if engine.get(&key(1, id)).is_some() {
            hits += u64::from(at >= gets);
        } else {
            engine.put(key(1, id), object(1, 100));
        }
    }
    hits as f64 * 100.0 / gets as f64
}

/// What an engine is worth: a hit saves a thousand times what it costs.
#[test]
fn hits_as_often_as_quick_cache() {
    for (room, exponent, asked) in [
        (1_000, 0.7, Asked::Steadily),
        (4_000, 0.7, Asked::Scans),
        (4_000, 0.9, Asked::Drifts),
        (10_000, 0.8, Asked::Drifts),
    ] {
        let rate = |kind| hit_rate(kind, room, exponent, asked, 50_000);
        let (ours, quick) = (rate(EngineKind::S3Fifo), rate(EngineKind::Quick));
        println!("{room} of 20000, {exponent}, {asked:?}: {ours:.1} %, quick_cache {quick:.1} %");
        assert!(ours > quick - 1.0, "{ours:.2} % against {quick:.2} %");
    }
}
