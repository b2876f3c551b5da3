//! The shard row and `shard_move`: read under the row's lock, judged, written.

use mysql_async::{Params, Row, Value};
use tao_schema::ids::{Position, ShardId};

use super::super::Inner;
use super::super::batch_write::{Fill, ValueRows, assert_affected, put, put_request, request_row};
use super::super::columns::{Columns, Unexpected};
use super::super::commit::finish;
use super::super::connection::Lease;
use super::super::error::{Failure, code};
use super::super::statements::{
    LOCK_SHARD_WAIT, MOVE_ANY_ROWS, MOVE_INSERT_RECORD, MOVE_INSERT_SHARD, MOVE_RECORDS, MOVE_RECORDS_LOCKED,
    MOVE_UPDATE_RECORD, MOVE_UPDATE_SHARD, READ_ONLY,
};
use super::page::all_ranges;
use crate::apply::{LockedShard, UnixMillis};
use crate::log::LogPosition;
use crate::moves::rules::{Change, Ruling};
use crate::moves::{
    Answer, Copied, Import, MoveId, MoveRecord, MoveTable, Outcome, Progress, Refusal, Role, ShardMoves,
};
use crate::store::{StoreError, StoreErrorKind};

/// What is done beside the change of the rows that decide.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    Nothing,
    /// It is asked whether any table holds rows.
    Emptiness,
    /// Rows of an import are written.
    Rows(&'a Import),
}

/// Number of "all tables" in `copied_table`.
const ALL_COPIED: u8 = 255;
/// How often a decision is made anew because a row came into being meanwhile.
const ATTEMPTS: usize = 3;

/// What is found under the lock.
pub(super) struct Found {
    pub(super) moves: ShardMoves,
    pub(super) any_rows: bool,
    pub(super) now: UnixMillis,
}

/// An error of a transaction that was not sent to COMMIT.
pub(super) enum Failed {
    /// A row that was not there is there now: decide anew.
    Raced,
    Error(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        if failure.code == Some(code::DUPLICATE_KEY) { Self::Raced } else { Self::Error(failure.error) }
    }
}

/// Locks the shard row, asks `decide`, and writes what it says, with the work. Where there is no row to lock, two may do
/// so at once: then one of them meets the other's row and decides anew.
pub(super) async fn ruled<T>(
    inner: &Inner,
    shard: ShardId,
    work: Work<'_>,
    decide: impl Fn(&ShardMoves, bool) -> Result<Ruling<T>, Refusal>,
) -> Result<Answer<T>, StoreError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut lease = inner.writers.get().await?;
        let failed = match decided(inner, &mut lease, shard, work, &decide).await {
            Ok((answer, None)) => {
                lease.roll_back().await;
                return Ok(answer);
            }
            Ok((answer, Some(nonce))) => return end(inner, lease, answer, nonce).await,
            Err(failed) => failed,
        };
        lease.roll_back().await;
        match failed {
            Failed::Raced if attempt < ATTEMPTS => {}
            Failed::Raced => {
                let message = format!("{}: another process is changing shard {shard}", inner.server);
                return Err(StoreError::new(StoreErrorKind::Unavailable, message));
            }
            Failed::Error(error) => return Err(error),
        }
    }
}

/// How a transaction in doubt is recognised: by its request row, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Written {
    /// Seq and nonce.
    request: Option<(ShardId, tao_schema::ids::Seq, u128)>,
}

/// Sends COMMIT. One without a request row that gets no answer stays uncertain: the call that repeats it finds out.
pub(super) async fn end<T>(
    inner: &Inner,
    mut lease: Lease,
    answer: Answer<T>,
    written: Written,
) -> Result<Answer<T>, StoreError> {
    let sent = lease.commit().await;
    if let Some(own) = written.request {
        return finish(inner, lease, sent, own).await.map(|()| answer);
    }
    match sent {
        Ok(()) => {
            lease.release();
            Ok(answer)
        }
        Err(failure) => {
            inner.writers.forget_idle();
            Err(StoreError::new(StoreErrorKind::Uncertain, failure.error.message))
        }
    }
}

async fn decided<T>(
    inner: &Inner,
    lease: &mut Lease,
    shard: ShardId,
    work: Work<'_>,
    decide: &impl Fn(&ShardMoves, bool) -> Result<Ruling<T>, Refusal>,
) -> Result<(Answer<T>, Option<Written>), Failed> {
    let found = lock(lease, shard, matches!(work, Work::Emptiness)).await?;
    match Ruling::of(decide(&found.moves, found.any_rows)) {
        Ruling::Answer(answer) => Ok((answer, None)),
        Ruling::Write(change, value) => {
            if let Work::Rows(import) = work {
                super::rows::import(inner, lease, import).await?;
            }
            let written = write(inner, lease, &found, *change).await?;
            Ok((Answer::Done(value), Some(written)))
        }
    }
}

