//! Readers without a lock beside a writer (R11, H12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectType, Seq};
use tao_schema::rows::{ChangeItem, ObjectRow, ShardChange, ShardState};

use super::super::rules::Rule;
use super::super::{Body, Key, Lookup, SharedShard};
use super::{MapEntries, OBJECT, SHARD, at, options};

const CHANGES: u64 = 20_000;

/// The object's version is the seq of every change, so an entry claimed at `as_of` must have that version, whatever
/// resets and fills happen meanwhile. Returns the first claim that is not so.
fn race(without: Option<Rule>) -> Option<(u64, u64)> {
    let shard = SharedShard::new(SHARD, options(without));
    let entries = MapEntries::default();
    let done = AtomicBool::new(false);
    let reading = AtomicUsize::new(0);
    let Key::Object(id) = OBJECT else { panic!("OBJECT is one") };
    let row =
        |seq| ObjectRow { otype: ObjectType(1), version: Seq(seq), fields: EncodedFields(Bytes::new()) };
    let fill = |seq| {
        shard.with(|core| {
            core.on_fill(OBJECT, at(1, seq), ShardState::Serving, Body::Object(Some(row(seq))), &entries)
        });
    };
    shard.with(|core| core.open(at(1, 1))).unwrap();
    fill(1);
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
                                return Err((entry.version().0, as_of.seq.0));
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
                // A reset far ahead: a watermark of before it with an entry of after it would be a wrong claim, too.
                seq += 3;
                shard.with(|core| core.reset(at(1, seq), &entries)).unwrap();
                fill(seq);
            } else {
                seq += 1;
                let item = ChangeItem::Object { id, row: Some(row(seq)) };
                let change =
                    ShardChange { shard: SHARD, epoch: at(1, 0).epoch, seq: Seq(seq), items: vec![item] };
                shard.with(|core| core.on_commit(Arc::new(change), &entries));
            }
        }
        done.store(true, Ordering::Relaxed);
        let mut hits = 0;
        for reader in readers {
            match reader.join().unwrap() {
                Ok(seen) => hits += seen,
                Err(claim) => return Some(claim),
            }
        }
        assert!(hits > 0, "nobody read anything");
        None
    })
}

#[test]
fn a_claim_is_never_torn() {
    assert_eq!(race(None), None);
}

#[test]
fn h12_read_after_the_entry_the_watermark_claims_too_much() {
    let torn = (0..50).find_map(|_| race(Some(Rule::WatermarkFirst)));
    let (version, as_of) = torn.expect("the hole shows within fifty races");
    assert!(version < as_of, "{version} was claimed to be right at {as_of}");
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
