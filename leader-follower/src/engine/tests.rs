//! The same tests for every engine.

use bytes::Bytes;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectType, Seq};
use tao_schema::rows::ObjectRow;

use super::*;
use crate::core::Body;

const KINDS: [EngineKind; 2] = [EngineKind::Quick, EngineKind::Moka];

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
