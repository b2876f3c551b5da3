//! Pairs of edges: both sides together, or an outbox row (R22).

use tao_schema::error::ErrorCode;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ObjectId, Position, Seq, ShardId};
use tao_schema::ops::Effect;

use super::bench::*;
use super::{Failure, Verdict};
use crate::store::PendingInverse;
use crate::write::{Inverse, StoreOp};

/// A pair across two shards: the ordering side.
fn likes(bench: &Bench) -> EdgeKey {
    edge(ObjectId::new(bench.shards[0], 1), LIKES, ObjectId::new(bench.shards[3], 2))
}

/// Where a shard's write number `seq` stands.
fn origin(shard: ShardId, seq: u64) -> Position {
    Position { shard, epoch: EPOCH, seq: Seq(seq) }
}

/// The time of both sides of a pair.
async fn times(bench: &Bench, pair: EdgeKey, inverse: AssocType) -> Result<[Option<u32>; 2], Failure> {
    let time = async |edge| bench.edge(edge).await.map(|row| row.map(|(value, ..)| value.time.0));
    Ok([time(pair).await?, time(pair.reversed(inverse)).await?])
}

pub(super) async fn a_pair_is_written_together(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let (a, b) = (pair.id1.shard(), pair.id2.shard());
    // The other shard's log is ahead, so that the two positions differ.
    bench.ops(vec![add(pair.id2, text("x"))]).await?;
    let result = bench.commit(vec![unit(vec![put_pair(pair, 5, together(LIKED_BY))])]).await?;
    let done = done(&result, 0)?;
    ensure_eq!(done.positions, vec![origin(a, 1), origin(b, 2)], "positions of both sides");
    ensure!(done.pending.is_empty(), "pending: {:?}", done.pending);
    ensure_eq!(result.changes.len(), 2, "shards changed");
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(5), Some(5)], "both sides");
    let inverse = bench.edge(pair.reversed(LIKED_BY)).await?;
    ensure_eq!(inverse, Some((at(5), EPOCH, Seq(1))), "the other side remembers its origin");
    ensure_eq!(bench.list(pair.reversed(LIKED_BY).list()).await?.version, Seq(2), "its list's version");
    ensure_eq!(bench.outbox(a).await?, vec![], "outbox rows");
    bench.ops(vec![remove_pair(pair, together(LIKED_BY))]).await?;
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [None, None], "both sides of the deleted pair");
    ensure_eq!(bench.edges(pair.reversed(LIKED_BY).list()).await?, vec![], "the other side's list");
    Ok(())
}

pub(super) async fn a_pair_on_one_shard_needs_no_outbox(bench: &Bench) -> Verdict {
    let shard = bench.shards[2];
    let pair = edge(ObjectId::new(shard, 1), LIKES, ObjectId::new(shard, 2));
    // Whatever the caller knows of the other shard: it is this one.
    for (time, inverse) in [(5, together(LIKED_BY)), (6, apart(LIKED_BY))] {
        let done = bench.ops(vec![put_pair(pair, time, inverse)]).await?;
        ensure_eq!(done.positions.len(), 1, "positions");
        ensure!(done.pending.is_empty(), "pending: {:?}", done.pending);
        ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(time), Some(time)], "both sides");
    }
    let both = vec![
        put_pair(pair, 7, apart(LIKED_BY)),
        remove_pair(pair, apart(LIKED_BY)),
        put_pair(pair, 8, apart(LIKED_BY)),
    ];
    bench.ops(both).await?;
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(8), Some(8)], "after add, delete, add");
    bench.ops(vec![remove_pair(pair, apart(LIKED_BY))]).await?;
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [None, None], "both sides of the deleted pair");
    ensure_eq!(bench.outbox(shard).await?, vec![], "outbox rows");
    Ok(())
}

