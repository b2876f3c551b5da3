//! The shard log: who may write, and what a committed batch advances.

use tao_schema::error::ErrorCode;
use tao_schema::ids::{Epoch, ObjectId, Position, Seq, ShardId};
use tao_schema::ops::Effect;
use tao_schema::rows::{ChangeItem, ListChange, ObjectRow, ShardState};

use super::bench::*;
use super::{Failure, Verdict};
use crate::store::SharedStore;
use crate::write::{Batch, UnitResult, WriteUnit};

fn position(shard: ShardId, seq: u64) -> Position {
    Position { shard, epoch: EPOCH, seq: Seq(seq) }
}

pub(super) async fn each_write_takes_the_next_seq(bench: &Bench) -> Verdict {
    let shard = bench.shards[2];
    ensure_eq!(bench.row(shard).await?.seq, Seq::ZERO, "the seq of a new shard");
    for seq in 1..=5 {
        let result = bench.commit(vec![unit(vec![add(ObjectId::new(shard, seq), text("x"))])]).await?;
        ensure_eq!(done(&result, 0)?.positions, vec![position(shard, seq)], "the unit's position");
        ensure_eq!(result.changes.len(), 1, "changes");
        ensure_eq!(result.changes[0].position(), position(shard, seq), "the change's position");
        ensure_eq!(bench.row(shard).await?.seq, Seq(seq), "the shard row");
    }
    ensure_eq!(bench.row(bench.shards[0]).await?.seq, Seq::ZERO, "the seq of another shard");
    Ok(())
}

pub(super) async fn a_batch_has_one_seq_for_each_shard(bench: &Bench) -> Verdict {
    let [a, b, ..] = bench.shards;
    let object = |shard, n| unit(vec![add(ObjectId::new(shard, n), text("x"))]);
    let result = bench.commit(vec![object(a, 1), object(b, 1), object(a, 2), object(a, 3)]).await?;
    for (at, shard) in [a, b, a, a].into_iter().enumerate() {
        ensure_eq!(done(&result, at)?.positions, vec![position(shard, 1)], "position of unit {at}");
    }
    let mut changed: Vec<_> =
        result.changes.iter().map(|change| (change.shard, change.seq, change.items.len())).collect();
    changed.sort();
    ensure_eq!(changed, vec![(a, Seq(1), 3), (b, Seq(1), 1)], "changes: shard, seq, items");
    for n in 1..=3 {
        let version = bench.object(ObjectId::new(a, n)).await?.map(|row| row.version);
        ensure_eq!(version, Some(Seq(1)), "the version of object {n}");
    }
    Ok(())
}

pub(super) async fn what_changes_nothing_does_not_advance(bench: &Bench) -> Verdict {
    let shard = bench.shards[0];
    let (x, y) = (ObjectId::new(shard, 1), ObjectId::new(shard, 2));
    bench.ops(vec![add(x, text("x"))]).await?;
    let nothing = || vec![unit(vec![delete(y)]), unit(vec![remove(edge(x, FOLLOWS, y))])];
    let result = bench.commit(nothing()).await?;
    ensure!(result.changes.is_empty(), "changes of a batch without effect: {:?}", result.changes);
    for at in 0..2 {
        let done = done(&result, at)?;
        ensure_eq!(effects(&done), vec![Effect::Nothing], "effect of unit {at}");
        ensure_eq!(done.positions, vec![position(shard, 1)], "position of unit {at}");
    }
    ensure_eq!(bench.row(shard).await?.seq, Seq(1), "the shard row");
    ensure_eq!(bench.list(edge(x, FOLLOWS, y).list()).await?.version, Seq::ZERO, "the list's version");
    Ok(())
}

