//! [`MemoryStore`]: one leader's connection to a [`MemoryDatabase`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tao_schema::error::Error;
use tao_schema::ids::{EdgeKey, Epoch, Seq, ShardId};
use tao_schema::rows::ShardState;

use super::database::{LockKey, MemoryDatabase, Rights, State};
use super::log::Write;
use crate::apply::{LockedShard, RecentRequests};
use crate::log::LogPosition;
use crate::store::{
    PendingInverse, ReadKey, ScanPage, ShardRow, ShardStore, Snapshot, StoreError, StoreErrorKind, Table,
};
use crate::write::{Batch, BatchResult, WriteUnit};

/// What happens to a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitFault {
    /// Fails before COMMIT: nothing is written.
    Unavailable,
    /// Committed, but its answer is lost.
    UncertainCommitted,
    /// Lost with its answer.
    UncertainLost,
}

/// A connection with a memory of its own: two on one database behave as two leaders.
pub struct MemoryStore {
    pub(super) database: MemoryDatabase,
    pub(super) seen: Mutex<BTreeMap<ShardId, Seen>>,
    faults: Mutex<VecDeque<CommitFault>>,
    poison: Mutex<Option<Poison>>,
    /// Shared with this store's tails.
    pub(super) reachable: Arc<AtomicBool>,
    /// Everything up to the last transaction that a tail did not understand: no tail of this store starts before it again.
    pub(super) behind: Arc<Mutex<LogPosition>>,
}

/// Tells units that the database refuses whenever they are part of a batch.
type Poison = Arc<dyn Fn(&WriteUnit) -> bool + Send + Sync>;

/// What this store knows of a shard's log.
#[derive(Default)]
pub(super) struct Seen {
    /// Request rows up to here are in `requests`; `None`: none was loaded yet.
    pub(super) seq: Option<Seq>,
    pub(super) requests: RecentRequests,
}

impl MemoryStore {
    /// Another leader's connection.
    pub fn open(database: &MemoryDatabase) -> Self {
        Self {
            database: database.clone(),
            seen: Mutex::default(),
            faults: Mutex::default(),
            poison: Mutex::default(),
            reachable: Arc::new(AtomicBool::new(true)),
            behind: Arc::default(),
        }
    }

    /// The server.
    pub fn database(&self) -> &MemoryDatabase {
        &self.database
    }

    /// Queues a fault: each commit takes one.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.faults.lock().push_back(fault);
    }

    /// Batches with a unit for which `poison` is true are rejected (H33).
    pub fn set_poison(&self, poison: impl Fn(&WriteUnit) -> bool + Send + Sync + 'static) {
        *self.poison.lock() = Some(Arc::new(poison));
    }

    /// While unreachable, every call of this store fails as unavailable, and its tails end.
    pub fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::SeqCst);
        self.database.wake();
    }

    pub(super) fn next_fault(&self) -> Option<CommitFault> {
        self.faults.lock().pop_front()
    }

    pub(super) fn is_poisoned(&self, batch: &Batch) -> bool {
        let poison = self.poison.lock().clone();
        poison.is_some_and(|poison| batch.units.iter().any(|unit| poison(unit)))
    }

    pub(super) fn check_reachable(&self) -> Result<(), StoreError> {
        if self.reachable.load(Ordering::SeqCst) && !self.database.state().down {
            return Ok(());
        }
        Err(unavailable("the memory database is unreachable"))
    }
}

pub(super) fn unavailable(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}

pub(super) fn check_writable(state: &State) -> Result<(), StoreError> {
    if state.read_only { Err(unavailable("the memory database is read-only")) } else { Ok(()) }
}

fn locked() -> StoreError {
    unavailable("the shard row is locked by another transaction")
}

fn rejected(error: Error) -> StoreError {
    StoreError::new(StoreErrorKind::Rejected, error.message)
}

#[async_trait]
impl ShardStore for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn commit(&self, batch: Batch) -> Result<BatchResult, StoreError> {
        self.commit_batch(batch).await
    }

    async fn read(&self, keys: &[ReadKey]) -> Result<Vec<Result<Snapshot, Error>>, StoreError> {
        self.check_reachable()?;
        let state = self.database.state();
        Ok(keys.iter().map(|key| state.tables.read(key)).collect())
    }

    async fn shard_rows(&self) -> Result<Vec<ShardRow>, StoreError> {
        self.check_reachable()?;
        Ok(self.database.state().tables.shard_rows())
    }

    async fn shard_rows_of(&self, shards: &[ShardId]) -> Result<Vec<ShardRow>, StoreError> {
        self.check_reachable()?;
        Ok(self.database.state().tables.shard_rows_of(shards))
    }

    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> Result<(), StoreError> {
        self.check_reachable()?;
        let missing: BTreeSet<ShardId> = {
            let state = self.database.state();
            check_writable(&state)?;
            shards.iter().copied().filter(|shard| !state.tables.shards.contains_key(shard)).collect()
        };
        let mut locks = Vec::with_capacity(missing.len());
        for shard in &missing {
            locks.push(self.database.lock(LockKey::Shard(*shard)).await.ok_or_else(locked)?);
        }
        let new =
            |shard| LockedShard { shard, epoch, seq: Seq::ZERO, state: ShardState::Serving, next_id: 1 };
        self.database
            .transact(Rights::Client, locks, |tables, _| {
                let rows: Vec<_> =
                    missing.into_iter().filter(|shard| !tables.shards.contains_key(shard)).map(new).collect();
                Ok((!rows.is_empty()).then_some(Write::Shards(rows)))
            })
            .await?;
        Ok(())
    }

    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> Result<bool, StoreError> {
        self.check_reachable()?;
        let lock = self.database.lock(LockKey::Shard(shard)).await.ok_or_else(locked)?;
        self.database
            .transact(Rights::Client, vec![lock], |tables, _| {
                let row = tables.shards.get(&shard).filter(|row| row.epoch == epoch && row.state == from);
                let new = |row: &LockedShard| LockedShard { state: to, seq: row.seq.next(), ..*row };
                Ok(row.map(|row| Write::State { row: new(row), before: from }))
            })
            .await
    }

    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<Vec<PendingInverse>, StoreError> {
        self.check_reachable()?;
        Ok(self.database.state().tables.outbox(shard, after, limit))
    }

    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.check_reachable()?;
        self.database.state().tables.scan(shard, table, after, limit).map_err(rejected)
    }

    async fn purge(&self, shard: ShardId, requests: Seq, tombstones: Duration) -> Result<u64, StoreError> {
        self.check_reachable()?;
        let mut gone = 0;
        self.database
            .transact(Rights::Client, Vec::new(), |tables, now| {
                let horizon = |age: Duration| now.0.saturating_sub(age.as_millis() as u64);
                let tombstones_until = horizon(tombstones);
                let requests = tables.requests.range((shard, Seq::ZERO)..=(shard, requests));
                let requests: Vec<_> = requests.map(|(key, _)| *key).collect();
                let expired = tables
                    .tombstones
                    .iter()
                    .filter(|(edge, row)| edge.id1.shard() == shard && row.at.0 <= tombstones_until);
                let tombstones: Vec<_> = expired.map(|(edge, _)| *edge).collect();
                gone = (requests.len() + tombstones.len()) as u64;
                Ok((gone > 0).then_some(Write::Expired { requests, tombstones }))
            })
            .await?;
        Ok(gone)
    }
}
