//! What the servers hold of a shard, past the mover: who serves it (I7), what is left behind, and both sides compared row by row.

use anyhow::{Context as _, Result, ensure};
use tao_schema::ids::{Epoch, HostGroupId, ShardId};
use tao_schema::rows::ShardState;
use tao_shard_store::moves::{Copied, PageLimit, ShardMover, compare};
use tao_shard_store::mysql::{MySqlStore, Options};

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

/// The host groups whose primaries would take writes of a shard, with the epoch of each.
///
/// # Errors
/// One of them does not answer.
pub(super) async fn owners(stage: &Stage, shard: ShardId) -> Result<Vec<(HostGroupId, Epoch)>> {
    let groups: Vec<HostGroupId> =
        stage.cluster.topology().host_groups.iter().map(|group| group.id).collect();
    let mut owners = Vec::new();
    for group in groups {
        let row = open(stage, group).await?.shard_moves(shard).await?.row;
        owners.extend(row.filter(|row| row.state == ShardState::Serving).map(|row| (group, row.epoch)));
    }
    Ok(owners)
}

/// How many rows the primary of a host group holds of a shard.
///
/// # Errors
/// It does not answer.
pub(super) async fn left_behind(stage: &Stage, shard: ShardId, group: HostGroupId) -> Result<u64> {
    Ok(open(stage, group).await?.rows_of_range(shard).await?.total())
}

async fn open(stage: &Stage, group: HostGroupId) -> Result<MySqlStore> {
    let index = stage.primary_index(group)?;
    let dsn = stage.cluster.servers.dsn(index)?;
    MySqlStore::open(&dsn, Options::default()).await.context("open a primary")
}
