//! The audit: shard rows against watermarks (R8). Without a tail it is what finds the commits of other leaders.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Inner;
use super::routes::Group;

impl Inner {
    /// Until the leader stops. Opens the leader's own shards, too, at the start and after a change of topology.
    pub(super) async fn audit_forever(self: Arc<Self>) {
        let mut ticks = interval(self.options.audit_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut opened_for = None;
        loop {
            tokio::select! {
                biased;
                () = self.stop_streams.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let work = async {
                let version = self.routes.cluster.load().topology.version;
                if opened_for != Some(version) && self.open_own_shards().await {
                    opened_for = Some(version);
                }
                join_all(self.routes.groups.values().map(|group| self.audit(group))).await;
                for shard in self.shards.take_strangers() {
                    self.inverses.drain(shard);
                }
            };
            tokio::select! {
                biased;
                () = self.stop_streams.cancelled() => return,
                () = work => {}
            }
        }
    }

    async fn audit(&self, group: &Group) {
        let began = Instant::now();
        let rows = match timeout(self.options.stream.open, group.store.shard_rows()).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return tracing::warn!(%error, "the shard rows can't be read"),
            Err(_) => return tracing::warn!("reading the shard rows takes too long"),
        };
        for row in rows {
            if let Some(slot) = self.shards.open_slot(row.shard) {
                self.shards.audit(slot, &row, began, group.lanes.committing_since(row.shard));
            }
        }
    }
}
