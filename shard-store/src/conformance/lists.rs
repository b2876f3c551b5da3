//! Edge lists: counts, versions, preconditions, retyping.

use bytes::Bytes;
use tao_schema::error::ErrorCode;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, ObjectId, Seq, ShardId, Time};
use tao_schema::limits::MAX_ASSOC_BYTES;
use tao_schema::ops::Effect;
use tao_schema::rows::{ChangeItem, EdgeValue, ListChange};

use super::bench::*;
use super::{Failure, Verdict};
use crate::write::{BatchResult, ExpectedList, StoreOp};

/// Edge `n` of a list on a shard; it ends on another shard.
fn follows(shard: ShardId, n: u64) -> EdgeKey {
    edge(ObjectId::new(shard, 1), FOLLOWS, ObjectId::new(ShardId(!shard.0), n))
}

fn retype(edge: EdgeKey, expected: Option<ExpectedList>) -> StoreOp {
    StoreOp::EdgeChangeType { edge, new_atype: FRIEND, expected, inverse: None, new_inverse: None }
}

/// The one list change of a batch.
fn list_change(result: &BatchResult) -> Result<ListChange, Failure> {
    ensure_eq!(result.changes.len(), 1, "changes");
    match &result.changes[0].items[..] {
        [ChangeItem::List(change)] => Ok(change.clone()),
        other => Err(format!("expected one list change, got {other:?}").into()),
    }
}

pub(super) async fn counts_are_exact(bench: &Bench) -> Verdict {
    let shard = bench.shards[2];
    let list = follows(shard, 0).list();
    use Effect::*;
    let steps = [
        (put(follows(shard, 1), 5), Created, 1),
        (put(follows(shard, 2), 5), Created, 2),
        (put(follows(shard, 1), 9), Updated, 2),
        (remove(follows(shard, 3)), Nothing, 2),
        (remove(follows(shard, 1)), Deleted, 1),
        (remove(follows(shard, 1)), Nothing, 1),
        (put(follows(shard, 1), 5), Created, 2),
    ];
    for (at, (op, effect, count)) in steps.into_iter().enumerate() {
        ensure_eq!(effects(&bench.ops(vec![op]).await?), vec![effect], "effect of step {at}");
        ensure_eq!(bench.list(list).await?.count, count, "count after step {at}");
        ensure_eq!(bench.edges(list).await?.len() as u64, count, "edges after step {at}");
    }
    Ok(())
}

pub(super) async fn h13_a_list_that_was_emptied_keeps_its_version(bench: &Bench) -> Verdict {
    let shard = bench.shards[0];
    bench.ops(vec![put(follows(shard, 1), 5)]).await?;
    bench.ops(vec![remove(follows(shard, 1))]).await?;
    let list = bench.list(follows(shard, 1).list()).await?;
    ensure_eq!((list.count, list.version), (0, Seq(2)), "count and version of the emptied list");
    // Had the count row gone, a cache that holds "absent" from before the first write would accept this change.
    let result = bench.commit(vec![unit(vec![put(follows(shard, 2), 5)])]).await?;
    ensure_eq!(list_change(&result)?.prev_version, Seq(2), "the version before the next write");
    Ok(())
}

pub(super) async fn each_list_change_names_the_version_before(bench: &Bench) -> Verdict {
    let shard = bench.shards[3];
    let mut version = Seq::ZERO;
    for n in 1..=6 {
        // Other changes in between make gaps between the versions of the list.
        bench.ops(vec![add(ObjectId::new(shard, 10 + n), text("x"))]).await?;
        let op = if n == 4 { remove(follows(shard, 1)) } else { put(follows(shard, n % 3), n as u32) };
        let result = bench.commit(vec![unit(vec![op])]).await?;
        let change = list_change(&result)?;
        ensure_eq!(change.prev_version, version, "the version before write {n}");
        version = result.changes[0].seq;
        let list = bench.list(change.key).await?;
        ensure_eq!((list.version, list.count), (version, change.count), "version and count after write {n}");
    }
    Ok(())
}

pub(super) async fn two_writes_to_one_list_make_one_change(bench: &Bench) -> Verdict {
    let shard = bench.shards[1];
    bench.ops(vec![put(follows(shard, 1), 1), put(follows(shard, 2), 2)]).await?;
    let ops = [put(follows(shard, 3), 3), remove(follows(shard, 1)), put(follows(shard, 3), 33)];
    let result = bench.commit(ops.map(|op| unit(vec![op])).into()).await?;
    let end = |n| follows(shard, n).id2;
    let expected = ListChange {
        key: follows(shard, 1).list(),
        prev_version: Seq(1),
        count: 2,
        edges: vec![(end(1), None), (end(3), Some(at(33)))],
    };
    ensure_eq!(list_change(&result)?, expected, "the list change");
    ensure_eq!(bench.edges(expected.key).await?, vec![(33, end(3)), (2, end(2))], "the list");
    Ok(())
}

