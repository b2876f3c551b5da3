//! Moves of a shard between two servers (R25, H29-H32). A suite of its own, because it needs two databases.

use std::pin::Pin;

use async_trait::async_trait;
use tao_schema::ids::{Epoch, ObjectId, Position, ShardId};
use tao_schema::rows::ShardState;

use super::bench::*;
use super::moves_bench::*;
use super::{Failure, Verdict, moves as cases, moves_cutover};
use crate::log::{TailEvent, TailStart};
use crate::moves::{
    Answer, BeginImport, BeginReverse, CommitImport, Copied, Difference, MoveId, Outcome, PageLimit, Refusal,
    Role, compare,
};
use crate::write::{Batch, UnitResult, WriteUnit};

/// Opens two databases for a case.
#[async_trait]
pub trait MoveFactory: Send + Sync {
    /// Two primaries without a row of `shard`. They may be two databases of one server.
    async fn open(&self, shard: ShardId) -> Result<(End, End), Failure>;
}

/// A case.
struct Case {
    name: &'static str,
    run: for<'a> fn(&'a MoveBench) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>,
}

macro_rules! cases {
    ($($module:ident: $($name:ident)+;)+) => {
        const CASES: &[Case] = &[
            $($(Case { name: stringify!($name), run: |bench| Box::pin($module::$name(bench)) },)+)+
        ];
    };
}

cases! {
    cases:
        a_shard_moves_while_it_is_written
        a_copy_goes_on_wherever_it_ended
        h31_a_chunk_is_compared_exactly_under_writes
        one_move_has_the_shard
        an_import_that_comes_too_late_is_refused
        h32_the_log_of_the_target_tells_of_the_opening_only
        a_move_is_reversed_and_the_rest_deleted;
    moves_cutover:
        the_decision_is_made_once
        a_move_that_was_aborted_leaves_the_source_as_it_was
        a_worker_that_was_replaced_can_not_begin_or_fence
        h29_ids_of_moves_only_grow
        a_cutover_that_was_rolled_back_is_tried_again_without_a_new_copy;
}

/// Runs every case and panics with those that failed.
///
/// # Panics
/// If a case failed.
pub async fn assert_moves(factory: &dyn MoveFactory) {
    let mut failed = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        // A high one every other time: its ids order as unsigned numbers do.
        let shard = ShardId(index as u16 + if index % 2 == 0 { 0x100 } else { 0x9000 });
        let verdict = async {
            let (source, target) = factory.open(shard).await?;
            source.store.create_shards(&[shard], EPOCH).await?;
            (case.run)(&MoveBench { source, target, shard }).await
        };
        if let Err(failure) = verdict.await {
            failed.push(format!("{}: {failure}", case.name));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), CASES.len(), failed.join("\n"));
}

pub(super) const SMALL: PageLimit = PageLimit { rows: 7, bytes: 2_000 };
pub(super) const MOVE: MoveId = MoveId(11);
pub(super) const OTHER: MoveId = MoveId(12);
pub(super) const NEXT: Epoch = Epoch(2);

async fn a_shard_moves_while_it_is_written(bench: &MoveBench) -> Verdict {
    let mut writer = Writer::new(bench.shard, EPOCH);
    writer.write(&bench.source, 60).await?;
    bench.begin(MOVE).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
    let (written, copied) = tokio::join!(writer.write(&bench.source, 120), mover.catch_up(false));
    written?;
    copied?;
    let fence = bench.fence(&bench.source, MOVE, EPOCH).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.source, &bench.target, bench.shard).await?;
    let committed = bench.commit(&bench.target, MOVE, fence).await?;
    let first = Position { shard: bench.shard, epoch: NEXT, seq: fence.at.seq.next() };
    ensure_eq!(committed.at(), first, "the first position of the new epoch");
    let row = bench.row(&bench.target).await?;
    let found = (row.state, row.epoch, row.seq, row.next_id);
    ensure_eq!(found, (ShardState::Serving, NEXT, first.seq, fence.next_id), "the target's row");
    // Requests moved too: a retry gets its first outcome (H5), and ids go on (H6).
    let retry = writer.retry(NEXT);
    let done = done_alone(&bench.target.store, retry).await?;
    ensure!(done.replayed, "a retry after the move had a second effect");
    let unit = WriteUnit { epoch: NEXT, ..unit_on(bench.shard, vec![allocate()]) };
    let done = done_alone(&bench.target.store, unit).await?;
    let id = done.outcomes[0].id.ok_or("no id was allocated")?;
    ensure_eq!(id.local(), fence.next_id, "the first id that the target gives away");
    ensure_eq!(done.positions[0].seq, first.seq.next(), "the target's first write");
    // The source takes none.
    let refused = bench.source.store.commit(Batch { units: vec![writer.plain(1)] }).await?;
    let fenced = UnitResult::NotOwned { found: Some((EPOCH, ShardState::Fenced)) };
    ensure_eq!(refused.units[0], fenced, "a write on the source");
    Ok(())
}

