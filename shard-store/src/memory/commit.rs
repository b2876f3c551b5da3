//! A batch as one transaction.

use std::collections::BTreeSet;

use tao_schema::error::Error;
use tao_schema::ids::{Seq, ShardId};
use tokio::time::Instant;

use super::database::{LockKey, Rights, RowLock};
use super::log::Write;
use super::store::{CommitFault, MemoryStore, check_writable, unavailable};
use super::tables::Tables;
use crate::apply::{
    Admission, Advance, Lock, LockedShard, Locks, Lookup, Plan, ReadSet, RequestRow, Workspace, lock_set,
};
use crate::store::{StoreError, StoreErrorKind};
use crate::write::{Batch, BatchResult, RequestKey};

impl MemoryStore {
    pub(super) async fn commit_batch(&self, batch: Batch) -> Result<BatchResult, StoreError> {
        self.check_reachable()?;
        let fault = self.next_fault();
        let (held, busy) = self.lock_rows(&batch).await;
        let mut plan = self.plan(&batch, &held, &busy)?;
        if self.is_poisoned(&batch) {
            return Err(StoreError::new(StoreErrorKind::Rejected, "a unit of the batch is poison"));
        }
        match fault {
            Some(CommitFault::Unavailable) => return Err(unavailable("the connection broke before COMMIT")),
            Some(CommitFault::UncertainLost) => return Err(uncertain()),
            Some(CommitFault::UncertainCommitted) | None => {}
        }
        if plan.advances.is_empty() {
            return Ok(plan.into_result());
        }
        self.database.may_commit().await;
        let result = BatchResult { changes: plan.changes.clone(), units: std::mem::take(&mut plan.units) };
        let (advances, requests) = (plan.advances.clone(), plan.requests.clone());
        // Durable, then visible; the row locks stay held in between.
        self.database
            .transact(Rights::Client, held, |tables, at| {
                still_locked(tables, &plan)?;
                Ok(Some(Write::Batch { plan: Box::new(plan), at }))
            })
            .await?;
        if fault.is_some() {
            // What this store has seen stays as it was, so that the next commit loads the batch's request rows.
            return Err(uncertain());
        }
        self.record(&advances, &requests)?;
        Ok(result)
    }

    /// Row locks that were to be had at once, and the shards of the others. A batch of one unit waits for its own.
    async fn lock_rows(&self, batch: &Batch) -> (Vec<RowLock>, BTreeSet<ShardId>) {
        let mut held = Vec::new();
        let mut busy = BTreeSet::new();
        for shard in lock_set(&batch.units) {
            let waits = batch.units.len() == 1 && batch.units[0].shard == shard;
            let key = LockKey::Shard(shard);
            let lock = if waits { self.database.lock(key).await } else { self.database.try_lock(key) };
            match lock {
                Some(lock) => held.push(lock),
                None => {
                    busy.insert(shard);
                }
            }
        }
        (held, busy)
    }

    /// Everything under one lock of the tables: the rows read are those that the row locks protect.
    fn plan(&self, batch: &Batch, _held: &[RowLock], busy: &BTreeSet<ShardId>) -> Result<Plan, StoreError> {
        let units = &batch.units;
        let now = self.database.now();
        let state = self.database.state();
        check_writable(&state)?;
        let mut locks = Locks::default();
        for shard in lock_set(units) {
            let lock = match state.tables.shards.get(&shard) {
                _ if busy.contains(&shard) => Lock::Busy,
                Some(row) => Lock::Held(*row),
                // As on MySQL, where a batch skips what it can't lock at once: absence is certain only alone.
                None if units.len() > 1 => Lock::Busy,
                None => Lock::Missing,
            };
            locks.insert(shard, lock);
        }
        for row in locks.held() {
            self.catch_up(&state.tables, row)?;
        }
        let admission = Admission::of(units, &locks, |shard, key| self.lookup(shard, key));
        let reads = ReadSet::of(units, &admission, &locks);
        let mut workspace = Workspace::new(&locks, &reads, now);
        state.tables.load(&reads, &mut workspace);
        Ok(workspace.run(units, admission))
    }

    /// Loads the request rows that others have committed since this store last saw the shard (R3).
    fn catch_up(&self, tables: &Tables, row: &LockedShard) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let seen = seen.entry(row.shard).or_default();
        if seen.seq.is_some_and(|seq| seq > row.seq) {
            // The log is shorter than it was: not the history that was seen.
            seen.requests.clear();
            seen.seq = None;
        }
        let from = seen.seq.map_or(Seq::ZERO, Seq::next);
        if from <= row.seq {
            let rows = tables.requests.range((row.shard, from)..=(row.shard, row.seq));
            for (request, _) in rows.map(|(_, row)| row) {
                seen.requests.record(request, now).map_err(damaged)?;
            }
            seen.seq = Some(row.seq);
        }
        seen.requests.expire(now);
        Ok(())
    }

    fn lookup(&self, shard: ShardId, key: RequestKey) -> Lookup {
        self.seen.lock().entry(shard).or_default().requests.lookup(key, Instant::now())
    }

    /// The batch is committed for certain: remembers it without reading it back.
    fn record(&self, advances: &[Advance], requests: &[RequestRow]) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        for row in requests {
            let seen = seen.entry(row.position.shard).or_default();
            seen.requests.record(row, now).map_err(damaged)?;
        }
        for advance in advances {
            seen.entry(advance.shard).or_default().seq = Some(advance.new_seq);
        }
        Ok(())
    }
}

/// A crash takes row locks away, and with it the transaction.
fn still_locked(tables: &Tables, plan: &Plan) -> Result<(), StoreError> {
    let same = |advance: &Advance| {
        tables
            .shards
            .get(&advance.shard)
            .is_some_and(|row| (row.epoch, row.seq) == (advance.epoch, advance.old_seq))
    };
    if plan.advances.iter().all(same) {
        return Ok(());
    }
    Err(unavailable("the server lost its locks before COMMIT; the transaction was rolled back"))
}

fn uncertain() -> StoreError {
    StoreError::new(StoreErrorKind::Uncertain, "the connection broke while COMMIT was under way")
}

fn damaged(error: Error) -> StoreError {
    StoreError::new(StoreErrorKind::Incompatible, error.message)
}
