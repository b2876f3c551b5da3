//! Opening shards, on first use or because the topology gives them to this leader.

use std::sync::Arc;

use futures_util::stream::{StreamExt as _, iter};
use tao_schema::ids::{ObjectId, ShardId};
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::ReadKey;
use tokio::time::Instant;

use super::Inner;
use super::shards::Slot;

impl Inner {
    /// The shard, opened if it is not yet. Whoever comes first opens for all; if it goes away, the next goes on.
    pub(super) async fn open(self: &Arc<Self>, shard: ShardId, deadline: Instant) -> Result<Arc<Slot>> {
        if let Some(slot) = self.shards.open_slot(shard) {
            return Ok(Arc::clone(slot));
        }
        let Some(slot) = self.shards.slot(shard) else {
            return Err(Error::new(
                ErrorCode::NoSuchShard,
                format!("there is no shard {shard} in this cluster"),
            ));
        };
        let opening = slot.opened.get_or_try_init(|| self.read_row_and_open(slot, deadline));
        match tokio::time::timeout_at(deadline, opening).await {
            Ok(Ok(())) => Ok(Arc::clone(slot)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let message =
                    format!("the deadline passed before shard {shard} was opened; nothing was done");
                Err(Error::new(ErrorCode::DeadlineExceeded, message))
            }
        }
    }

    /// No commit of this leader comes in between: writes wait for the shard to be open, and a transaction of another
    /// shard takes it along only if it is.
    async fn read_row_and_open(self: &Arc<Self>, slot: &Arc<Slot>, deadline: Instant) -> Result<()> {
        let shard = slot.shard;
        let (group, epoch) = self.routes.group(shard)?;
        // Any key shows the shard row, and goes in one call with those of other shards.
        let key = ReadKey::Object(ObjectId::new(shard, 0));
        let row = group.reader.read(key, deadline).await?;
        let serves = row.state.readable() && row.position.epoch == epoch;
        if !serves {
            self.routes.stale_topology.notify_one();
            let message = format!(
                "shard {shard} is {:?} in epoch {} in the database; the topology says epoch {epoch}",
                row.state, row.position.epoch
            );
            return Err(Error::new(ErrorCode::NotOwner, message));
        }
        self.shards.open(slot, row.position, row.state);
        self.inverses.drain(shard);
        Ok(())
    }

    /// Opens what the topology gives to this leader, so that what an earlier one left in the outboxes is brought over
    /// even if nobody asks for it (R23). Answers whether all of them are open.
    pub(super) async fn open_own_shards(self: &Arc<Self>) -> bool {
        let closed: Vec<ShardId> = self
            .routes
            .own_shards()
            .into_iter()
            .filter(|shard| self.shards.open_slot(*shard).is_none())
            .collect();
        let open = |shard| async move {
            let deadline = Instant::now() + self.options.stream.open;
            self.open(shard, deadline).await
        };
        let mut opened = iter(closed).map(open).buffer_unordered(self.options.parallel_opens.max(1));
        let mut all = true;
        while let Some(result) = opened.next().await {
            if let Err(error) = result {
                all = false;
                tracing::debug!(%error, "a shard of this leader can't be opened yet");
            }
        }
        all
    }
}
