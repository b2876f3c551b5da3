//! The transaction of a batch (R1-R4).

use std::collections::BTreeSet;
use std::time::Instant;

use mysql_async::{Row, Value};
use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};

use super::batch_read::{self, Loaded, ReadRow};
use super::batch_write;
use super::believed::{self, Outcome};
use super::columns::{Columns, Unexpected};
use super::connection::{CommitFailure, Lease};
use super::error::{Failure, code};
use super::presumed;
use super::recent::{catch_up, preload};
use super::resolve::{Fate, resolve};
use super::statements::{LOCK_SHARD_WAIT, LOCK_SHARDS_SKIP, STEPS, Sql};
use super::timings::Phase;
use super::trip::Trip;
use super::{Inner, recent};
use crate::apply::{Admission, Lock, LockedShard, Locks, Plan, ReadSet, UnixMillis, Workspace, lock_set};
use crate::store::{StoreError, StoreErrorKind};
use crate::write::{Batch, BatchResult, UnitResult, WriteUnit};

/// Shard rows as a transaction found them, with the server's clock.
#[derive(Default)]
struct Held {
    locks: Locks,
    now: UnixMillis,
    any: bool,
    /// Rows that were read behind the lock in the same round trip, and which those are.
    seen: Option<(ReadSet, Vec<Loaded>)>,
}

/// See [`crate::ShardStore::commit`].
pub(super) async fn commit(inner: &Inner, batch: &Batch) -> Result<BatchResult, StoreError> {
    let units = &batch.units;
    let most = inner.options.max_batch_units;
    if units.len() > most {
        let message = format!("a batch of {} units, at most {most} are taken: split it", units.len());
        return Err(StoreError::new(StoreErrorKind::Rejected, message));
    }
    if units.is_empty() {
        return Ok(BatchResult { changes: Vec::new(), units: Vec::new() });
    }
    inner.timings.begins();
    let mut clock = Instant::now();
    let Some(mut believed) = believed::plan(inner, units) else { return the_long_way(inner, units).await };
    inner.timings.lap(Phase::Plan, &mut clock);
    let outcome = believed::commit(inner, units, &mut believed).await?;
    inner.timings.lap(Phase::Commit, &mut clock);
    match outcome {
        Outcome::Committed => {
            inner.timings.was_believed();
            remember(inner, &believed.plan, believed.now)?;
            Ok(believed.plan.into_result())
        }
        Outcome::Otherwise => the_long_way(inner, units).await,
        Outcome::Unsettled(error) if planted(Bug::LateTextForgotten) => Err(error),
        Outcome::Unsettled(error) => match the_long_way(inner, units).await {
            // Done now or before: either way the shard has moved on, and the text that got no answer can do nothing any more.
            Ok(result) if result.units.iter().all(|unit| matches!(unit, UnitResult::Done(_))) => Ok(result),
            // Its reason may go away, and the text may still come.
            Ok(_) => Err(believed::unknown(&error, "its shard could not be moved on")),
            Err(later) => Err(believed::unknown(&error, &later.message)),
        },
    }
}

/// Locks and reads in one round trip or more, plans, writes, and commits.
async fn the_long_way(inner: &Inner, units: &[WriteUnit]) -> Result<BatchResult, StoreError> {
    let mut may_presume = true;
    loop {
        if let Some(result) = attempt(inner, units, may_presume).await? {
            return Ok(result);
        }
        may_presume = false;
    }
}

