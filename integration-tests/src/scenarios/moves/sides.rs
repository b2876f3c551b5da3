//! What the servers hold of a shard, past the mover: who serves it (I7), what is left behind, and both sides compared row by row.

use anyhow::{Context as _, Result, ensure};
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::rows::ShardState;
use tao_shard_store::moves::{Copied, PageLimit, ShardMover, compare};
use tao_shard_store::mysql::{MySqlStore, Options};

use crate::history::{Invariant, Judgement, Violation};
use crate::scenarios::stage::Stage;

/// Rows of a page.
const ROWS: usize = 2_000;
/// Differences that are named.
const NAMED: usize = 5;

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub(super) struct Sides {
    pub(super) rows: u64,
    pub(super) different: u64,
    pub(super) named: Vec<String>,
}

/// Compares all tables of a shard on the primaries of two host groups: who serves, and who follows and has followed to the end.
///
/// # Errors
/// One of them does not answer, or somebody writes.
pub(super) async fn sides(
    stage: &Stage,
    shard: ShardId,
    serves: HostGroupId,
    follows: HostGroupId,
) -> Result<Sides> {
    let (serves, follows) = (open(stage, serves).await?, open(stage, follows).await?);
    let (mut found, mut from, mut place) = (Sides::default(), Copied::NOTHING, None);
    while from != Copied::ALL {
        let here = serves.raw_page(shard, from, PageLimit { rows: ROWS, bytes: usize::MAX }).await?;
        let at = *place.get_or_insert_with(|| here.at());
        ensure!(at == here.at(), "somebody wrote to shard {shard}: it was at {at}, then at {}", here.at());
        let limit = PageLimit { rows: here.rows.len() + 1, bytes: usize::MAX };
        let there = follows.raw_page(shard, from, limit).await?;
        let comparison = compare(&here, &there);
        found.rows += comparison.rows;
        found.different += comparison.differences.len() as u64;
        let room = NAMED.saturating_sub(found.named.len());
        found.named.extend(comparison.differences.iter().take(room).map(|one| format!("{one:?}")));
        from = here.to;
    }
    Ok(found)
}

/// Whether one host group alone would take writes of a shard, and the topology names it with its epoch.
///
/// # Errors
/// A primary does not answer.
pub(crate) async fn one_owner(stage: &mut Stage, shard: ShardId) -> Result<Judgement> {
    let named = stage.topology().await?.assignment(shard).context("a shard of the cluster")?;
    let groups: Vec<HostGroupId> =
        stage.cluster.topology().host_groups.iter().map(|group| group.id).collect();
    let mut serve = Vec::new();
    for group in groups {
        let row = open(stage, group).await?.shard_moves(shard).await?.row;
        serve.extend(row.filter(|row| row.state == ShardState::Serving).map(|row| (group, row.epoch)));
    }
    Ok(seen(serve == [(named.host_group, named.epoch)], 1, || {
        let (group, epoch) = (named.host_group, named.epoch);
        format!("shard {shard} is served by {serve:?}; the topology says host group {group}, epoch {epoch}")
    }))
}

/// Whether the primary of a host group holds no row of a shard.
///
/// # Errors
/// It does not answer.
pub(crate) async fn nothing_left(stage: &Stage, shard: ShardId, group: HostGroupId) -> Result<Judgement> {
    let left = open(stage, group).await?.rows_of_range(shard).await?.total();
    Ok(seen(left == 0, 1, || format!("host group {group} still has {left} rows of shard {shard}")))
}

/// What a comparison of both sides means.
pub(crate) fn compared(shard: ShardId, rows: u64, different: u64, named: &[String]) -> Judgement {
    seen(different == 0, rows, || {
        format!("shard {shard}: {different} of {rows} rows differ: {}", named.join(", "))
    })
}

/// So many facts of I7.
pub(crate) fn seen(right: bool, facts: u64, message: impl FnOnce() -> String) -> Judgement {
    let mut judgement = Judgement::default();
    judgement.count(Invariant::I7, facts);
    if !right {
        judgement.blame(Violation { invariant: Invariant::I7, message: message(), slice: Vec::new() });
    }
    judgement
}

async fn open(stage: &Stage, group: HostGroupId) -> Result<MySqlStore> {
    let index = stage.primary_index(group)?;
    let dsn = stage.cluster.servers.dsn(index)?;
    MySqlStore::open(&dsn, Options::default()).await.context("open a primary")
}
