//! A lone write in one round trip: planned from what is believed to be in the database, committed only if it is there.
//!
//! The long way asks before it writes: lock and read, then write and commit. Mostly the first trip brings no news: this store
//! wrote the shard last, and what a write adds is not there yet. So the same plan is made from that belief and goes out
//! as one text with COMMIT at its end. The text first locks each shard's row, if it is the one believed, in the order of all
//! locks (R2); a shard alone is advanced in the same step, and if it is locked that is waited for, with nothing held. The text then says with each write what was believed before it: rows that are absent are inserted and not
//! overwritten, and rows that must be absent are looked for. Whatever is otherwise fails the text before its COMMIT, and the unit
//! goes the long way. Counts are not believed but raised, and the text answers what they were: the plan that is published is
//! made again with those. Nothing is ever answered from a belief but what a commit has confirmed; a refusal goes the long way, too.
//!
//! **In doubt** (R4): a transaction that has locked its rows a trip earlier has ended when its row can be locked. A text may
//! not even have *begun*: it may lie in a socket and commit later. So "no trace of it" is not "rolled back" here, until the shard
//! has moved on: then the text finds another seq than it was made for. The long way moves it on.

use std::collections::HashMap;
use std::time::Instant;

use mysql_async::{Row, Value};
use parking_lot::Mutex;
use tao_schema::ids::{EdgeKey, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;

use super::batch_write;
use super::columns::Unexpected;
use super::connection::CommitFailure;
use super::error::Failure;
use super::resolve::{Fate, resolve};
use super::statements::{
    ADVANCE_BELIEVED, ADVANCE_SHARDS, ASSERT_AFFECTED, ASSERT_NO_OUTBOX_ROW, ASSERT_NO_TOMBSTONE,
    BEGIN_IN_BLOCK, HOLD_SHARD, PUT_REQUESTS, RAISE_COUNT, READ_COUNT, Sql,
};
use super::trip::Trip;
use super::trust::Trust;
use super::{Inner, OneTrip};
use crate::apply::{
    Admission, CountRow, Lock, LockedShard, Locks, Plan, ReadSet, UnixMillis, Workspace, lock_set,
};
use crate::store::{StoreError, StoreErrorKind};
use crate::write::{StoreOp, UnitResult, WriteUnit};

/// What this store has seen in its database last. None of it is certain any more.
pub(super) struct Beliefs {
    known: Mutex<Known>,
    /// One that does not come true costs about half of what one that does spares.
    trust: Trust,
}

impl Default for Beliefs {
    fn default() -> Self {
        Self { known: Mutex::default(), trust: Trust::new(2) }
    }
}

#[derive(Default)]
struct Known {
    shards: HashMap<ShardId, LockedShard>,
    clock: Option<(UnixMillis, Instant)>,
}

impl Beliefs {
    /// Notes what a transaction has committed for certain; `now` is the server's clock at that time.
    pub(super) fn committed(&self, plan: &Plan, now: UnixMillis) {
        let mut known = self.known.lock();
        for advance in &plan.advances {
            let (shard, epoch, seq) = (advance.shard, advance.epoch, advance.new_seq);
            let row = LockedShard { shard, epoch, seq, state: ShardState::Serving, next_id: advance.next_id };
            known.shards.insert(shard, row);
        }
        known.clock = Some((now, Instant::now()));
    }

    /// The rows of all these shards, and the server's clock.
    fn of(&self, shards: impl Iterator<Item = ShardId>) -> Option<(Locks, UnixMillis)> {
        let known = self.known.lock();
        let mut locks = Locks::default();
        for shard in shards {
            locks.insert(shard, Lock::Held(*known.shards.get(&shard)?));
        }
        let (at, since) = known.clock?;
        Some((locks, UnixMillis(at.0 + since.elapsed().as_millis() as u64)))
    }
}

/// A transaction that was planned from beliefs.
pub(super) struct Believed {
    /// Without lists until it is committed, then what was done.
    pub(super) plan: Plan,
    /// The server's clock, as it should be now.
    pub(super) now: UnixMillis,
    text: Trip,
    nonce: u128,
    locks: Locks,
    admission: Admission,
    set: ReadSet,
}

/// What became of it.
pub(super) enum Outcome {
    /// It is in the database.
    Committed,
    /// Nothing was done, and nothing will be.
    Otherwise,
    /// It may be there, or come yet, until the shard has moved on.
    Unsettled(StoreError),
}

/// Plans the transaction of a lone unit, if all that it depends on can be believed and said in its text.
pub(super) fn plan(inner: &Inner, units: &[WriteUnit]) -> Option<Believed> {
    let [unit] = units else { return None };
    if !unit.ops.iter().all(|op| adds(op, unit)) {
        return None;
    }
    let (locks, now) = inner.beliefs.of(lock_set(units).into_iter())?;
    let row = locks.granted(unit.shard, unit.epoch)?;
    if !inner.memory.is_whole(row.shard, row.epoch, row.seq) {
        return None;
    }
    let admission = Admission::of(units, &locks, |shard, key| inner.memory.lookup(shard, key));
    let set = ReadSet::of(units, &admission, &locks);
    let plan = Workspace::new(&locks, &set, now).run(units, admission.clone());
    let [UnitResult::Done(done)] = &plan.units[..] else { return None };
    if done.replayed || plan.advances.is_empty() || !is_said(&plan, &set) {
        return None;
    }
    let is_due = match inner.options.one_trip {
        OneTrip::WhenItPays => inner.beliefs.trust.is_due(),
        OneTrip::Always => true,
        OneTrip::Never => return None,
    };
    if !is_due {
        return None;
    }
    let nonce = rand::random();
    let mut text = match (inner.dialect.has_blocks(), &unit.ops[..]) {
        // There are few kinds of such, and a text for each.
        (true, [_]) => Trip::prepared(),
        _ => Trip::default(),
    };
    if inner.dialect.has_blocks() {
        text.push(&BEGIN_IN_BLOCK, &[]).ok()?;
    }
    say(&mut text, &plan, &set, &locks, (nonce, now)).ok()??;
    Some(Believed { plan, now, text, nonce, locks, admission, set })
}

/// Whether an op is of those that mostly find nothing where they write, whatever the list's count is, and whether doing it a
/// second time would be found out.
fn adds(op: &StoreOp, unit: &WriteUnit) -> bool {
    match op {
        StoreOp::ObjectAdd { .. } | StoreOp::EdgePut { expected: None, .. } => unit.request.is_some(),
        StoreOp::InverseApply { value, .. } => value.is_some(),
        StoreOp::EdgePut { expected: Some(_), .. }
        | StoreOp::ObjectUpdate { .. }
        | StoreOp::ObjectDelete { .. }
        | StoreOp::EdgeDelete { .. }
        | StoreOp::EdgeChangeType { .. }
        | StoreOp::OutboxDone { .. } => false,
    }
}

/// Whether the text says of each row that was thought absent that it is, by inserting it or by looking for it. Of objects,
/// candidates of the allocator behind the one that was taken are no matter.
fn is_said(plan: &Plan, set: &ReadSet) -> bool {
    let nothing_goes = plan.objects.deletes.is_empty()
        && plan.edges.deletes.is_empty()
        && plan.tombstones.deletes.is_empty()
        && plan.outbox.deletes.is_empty();
    nothing_goes
        && plan.tombstones.puts.is_empty()
        && plan.edges.puts.len() == set.edges.len()
        && plan.counts.len() == set.counts.len()
}

/// Writes the text; `None` if it would be too long.
fn say(
    text: &mut Trip,
    plan: &Plan,
    set: &ReadSet,
    locks: &Locks,
    (nonce, now): (u128, UnixMillis),
) -> Result<Option<()>, Unexpected> {
    let is_of_one_shard = plan.advances.len() == 1 && locks.held().count() == 1;
    for row in locks.held() {
        let state = row.state.number();
        let believed: [Value; 5] =
            [row.shard.0.into(), row.epoch.0.into(), row.seq.0.into(), state.into(), row.next_id.into()];
        if is_of_one_shard {
            let advance = plan.advances[0];
            let advanced = [advance.new_seq.0.into(), advance.next_id.into()];
            text.push(&ADVANCE_BELIEVED, &[&advanced[..], &believed].concat())?;
            text.push(&ASSERT_AFFECTED, &[1.into()])?;
        } else {
            text.push(&HOLD_SHARD, &believed)?;
        }
    }
    let key = |edge: &EdgeKey| [edge.id1.0.into(), edge.atype.0.into(), edge.id2.0.into()];
    for edge in set.tombstones.iter().filter(|_| !planted(Bug::JournalOverlooked)) {
        text.push(&ASSERT_NO_TOMBSTONE, &key(edge))?;
    }
    for edge in set.outbox.iter().filter(|edge| plan.outbox.puts.iter().all(|(put, _)| put != *edge)) {
        text.push(&ASSERT_NO_OUTBOX_ROW, &key(edge))?;
    }
    for (sql, rows) in batch_write::additions(plan) {
        if !rows.are_few() {
            return Ok(None);
        }
        if !rows.is_empty() {
            text.push_text(sql.name, insert_only(sql), rows.values())?;
        }
    }
    for (list, _) in &plan.counts {
        let list: [Value; 2] = [list.id1.0.into(), list.atype.0.into()];
        text.push_asking(&READ_COUNT, &list)?;
    }
    // Planned from lists without edges: a count is by how many it grows.
    let counts = batch_write::count_rows(plan);
    if !counts.is_empty() {
        text.push(&RAISE_COUNT, counts.values())?;
    }
    text.push(&PUT_REQUESTS, batch_write::request_rows(plan, nonce, now).values())?;
    if !is_of_one_shard {
        text.push(&ADVANCE_SHARDS, batch_write::advance_rows(plan).values())?;
        text.push(&ASSERT_AFFECTED, &[(2 * plan.advances.len() as u64).into()])?;
    }
    Ok(Some(()))
}

/// A statement that inserts or overwrites, without the part that overwrites: a row that is there fails it.
fn insert_only(sql: &Sql) -> &'static str {
    let body = sql.body();
    body.split_once("\nON DUPLICATE KEY").map_or(body, |(insert, _)| insert)
}

