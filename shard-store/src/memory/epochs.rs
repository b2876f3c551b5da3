//! What a promotion writes (R24).

use tao_schema::ids::{Epoch, ShardId};

use super::database::{LockKey, MemoryDatabase, Rights};
use super::log::Write;
use super::store::unavailable;
use crate::store::StoreError;

/// Ids that a new epoch leaves out, for those that lost writes have given away (H6).
const SKIPPED_IDS: u64 = 1 << 20;

impl MemoryDatabase {
    /// Opens an epoch of each shard whose row is in the old one: `(shard, old, new)`. All in one transaction, with the
    /// history; a replica that is still read-only may do it. Does nothing to other rows, so that it can be repeated.
    /// Answers how many rows changed.
    ///
    /// # Errors
    /// `Unavailable` if the server is down or a row is locked for too long.
    pub async fn open_epochs(&self, epochs: &[(ShardId, Epoch, Epoch)]) -> Result<usize, StoreError> {
        let mut sorted = epochs.to_vec();
        sorted.sort_unstable();
        sorted.dedup_by_key(|(shard, ..)| *shard);
        let mut locks = Vec::with_capacity(sorted.len());
        for (shard, ..) in &sorted {
            let lock = self.lock(LockKey::Shard(*shard)).await;
            locks.push(lock.ok_or_else(|| unavailable("a shard row is locked by another transaction"))?);
        }
        let mut changed = 0;
        self.transact(Rights::Admin, locks, |tables, _| {
            let mut rows = Vec::new();
            for (shard, old, new) in sorted {
                if let Some(row) = tables.shards.get(&shard).filter(|row| row.epoch == old) {
                    let mut row = *row;
                    row.epoch = new;
                    row.next_id += SKIPPED_IDS;
                    rows.push(row);
                }
            }
            changed = rows.len();
            Ok((!rows.is_empty()).then_some(Write::Epochs(rows)))
        })
        .await?;
        Ok(changed)
    }
}
