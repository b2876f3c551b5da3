//! Draining a shard's outbox: what other leaders left, and own commits whose outcome was not known.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};
use tao_shard_store::StoreError;
use tao_shard_store::store::PendingInverse;
use tokio::time::sleep;

use super::Inverses;

impl Inverses {
    /// Drains in the background, until the end of the outbox was seen once or the leader stops. Asked for when the
    /// shard becomes this leader's, and whenever its log turns out to hold what this leader did not publish (R23): another leader
    /// may have left outbox rows and died, and so does an own commit whose outcome is found out too late.
    pub(crate) fn drain(self: &Arc<Self>, shard: ShardId) {
        match self.draining.lock().entry(shard) {
            // The page that it reads now may have been read before the row that this is about.
            Entry::Occupied(mut again) => {
                again.insert(true);
                return;
            }
            Entry::Vacant(free) => free.insert(false),
        };
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let stop = this.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = this.drain_while_asked(shard) => {}
            }
        });
    }

    async fn drain_while_asked(self: &Arc<Self>, shard: ShardId) {
        loop {
            self.drain_all(shard).await;
            let mut draining = self.draining.lock();
            if draining.insert(shard, false) != Some(true) {
                draining.remove(&shard);
                return;
            }
        }
    }

    async fn drain_all(self: &Arc<Self>, shard: ShardId) {
        if planted(Bug::InverseSkippedOnCrash) {
            return;
        }
        let (mut after, mut carried) = (None, 0);
        let (mut pause, longest) = self.options.pause;
        loop {
            match self.page(shard, after).await {
                Ok(rows) if rows.is_empty() => break,
                Ok(rows) => {
                    after = rows.last().map(|row| row.edge);
                    for row in rows {
                        carried += usize::from(self.carry_old(shard, row).await);
                    }
                    pause = self.options.pause.0;
                }
                Err(error) => {
                    tracing::warn!(%shard, %error, "can't read the outbox yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
        if carried > 0 {
            tracing::info!(%shard, carried, "took over inverses that an earlier leader had left");
        }
    }

    async fn page(
        &self,
        shard: ShardId,
        after: Option<tao_schema::ids::EdgeKey>,
    ) -> Result<Vec<PendingInverse>, StoreError> {
        let store = match self.routes.place(shard) {
            // The new master drains it.
            Ok(place) if !place.master => return Ok(Vec::new()),
            Ok(place) => Arc::clone(&place.group.database),
            Err(error) => {
                let kind = tao_shard_store::StoreErrorKind::Unavailable;
                return Err(StoreError::new(kind, error.message));
            }
        };
        // For the read alone: a shard that has to wait, for room or for its database, holds up no other.
        let Ok(_turn) = self.drains.acquire().await else { return Ok(Vec::new()) };
        store.outbox(shard, after, self.options.drain_page.max(1)).await
    }

    /// Sends an old row on its way as soon as there is room; false if it is on its way already.
    async fn carry_old(self: &Arc<Self>, shard: ShardId, row: PendingInverse) -> bool {
        if self.known.lock().contains(&(row.edge, row.origin)) {
            return false;
        }
        let permit = loop {
            if self.depth.is_light(shard)
                && let Ok(permit) = self.depth.take(shard)
            {
                break permit;
            }
            sleep(self.options.pause.0).await;
        };
        drop(self.carry(row, permit));
        true
    }
}