async fn a_copy_goes_on_wherever_it_ended(bench: &MoveBench) -> Verdict {
    let mut writer = Writer::new(bench.shard, EPOCH);
    writer.write(&bench.source, 40).await?;
    bench.begin(MOVE).await?;
    let mut imports = 0;
    loop {
        // A new worker for each import, which repeats what the last one did.
        let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
        let Some(import) = mover.next_import().await? else { break };
        writer.write(&bench.source, if imports < 20 { 2 } else { 0 }).await?;
        let mover_of = &bench.target.mover;
        ensure_eq!(mover_of.import(import.clone()).await?, Answer::Done(()), "import {imports}");
        ensure_eq!(mover_of.import(import).await?, Answer::AlreadyDone(()), "import {imports}, repeated");
        imports += 1;
        ensure!(imports < 500, "the copy does not end");
    }
    let fence = bench.fence(&bench.source, MOVE, EPOCH).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.source, &bench.target, bench.shard).await
}

async fn h31_a_chunk_is_compared_exactly_under_writes(bench: &MoveBench) -> Verdict {
    let mut writer = Writer::new(bench.shard, EPOCH);
    writer.write(&bench.source, 40).await?;
    bench.begin(MOVE).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL).await?;
    mover.catch_up(false).await?;
    let (mut from, mut rows) = (Copied::NOTHING, 0);
    while from != Copied::ALL {
        writer.write(&bench.source, 1).await?;
        let source = bench.source.mover.raw_page(bench.shard, from, SMALL).await?;
        // Not applied yet: it must not count.
        writer.write(&bench.source, 1).await?;
        mover.drain(source.at()).await?;
        let limit = PageLimit { rows: source.rows.len() + 1, bytes: usize::MAX };
        let target = bench.target.mover.raw_page(bench.shard, from, limit).await?;
        let comparison = compare(&source, &target);
        ensure_eq!(comparison.differences, Vec::<Difference>::new(), "rows behind {from:?}");
        rows += comparison.rows;
        from = source.to;
    }
    ensure!(rows > 40, "only {rows} rows were compared");
    Ok(())
}

async fn one_move_has_the_shard(bench: &MoveBench) -> Verdict {
    let mover = &bench.target.mover;
    bench.begin(MOVE).await?;
    let begin = bench.begin_of(MOVE).await?;
    ensure_eq!(mover.begin_import(begin.clone()).await?, Answer::AlreadyDone(()), "begun again");
    let second = BeginImport { move_id: OTHER, ..begin.clone() };
    ensure_eq!(mover.begin_import(second).await?, Answer::Refused(Refusal::OtherMove(MOVE)), "a second");
    // To where it is served already.
    let home = bench.source.mover.begin_import(BeginImport { move_id: OTHER, ..begin }).await?;
    let serving = Refusal::State(Some((EPOCH, ShardState::Serving)));
    ensure_eq!(home, Answer::Refused(serving), "a move to the source");
    let unknown = CommitImport { move_id: OTHER, ..bench.commit_of(MOVE).await? };
    let answer = mover.commit_import(unknown).await?;
    ensure_eq!(answer, Answer::Refused(Refusal::UnknownMove), "the commit of another move");
    let refused = bench
        .target
        .store
        .commit(Batch { units: vec![unit(vec![add(ObjectId::new(bench.shard, 1), text("x"))])] });
    let found = Some((EPOCH, ShardState::Importing));
    ensure_eq!(refused.await?.units[0], UnitResult::NotOwned { found }, "a write on the target");
    Ok(())
}