/// Locks the shard row and reads the shard's moves.
pub(super) async fn lock(lease: &mut Lease, shard: ShardId, ask_rows: bool) -> Result<Found, Failed> {
    let rows = lease
        .map(&LOCK_SHARD_WAIT, (shard.0,), |row| {
            let (shard, epoch, seq) = (row.shard()?, row.epoch()?, row.seq()?);
            let (state, next_id) = (row.state()?, row.u64()?);
            let row_of = LockedShard { shard, epoch, seq, state, next_id };
            Ok((row_of, UnixMillis(row.u64()?), row.u64()? != 0))
        })
        .await?;
    let (row, now, read_only) = match rows.into_iter().next() {
        Some((row, now, read_only)) => (Some(row), now, read_only),
        None => {
            let read_only = lease.map(&READ_ONLY, (), |row| row.u64()).await?;
            (None, UnixMillis::default(), read_only.first() != Some(&0))
        }
    };
    if read_only {
        let message =
            format!("{}: the server is read-only: it is a replica or is being moved", lease.server());
        return Err(StoreError::new(StoreErrorKind::Unavailable, message).into());
    }
    let rows = lease.rows(&MOVE_RECORDS_LOCKED, (shard.0,)).await?;
    let moves = sorted(read(lease.server(), rows)?.1);
    let any_rows = if ask_rows {
        let any = lease.map(&MOVE_ANY_ROWS, Params::Positional(all_ranges(shard)), |row| row.u64()).await?;
        any.first() != Some(&0)
    } else {
        false
    };
    Ok(Found { moves: ShardMoves { row, moves }, any_rows, now })
}

/// Writes what was decided.
pub(super) async fn write(
    inner: &Inner,
    lease: &mut Lease,
    found: &Found,
    change: Change,
) -> Result<Written, Failed> {
    for record in &change.records {
        match found.moves.of(record.move_id) {
            Some(old) if old == record => {}
            Some(_) => {
                let updated = lease.run(&MOVE_UPDATE_RECORD, updated_record(record)).await?;
                assert_affected(lease, MOVE_UPDATE_RECORD.name, updated, 1)?;
            }
            None => {
                lease.run(&MOVE_INSERT_RECORD, inserted_record(record)).await?;
            }
        }
    }
    let mut written = Written { request: None };
    let Some(row) = change.row else { return Ok(written) };
    if let Some(opened) = change.opened {
        let mut rows = ValueRows::new(3, 1);
        rows.push([row.shard.0.into(), opened.epoch.0.into(), opened.first_seq.0.into()], 0);
        put(inner, lease, &inner.templates.moved_history, rows, Fill::Exact).await?;
    }
    if change.advances {
        let nonce: u128 = rand::random();
        let request = request_row((row.shard, row.seq, row.epoch), nonce, found.now, Vec::new());
        put_request(inner, lease, request).await?;
        written.request = Some((row.shard, row.seq, nonce));
    }
    put_row(lease, found.moves.row.as_ref(), &row).await?;
    Ok(written)
}

async fn put_row(lease: &mut Lease, before: Option<&LockedShard>, row: &LockedShard) -> Result<(), Failed> {
    let Some(before) = before else {
        let values: Vec<Value> = vec![
            row.shard.0.into(),
            row.epoch.0.into(),
            row.seq.0.into(),
            row.state.number().into(),
            row.next_id.into(),
        ];
        lease.run(&MOVE_INSERT_SHARD, Params::Positional(values)).await?;
        return Ok(());
    };
    let values: Vec<Value> = vec![
        row.epoch.0.into(),
        row.seq.0.into(),
        row.state.number().into(),
        row.next_id.into(),
        before.shard.0.into(),
        before.epoch.0.into(),
        before.seq.0.into(),
        before.state.number().into(),
    ];
    let changed = lease.run(&MOVE_UPDATE_SHARD, Params::Positional(values)).await?;
    Ok(assert_affected(lease, MOVE_UPDATE_SHARD.name, changed, 1)?)
}