pub(super) async fn a_pair_apart_leaves_one_outbox_row(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let (a, b) = (pair.id1.shard(), pair.id2.shard());
    let done = bench.ops(vec![put_pair(pair, 5, apart(LIKED_BY))]).await?;
    ensure_eq!(done.positions, vec![origin(a, 1)], "positions");
    let inverse = pair.reversed(LIKED_BY);
    let first = PendingInverse { edge: pair, inverse, value: Some(at(5)), origin: origin(a, 1) };
    ensure_eq!(done.pending, vec![first.clone()], "pending");
    ensure_eq!(bench.outbox(a).await?, vec![first], "outbox rows");
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(5), None], "both sides");
    ensure_eq!(bench.row(b).await?.seq, Seq::ZERO, "the other shard");
    // The row holds the pair's latest state.
    bench.ops(vec![put_pair(pair, 6, apart(LIKED_BY))]).await?;
    let done = bench.ops(vec![remove_pair(pair, apart(LIKED_BY))]).await?;
    let last = PendingInverse { edge: pair, inverse, value: None, origin: origin(a, 3) };
    ensure_eq!(done.pending, vec![last.clone()], "pending after the deletion");
    ensure_eq!(bench.outbox(a).await?, vec![last], "outbox rows after the deletion");
    Ok(())
}

pub(super) async fn a_pair_of_another_epoch_goes_through_the_outbox(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let inverse = Some(Inverse { atype: LIKED_BY, together: Some(Epoch(2)) });
    let done = bench.ops(vec![put_pair(pair, 5, inverse)]).await?;
    ensure_eq!((done.positions.len(), done.pending.len()), (1, 1), "positions and pending inverses");
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(5), None], "both sides");
    // A shard without a row is no reason to fail either.
    let nowhere = edge(pair.id1, LIKES, ObjectId::new(ShardId(0x4000), 2));
    let done = bench.ops(vec![put_pair(nowhere, 5, together(LIKED_BY))]).await?;
    ensure_eq!((done.positions.len(), done.pending.len()), (1, 1), "positions and pending inverses");
    Ok(())
}

pub(super) async fn h28_a_write_together_overtakes_the_outbox(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let added = bench.ops(vec![put_pair(pair, 5, apart(LIKED_BY))]).await?;
    bench.ops(vec![remove_pair(pair, together(LIKED_BY))]).await?;
    ensure_eq!(bench.outbox(pair.id1.shard()).await?, vec![], "outbox rows");
    // A drainer that read the row before brings it late.
    ensure_eq!(effects(&bench.write(bring(&added.pending[0])).await?), vec![Effect::Nothing], "late add");
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [None, None], "both sides");
    // The same the other way round: delete pending, then added together.
    bench.ops(vec![put_pair(pair, 6, together(LIKED_BY))]).await?;
    let deleted = bench.ops(vec![remove_pair(pair, apart(LIKED_BY))]).await?;
    bench.ops(vec![put_pair(pair, 7, together(LIKED_BY))]).await?;
    ensure_eq!(bench.outbox(pair.id1.shard()).await?, vec![], "outbox rows");
    ensure_eq!(effects(&bench.write(bring(&deleted.pending[0])).await?), vec![Effect::Nothing], "late");
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(7), Some(7)], "both sides");
    Ok(())
}

pub(super) async fn h28_an_edge_to_itself(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[1], 1);
    // Symmetric: one row, counted once.
    for inverse in [None, together(FRIEND), apart(FRIEND)] {
        let friend = edge(x, FRIEND, x);
        let done = bench.ops(vec![put_pair(friend, 5, inverse)]).await?;
        ensure!(done.pending.is_empty(), "pending: {:?}", done.pending);
        ensure_eq!(bench.edges(friend.list()).await?, vec![(5, x)], "the symmetric edge to itself");
    }
    // Not symmetric: two lists of one object.
    let pair = edge(x, LIKES, x);
    let done = bench.ops(vec![put_pair(pair, 6, apart(LIKED_BY))]).await?;
    ensure!(done.pending.is_empty(), "pending: {:?}", done.pending);
    for list in [pair.list(), pair.reversed(LIKED_BY).list()] {
        ensure_eq!(bench.edges(list).await?, vec![(6, x)], "list {list:?}");
    }
    bench
        .ops(vec![remove_pair(pair, apart(LIKED_BY)), remove_pair(edge(x, FRIEND, x), apart(FRIEND))])
        .await?;
    for list in [pair.list(), pair.reversed(LIKED_BY).list(), edge(x, FRIEND, x).list()] {
        ensure_eq!(bench.edges(list).await?, vec![], "list {list:?} after the deletion");
    }
    ensure_eq!(bench.outbox(x.shard()).await?, vec![], "outbox rows");
    Ok(())
}

