//! What a promotion writes (R24).

use std::collections::{BTreeMap, BTreeSet};

use tao_schema::ids::{Epoch, Position, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;

use super::database::{LockKey, MemoryDatabase, Rights};
use super::log::Write;
use super::store::unavailable;
use super::tables::Tables;
use crate::apply::LockedShard;
use crate::moves::promotion::{Fate, fate};
use crate::store::{StoreError, StoreErrorKind};

/// Ids that a new epoch leaves out, for those that lost writes have given away (H6).
const SKIPPED_IDS: u64 = 1 << 20;

impl MemoryDatabase {
    /// Writes the shard rows, in one transaction: the shards `(shard, old, new)` get their new epoch, which starts
    /// after the last seq that arrived here, and serve. Those that have the new epoch already stay as they are, so that it can
    /// be repeated. What moves have is left to them, and what serves goes on serving (R25), as on MySQL. A server that is
    /// still read-only may do it. Answers how many epochs were opened.
    ///
    /// A row that changes its state takes a seq for that, as everywhere, so that caches hear of it.
    ///
    /// # Errors
    /// `Unavailable` if the server is down or a row is locked for too long; `Rejected` if a shard is not here or in
    /// an older epoch, and while the server has a source, whose history its own transactions would leave.
    pub async fn open_epochs(&self, epochs: &[(ShardId, Epoch, Epoch)]) -> Result<usize, StoreError> {
        let owned: BTreeMap<_, _> = epochs.iter().map(|(shard, old, new)| (*shard, (*old, *new))).collect();
        let all: BTreeSet<ShardId> = {
            let state = self.state();
            if state.replication.is_some() {
                return Err(rejected("the memory database still has a source: forget it first".to_owned()));
            }
            state.tables.shards.keys().copied().collect()
        };
        // Transactions that are durable and not visible yet hold their rows, those of a source as well: none of their seqs
        // may be given again.
        self.when_log_moves(|state| state.held.is_empty().then_some(())).await;
        let mut locks = Vec::with_capacity(all.len());
        for shard in all {
            let lock = self.lock(LockKey::Shard(shard)).await;
            locks.push(lock.ok_or_else(|| unavailable("a shard row is locked by another transaction"))?);
        }
        let mut count = 0;
        self.transact(Rights::Admin, locks, |tables, _| {
            let write = promotion(tables, &owned)?;
            if let Some(Write::Promotion(opened)) = &write {
                count = opened.len();
            }
            Ok(write)
        })
        .await?;
        Ok(count)
    }
}

fn promotion(
    tables: &Tables,
    owned: &BTreeMap<ShardId, (Epoch, Epoch)>,
) -> Result<Option<Write>, StoreError> {
    if let Some(shard) = owned.keys().find(|shard| !tables.shards.contains_key(shard)) {
        return Err(rejected(format!("shard {shard} has no row")));
    }
    let mut opened = Vec::new();
    for row in tables.shards.values() {
        let at = Position { shard: row.shard, epoch: row.epoch, seq: row.seq };
        let by_move = tables.fenced_by_move(row);
        let fate = fate(at, row.state, by_move, owned.get(&row.shard).copied()).map_err(rejected)?;
        let Fate::Opens { epoch, first_seq, seq } = fate else { continue };
        let next_id = row.next_id + if planted(Bug::IdsReissuedAfterPromotion) { 0 } else { SKIPPED_IDS };
        let new = LockedShard { shard: row.shard, epoch, seq, state: ShardState::Serving, next_id };
        opened.push((new, first_seq, row.state != ShardState::Serving));
    }
    Ok((!opened.is_empty()).then_some(Write::Promotion(opened)))
}

fn rejected(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Rejected, message)
}
