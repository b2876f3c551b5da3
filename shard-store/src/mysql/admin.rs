//! Shard rows and states, and the removal of what is kept only for a time.

use std::time::Duration;

use mysql_async::{Params, Value};
use tao_schema::ids::{EdgeKey, Epoch, Seq, ShardId};
use tao_schema::rows::ShardState;

use super::Inner;
use super::batch_read::chunks;
use super::batch_write::{Fill, ValueRows, put, put_request, request_row};
use super::columns::{Columns, JsonKeys, Unexpected};
use super::commit::finish;
use super::connection::Lease;
use super::error::Failure;
use super::scan::{edge_range, start};
use super::statements::{
    DELETE_EXPIRED_TOMBSTONES, DELETE_REQUESTS, EXPIRED_REQUESTS, LOCK_SHARD_WAIT, SET_STATE, SHARD_ROWS,
    SHARD_ROWS_OF, SHARDS_AND_CLOCK, STEPS, TOMBSTONES_PAGE,
};
use crate::apply::UnixMillis;
use crate::store::{ShardRow, StoreError, StoreErrorKind};

/// Rows that a purge removes, or looks at, in one statement.
const PURGE_ROWS: u64 = 500;
/// The longest time that a purge can keep rows: the clock of the server must not run out below it.
const LONGEST_KEPT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// See [`crate::ShardStore::shard_rows`].
pub(super) async fn shard_rows(inner: &Inner) -> Result<Vec<ShardRow>, StoreError> {
    let rows = inner.readers.query(&SHARD_ROWS, ()).await?;
    let rows = inner.readers.read(&SHARD_ROWS, rows, shard_row)?;
    inner.memory.set_population(rows.len());
    Ok(rows)
}

/// See [`crate::ShardStore::shard_rows_of`].
pub(super) async fn shard_rows_of(inner: &Inner, shards: &[ShardId]) -> Result<Vec<ShardRow>, StoreError> {
    let mut keys = JsonKeys::new();
    shards.iter().for_each(|shard| keys.push(&[shard.0.into()]));
    let rows = inner.readers.query(&SHARD_ROWS_OF, (keys.finish(),)).await?;
    Ok(inner.readers.read(&SHARD_ROWS_OF, rows, shard_row)?)
}

fn shard_row(row: &mut Columns) -> Result<ShardRow, Unexpected> {
    Ok(ShardRow { shard: row.shard()?, epoch: row.epoch()?, seq: row.seq()?, state: row.state()? })
}

/// See [`crate::ShardStore::create_shards`]. Idempotent, so an uncertain commit is an error like others.
pub(super) async fn create_shards(inner: &Inner, shards: &[ShardId], epoch: Epoch) -> Result<(), StoreError> {
    let mut lease = inner.writers.get().await?;
    match create_in(inner, &mut lease, shards, epoch).await {
        Ok(()) => lease.release(),
        Err(error) => {
            lease.roll_back().await;
            return Err(error);
        }
    }
    shard_rows(inner).await.map(|_| ())
}

async fn create_in(
    inner: &Inner,
    lease: &mut Lease,
    shards: &[ShardId],
    epoch: Epoch,
) -> Result<(), StoreError> {
    for chunk in shards.chunks(STEPS[STEPS.len() - 1]) {
        let mut rows = ValueRows::new(5, chunk.len());
        for shard in chunk {
            let state = ShardState::Serving.number();
            rows.push([shard.0.into(), epoch.0.into(), 0u64.into(), state.into(), 1u64.into()], 0);
        }
        put(inner, lease, &inner.templates.create_shards, rows, Fill::Padded).await?;
        // A row that was there already may be of another epoch: its history is its own.
        let (text, params) = inner.templates.shards_and_clock.of_shards(chunk);
        let found = lease.rows_of(SHARDS_AND_CLOCK.name, text, params).await?;
        let found = inner.writers.read(&SHARDS_AND_CLOCK, found, |row| Ok((row.shard()?, row.epoch()?)))?;
        let of_epoch: Vec<_> = found.into_iter().filter(|(_, found)| *found == epoch).collect();
        let mut rows = ValueRows::new(3, of_epoch.len());
        for (shard, epoch) in of_epoch {
            rows.push([shard.0.into(), epoch.0.into(), Seq::ZERO.next().0.into()], 0);
        }
        put(inner, lease, &inner.templates.create_history, rows, Fill::Padded).await?;
    }
    Ok(lease.commit().await?)
}

/// See [`crate::ShardStore::change_state`].
pub(super) async fn change_state(
    inner: &Inner,
    shard: ShardId,
    epoch: Epoch,
    from: ShardState,
    to: ShardState,
) -> Result<bool, StoreError> {
    let mut lease = inner.writers.get().await?;
    let nonce: u128 = rand::random();
    match set_state(inner, &mut lease, (shard, epoch), (from, to), nonce).await {
        Ok(Some(seq)) => {
            let sent = lease.commit().await;
            finish(inner, lease, sent, (shard, seq, nonce)).await.map(|()| true)
        }
        Ok(None) => {
            lease.roll_back().await;
            Ok(false)
        }
        Err(error) => {
            lease.roll_back().await;
            Err(error)
        }
    }
}