pub(super) async fn h28_states_of_one_batch_end_as_the_last(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    // Both states have one origin; brought over in either order, only the last may arrive.
    let add_then_delete = vec![put_pair(pair, 5, apart(LIKED_BY)), remove_pair(pair, apart(LIKED_BY))];
    let result = bench.commit(add_then_delete.into_iter().map(|op| unit(vec![op])).collect()).await?;
    let pending = [done(&result, 0)?.pending, done(&result, 1)?.pending];
    for pending in pending.concat() {
        ensure_eq!(pending.value, None, "the pending state");
        bench.write(bring(&pending)).await?;
    }
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [None, None], "both sides");
    let delete_then_add = vec![remove_pair(pair, apart(LIKED_BY)), put_pair(pair, 7, apart(LIKED_BY))];
    let result = bench.commit(delete_then_add.into_iter().map(|op| unit(vec![op])).collect()).await?;
    bench.write(bring(&done(&result, 1)?.pending[0])).await?;
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(7), Some(7)], "both sides");
    Ok(())
}

pub(super) async fn h28_a_pair_begun_together_ends_together(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    // The second write of the batch does not know that the shards share a server. An outbox row would have the
    // origin that the other side knows already from the first, and would never be applied.
    let ops = [put_pair(pair, 5, together(LIKED_BY)), remove_pair(pair, apart(LIKED_BY))];
    let result = bench.commit(ops.map(|op| unit(vec![op])).into()).await?;
    for pending in [done(&result, 0)?.pending, done(&result, 1)?.pending].concat() {
        bench.write(bring(&pending)).await?;
    }
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [None, None], "both sides");
    // The other way round: what the first left in the outbox is written by the second.
    let ops = [put_pair(pair, 6, apart(LIKED_BY)), put_pair(pair, 7, together(LIKED_BY))];
    let result = bench.commit(ops.map(|op| unit(vec![op])).into()).await?;
    let first = done(&result, 0)?;
    ensure!(first.pending.is_empty(), "pending: {:?}", first.pending);
    ensure_eq!(first.positions.len(), 2, "positions of the first write");
    ensure_eq!(times(bench, pair, LIKED_BY).await?, [Some(7), Some(7)], "both sides");
    ensure_eq!(bench.outbox(pair.id1.shard()).await?, vec![], "outbox rows");
    Ok(())
}

pub(super) async fn a_retyped_pair_moves_on_both_sides(bench: &Bench) -> Verdict {
    let old = likes(bench);
    let new = EdgeKey { atype: FOLLOWS, ..old };
    let retype = |from: EdgeKey, to: EdgeKey, inverses: [Option<Inverse>; 2]| StoreOp::EdgeChangeType {
        edge: from,
        new_atype: to.atype,
        expected: None,
        inverse: inverses[0],
        new_inverse: inverses[1],
    };
    bench.ops(vec![put_pair(old, 5, together(LIKED_BY))]).await?;
    bench.ops(vec![retype(old, new, [together(LIKED_BY), together(FOLLOWED_BY)])]).await?;
    ensure_eq!(times(bench, old, LIKED_BY).await?, [None, None], "both sides of the old pair");
    ensure_eq!(times(bench, new, FOLLOWED_BY).await?, [Some(5), Some(5)], "both sides of the new pair");
    // Back, through the outbox: one row for each of the two pairs.
    let done = bench.ops(vec![retype(new, old, [apart(FOLLOWED_BY), apart(LIKED_BY)])]).await?;
    ensure_eq!(done.pending.len(), 2, "pending inverses");
    for pending in done.pending.iter().rev() {
        bench.write(bring(pending)).await?;
    }
    ensure_eq!(times(bench, old, LIKED_BY).await?, [Some(5), Some(5)], "both sides of the old pair");
    ensure_eq!(times(bench, new, FOLLOWED_BY).await?, [None, None], "both sides of the new pair");
    // Two pairs that would share their other side have no common order.
    let shared = retype(old, new, [together(LIKED_BY), together(LIKED_BY)]);
    bench.refused(vec![shared], ErrorCode::InvalidArgument).await
}
