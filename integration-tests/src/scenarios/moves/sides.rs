//! The two sides of a move that nobody writes to, compared row by row, past the mover.

use anyhow::{Context as _, Result, ensure};
use tao_schema::ids::{HostGroupId, ShardId};
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

async fn open(stage: &Stage, group: HostGroupId) -> Result<MySqlStore> {
    let index = stage.primary_index(group)?;
    let dsn = stage.cluster.servers.dsn(index)?;
    MySqlStore::open(&dsn, Options::default()).await.context("open a primary")
}
