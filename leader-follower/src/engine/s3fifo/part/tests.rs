use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectId, ObjectType, Seq, ShardId};
use tao_schema::rows::ObjectRow;

use super::*;
use crate::core::Body;

impl Part {
    /// Bytes of slots, index and ghosts.
    pub(in super::super) fn table_bytes(&self) -> usize {
        self.slots.bytes() + self.index.bytes() + self.ghosts.bytes()
    }

    /// Slots of both queues, dead ones too.
    fn queued(&self) -> usize {
        let from = |head| std::iter::successors(self.slots.get(head), |slot| self.slots.get(slot.next));
        from(self.small.head).count() + from(self.main.head).count()
    }
}

fn object(seq: u64, size: usize) -> Entry {
    let fields = EncodedFields(vec![0; size].into());
    let row = ObjectRow { otype: ObjectType(1), version: Seq(seq), fields };
    Entry::new(0, Seq(seq), &Body::Object(Some(row)))
}

/// Against a map that forgets nothing: what is there is the last put, and the accounts are right.
#[test]
fn keeps_its_accounts() {
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let hasher = RandomState::default();
        let mut part = Part::new(60_000, 2);
        let (mut last, mut evicted, mut added, mut removed) = (HashMap::new(), 0, 0, 0);
        for step in 0..20_000u64 {
            let id = random.random_range(0..2_000u64);
            let key = CompactKey::new(ObjectId::new(ShardId(1), id), CompactKey::OBJECT);
            let hash = hash_of(&hasher, key);
            match random.random_range(0..10) {
                0..4 => {
                    let size = random.random_range(0..200);
                    added += u64::from(part.get(hash, key).is_none());
                    let entry = object(step, size);
                    evicted += part.put(hash, key, entry, &hasher, &mut LetGo::new());
                    last.insert(id, step);
                }
                4..7 => {
                    removed += u64::from(part.remove(hash, key).is_some());
                    last.remove(&id);
                }
                _ => {
                    if let Some(slot) = part.get(hash, key) {
                        slot.used();
                        let seq = slot.entry.as_ref().map(|entry| entry.as_of().0);
                        assert_eq!(seq, last.get(&id).copied(), "seed {seed}, step {step}");
                    }
                }
            }
            assert!(part.bytes() <= 60_000, "seed {seed}, step {step}");
        }
        let entries: Vec<_> = part.entries().filter_map(|slot| slot.entry.as_ref()).collect();
        assert_eq!(entries.len(), part.live(), "seed {seed}");
        assert_eq!(added - removed - evicted, part.live() as u64, "seed {seed}");
        assert_eq!(entries.iter().map(|entry| slot_bytes(entry)).sum::<u64>(), part.bytes());
        assert_eq!(part.queued(), part.live() + part.dead, "seed {seed}");
        assert!(part.dead <= part.live() / 2 + 2 * FEW_DEAD, "seed {seed}: {} dead", part.dead);
    }
}

#[test]
fn a_heavy_entry_stays_in_a_full_part_and_most_others_do() {
    let hasher = RandomState::default();
    let mut part = Part::new(1 << 20, 1);
    let put = |part: &mut Part, id, size: usize| {
        let key = CompactKey::new(ObjectId::new(ShardId(1), id), CompactKey::OBJECT);
        let hash = hash_of(&hasher, key);
        part.put(hash, key, object(1, size), &hasher, &mut LetGo::new());
        part.get(hash, key).is_some()
    };
    for id in 0..20_000 {
        put(&mut part, id, 100);
    }
    let before = part.live();
    assert!(put(&mut part, 20_000, 100_000), "the small queue has 31 KiB");
    assert!(part.live() > before * 8 / 10, "{} of {before}", part.live());
}

/// Slots that a load of small entries left behind count when large ones come.
#[test]
fn slots_of_the_past_are_within_the_budget() {
    let hasher = RandomState::default();
    let mut part = Part::new(4 << 20, 1);
    for id in 0..100_000 {
        let key = CompactKey::new(ObjectId::new(ShardId(1), id), CompactKey::OBJECT);
        let hash = hash_of(&hasher, key);
        let size = if id < 50_000 { 0 } else { 1_000 };
        part.put(hash, key, object(1, size), &hasher, &mut LetGo::new());
    }
    let slots = part.slots.made() as u64 * SLOT_BYTES;
    assert!(slots > 1 << 20, "{slots}");
    let content = part.bytes() - part.live() as u64 * OVERHEAD;
    let most = (4 << 20) + Slots::AT_A_TIME as u64 * SLOT_BYTES;
    assert!(content + slots <= most, "{content} and {slots}");
    assert!(content > 2 << 20, "{content}");
}

/// Removed entries leave no slots behind, though nothing is ever evicted.
#[test]
fn removals_alone_do_not_grow_it() {
    let hasher = RandomState::default();
    let mut part = Part::new(1 << 30, 1);
    for id in 0..100_000 {
        let key = CompactKey::new(ObjectId::new(ShardId(1), id), CompactKey::OBJECT);
        let hash = hash_of(&hasher, key);
        let entry = Entry::new(0, Seq(1), &Body::Object(None));
        part.put(hash, key, entry, &hasher, &mut LetGo::new());
        part.remove(hash, key);
    }
    assert_eq!((part.live(), part.bytes()), (0, 0));
    assert!(part.table_bytes() < 100_000, "{} bytes", part.table_bytes());
}
