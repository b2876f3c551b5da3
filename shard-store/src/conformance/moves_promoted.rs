//! Moves while a primary of either side is replaced (R24, R25, H19, H30). A suite of its own, because it needs host groups of
//! two servers.

use std::pin::Pin;

use async_trait::async_trait;
use tao_schema::ids::{Epoch, Position, ShardId};
use tao_schema::rows::ShardState;

use super::bench::*;
use super::moves::{MOVE, OTHER, SMALL};
use super::moves_bench::*;
use super::{Failure, Verdict};
use crate::log::TailErrorKind;
use crate::moves::{BeginReverse, Outcome, Role};
use crate::replication::EpochChange;

/// Which host group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one that has the shard.
    Source,
    /// The one that it goes to.
    Target,
}

/// Two host groups of two servers each, of which one follows the other. Their databases hold rows of the shards of former
/// cases.
#[async_trait]
pub trait Promotions: Send + Sync {
    /// The primary of a group, or its replica.
    async fn end(&self, side: Side, primary: bool) -> Result<End, Failure>;

    /// Lets the replica have what the primary has.
    async fn level(&self, side: Side) -> Verdict;

    /// The replica becomes the primary (R24): with everything, or with what it has, and then the group has no other server.
    /// `owned`: what the topology has there.
    async fn promote(&self, side: Side, owned: &[EpochChange], everything: bool) -> Verdict;

    /// The replica gets nothing more.
    async fn cut_off(&self, side: Side) -> Verdict;
}

type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// A case.
struct Case {
    name: &'static str,
    run: for<'a> fn(&'a mut MoveBench, &'a dyn Promotions) -> Running<'a>,
}

macro_rules! cases {
    ($($name:ident)+) => {
        const CASES: &[Case] = &[
            $(Case { name: stringify!($name), run: |bench, groups| Box::pin($name(bench, groups)) },)+
        ];
    };
}

cases! {
    r24_a_source_that_is_promoted_during_the_copy_is_followed
    h30_a_source_that_is_promoted_after_its_fence_stays_fenced
    r24_a_target_is_promoted_before_its_commit_and_after
    // The last: it leaves the source without a replica.
    h19_what_a_source_lost_after_it_was_copied_is_noticed
}

/// Runs every case and panics with those that failed.
///
/// # Panics
/// If a case failed.
pub async fn assert_promoted_moves(groups: &dyn Promotions) {
    let mut failed = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let shard = ShardId(index as u16 + 0x300);
        let verdict = async {
            let (source, target) =
                (groups.end(Side::Source, true).await?, groups.end(Side::Target, true).await?);
            source.store.create_shards(&[shard], EPOCH).await?;
            (case.run)(&mut MoveBench { source, target, shard }, groups).await
        };
        if let Err(failure) = verdict.await {
            failed.push(format!("{}: {failure}", case.name));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), CASES.len(), failed.join("\n"));
}

/// As a topology has the shard in `epoch`.
fn owned(shard: ShardId, epoch: Epoch) -> [EpochChange; 1] {
    [EpochChange { shard, old: epoch, new: next(epoch) }]
}

fn next(epoch: Epoch) -> Epoch {
    Epoch(epoch.0 + 1)
}

async fn r24_a_source_that_is_promoted_during_the_copy_is_followed(
    bench: &mut MoveBench,
    groups: &dyn Promotions,
) -> Verdict {
    let shard = bench.shard;
    let mut writer = Writer::new(shard, EPOCH);
    writer.write(&bench.source, 60).await?;
    bench.begin(MOVE).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, shard, MOVE, SMALL).await?;
    for _ in 0..8 {
        let import = mover.next_import().await?.ok_or("nothing to import")?;
        bench.target.mover.import(import).await?.accepted()?;
    }
    drop(mover);
    groups.promote(Side::Source, &owned(shard, EPOCH), true).await?;
    bench.source = groups.end(Side::Source, true).await?;
    writer.epoch = next(EPOCH);
    writer.write(&bench.source, 30).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, shard, MOVE, SMALL).await?;
    mover.catch_up(false).await?;
    let fence = bench.fence(&bench.source, MOVE, writer.epoch).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.source, &bench.target, shard).await?;
    let committed = bench.commit(&bench.target, MOVE, fence).await?;
    ensure_eq!(committed.at().epoch, next(writer.epoch), "the epoch after the fence's");
    let epochs: Vec<_> = bench.epochs(&bench.target).await?.into_iter().map(|(epoch, _)| epoch).collect();
    ensure_eq!(epochs, vec![Epoch(1), Epoch(2), Epoch(3)], "the epochs of the shard");
    Ok(())
}

