//! Readers without a lock beside a writer (R11, H12): step by step, and as a race of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectType, Seq};
use tao_schema::rows::{ChangeItem, ObjectRow, ShardChange, ShardState};

use super::super::rules::Rule;
use super::super::{Body, Entries, Entry, Key, Lookup, SharedShard};
use super::{MapEntries, OBJECT, SHARD, at, options};

const CHANGES: u64 = 20_000;

/// The object's version is the seq of every change.
fn row(seq: u64) -> ObjectRow {
    ObjectRow { otype: ObjectType(1), version: Seq(seq), fields: EncodedFields(Bytes::new()) }
}

fn fill(shard: &SharedShard, entries: &MapEntries, seq: u64) {
    shard.with(|core| {
        core.on_fill(OBJECT, at(1, seq), ShardState::Serving, Body::Object(Some(row(seq))), entries)
    });
}

fn change(shard: &SharedShard, entries: &MapEntries, seq: u64) {
    let Key::Object(id) = OBJECT else { panic!("OBJECT is one") };
    let item = ChangeItem::Object { id, row: Some(row(seq)) };
    let change = ShardChange { shard: SHARD, epoch: at(1, 0).epoch, seq: Seq(seq), items: vec![item] };
    shard.with(|core| core.on_commit(Arc::new(change), entries));
}

/// A reset far ahead: a watermark of before it with an entry of after it would be a wrong claim, too.
fn reset(shard: &SharedShard, entries: &MapEntries, seq: u64) {
    shard.with(|core| core.reset(at(1, seq), entries)).unwrap();
    fill(shard, entries, seq);
}

/// Something that happens to a shard and its entries, up to a seq.
type Event = fn(&SharedShard, &MapEntries, u64);

/// Entries beside whose first look-up something happens, as if another thread had its turn just there.
struct Beside<'a> {
    shard: &'a SharedShard,
    entries: &'a MapEntries,
    event: Mutex<Option<(Event, u64)>>,
    /// Whether it happens before the entry is read, or after.
    before: bool,
}

impl Beside<'_> {
    fn happen(&self) {
        let event = self.event.lock().take();
        if let Some((event, seq)) = event {
            event(self.shard, self.entries, seq);
        }
    }
}

impl Entries for Beside<'_> {
    fn get(&self, key: &Key) -> Option<Entry> {
        if self.before {
            self.happen();
        }
        let entry = self.entries.get(key);
        self.happen();
        entry
    }

    fn put(&self, key: Key, entry: Entry) {
        self.entries.put(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.entries.remove(key);
    }
}

/// The version that a reader finds beside an event, and what it is said to be right at.
fn claim(without: Option<Rule>, event: (Event, u64), before: bool) -> (u64, u64) {
    let shard = SharedShard::new(SHARD, options(without));
    let entries = MapEntries::default();
    shard.with(|core| core.open(at(1, 1))).unwrap();
    fill(&shard, &entries, 1);
    let beside = Beside { shard: &shard, entries: &entries, event: Mutex::new(Some(event)), before };
    let Lookup::Hit { entry, as_of } = shard.lookup(&beside, &OBJECT, None) else { panic!("no hit") };
    assert!(beside.event.lock().is_none(), "nothing happened");
    (entry.version().0, as_of.seq.0)
}

#[test]
fn h12_a_claim_beside_an_event_is_not_torn() {
    assert_eq!(claim(None, (change, 2), true), (2, 2));
    assert_eq!(claim(None, (change, 2), false), (1, 1), "the old one was right at the old watermark");
    for before in [true, false] {
        assert_eq!(claim(None, (reset, 5), before), (5, 5), "read again");
    }
}

#[test]
fn h12_read_after_the_entry_the_watermark_claims_too_much() {
    assert_eq!(claim(Some(Rule::WatermarkFirst), (change, 2), false), (1, 2));
}

/// An entry claimed at `as_of` must have that version, whatever resets and fills happen meanwhile, and in whatever order
/// processors do what the steps above do one after the other.
#[test]
fn a_claim_is_never_torn() {
    let shard = SharedShard::new(SHARD, options(None));
    let entries = MapEntries::default();
    let done = AtomicBool::new(false);
    let reading = AtomicUsize::new(0);
    shard.with(|core| core.open(at(1, 1))).unwrap();
    fill(&shard, &entries, 1);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut hits = 0u64;
                    while !done.load(Ordering::Relaxed) {
                        if let Lookup::Hit { entry, as_of } = shard.lookup(&entries, &OBJECT, None) {
                            hits += 1;
                            if hits == 1 {
                                reading.fetch_add(1, Ordering::Relaxed);
                            }
                            if entry.version() != as_of.seq {
                                return Err((entry.version(), as_of.seq));
                            }
                        }
                    }
                    Ok(hits)
                })
            })
            .collect();
        // However busy the machine is: nothing is written before both readers read.
        while reading.load(Ordering::Relaxed) < readers.len() {
            std::thread::yield_now();
        }
        let mut seq = 1;
        for round in 0..CHANGES {
            if readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
            if round % 7 == 6 {
                seq += 3;
                reset(&shard, &entries, seq);
            } else {
                seq += 1;
                change(&shard, &entries, seq);
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let hits = reader.join().unwrap().expect("the version of the claim");
            assert!(hits > 0, "nobody read anything");
        }
    });
}

#[test]
fn readers_see_what_events_did() {
    let shard = SharedShard::new(SHARD, options(None));
    let entries = MapEntries::default();
    assert!(!shard.is_continuous());
    shard.with(|core| core.on_reset(at(2, 10)));
    assert_eq!((shard.position(), shard.is_continuous()), (at(2, 10), true));
    shard.with(|core| core.on_fill(OBJECT, at(2, 12), ShardState::Serving, Body::Object(None), &entries));
    let Lookup::Hit { as_of, .. } = shard.lookup(&entries, &OBJECT, Some(at(2, 12))) else { panic!("a hit") };
    assert_eq!((as_of, shard.floor(&OBJECT)), (at(2, 12), Seq(12)));
    shard.with(super::super::ShardCore::on_lost);
    assert!(matches!(shard.lookup(&entries, &OBJECT, None), Lookup::Miss(_)));
}