pub(super) async fn h1_units_of_a_wrong_epoch_or_state_leave_the_batch(bench: &Bench) -> Verdict {
    let [a, b, c, _] = bench.shards;
    let fenced = bench.one.change_state(b, EPOCH, ShardState::Serving, ShardState::Fenced).await?;
    ensure!(fenced, "shard {b} could not be fenced");
    let object = |shard, epoch| WriteUnit { epoch, ..unit(vec![add(ObjectId::new(shard, 1), text("x"))]) };
    let result = bench.commit(vec![object(a, Epoch(2)), object(b, EPOCH), object(c, EPOCH)]).await?;
    let serving = UnitResult::NotOwned { found: Some((EPOCH, ShardState::Serving)) };
    let fenced = UnitResult::NotOwned { found: Some((EPOCH, ShardState::Fenced)) };
    ensure_eq!(result.units[0], serving, "a unit of a newer epoch");
    ensure_eq!(result.units[1], fenced, "a unit of a fenced shard");
    done(&result, 2)?;
    ensure_eq!(result.changes.len(), 1, "changes");
    let older = bench.commit(vec![object(a, Epoch(0))]).await?;
    ensure_eq!(older.units[0], serving, "a unit of an older epoch");
    for (shard, seq) in [(a, 0), (b, 1), (c, 1)] {
        ensure_eq!(bench.row(shard).await?.seq, Seq(seq), "the seq of shard {shard}");
    }
    ensure_eq!(bench.object(ObjectId::new(a, 1)).await?, None, "the object of the wrong epoch");
    ensure_eq!(bench.object(ObjectId::new(b, 1)).await?, None, "the object of the fenced shard");
    Ok(())
}

pub(super) async fn a_shard_without_a_row_is_not_owned(bench: &Bench) -> Verdict {
    // No case has a shard between the low and the high ones.
    let nowhere = ShardId(0x4000);
    let object = |shard| unit(vec![add(ObjectId::new(shard, 1), text("x"))]);
    let alone = bench.commit(vec![object(nowhere)]).await?;
    ensure_eq!(alone.units[0], UnitResult::NotOwned { found: None }, "a shard without a row, alone");
    // In company a missing row can't be told from a locked one (R2).
    let company = bench.commit(vec![object(nowhere), object(bench.shards[0])]).await?;
    let left = matches!(company.units[0], UnitResult::Busy | UnitResult::NotOwned { found: None });
    ensure!(left, "a shard without a row in company: {:?}", company.units[0]);
    done(&company, 1)?;
    Ok(())
}

/// Commits units until none is busy: those that were are tried alone, as a lane does.
async fn insist(store: &SharedStore, units: Vec<WriteUnit>) -> Verdict {
    let result = store.commit(Batch { units: units.clone() }).await?;
    for (unit, mut result) in units.into_iter().zip(result.units) {
        for _ in 0..1_000 {
            match result {
                UnitResult::Done(_) => break,
                UnitResult::Busy => {}
                other => return Err(format!("a unit failed: {other:?}").into()),
            }
            let mut again = store.commit(Batch { units: vec![unit.clone()] }).await?;
            result = again.units.remove(0);
        }
        ensure!(matches!(result, UnitResult::Done(_)), "a unit stayed busy");
    }
    Ok(())
}

pub(super) async fn h2_batches_in_any_order_of_shards_all_commit(bench: &Bench) -> Verdict {
    let batch = |leader: u64, round: u64, backwards: bool| {
        let mut shards = bench.shards;
        if backwards {
            shards.reverse();
        }
        let local = 100 + 2 * round + leader;
        let follow =
            |shard| unit(vec![put(edge(ObjectId::new(shard, 1), FOLLOWS, ObjectId::new(shard, local)), 7)]);
        shards.into_iter().map(follow).collect::<Vec<_>>()
    };
    for round in 0..10 {
        let one = insist(&bench.one, batch(0, round, false));
        let other = insist(&bench.other, batch(1, round, true));
        let (one, other) = tokio::join!(one, other);
        one?;
        other?;
    }
    for shard in bench.shards {
        let edges = bench.edges(edge(ObjectId::new(shard, 1), FOLLOWS, ObjectId(0)).list()).await?;
        ensure_eq!(edges.len(), 20, "edges on shard {shard}");
        ensure_eq!(bench.row(shard).await?.seq, Seq(20), "changes of shard {shard}");
    }
    Ok(())
}

pub(super) async fn h7_two_leaders_write_one_log(bench: &Bench) -> Verdict {
    let shard = bench.shards[1];
    for seq in 1..=10 {
        let store = if seq % 2 == 0 { &bench.one } else { &bench.other };
        let done = done_alone(store, unit(vec![add(ObjectId::new(shard, seq), text("x"))])).await?;
        ensure_eq!(done.positions, vec![position(shard, seq)], "position of write {seq}");
    }
    Ok(())
}

