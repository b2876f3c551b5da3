//! Moves of a shard: the decision, what it leaves, and another try.

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::rows::ShardState;

use super::Verdict;
use super::bench::*;
use super::moves::{MOVE, NEXT, OTHER, SMALL};
use super::moves_bench::*;
use crate::log::LogPosition;
use crate::moves::{Answer, BeginImport, CommitImport, Copied, FenceShard, MoveId, Outcome, Refusal, Role};

pub(super) async fn the_decision_is_made_once(bench: &MoveBench) -> Verdict {
    Writer::new(bench.shard, EPOCH).write(&bench.source, 10).await?;
    bench.begin(MOVE).await?;
    let fence = bench.fence(&bench.source, MOVE, EPOCH).await?;
    let again = FenceShard { shard: bench.shard, move_id: MOVE, epoch: EPOCH, target: "b".to_owned() };
    ensure_eq!(bench.source.mover.fence(again).await?, Answer::AlreadyDone(fence), "fenced again");
    let commit = CommitImport { fence: fence.at, ..bench.commit_of(MOVE).await? };
    let early = bench.target.mover.commit_import(commit.clone()).await?;
    ensure!(matches!(early, Answer::Refused(Refusal::NotDrained(_))), "before the drain: {early:?}");
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
    // A fenced shard is copied as any other.
    mover.catch_up(true).await?;
    mover.drain(fence.at).await?;
    let first = bench.target.mover.commit_import(commit.clone()).await?;
    let Answer::Done(committed) = first else { return Err(format!("the commit: {first:?}").into()) };
    // The answer was lost: the call is repeated, perhaps with what another worker knows.
    let later = CommitImport { executed: LogPosition::none(), ..commit };
    let again = bench.target.mover.commit_import(later).await?;
    ensure_eq!(again, Answer::AlreadyDone(committed), "committed again");
    let abort = bench.target.mover.abort_import(bench.abort_of(MOVE)).await?;
    ensure_eq!(abort, Answer::Refused(Refusal::Committed), "aborted after the commit");
    Ok(())
}

pub(super) async fn a_move_that_was_aborted_leaves_the_source_as_it_was(bench: &MoveBench) -> Verdict {
    let mut writer = Writer::new(bench.shard, EPOCH);
    writer.write(&bench.source, 20).await?;
    bench.begin(MOVE).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
    mover.catch_up(false).await?;
    let fence = bench.fence(&bench.source, MOVE, EPOCH).await?;
    mover.drain(fence.at).await?;
    let aborted = bench.target.mover.abort_import(bench.abort_of(MOVE)).await?;
    let Answer::Done(proof) = aborted else { return Err(format!("the abort: {aborted:?}").into()) };
    let again = bench.target.mover.abort_import(bench.abort_of(MOVE)).await?;
    ensure_eq!(again, Answer::AlreadyDone(proof.clone()), "aborted again");
    let commit = CommitImport { fence: fence.at, ..bench.commit_of(MOVE).await? };
    let commit = bench.target.mover.commit_import(commit).await?;
    ensure_eq!(commit, Answer::Refused(Refusal::Aborted), "committed after the abort");
    // An epoch of its own, past the one that the commit would have opened.
    let at = Position { shard: bench.shard, epoch: Epoch(3), seq: fence.at.seq.next() };
    ensure_eq!(bench.source.mover.unfence(&proof).await?, Answer::Done(at), "the fence taken away");
    ensure_eq!(bench.source.mover.unfence(&proof).await?, Answer::AlreadyDone(at), "and again");
    let row = bench.row(&bench.source).await?;
    ensure_eq!((row.state, row.epoch, row.seq), (ShardState::Serving, at.epoch, at.seq), "the source's row");
    writer.epoch = at.epoch;
    writer.write(&bench.source, 5).await?;
    // Another move finds rows in its way until they are deleted.
    let begin = BeginImport { move_id: OTHER, ..bench.begin_of(MOVE).await? };
    let early = bench.target.mover.begin_import(begin.clone()).await?;
    ensure_eq!(early, Answer::Refused(Refusal::RowsExist), "begun on top of rows");
    while bench.target.mover.delete_range(bench.shard, 5).await?.accepted()? > 0 {}
    ensure_eq!(bench.target.mover.begin_import(begin).await?, Answer::Done(()), "begun on nothing");
    let busy = bench.target.mover.delete_range(bench.shard, 5).await?;
    ensure!(matches!(busy, Answer::Refused(Refusal::State(_))), "deleted while importing: {busy:?}");
    Ok(())
}