/// `None`: an edge that was presumed absent is there, and nothing was done.
async fn attempt(
    inner: &Inner,
    units: &[WriteUnit],
    may_presume: bool,
) -> Result<Option<BatchResult>, StoreError> {
    let mut clock = Instant::now();
    let (mut lease, held) = begin(inner, units).await?;
    let now = held.now;
    inner.timings.lap(Phase::Lock, &mut clock);

    let nonce: u128 = rand::random();
    let run = run(inner, &mut lease, units, held, (nonce, may_presume, &mut clock)).await;
    let (plan, is_presumed, last) = match run {
        Ok(Written { plan, .. }) if plan.advances.is_empty() => {
            lease.roll_back().await;
            return Ok(Some(plan.into_result()));
        }
        Ok(Written { plan, is_presumed, last: Some(last) }) => (plan, is_presumed, last),
        Ok(Written { last: None, .. }) => {
            lease.roll_back().await;
            inner.absence.note(false);
            return Ok(None);
        }
        Err(error) => {
            lease.roll_back().await;
            return Err(error);
        }
    };
    let first = plan.advances[0];
    let sent = match lease.commit_with(last).await {
        Ok(_) => Ok(()),
        Err(CommitFailure::InDoubt(failure)) => Err(failure),
        Err(CommitFailure::Before(failure)) => {
            lease.roll_back().await;
            return Err(failure.error);
        }
    };
    finish(inner, lease, sent, (first.shard, first.new_seq, nonce)).await?;
    inner.timings.lap(Phase::Commit, &mut clock);
    if is_presumed {
        inner.absence.note(true);
        inner.timings.was_presumed();
    }
    remember(inner, &plan, now)?;
    Ok(Some(plan.into_result()))
}

/// After COMMIT was sent: certain only if the server said OK (R4).
pub(super) async fn finish(
    inner: &Inner,
    lease: Lease,
    sent: Result<(), Failure>,
    (shard, seq, nonce): (ShardId, tao_schema::ids::Seq, u128),
) -> Result<(), StoreError> {
    let Err(failure) = sent else {
        lease.release();
        return Ok(());
    };
    if planted(Bug::AckBeforeCommit) {
        return Ok(());
    }
    // Closed, so that its locks go away; never killed: a killed commit may become visible and be lost again (R4).
    drop(lease);
    tracing::warn!(server = &*inner.server, %shard, %seq, error = %failure.error, "COMMIT got no answer");
    match resolve(inner, shard, seq, nonce).await {
        Fate::Committed => Ok(()),
        Fate::RolledBack => {
            let message = format!("{}; the transaction was rolled back", failure.error.message);
            Err(StoreError::new(StoreErrorKind::Unavailable, message))
        }
        Fate::Unknown(why) => Err(believed::unknown(&failure.error, &why)),
    }
}

/// Connects, loads what is remembered of the shards, and locks their rows (R2).
async fn begin(inner: &Inner, units: &[WriteUnit]) -> Result<(Lease, Held), StoreError> {
    let shards: Vec<ShardId> = lock_set(units).into_iter().collect();
    let mut lease = inner.writers.get().await?;
    let mut first = lock_seen(inner, &mut lease, &shards, units).await;
    // Nothing was written yet, so a connection that died in its sleep is replaced.
    if lease.reused && first.as_ref().is_err_and(|failed| failed.lost) {
        inner.writers.forget_idle();
        drop(lease);
        lease = inner.writers.get_new().await?;
        first = lock_seen(inner, &mut lease, &shards, units).await;
    }
    let held = match first {
        Ok(held) => held,
        Err(failed) => {
            lease.roll_back().await;
            return Err(failed.error);
        }
    };
    // A batch of one unit waits for its own row, holding nothing, so that waits form no circle; then no row means that
    // there is none. The other side of a pair is not waited for: it gets an outbox row.
    if let [unit] = units
        && matches!(held.locks.get(unit.shard), Lock::Busy)
    {
        return wait_for(inner, lease, held.any, unit.shard).await;
    }
    Ok((lease, held))
}

/// An error before anything was written.
struct BeginError {
    lost: bool,
    error: StoreError,
}

impl From<Failure> for BeginError {
    fn from(failure: Failure) -> Self {
        Self { lost: failure.connection_lost(), error: failure.error }
    }
}

