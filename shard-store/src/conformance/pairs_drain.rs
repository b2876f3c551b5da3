//! The outbox on its way: what is old, what is new, and when its row may go (R22, hole H26).

use tao_schema::ids::{EdgeKey, Epoch, ObjectId, Position, Seq};
use tao_schema::ops::Effect;

use super::bench::*;
use super::{Failure, Verdict};
use crate::store::PendingInverse;
use crate::write::StoreOp;

fn likes(bench: &Bench) -> EdgeKey {
    edge(ObjectId::new(bench.shards[2], 1), LIKES, ObjectId::new(bench.shards[1], 2))
}

/// Writes the ordering side only: what is then to be brought over.
async fn leave(bench: &Bench, op: StoreOp) -> Result<PendingInverse, Failure> {
    let mut done = bench.ops(vec![op]).await?;
    ensure_eq!(done.pending.len(), 1, "pending inverses");
    Ok(done.pending.remove(0))
}

/// Brings a state over; answers what it did.
async fn effect(bench: &Bench, pending: &PendingInverse) -> Result<Effect, Failure> {
    Ok(bench.write(bring(pending)).await?.outcomes[0].effect)
}

/// The state of the other side: time and origin.
async fn other(bench: &Bench) -> Result<Option<(u32, Seq)>, Failure> {
    let row = bench.edge(likes(bench).reversed(LIKED_BY)).await?;
    let list = bench.list(likes(bench).reversed(LIKED_BY).list()).await?;
    ensure_eq!(list.count, u64::from(row.is_some()), "the count of the other side");
    Ok(row.map(|(value, _, seq)| (value.time.0, seq)))
}

pub(super) async fn h26_old_news_is_not_applied(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let add10 = leave(bench, put_pair(pair, 5, apart(LIKED_BY))).await?;
    let delete11 = leave(bench, remove_pair(pair, apart(LIKED_BY))).await?;
    // The new drainer brings both, then the old one wakes up with the first.
    ensure_eq!(effect(bench, &add10).await?, Effect::Created, "the add");
    ensure_eq!(effect(bench, &delete11).await?, Effect::Deleted, "the deletion");
    let before = bench.row(pair.id2.shard()).await?;
    for late in [&add10, &delete11] {
        ensure_eq!(effect(bench, late).await?, Effect::Nothing, "old news");
    }
    ensure_eq!(bench.row(pair.id2.shard()).await?, before, "the shard row after old news");
    ensure_eq!(other(bench).await?, None, "the other side");
    Ok(())
}

pub(super) async fn h26_a_pair_added_again_after_a_deletion(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let first = leave(bench, put_pair(pair, 5, apart(LIKED_BY))).await?;
    let deleted = leave(bench, remove_pair(pair, apart(LIKED_BY))).await?;
    let again = leave(bench, put_pair(pair, 6, apart(LIKED_BY))).await?;
    ensure_eq!(effect(bench, &deleted).await?, Effect::Nothing, "a deletion of what never came");
    ensure_eq!(effect(bench, &again).await?, Effect::Created, "the second add");
    for late in [&first, &deleted] {
        ensure_eq!(effect(bench, late).await?, Effect::Nothing, "old news");
    }
    ensure_eq!(other(bench).await?, Some((6, again.origin.seq)), "the other side");
    let newer = leave(bench, put_pair(pair, 7, apart(LIKED_BY))).await?;
    ensure_eq!(effect(bench, &newer).await?, Effect::Updated, "an update");
    ensure_eq!(effect(bench, &again).await?, Effect::Nothing, "old news");
    ensure_eq!(other(bench).await?, Some((7, newer.origin.seq)), "the other side");
    Ok(())
}

pub(super) async fn h26_a_deletion_before_its_addition(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let added = leave(bench, put_pair(pair, 5, apart(LIKED_BY))).await?;
    let deleted = leave(bench, remove_pair(pair, apart(LIKED_BY))).await?;
    // It deletes nothing, but must be remembered: the journal is a row, and rows move the log (R2).
    let before = bench.row(pair.id2.shard()).await?;
    let done = bench.write(bring(&deleted)).await?;
    ensure_eq!(effects(&done), vec![Effect::Nothing], "the deletion");
    ensure_eq!(bench.row(pair.id2.shard()).await?.seq, before.seq.next(), "the shard's seq");
    ensure_eq!(effect(bench, &added).await?, Effect::Nothing, "the add that it overtook");
    ensure_eq!(other(bench).await?, None, "the other side");
    Ok(())
}

