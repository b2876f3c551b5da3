//! Heartbeats and the marks they leave, the survey, and the stored topology.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mysql_async::Params;
use parking_lot::Mutex;
use tao_schema::ids::PrimaryTime;
use tao_schema::rows::EpochStart;
use xxhash_rust::xxh3::xxh3_64;

use super::super::Inner;
use super::super::connection::Lease;
use super::super::dialect::Flavour;
use super::super::error::Failure;
use super::super::statements::{
    BEAT, CLOCK, EXECUTED_MARIADB, EXECUTED_MYSQL, MARK, MARKS, NAMED_LOCK, NAMED_UNLOCK, STORE_TOPOLOGY,
    SURVEY, Sql, TOPOLOGY,
};
use crate::log::{Beat, BeatWriter, LogPosition, StoredTopology, Survey};
use crate::store::{ShardRow, StoreError, StoreErrorKind};

/// Time between two marks, in milliseconds.
const MARK_EVERY: u64 = 10_000;
/// Marks that are kept: they reach back somewhat more than two minutes.
const MARKS_KEPT: u64 = 13;

/// What a store remembers of its server's log.
pub(in crate::mysql) struct State {
    /// The statements that name the meta database.
    topology: String,
    store_topology: String,
    /// Number of the last time slot that a mark was written for.
    marked: AtomicU64,
    /// Everything up to the last transaction that a tail did not understand: no tail starts before it again.
    pub(super) behind: Mutex<LogPosition>,
}

/// A mark: at that time of the primary, all of that had been executed.
pub(super) struct Mark {
    pub(super) at: u64,
    pub(super) position: LogPosition,
    /// The newest time of the primary that this server knows.
    pub(super) now: u64,
}

impl State {
    pub(in crate::mysql) fn new(database: &str) -> Self {
        let of = |sql: &Sql| sql.body().replace("{database}", database);
        Self {
            topology: of(&TOPOLOGY),
            store_topology: of(&STORE_TOPOLOGY),
            marked: AtomicU64::new(0),
            behind: Mutex::new(LogPosition::none()),
        }
    }
}

/// See [`crate::log::ServerLog::beat`].
pub(super) async fn beat(inner: &Inner, beat: Beat) -> Result<PrimaryTime, StoreError> {
    let mut lease = inner.readers.get().await?;
    // Read before the row is written, so that everything committed until then stands before it in the log.
    let clock = lease.map(&CLOCK, (), |row| row.u64()).await?;
    let now = clock.first().copied().unwrap_or_default();
    let written = lease.run(&BEAT, (beat.writer.0, beat.nonce, now)).await?;
    if written == 0 {
        let server = lease.server().to_owned();
        lease.release();
        return Err(read_only(&server));
    }
    if inner.log.marked.swap(now / MARK_EVERY, Ordering::Relaxed) != now / MARK_EVERY {
        mark(inner, &mut lease, now).await?;
    }
    lease.release();
    Ok(PrimaryTime(now))
}

fn read_only(server: &str) -> StoreError {
    let message = format!("{server}: the server is read-only: it is a replica or is being moved");
    StoreError::new(StoreErrorKind::Unavailable, message)
}

async fn mark(inner: &Inner, lease: &mut Lease, now: u64) -> Result<(), StoreError> {
    let position = executed_by(inner, lease).await?;
    let slot = now / MARK_EVERY % MARKS_KEPT;
    lease.run(&MARK, (slot, now, position.to_string(), MARK_EVERY, MARK_EVERY)).await?;
    Ok(())
}

/// The marks, oldest first.
pub(super) async fn marks(inner: &Inner) -> Result<Vec<Mark>, StoreError> {
    let rows = inner.readers.query(&MARKS, ()).await?;
    let rows = inner.readers.read(&MARKS, rows, |row| Ok((row.u64()?, row.bytes()?, row.u64()?)))?;
    let newest = rows.last().map_or(0, |(at, ..)| *at);
    let marks = rows.into_iter().map(|(at, position, beat)| {
        Ok(Mark { at, position: parse(&inner.server, &position)?, now: beat.max(newest) })
    });
    marks.collect()
}

/// See [`crate::log::ServerLog::executed`].
pub(super) async fn executed(inner: &Inner) -> Result<LogPosition, StoreError> {
    let mut lease = inner.readers.get().await?;
    let position = executed_by(inner, &mut lease).await;
    lease.release();
    position
}

async fn executed_by(inner: &Inner, lease: &mut Lease) -> Result<LogPosition, StoreError> {
    let sql = match inner.dialect.flavour {
        Flavour::MariaDb => &EXECUTED_MARIADB,
        Flavour::MySql => &EXECUTED_MYSQL,
    };
    let texts = lease.map(sql, (), |row| row.bytes()).await?;
    parse(&inner.server, texts.first().map_or(&[], Vec::as_slice))
}

