//! A store that remembers the changes that its commits answered, to be compared with what the log tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tao_schema::error::Error;
use tao_schema::ids::{EdgeKey, Epoch, Seq, ShardId};
use tao_schema::rows::{ShardChange, ShardState};

use super::super::MySqlStore;
use crate::log::{Beat, BeatWriter, LogTail, ServerLog, TailEvent};
use crate::store::{PendingInverse, ReadKey, ScanPage, ShardRow, ShardStore, Snapshot, StoreError, Table};
use crate::write::{Batch, BatchResult};

/// By shard, epoch and seq.
pub(super) type Changes = BTreeMap<(ShardId, Epoch, Seq), Arc<ShardChange>>;

/// Passes everything on.
pub(super) struct Recorded {
    pub(super) store: MySqlStore,
    pub(super) changes: Arc<Mutex<Changes>>,
}

#[async_trait]
impl ShardStore for Recorded {
    fn describe(&self) -> String {
        self.store.describe()
    }

    async fn commit(&self, batch: Batch) -> Result<BatchResult, StoreError> {
        let result = self.store.commit(batch).await?;
        let changes = result.changes.iter().map(|c| ((c.shard, c.epoch, c.seq), c.clone()));
        self.changes.lock().extend(changes);
        Ok(result)
    }

    async fn read(&self, keys: &[ReadKey]) -> Result<Vec<Result<Snapshot, Error>>, StoreError> {
        self.store.read(keys).await
    }

    async fn shard_rows(&self) -> Result<Vec<ShardRow>, StoreError> {
        self.store.shard_rows().await
    }

    async fn shard_rows_of(&self, shards: &[ShardId]) -> Result<Vec<ShardRow>, StoreError> {
        self.store.shard_rows_of(shards).await
    }

    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> Result<(), StoreError> {
        self.store.create_shards(shards, epoch).await
    }

    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> Result<bool, StoreError> {
        self.store.change_state(shard, epoch, from, to).await
    }

    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<Vec<PendingInverse>, StoreError> {
        self.store.outbox(shard, after, limit).await
    }

    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.store.scan(shard, table, after, limit).await
    }

    async fn purge(&self, shard: ShardId, requests: Seq, tombstones: Duration) -> Result<u64, StoreError> {
        self.store.purge(shard, requests, tombstones).await
    }
}

/// Reads a tail up to a heartbeat that is written now; answers what it told, heartbeats of others included.
pub(super) async fn up_to_now(store: &MySqlStore, tail: &mut dyn LogTail) -> Vec<TailEvent> {
    let beat = Beat { writer: BeatWriter(u64::MAX), nonce: rand::random() };
    let time = store.beat(beat).await.unwrap();
    let mut told = Vec::new();
    loop {
        for event in tail.next().await.unwrap() {
            if event == (TailEvent::Beat { beat, time }) {
                return told;
            }
            told.push(event);
        }
    }
}

/// Each change that was answered was told, once and in order, and is the same; what was told beside them moved the
/// log and nothing else.
pub(super) fn assert_same(told: &[TailEvent], answered: &Changes) {
    let mut last: BTreeMap<ShardId, (Seq, bool)> = BTreeMap::new();
    let mut found = 0;
    for event in told {
        let TailEvent::Change { change, state } = event else { continue };
        let before = last.insert(change.shard, (change.seq, state.readable()));
        let (before, readable) = before.unwrap_or((Seq::ZERO, true));
        // What happens to a shard that is not readable is not told.
        assert!(!readable || before.next() == change.seq, "shard {}: {before:?}, {change:?}", change.shard);
        match answered.get(&(change.shard, change.epoch, change.seq)) {
            Some(own) => {
                assert_eq!(own, change);
                found += 1;
            }
            None => assert!(change.items.is_empty(), "nobody answered {change:?}"),
        }
    }
    assert_eq!(found, answered.len(), "changes that were answered and told");
}
