//! Rows that are kept only for a time, without which the tables would grow with every write: request rows (R3), and the
//! tombstones of inverses (R22). Each leader removes those of the shards that it orders.

use std::sync::Arc;
use std::time::Duration;
use tao_schema::planted::{Bug, planted};

use tao_shard_store::write::{REQUEST_RETENTION, TOMBSTONE_RETENTION};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Inner;

/// Request rows are told apart from others by leaders up to their retention; twice that pays for clocks that were set.
const REQUESTS_KEPT: Duration = REQUEST_RETENTION.saturating_mul(2);
/// Leaves all tombstones alone, without a look at them.
const KEEP_TOMBSTONES: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

impl Inner {
    /// Until the leader stops.
    pub(super) async fn purge_forever(self: Arc<Self>) {
        let every = self.options.purge_every;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tombstones_due = Instant::now() + self.options.purge_tombstones_every;
        loop {
            let work = async {
                let now = ticks.tick().await;
                let tombstones = now >= tombstones_due;
                if tombstones {
                    tombstones_due = now + self.options.purge_tombstones_every;
                }
                self.purge(if tombstones { TOMBSTONE_RETENTION } else { KEEP_TOMBSTONES }).await;
            };
            tokio::select! {
                biased;
                // A removal that is given up half-way goes on with the next leader: its transactions are small.
                () = self.stop_streams.cancelled() => return,
                () = work => {}
            }
        }
    }

    /// One shard after the other: nobody waits for it.
    async fn purge(&self, tombstones: Duration) {
        let (requests, tombstones) = match planted(Bug::PurgeTooEarly) {
            true => (Duration::ZERO, Duration::ZERO),
            false => (REQUESTS_KEPT, tombstones),
        };
        for shard in self.routes.ordered_here() {
            let Ok((group, _)) = self.routes.group(shard) else { continue };
            let store = Arc::clone(&group.database);
            // In a task: the store's calls must not be dropped on the way.
            let purged = tokio::spawn(async move { store.purge(shard, requests, tombstones).await });
            match purged.await {
                Ok(Ok(rows)) if rows > 0 => tracing::debug!(%shard, rows, "old rows removed"),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%shard, %error, "old rows can't be removed"),
                Err(crash) => tracing::error!(%shard, %crash, "removing old rows crashed"),
            }
        }
    }
}