pub(super) async fn a_worker_that_was_replaced_can_not_begin_or_fence(bench: &MoveBench) -> Verdict {
    let abort = bench.abort_of(MOVE);
    let proof = bench.target.mover.abort_import(abort).await?.accepted()?;
    let at = Position { shard: bench.shard, epoch: EPOCH, seq: Seq::ZERO };
    ensure_eq!(bench.source.mover.unfence(&proof).await?, Answer::Done(at), "never fenced");
    let begin = bench.begin_of(MOVE).await?;
    let late = bench.target.mover.begin_import(begin).await?;
    ensure_eq!(late, Answer::Refused(Refusal::Aborted), "begun after the abort");
    let fence = FenceShard { shard: bench.shard, move_id: MOVE, epoch: EPOCH, target: "b".to_owned() };
    let late = bench.source.mover.fence(fence).await?;
    ensure_eq!(late, Answer::Refused(Refusal::Aborted), "fenced after the rollback");
    let row = bench.row(&bench.source).await?;
    ensure_eq!((row.state, row.seq), (ShardState::Serving, Seq::ZERO), "the source's row");
    let wrong = FenceShard { shard: bench.shard, move_id: OTHER, epoch: NEXT, target: "b".to_owned() };
    let wrong = bench.source.mover.fence(wrong).await?;
    let serving = Refusal::State(Some((EPOCH, ShardState::Serving)));
    ensure_eq!(wrong, Answer::Refused(serving), "fenced in another epoch");
    Ok(())
}

pub(super) async fn h29_ids_of_moves_only_grow(bench: &MoveBench) -> Verdict {
    let later = bench.abort_of(OTHER);
    let proof = bench.target.mover.abort_import(later).await?.accepted()?;
    ensure!(matches!(bench.source.mover.unfence(&proof).await?, Answer::Done(_)), "never fenced");
    let refused = Refusal::OtherMove(OTHER);
    let begun = bench.target.mover.begin_import(bench.begin_of(MOVE).await?).await?;
    ensure_eq!(begun, Answer::Refused(refused.clone()), "begun after a later move");
    let fence = FenceShard { shard: bench.shard, move_id: MOVE, epoch: EPOCH, target: "b".to_owned() };
    let fenced = bench.source.mover.fence(fence).await?;
    ensure_eq!(fenced, Answer::Refused(refused), "fenced after a later move");
    ensure_eq!(bench.row(&bench.source).await?.state, ShardState::Serving, "the source");
    for (end, role) in [(&bench.target, Role::Target), (&bench.source, Role::Source)] {
        let known = end.mover.shard_moves(bench.shard).await?;
        ensure!(known.has_seen(OTHER, role, Outcome::Aborted), "no mark: {known:?}");
        ensure!(!known.has_seen(OTHER, role, Outcome::Running), "it began: {known:?}");
    }
    Ok(())
}

pub(super) async fn a_cutover_that_was_rolled_back_is_tried_again_without_a_new_copy(
    bench: &MoveBench,
) -> Verdict {
    let last = MoveId(13);
    let mut writer = Writer::new(bench.shard, EPOCH);
    writer.write(&bench.source, 60).await?;
    bench.begin(MOVE).await?;
    // The first ends within the copy, before its fence.
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
    for _ in 0..5 {
        let import = mover.next_import().await?.ok_or("nothing to import")?;
        bench.target.mover.import(import).await?.accepted()?;
    }
    let at = bench.rolled_back(MOVE).await?;
    ensure_eq!(at.epoch, EPOCH, "the source's epoch, never fenced");
    writer.write(&bench.source, 30).await?;
    // The second within its cutover, with a part of what the fence ended not applied.
    bench.go_on(MOVE, OTHER).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, OTHER, SMALL).await?;
    mover.catch_up(false).await?;
    writer.write(&bench.source, 10).await?;
    let fence = bench.fence(&bench.source, OTHER, EPOCH).await?;
    let at = bench.rolled_back(OTHER).await?;
    let opened = Position { shard: bench.shard, epoch: Epoch(EPOCH.0 + 2), seq: fence.at.seq.next() };
    ensure_eq!(at, opened, "the source's new epoch");
    writer.epoch = at.epoch;
    writer.write(&bench.source, 30).await?;
    let stale = BeginImport { continues: Some(MOVE), move_id: last, ..bench.begin_of(MOVE).await? };
    let stale = bench.target.mover.begin_import(stale).await?;
    ensure_eq!(stale, Answer::Refused(Refusal::OtherMove(OTHER)), "on with the first one's progress");

    bench.go_on(OTHER, last).await?;
    ensure_eq!(bench.record(&bench.target, last).await?.progress.copied, Copied::ALL, "copied again");
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, last, SMALL).await?;
    let (written, copied) = tokio::join!(writer.write(&bench.source, 20), mover.catch_up(false));
    written?;
    copied?;
    let fence = bench.fence(&bench.source, last, at.epoch).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.source, &bench.target, bench.shard).await?;
    let committed = bench.commit(&bench.target, last, fence).await?;
    let first = Position { shard: bench.shard, epoch: Epoch(at.epoch.0 + 1), seq: fence.at.seq.next() };
    ensure_eq!(committed.at(), first, "the epoch after the last fence's");
    writer.epoch = first.epoch;
    writer.write(&bench.target, 3).await?;
    let starts = bench.epochs(&bench.target).await?;
    let expected = vec![(EPOCH, Seq(1)), (at.epoch, at.seq), (first.epoch, first.seq)];
    ensure_eq!(starts, expected, "the epochs of the shard");
    Ok(())
}