/// Changes the state if it is the expected one; answers the seq of the change.
async fn set_state(
    inner: &Inner,
    lease: &mut Lease,
    (shard, epoch): (ShardId, Epoch),
    (from, to): (ShardState, ShardState),
    nonce: u128,
) -> Result<Option<Seq>, StoreError> {
    let rows = lease
        .map(&LOCK_SHARD_WAIT, (shard.0,), |row| {
            row.skip(1)?;
            let (found, seq, state) = (row.epoch()?, row.seq()?, row.state()?);
            row.skip(1)?;
            Ok((found, seq, state, UnixMillis(row.u64()?)))
        })
        .await?;
    let Some((found, seq, state, now)) = rows.into_iter().next() else { return Ok(None) };
    if (found, state) != (epoch, from) {
        return Ok(None);
    }
    let next = seq.next();
    put_request(inner, lease, request_row((shard, next, epoch), nonce, now, Vec::new())).await?;
    let params = (to.number(), next.0, shard.0, epoch.0, seq.0, from.number());
    let changed = lease.run(&SET_STATE, params).await?;
    if changed != 1 {
        let message =
            format!("{}: {}: affected {changed} rows in place of 1", lease.server(), SET_STATE.name);
        return Err(StoreError::new(StoreErrorKind::Rejected, message));
    }
    Ok(Some(next))
}

/// See [`crate::ShardStore::purge`]. Neither kind of row is news to a cache, so no shard row is advanced or locked.
pub(super) async fn purge(
    inner: &Inner,
    shard: ShardId,
    requests: Seq,
    tombstones: Duration,
) -> Result<u64, StoreError> {
    let millis = |time: Duration| time.min(LONGEST_KEPT).as_millis() as u64;
    let gone = purge_requests(inner, shard, requests).await?;
    if tombstones >= LONGEST_KEPT {
        // None can be that old, and a look at each costs.
        return Ok(gone);
    }
    Ok(gone + purge_tombstones(inner, shard, millis(tombstones)).await?)
}

async fn purge_requests(inner: &Inner, shard: ShardId, up_to: Seq) -> Result<u64, Failure> {
    let mut gone = 0;
    loop {
        let end = inner.readers.query(&EXPIRED_REQUESTS, (shard.0, up_to.0, PURGE_ROWS)).await?;
        let end = inner.readers.read(&EXPIRED_REQUESTS, end, |row| row.optional_u64())?;
        let Some(Some(end)) = end.first().copied() else { return Ok(gone) };
        let deleted = delete(inner, &DELETE_REQUESTS, (shard.0, end).into()).await?;
        gone += deleted;
        if deleted < PURGE_ROWS {
            return Ok(gone);
        }
    }
}

async fn purge_tombstones(inner: &Inner, shard: ShardId, keep: u64) -> Result<u64, Failure> {
    let mut gone = 0;
    let mut next = start(shard, None);
    while let Some(from) = next {
        let mut params = vec![Value::from(keep)];
        params.extend(edge_range(from));
        params.push(PURGE_ROWS.into());
        let rows = inner.readers.query(&TOMBSTONES_PAGE, Params::Positional(params)).await?;
        let rows =
            inner.readers.read(&TOMBSTONES_PAGE, rows, |row| Ok((row.edge_key()?, row.u64()? != 0)))?;
        let expired: Vec<EdgeKey> =
            rows.iter().filter(|(_, expired)| *expired).map(|(key, _)| *key).collect();
        for keys in chunks(expired.iter(), JsonKeys::push_edge) {
            gone += delete(inner, &DELETE_EXPIRED_TOMBSTONES, Params::Positional(vec![keys, keep.into()]))
                .await?;
        }
        let last = rows.last().map(|(key, _)| *key).filter(|_| rows.len() as u64 == PURGE_ROWS);
        next = last.and_then(|last| start(shard, Some(last)));
    }
    Ok(gone)
}

/// One small transaction: a reader's connection commits by itself.
async fn delete(inner: &Inner, sql: &'static super::statements::Sql, params: Params) -> Result<u64, Failure> {
    let mut lease = inner.readers.get().await?;
    let deleted = lease.run(sql, params).await;
    lease.release();
    deleted
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::{AssocType, ObjectId};

    use super::*;

    #[test]
    fn a_page_of_tombstones_goes_on_after_its_last_key() {
        let last = EdgeKey { id1: ObjectId::new(ShardId(2), 9), atype: AssocType(4), id2: ObjectId(7) };
        let values = edge_range(start(ShardId(2), Some(last)).unwrap());
        assert_eq!(values[2], Value::UInt(8));
    }
}