/// A transaction of which nobody knows whether it was committed, and why.
pub(super) fn unknown(error: &StoreError, why: &str) -> StoreError {
    let message = format!("{}; whether it was committed is unknown: {why}", error.message);
    StoreError::new(StoreErrorKind::Uncertain, message)
}

/// Sends the text.
///
/// # Errors
/// `Uncertain`, or nothing was sent.
pub(super) async fn commit(
    inner: &Inner,
    units: &[WriteUnit],
    believed: &mut Believed,
) -> Result<Outcome, StoreError> {
    let first = believed.plan.advances[0];
    let mut lease = inner.writers.get().await?;
    match lease.commit_with(std::mem::take(&mut believed.text)).await {
        Ok(counts) => {
            lease.release();
            inner.beliefs.trust.note(true);
            // An answer that can't be read is one of a commit all the same.
            match believed.confirm(inner, units, counts) {
                Ok(()) => Ok(Outcome::Committed),
                Err(failure) => Ok(Outcome::Unsettled(failure.error)),
            }
        }
        Err(CommitFailure::Before(failure)) => {
            // Whatever it was: the long way meets it again, and says what it is.
            tracing::debug!(server = &*inner.server, error = %failure.error, "not as believed");
            lease.roll_back().await;
            inner.beliefs.trust.note(false);
            Ok(Outcome::Otherwise)
        }
        // Most likely it died in its sleep. Who asks a server that is gone what became of the text waits for nothing: the long way
        // finds the request if it was done, and fails at once if there is nobody.
        Err(CommitFailure::InDoubt(failure)) if lease.reused && failure.connection_lost() => {
            inner.writers.forget_idle();
            Ok(Outcome::Unsettled(failure.error))
        }
        Err(CommitFailure::InDoubt(failure)) => {
            drop(lease);
            let error = failure.error;
            tracing::warn!(server = &*inner.server, shard = %first.shard, %error, "COMMIT got no answer");
            match resolve(inner, first.shard, first.new_seq, believed.nonce).await {
                // What the counts were is not known: the long way finds the request.
                Fate::Committed if !believed.plan.counts.is_empty() => Ok(Outcome::Unsettled(error)),
                Fate::Committed => Ok(Outcome::Committed),
                Fate::RolledBack => Ok(Outcome::Unsettled(error)),
                Fate::Unknown(why) => Err(unknown(&error, &why)),
            }
        }
    }
}

impl Believed {
    /// Makes the plan again, with the counts that were raised.
    fn confirm(&mut self, inner: &Inner, units: &[WriteUnit], counts: Vec<Vec<Row>>) -> Result<(), Failure> {
        if planted(Bug::BeliefUnchecked) || counts.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let mut workspace = Workspace::new(&self.locks, &self.set, self.now);
        for ((list, _), rows) in self.plan.counts.iter().zip(counts) {
            let read = inner
                .writers
                .read(&READ_COUNT, rows, |row| Ok(CountRow { count: row.u64()?, version: row.seq()? }));
            if let Some(row) = read?.pop() {
                workspace.load_count(*list, row);
            }
        }
        self.plan = workspace.run(units, self.admission.clone());
        Ok(())
    }
}