async fn an_import_that_comes_too_late_is_refused(bench: &MoveBench) -> Verdict {
    Writer::new(bench.shard, EPOCH).write(&bench.source, 20).await?;
    bench.begin(MOVE).await?;
    let open = || Mover::open(&bench.source, &bench.target, bench.shard, MOVE, SMALL);
    let late = open().await?.next_import().await?.ok_or("nothing to import")?;
    open().await?.catch_up(false).await?;
    let record = bench.record(&bench.target, MOVE).await?;
    ensure_eq!((record.role, record.outcome), (Role::Target, Outcome::Running), "the record");
    let answer = bench.target.mover.import(late.clone()).await?;
    ensure_eq!(answer, Answer::Refused(Refusal::Step(record.progress.step)), "an import of a former worker");
    let mut wrong = late;
    wrong.move_id = OTHER;
    let answer = bench.target.mover.import(wrong).await?;
    ensure_eq!(answer, Answer::Refused(Refusal::UnknownMove), "an import of another move");
    same_rows(&bench.source, &bench.target, bench.shard).await
}

async fn h32_the_log_of_the_target_tells_of_the_opening_only(bench: &MoveBench) -> Verdict {
    Writer::new(bench.shard, EPOCH).write(&bench.source, 30).await?;
    let before = bench.target.log.executed().await?;
    let mut early = bench.target.log.open_tail(TailStart::After(before.clone())).await?;
    let fence = bench.moved(MOVE, SMALL).await?;
    // One follows from before the move on; the other starts now, behind its end, and 60 s back (R17).
    let mut late = bench.target.log.open_tail(TailStart::After(before)).await?;
    for (tail, which) in [(&mut early, "early"), (&mut late, "late")] {
        let told = up_to_now(&bench.target, tail.as_mut()).await?;
        let (mut epochs, mut changes) = (Vec::new(), Vec::new());
        for event in &told {
            match event {
                TailEvent::Epoch { shard, start } if *shard == bench.shard => epochs.push(*start),
                TailEvent::Change { change, state } if change.shard == bench.shard => {
                    changes.push((change.position(), *state, change.items.len()));
                }
                _ => {}
            }
        }
        let at = Position { shard: bench.shard, epoch: NEXT, seq: fence.at.seq.next() };
        ensure_eq!(changes, vec![(at, ShardState::Serving, 0)], "changes, {which} tail");
        let starts: Vec<_> = epochs.iter().map(|start| (start.epoch, start.first_seq)).collect();
        ensure_eq!(starts, vec![(NEXT, at.seq)], "epochs, {which} tail");
    }
    Ok(())
}

async fn a_move_is_reversed_and_the_rest_deleted(bench: &MoveBench) -> Verdict {
    let mut writer = Writer::new(bench.shard, EPOCH);
    writer.write(&bench.source, 30).await?;
    let fence = bench.moved(MOVE, SMALL).await?;
    let committed = bench.commit(&bench.target, MOVE, fence).await?;
    let (move_id, epoch) = (OTHER, Epoch(3));
    let reverse = BeginReverse { committed, move_id, source: "b".to_owned() };
    ensure_eq!(bench.source.mover.begin_reverse(reverse.clone()).await?, Answer::Done(()), "turned round");
    ensure_eq!(bench.source.mover.begin_reverse(reverse).await?, Answer::AlreadyDone(()), "and again");
    writer.epoch = NEXT;
    let mut mover = Mover::open(&bench.target, &bench.source, bench.shard, OTHER, SMALL).await?;
    let (written, followed) = tokio::join!(writer.write(&bench.target, 40), mover.catch_up(false));
    written?;
    followed?;
    let fence = bench.fence(&bench.target, OTHER, NEXT).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.target, &bench.source, bench.shard).await?;
    let back = bench.commit(&bench.source, OTHER, fence).await?;
    writer.epoch = epoch;
    writer.write(&bench.source, 5).await?;
    let starts = bench.epochs(&bench.source).await?;
    ensure_eq!(starts.len(), 3, "epochs of the shard: {starts:?}");

    let target = &bench.target.mover;
    let gone = target.retire(&back, 5).await?.accepted()?;
    ensure_eq!(gone, 5, "rows that went with the state");
    ensure_eq!(bench.row(&bench.target).await?.state, ShardState::Gone, "the state they went with");
    ensure_eq!(target.retire(&back, 5).await?, Answer::AlreadyDone(0), "retired again");
    while target.delete_range(bench.shard, 50).await?.accepted()? > 0 {}
    ensure_eq!(target.rows_of_range(bench.shard).await?.total(), 0, "rows left");
    let stale = bench.source.mover.delete_range(bench.shard, 5).await?;
    ensure!(matches!(stale, Answer::Refused(Refusal::State(_))), "deleted while served: {stale:?}");
    // It may come again.
    let begin = BeginImport { move_id: MoveId(13), ..bench.begin_of(MOVE).await? };
    ensure_eq!(target.begin_import(begin).await?, Answer::Done(()), "a later move");
    Ok(())
}