pub(super) async fn list_preconditions_hold(bench: &Bench) -> Verdict {
    let shard = bench.shards[2];
    let [first, second] = [1, 2].map(|n| follows(shard, n));
    let put_if = |edge, create_only, expected: Option<u64>| {
        let expected = expected.map(|version| ExpectedList(Seq(version)));
        StoreOp::EdgePut { edge, value: at(5), create_only, expected, inverse: None }
    };
    let remove_if = |edge, version| StoreOp::EdgeDelete {
        edge,
        expected: Some(ExpectedList(Seq(version))),
        inverse: None,
    };
    let failed = ErrorCode::PreconditionFailed;
    bench.refused(vec![put_if(first, false, Some(1))], failed).await?;
    bench.ops(vec![put_if(first, true, Some(0))]).await?;
    bench.refused(vec![put_if(first, true, None)], failed).await?;
    bench.refused(vec![put_if(second, false, Some(0))], failed).await?;
    bench.refused(vec![remove_if(first, 0)], failed).await?;
    bench.refused(vec![remove_if(second, 0)], failed).await?;
    bench.refused(vec![retype(first, Some(ExpectedList(Seq(2))))], failed).await?;
    bench.ops(vec![put_if(second, true, Some(1))]).await?;
    bench.ops(vec![remove_if(first, 2)]).await?;
    bench.ops(vec![retype(second, Some(ExpectedList(Seq(3))))]).await?;
    ensure_eq!(bench.edges(first.list()).await?, vec![], "the list");
    Ok(())
}

pub(super) async fn an_edge_changes_its_type(bench: &Bench) -> Verdict {
    let shard = bench.shards[0];
    let old = follows(shard, 1);
    let new = edge(old.id1, FRIEND, old.id2);
    ensure_eq!(effects(&bench.ops(vec![retype(old, None)]).await?), vec![Effect::Nothing], "if absent");
    let value = EdgeValue { time: Time(8), fields: text("kept") };
    let op = StoreOp::EdgePut {
        edge: old,
        value: value.clone(),
        create_only: false,
        expected: None,
        inverse: None,
    };
    bench.ops(vec![op]).await?;
    let result = bench.commit(vec![unit(vec![retype(old, None)])]).await?;
    ensure_eq!(effects(&done(&result, 0)?), vec![Effect::Updated], "effect");
    ensure_eq!(result.changes[0].items.len(), 2, "lists changed");
    ensure_eq!(bench.edges(old.list()).await?, vec![], "the list it left");
    ensure_eq!(bench.edges(new.list()).await?, vec![(8, new.id2)], "the list it came to");
    ensure_eq!(bench.edge(new).await?, Some((value, EPOCH, Seq(2))), "time and data stay");
    Ok(())
}

pub(super) async fn a_retyped_edge_overwrites_its_target(bench: &Bench) -> Verdict {
    let shard = bench.shards[3];
    let old = follows(shard, 1);
    let new = edge(old.id1, FRIEND, old.id2);
    bench.ops(vec![put(old, 8), put(new, 3), put(follows(shard, 2), 4)]).await?;
    bench.ops(vec![retype(old, None)]).await?;
    ensure_eq!(bench.edges(old.list()).await?, vec![(4, follows(shard, 2).id2)], "the list it left");
    ensure_eq!(bench.edges(new.list()).await?, vec![(8, new.id2)], "the list it came to");
    Ok(())
}

pub(super) async fn the_edge_limit_holds(bench: &Bench) -> Verdict {
    let full = follows(bench.shards[1], 1);
    let with = |bytes: usize| StoreOp::EdgePut {
        edge: full,
        value: EdgeValue { time: Time(1), fields: EncodedFields(Bytes::from(vec![0xfe; bytes])) },
        create_only: false,
        expected: None,
        inverse: None,
    };
    bench.refused(vec![with(MAX_ASSOC_BYTES + 1)], ErrorCode::InvalidArgument).await?;
    bench.ops(vec![with(MAX_ASSOC_BYTES)]).await?;
    let stored = bench.edge(full).await?.map(|(value, ..)| value.fields.len());
    ensure_eq!(stored, Some(MAX_ASSOC_BYTES), "bytes stored");
    Ok(())
}

pub(super) async fn edge_data_comes_back_byte_for_byte(bench: &Bench) -> Verdict {
    let values = [
        EncodedFields::new(),
        text("nul \0, quote ' \" \\ %, four bytes \u{1F600}"),
        EncodedFields(Bytes::from((0..=255).rev().collect::<Vec<u8>>())),
        EncodedFields(Bytes::from_static(&[0])),
    ];
    let list = follows(bench.shards[2], 0).list();
    for (n, fields) in values.iter().enumerate() {
        let value = EdgeValue { time: Time(n as u32), fields: fields.clone() };
        let edge = follows(bench.shards[2], n as u64);
        let op = StoreOp::EdgePut { edge, value, create_only: true, expected: None, inverse: None };
        bench.ops(vec![op]).await?;
    }
    let stored: Vec<_> =
        bench.list(list).await?.edges.to_vec().into_iter().rev().map(|edge| edge.fields.0).collect();
    ensure_eq!(stored, values.map(|value| value.0).to_vec(), "data of the list's edges");
    Ok(())
}