pub(super) async fn a_refused_unit_leaves_no_trace(bench: &Bench) -> Verdict {
    let shard = bench.shards[2];
    let [x, y, z] = [1, 2, 3].map(|n| ObjectId::new(shard, n));
    bench.ops(vec![add(x, text("first"))]).await?;
    // Its first ops would succeed; the last does not.
    let poisoned = vec![
        update(x, text("lost")),
        put_pair(edge(x, LIKES, y), 5, together(LIKED_BY)),
        add(y, text("lost")),
        add(x, text("exists")),
    ];
    let result = bench.commit(vec![unit(poisoned), unit(vec![add(z, text("later"))])]).await?;
    ensure_eq!(refusal(&result.units[0])?.code, ErrorCode::PreconditionFailed, "the refusal");
    ensure_eq!(done(&result, 1)?.positions, vec![position(shard, 2)], "the later unit");
    let later = ObjectRow { otype: OTYPE, version: Seq(2), fields: text("later") };
    let items = vec![ChangeItem::Object { id: z, row: Some(later) }];
    ensure_eq!(result.changes[0].items, items, "what the batch changed");
    ensure_eq!(bench.object(x).await?.map(|row| row.fields), Some(text("first")), "the updated object");
    ensure_eq!(bench.object(y).await?, None, "the added object");
    for list in [edge(x, LIKES, y).list(), edge(y, LIKED_BY, x).list()] {
        let row = bench.list(list).await?;
        ensure_eq!((row.count, row.version), (0, Seq::ZERO), "list {list:?}");
    }
    Ok(())
}

pub(super) async fn an_atomic_unit_is_all_or_nothing(bench: &Bench) -> Verdict {
    let shard = bench.shards[0];
    let [x, y] = [1, 2].map(|n| ObjectId::new(shard, n));
    let ops = vec![
        add(x, text("x")),
        update(x, text("seen")),
        put(edge(x, FOLLOWS, y), 3),
        remove(edge(x, FOLLOWS, y)),
        put(edge(x, FOLLOWS, y), 4),
        delete(y),
    ];
    let done = bench.ops(ops).await?;
    use Effect::*;
    let expected = vec![Created, Updated, Created, Deleted, Created, Nothing];
    ensure_eq!(effects(&done), expected, "each op sees those before it");
    ensure_eq!(bench.object(x).await?.map(|row| row.fields), Some(text("seen")), "the object");
    ensure_eq!(bench.edges(edge(x, FOLLOWS, y).list()).await?, vec![(4, y)], "the list");
    ensure_eq!(bench.row(shard).await?.seq, Seq(1), "one change for all ops");
    Ok(())
}

pub(super) async fn a_change_shows_each_row_once(bench: &Bench) -> Verdict {
    let shard = bench.shards[3];
    let [x, y, z] = [1, 2, 3].map(|n| ObjectId::new(shard, n));
    bench.ops(vec![add(x, text("x")), put(edge(x, FOLLOWS, y), 1)]).await?;
    let result = bench
        .commit(vec![
            unit(vec![add(z, text("gone at once"))]),
            unit(vec![delete(x), put(edge(x, FOLLOWS, z), 2)]),
            unit(vec![remove(edge(x, FOLLOWS, y)), delete(z)]),
            // Added and deleted in one batch: no row shows it.
            unit(vec![put(edge(x, LIKES, y), 9)]),
            unit(vec![remove(edge(x, LIKES, y))]),
        ])
        .await?;
    let list = |atype, prev_version, count, edges| {
        ChangeItem::List(ListChange { key: edge(x, atype, y).list(), prev_version, count, edges })
    };
    let expected = vec![
        ChangeItem::Object { id: x, row: None },
        list(LIKES, Seq::ZERO, 0, vec![]),
        list(FOLLOWS, Seq(1), 1, vec![(y, None), (z, Some(at(2)))]),
    ];
    ensure_eq!(result.changes.len(), 1, "changes");
    ensure_eq!(result.changes[0].items, expected, "items, in order of key");
    ensure_eq!(result.changes[0].position(), position(shard, 2), "position");
    Ok(())
}

pub(super) async fn a_key_of_another_shard_is_refused(bench: &Bench) -> Verdict {
    let [a, b, ..] = bench.shards;
    let (x, y) = (ObjectId::new(a, 1), ObjectId::new(b, 1));
    // Written without its shard row, shard b would change without a place in its log (R2).
    let strays = [add(y, text("x")), update(y, text("x")), delete(y), put(edge(y, FOLLOWS, x), 1)];
    for stray in strays {
        let result = bench.commit(vec![unit_on(a, vec![add(x, text("x")), stray])]).await?;
        refusal(&result.units[0])?;
        ensure!(result.changes.is_empty(), "changes: {:?}", result.changes);
    }
    ensure_eq!(bench.object(y).await?, None, "the stray object");
    Ok::<(), Failure>(())
}