fn parse(server: &Arc<str>, text: &[u8]) -> Result<LogPosition, StoreError> {
    // A set of several sources has a line for each.
    String::from_utf8_lossy(text)
        .parse()
        .map_err(|error| StoreError::new(StoreErrorKind::Incompatible, format!("{server}: {error}")))
}

/// See [`crate::log::ServerLog::survey`].
pub(super) async fn survey(inner: &Inner, writer: BeatWriter) -> Result<Survey, StoreError> {
    enum Found {
        Row(ShardRow),
        Epoch(tao_schema::ids::ShardId, EpochStart),
        Beat(u64, PrimaryTime),
    }
    let rows = inner.readers.query(&SURVEY, (writer.0,)).await?;
    let rows = inner.readers.read(&SURVEY, rows, |row| {
        let kind = row.u64()?;
        let (shard, epoch) = (row.shard()?, row.epoch()?);
        Ok(match kind {
            0 => Found::Row(ShardRow { shard, epoch, seq: row.seq()?, state: row.state()? }),
            1 => Found::Epoch(shard, EpochStart { epoch, first_seq: row.seq()? }),
            _ => Found::Beat(row.u64()?, PrimaryTime(row.u64()?)),
        })
    })?;
    let mut survey = Survey { rows: Vec::new(), epochs: Vec::new(), beat: None };
    for row in rows {
        match row {
            Found::Row(row) => survey.rows.push(row),
            Found::Epoch(shard, start) => survey.epochs.push((shard, start)),
            Found::Beat(nonce, time) => survey.beat = Some((nonce, time)),
        }
    }
    Ok(survey)
}

/// See [`crate::log::ServerLog::stored_topology`].
pub(super) async fn stored_topology(inner: &Inner) -> Result<Option<StoredTopology>, StoreError> {
    let rows = inner.readers.query_text(TOPOLOGY.name, &inner.log.topology, ()).await?;
    let rows = inner.readers.read(&TOPOLOGY, rows, |row| Ok((row.u64()?, row.bytes()?)))?;
    let newest = rows.into_iter().next().map(|(version, toml)| {
        let toml = String::from_utf8(toml).map_err(|_| {
            let message = format!("{}: topology {version} is not text", inner.server);
            StoreError::new(StoreErrorKind::Incompatible, message)
        })?;
        Ok(StoredTopology { version, toml })
    });
    newest.transpose()
}

/// See [`crate::log::ServerLog::store_topology`]. Under a lock: the first two topologies have no row in common that
/// would let one of them wait for the other.
pub(super) async fn store_topology(inner: &Inner, topology: &StoredTopology) -> Result<bool, StoreError> {
    let Some(previous) = topology.version.checked_sub(1) else {
        return Err(StoreError::new(StoreErrorKind::Rejected, "a topology of version 0: they start at 1"));
    };
    let mut lease = inner.readers.get().await?;
    let lock = format!("tao.topology.{:016x}", xxh3_64(inner.options.database.as_bytes()));
    let wait = inner.options.statement_timeout.as_secs().saturating_sub(1).max(1);
    let granted = lease.map(&NAMED_LOCK, (lock.as_str(), wait), |row| row.optional_u64()).await?;
    if granted.first() != Some(&Some(1)) {
        let message = format!("{}: another process is storing a topology", lease.server());
        return Err(StoreError::new(StoreErrorKind::Unavailable, message));
    }
    let stored = insert_topology(inner, &mut lease, topology, previous).await;
    lease.rows(&NAMED_UNLOCK, (lock.as_str(),)).await?;
    lease.release();
    stored
}

async fn insert_topology(
    inner: &Inner,
    lease: &mut Lease,
    topology: &StoredTopology,
    previous: u64,
) -> Result<bool, StoreError> {
    let values =
        vec![topology.version.into(), topology.toml.as_str().into(), previous.into(), previous.into()];
    let stored =
        lease.run_text(STORE_TOPOLOGY.name, &inner.log.store_topology, Params::Positional(values)).await;
    match stored {
        Ok(0) => refuse_read_only(lease).await.map(|()| false),
        Ok(_) => Ok(true),
        // Somebody who does not ask for the lock was faster.
        Err(failure) if failure.code == Some(super::super::error::code::DUPLICATE_KEY) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// Nothing was written: because of the version, or because this is a replica.
async fn refuse_read_only(lease: &mut Lease) -> Result<(), StoreError> {
    let found: Result<_, Failure> =
        lease.map(&super::super::statements::READ_ONLY, (), |row| row.u64()).await;
    if found?.first() == Some(&0) { Ok(()) } else { Err(read_only(lease.server())) }
}