async fn h30_a_source_that_is_promoted_after_its_fence_stays_fenced(
    bench: &mut MoveBench,
    groups: &dyn Promotions,
) -> Verdict {
    let shard = bench.shard;
    Writer::new(shard, EPOCH).write(&bench.source, 40).await?;
    bench.begin(MOVE).await?;
    let fence = bench.fence(&bench.source, MOVE, EPOCH).await?;
    // Whoever waits for the fence on a replica asks it: it is read-only, and answers.
    groups.level(Side::Source).await?;
    let replica = groups.end(Side::Source, false).await?.mover.shard_moves(shard).await?;
    ensure!(replica.has_seen(MOVE, Role::Source, Outcome::Running), "the replica knows {replica:?}");
    ensure!(!replica.has_seen(MOVE, Role::Source, Outcome::Aborted), "the replica knows {replica:?}");
    let before = bench.row(&bench.source).await?;
    groups.promote(Side::Source, &owned(shard, EPOCH), true).await?;
    bench.source = groups.end(Side::Source, true).await?;
    ensure_eq!(bench.row(&bench.source).await?, before, "the row, which the move has");

    let mut mover = Mover::open(&bench.source, &bench.target, shard, MOVE, SMALL).await?;
    mover.catch_up(false).await?;
    mover.drain(fence.at).await?;
    // Rolled back, it opens as ever; and a second try goes through.
    let at = bench.rolled_back(MOVE).await?;
    ensure_eq!(at, Position { shard, epoch: Epoch(3), seq: fence.at.seq.next() }, "opened again");
    bench.go_on(MOVE, OTHER).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, shard, OTHER, SMALL).await?;
    let fence = bench.fence(&bench.source, OTHER, at.epoch).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.source, &bench.target, shard).await?;
    bench.commit(&bench.target, OTHER, fence).await?;
    Ok(())
}

async fn r24_a_target_is_promoted_before_its_commit_and_after(
    bench: &mut MoveBench,
    groups: &dyn Promotions,
) -> Verdict {
    let shard = bench.shard;
    let mut writer = Writer::new(shard, EPOCH);
    writer.write(&bench.source, 40).await?;
    bench.begin(MOVE).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, shard, MOVE, SMALL).await?;
    mover.catch_up(false).await?;
    let before = (bench.row(&bench.target).await?, bench.record(&bench.target, MOVE).await?);
    // The topology has nothing of this there.
    groups.promote(Side::Target, &[], true).await?;
    bench.target = groups.end(Side::Target, true).await?;
    let after = (bench.row(&bench.target).await?, bench.record(&bench.target, MOVE).await?);
    ensure_eq!(after, before, "row and record of the import");

    let mut mover = Mover::open(&bench.source, &bench.target, shard, MOVE, SMALL).await?;
    writer.write(&bench.source, 10).await?;
    let fence = bench.fence(&bench.source, MOVE, EPOCH).await?;
    mover.drain(fence.at).await?;
    let committed = bench.commit(&bench.target, MOVE, fence).await?;
    // Nobody has told the topology: it serves all the same, in an epoch above the one that the commit opened.
    groups.promote(Side::Target, &[], true).await?;
    bench.target = groups.end(Side::Target, true).await?;
    let row = bench.row(&bench.target).await?;
    let opened = next(committed.at().epoch);
    ensure_eq!((row.state, row.epoch), (ShardState::Serving, opened), "the row");
    writer.epoch = opened;
    writer.write(&bench.target, 20).await?;
    // The way back follows the epoch, too.
    let reverse = BeginReverse { committed, move_id: OTHER, source: "b".to_owned() };
    bench.source.mover.begin_reverse(reverse).await?.accepted()?;
    let mut mover = Mover::open(&bench.target, &bench.source, shard, OTHER, SMALL).await?;
    let fence = bench.fence(&bench.target, OTHER, opened).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.target, &bench.source, shard).await?;
    let back = bench.commit(&bench.source, OTHER, fence).await?;
    ensure_eq!(back.at().epoch, next(opened), "the epoch that it came back in");
    Ok(())
}

async fn h19_what_a_source_lost_after_it_was_copied_is_noticed(
    bench: &mut MoveBench,
    groups: &dyn Promotions,
) -> Verdict {
    let shard = bench.shard;
    let mut writer = Writer::new(shard, EPOCH);
    writer.write(&bench.source, 40).await?;
    groups.level(Side::Source).await?;
    groups.cut_off(Side::Source).await?;
    writer.write(&bench.source, 10).await?;
    bench.begin(MOVE).await?;
    Mover::open(&bench.source, &bench.target, shard, MOVE, SMALL).await?.catch_up(false).await?;
    groups.promote(Side::Source, &owned(shard, EPOCH), false).await?;
    bench.source = groups.end(Side::Source, true).await?;
    writer.epoch = next(EPOCH);
    // As many as were lost, and more: the seqs look as if nothing had been.
    writer.write(&bench.source, 20).await?;
    let position = bench.record(&bench.target, MOVE).await?.progress.position;
    match bench.source.mover.raw_tail(shard, position).await {
        Ok(_) => return Err("the log goes on behind what was lost".into()),
        Err(error) => ensure_eq!(error.kind, TailErrorKind::PositionLost, "{error}"),
    }
    // All is copied anew.
    bench.rolled_back(MOVE).await?;
    while bench.target.mover.delete_range(shard, 50).await?.accepted()? > 0 {}
    bench.begin(OTHER).await?;
    let mut mover = Mover::open(&bench.source, &bench.target, shard, OTHER, SMALL).await?;
    mover.catch_up(false).await?;
    let fence = bench.fence(&bench.source, OTHER, writer.epoch).await?;
    mover.drain(fence.at).await?;
    same_rows(&bench.source, &bench.target, shard).await
}