pub(super) async fn h26_a_newer_epoch_is_newer(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let shard = pair.id1.shard();
    let state = |time, epoch, seq| PendingInverse {
        edge: pair,
        inverse: pair.reversed(LIKED_BY),
        value: Some(at(time)),
        origin: Position { shard, epoch: Epoch(epoch), seq: Seq(seq) },
    };
    ensure_eq!(effect(bench, &state(1, 3, 120)).await?, Effect::Created, "epoch 3, seq 120");
    // A promotion that lost writes goes on with smaller seqs in a greater epoch.
    ensure_eq!(effect(bench, &state(2, 4, 100)).await?, Effect::Updated, "epoch 4, seq 100");
    ensure_eq!(effect(bench, &state(3, 3, 121)).await?, Effect::Nothing, "epoch 3, seq 121");
    ensure_eq!(effect(bench, &state(4, 4, 100)).await?, Effect::Nothing, "epoch 4, seq 100 again");
    ensure_eq!(other(bench).await?, Some((2, Seq(100))), "the other side");
    Ok(())
}

pub(super) async fn h26_a_direct_write_is_remembered(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let added = leave(bench, put_pair(pair, 5, apart(LIKED_BY))).await?;
    // Written together and deleted together: the journal knows, though nothing came through the outbox.
    bench.ops(vec![put_pair(pair, 6, together(LIKED_BY))]).await?;
    ensure_eq!(effect(bench, &added).await?, Effect::Nothing, "old news against an edge");
    bench.ops(vec![remove_pair(pair, together(LIKED_BY))]).await?;
    ensure_eq!(effect(bench, &added).await?, Effect::Nothing, "old news against a tombstone");
    ensure_eq!(other(bench).await?, None, "the other side");
    let again = leave(bench, put_pair(pair, 7, apart(LIKED_BY))).await?;
    ensure_eq!(effect(bench, &again).await?, Effect::Created, "news against a tombstone");
    ensure_eq!(other(bench).await?, Some((7, again.origin.seq)), "the other side");
    Ok(())
}

pub(super) async fn the_outbox_row_goes_only_with_its_own_state(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let shard = pair.id1.shard();
    let done = |origin| unit(vec![StoreOp::OutboxDone { edge: pair, origin }]);
    let first = leave(bench, put_pair(pair, 5, apart(LIKED_BY))).await?;
    let second = leave(bench, put_pair(pair, 6, apart(LIKED_BY))).await?;
    let result = bench.commit(vec![done(first.origin)]).await?;
    ensure!(result.changes.is_empty(), "an older state's end changed {:?}", result.changes);
    ensure_eq!(bench.outbox(shard).await?, vec![second.clone()], "outbox rows");
    let other_epoch = Position { epoch: Epoch(2), ..second.origin };
    bench.write(done(other_epoch)).await?;
    ensure_eq!(bench.outbox(shard).await?.len(), 1, "outbox rows after another epoch's");
    // Bookkeeping moves the log, too, with nothing for caches in it.
    let result = bench.commit(vec![done(second.origin)]).await?;
    ensure_eq!(result.changes.len(), 1, "changes");
    ensure!(result.changes[0].items.is_empty(), "items: {:?}", result.changes[0].items);
    ensure_eq!(result.changes[0].seq, second.origin.seq.next(), "the change's seq");
    ensure_eq!(bench.outbox(shard).await?, vec![], "outbox rows");
    ensure_eq!(effects(&bench.write(done(second.origin)).await?), vec![Effect::Nothing], "once more");
    Ok(())
}

pub(super) async fn a_deletion_of_nothing_waits_for_what_is_pending(bench: &Bench) -> Verdict {
    let pair = likes(bench);
    let shard = pair.id1.shard();
    let delete = || vec![remove_pair(pair, apart(LIKED_BY))];
    let nothing = bench.ops(delete()).await?;
    ensure!(nothing.pending.is_empty(), "pending without a pair: {:?}", nothing.pending);
    ensure_eq!(bench.row(shard).await?.seq, Seq::ZERO, "the shard's seq");
    let added = leave(bench, put_pair(pair, 5, apart(LIKED_BY))).await?;
    effect(bench, &added).await?;
    let deleted = leave(bench, remove_pair(pair, apart(LIKED_BY))).await?;
    // The pair's other side still stands: the second deletion must not be acknowledged as if it did not.
    let before = bench.row(shard).await?;
    let second = bench.ops(delete()).await?;
    ensure_eq!(effects(&second), vec![Effect::Nothing], "the second deletion");
    ensure_eq!(second.pending, vec![deleted.clone()], "what the second deletion waits for");
    ensure_eq!(bench.row(shard).await?, before, "the shard row");
    ensure_eq!(effect(bench, &second.pending[0]).await?, Effect::Deleted, "brought over");
    bench.write(unit(vec![StoreOp::OutboxDone { edge: pair, origin: deleted.origin }])).await?;
    ensure!(bench.ops(delete()).await?.pending.is_empty(), "a deletion after all is done waits");
    Ok(())
}