/// From `role` to `step`, in the order of both statements.
fn values(record: &MoveRecord) -> Vec<Value> {
    let progress = &record.progress;
    let [first, second, third] = progress.copied.last.unwrap_or_default();
    vec![
        match record.role {
            Role::Target => 0u8.into(),
            Role::Source => 1u8.into(),
        },
        record.epoch.0.into(),
        record.peer.as_str().into(),
        match record.outcome {
            Outcome::Running => 0u8.into(),
            Outcome::Committed => 1u8.into(),
            Outcome::Aborted => 2u8.into(),
            Outcome::Retired => 3u8.into(),
        },
        progress.copied.table.map_or(ALL_COPIED, |table| table as u8).into(),
        u8::from(progress.copied.last.is_some()).into(),
        first.into(),
        second.into(),
        third.into(),
        progress.applied.epoch.0.into(),
        progress.applied.seq.0.into(),
        progress.position.to_string().into(),
        progress.step.into(),
    ]
}

fn inserted_record(record: &MoveRecord) -> Params {
    let mut params: Vec<Value> = vec![record.shard.0.into(), record.move_id.0.into()];
    params.extend(values(record));
    Params::Positional(params)
}

fn updated_record(record: &MoveRecord) -> Params {
    let mut params = values(record);
    params.extend([Value::from(record.shard.0), Value::from(record.move_id.0)]);
    Params::Positional(params)
}

/// See [`crate::moves::ShardMover::shard_moves`].
pub(super) async fn shard_moves(inner: &Inner, shard: ShardId) -> Result<ShardMoves, StoreError> {
    let rows = inner.readers.query(&MOVE_RECORDS, (shard.0, shard.0)).await?;
    let (row, moves) = read(&inner.server, rows)?;
    Ok(ShardMoves { row, moves: sorted(moves) })
}

fn sorted(mut moves: Vec<MoveRecord>) -> Vec<MoveRecord> {
    moves.sort_by_key(|record| record.move_id);
    moves
}

fn read(server: &str, rows: Vec<Row>) -> Result<(Option<LockedShard>, Vec<MoveRecord>), StoreError> {
    let (mut shard, mut moves) = (None, Vec::new());
    for row in rows {
        let mut row = Columns::from(row);
        let read = if row.u64().is_ok_and(|kind| kind == 0) {
            shard_row(&mut row).map(|found| shard = Some(found))
        } else {
            record(&mut row).map(|found| moves.push(found))
        };
        read.map_err(|unexpected| Failure::unexpected(server, MOVE_RECORDS.name, &unexpected).error)?;
    }
    Ok((shard, moves))
}

/// In the columns of a record: epoch, outcome (the state), applied (the seq), step (the next id).
fn shard_row(row: &mut Columns) -> Result<LockedShard, Unexpected> {
    let shard = row.shard()?;
    row.skip(2)?;
    let epoch = row.epoch()?;
    row.skip(1)?;
    let state = row.state()?;
    row.skip(6)?;
    let seq = row.seq()?;
    row.skip(1)?;
    Ok(LockedShard { shard, epoch, seq, state, next_id: row.u64()? })
}

fn record(row: &mut Columns) -> Result<MoveRecord, Unexpected> {
    let (shard, move_id) = (row.shard()?, MoveId(row.u64()?));
    let role = match row.u64()? {
        0 => Role::Target,
        1 => Role::Source,
        _ => return Err(Unexpected("a role that this version does not know")),
    };
    let epoch = row.epoch()?;
    let peer = text(row)?;
    let outcome = match row.u64()? {
        0 => Outcome::Running,
        1 => Outcome::Committed,
        2 => Outcome::Aborted,
        3 => Outcome::Retired,
        _ => return Err(Unexpected("an outcome that this version does not know")),
    };
    let (table, has_last) = (row.u64()?, row.u64()? != 0);
    let last = [row.u64()?, row.u64()?, row.u64()?];
    let table = match usize::try_from(table) {
        Ok(table) if table == usize::from(ALL_COPIED) => None,
        Ok(table) if table < MoveTable::ALL.len() => Some(MoveTable::ALL[table]),
        _ => return Err(Unexpected("a table that this version does not know")),
    };
    let copied = Copied { table, last: has_last.then_some(last) };
    let applied = Position { shard, epoch: row.epoch()?, seq: row.seq()? };
    let position: LogPosition =
        text(row)?.parse().map_err(|_| Unexpected("text in place of a position in a log"))?;
    let progress = Progress { copied, applied, position, step: row.u64()? };
    Ok(MoveRecord { shard, move_id, role, epoch, peer, outcome, progress })
}

fn text(row: &mut Columns) -> Result<String, Unexpected> {
    String::from_utf8(row.bytes()?).map_err(|_| Unexpected("bytes in place of text"))
}