async fn lock_seen(
    inner: &Inner,
    lease: &mut Lease,
    shards: &[ShardId],
    units: &[WriteUnit],
) -> Result<Held, BeginError> {
    preload(inner, lease, shards).await.map_err(|failed| match failed {
        recent::LoadError::Statement(failure) => failure.into(),
        recent::LoadError::Damaged(error) => BeginError { lost: false, error },
    })?;
    if units.len() <= batch_read::FEW {
        let guess = ReadSet::guess(units);
        let reads = batch_read::by_key(&guess);
        if !reads.is_empty() {
            return lock_and_read(inner, lease, shards, guess, reads).await;
        }
    }
    let mut held = Held::default();
    for chunk in shards.chunks(STEPS[STEPS.len() - 1]) {
        let (text, params) = inner.templates.lock_skip.of_shards(chunk);
        let rows = lease.rows_of(LOCK_SHARDS_SKIP.name, skip_or_wait(text), params).await?;
        held.add_rows(inner, rows)?;
    }
    Ok(held)
}

/// What locks the rows of a batch.
fn skip_or_wait(text: &str) -> &str {
    if planted(Bug::BatchWaitsForRows) {
        return text.split(" SKIP ").next().unwrap_or(text);
    }
    text
}

/// Locks, then reads the rows that will most likely be asked for, in one round trip. Each statement has its own view,
/// made when those before it are done: so a shard's rows are read under the lock of its row, if that was got at all.
async fn lock_and_read(
    inner: &Inner,
    lease: &mut Lease,
    shards: &[ShardId],
    guess: ReadSet,
    reads: Vec<(&'static Sql, Vec<Value>, ReadRow)>,
) -> Result<Held, BeginError> {
    let unexpected = |sql: &Sql| {
        let (name, server) = (sql.name, &inner.server);
        move |unexpected| Failure::unexpected(server, name, &unexpected)
    };
    let mut trip = Trip::default();
    let numbers: Vec<Value> = shards.iter().map(|shard| shard.0.into()).collect();
    let lock = skip_or_wait(LOCK_SHARDS_SKIP.body());
    trip.push_text(LOCK_SHARDS_SKIP.name, lock, &numbers).map_err(unexpected(&LOCK_SHARDS_SKIP))?;
    for (sql, values, _) in &reads {
        trip.push(sql, values).map_err(unexpected(sql))?;
    }
    let mut answers = lease.send(&mut trip).await.map_err(|failed| failed.failure)?.into_iter();
    let mut held = Held::default();
    held.add_rows(inner, answers.next().unwrap_or_default())?;
    let mut seen = Vec::new();
    for ((sql, _, read), rows) in reads.into_iter().zip(answers) {
        seen.extend(inner.writers.read(sql, rows, read)?);
    }
    held.seen = Some((guess, seen));
    Ok(held)
}

async fn wait_for(
    inner: &Inner,
    mut lease: Lease,
    holds_others: bool,
    shard: ShardId,
) -> Result<(Lease, Held), StoreError> {
    if holds_others {
        lease.roll_back().await;
        lease = inner.writers.get().await?;
    }
    let mut held = Held::default();
    match lease.map(&LOCK_SHARD_WAIT, (shard.0,), shard_row).await {
        Ok(rows) => {
            if rows.is_empty() {
                held.locks.insert(shard, Lock::Missing);
            }
            match held.add(inner, rows) {
                Ok(()) => Ok((lease, held)),
                Err(error) => {
                    lease.roll_back().await;
                    Err(error)
                }
            }
        }
        // Still held by another: no lock noted, which is busy.
        Err(failure) if failure.code == Some(code::LOCK_WAIT_TIMEOUT) => Ok((lease, held)),
        Err(failure) => {
            lease.roll_back().await;
            Err(failure.error)
        }
    }
}

fn shard_row(row: &mut Columns) -> Result<(LockedShard, UnixMillis, bool), Unexpected> {
    let shard = LockedShard {
        shard: row.shard()?,
        epoch: row.epoch()?,
        seq: row.seq()?,
        state: row.state()?,
        next_id: row.u64()?,
    };
    Ok((shard, UnixMillis(row.u64()?), row.u64()? != 0))
}

impl Held {
    fn add_rows(&mut self, inner: &Inner, rows: Vec<Row>) -> Result<(), BeginError> {
        let rows = inner.writers.read(&LOCK_SHARDS_SKIP, rows, shard_row)?;
        self.add(inner, rows).map_err(|error| BeginError { lost: false, error })
    }

    fn add(&mut self, inner: &Inner, rows: Vec<(LockedShard, UnixMillis, bool)>) -> Result<(), StoreError> {
        for (row, now, read_only) in rows {
            if read_only {
                let message =
                    format!("{}: the server is read-only: it is a replica or is being moved", inner.server);
                return Err(StoreError::new(StoreErrorKind::Unavailable, message));
            }
            self.locks.insert(row.shard, Lock::Held(row));
            self.now = now;
            self.any = true;
        }
        Ok(())
    }
}

/// A transaction before its COMMIT.
struct Written {
    /// Without advances: nothing was written.
    plan: Plan,
    /// Whether edges were presumed absent.
    is_presumed: bool,
    /// What goes with COMMIT; `None`: one of them was there.
    last: Option<Trip>,
}

/// Reads, plans and writes; everything but what is answered to go with COMMIT.
async fn run(
    inner: &Inner,
    lease: &mut Lease,
    units: &[WriteUnit],
    held: Held,
    (nonce, may_presume, clock): (u128, bool, &mut Instant),
) -> Result<Written, StoreError> {
    // Whose requests are looked up: not those shards that are locked for the other side of a pair only. Those are
    // caught up when they are next asked about.
    let asked: BTreeSet<ShardId> = units.iter().map(|unit| unit.shard).collect();
    for row in held.locks.held().filter(|row| asked.contains(&row.shard)) {
        catch_up(inner, lease, row).await?;
    }
    let lookup = |shard, key| inner.memory.lookup(shard, key);
    let admission = Admission::of(units, &held.locks, lookup);
    let set = ReadSet::of(units, &admission, &held.locks);
    let presumed = match may_presume && held.seen.is_none() {
        true => {
            presumed::plan(inner, lease, (units, &admission, &held.locks), (&set, held.now), clock).await?
        }
        false => None,
    };
    let is_presumed = presumed.is_some();
    let plan = match presumed {
        Some(plan) => plan,
        None => {
            let mut workspace = Workspace::new(&held.locks, &set, held.now);
            match held.seen {
                Some((guess, rows)) if guess.covers(&set) => batch_read::load(&mut workspace, rows),
                // Another row was got than was thought of, or there were too many: asked for now.
                _ if admission.any_proceeds() => {
                    batch_read::read(lease, &set, &set.edges, &mut workspace).await?;
                }
                _ => {}
            }
            inner.timings.lap(Phase::Read, clock);
            let plan = workspace.run(units, admission);
            inner.timings.lap(Phase::Plan, clock);
            plan
        }
    };
    if plan.advances.is_empty() {
        return Ok(Written { plan, is_presumed, last: Some(Trip::default()) });
    }
    let last = batch_write::write(inner, lease, (&plan, is_presumed), nonce, held.now).await?;
    inner.timings.lap(Phase::Write, clock);
    Ok(Written { plan, is_presumed, last })
}

/// After a certain commit: the requests it answers from now on, and what the next one will most likely find.
fn remember(inner: &Inner, plan: &Plan, now: UnixMillis) -> Result<(), StoreError> {
    inner.beliefs.committed(plan, now);
    for change in &plan.changes {
        let row = plan.requests.iter().find(|row| row.position.shard == change.shard);
        inner.memory.committed(change.position(), row)?;
    }
    Ok(())
}
