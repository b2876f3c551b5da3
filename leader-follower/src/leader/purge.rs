//! Rows that are kept only for a time, without which the tables would grow with every write: request rows (R3), and the
//! tombstones of inverses (R22). Each leader removes those of the shards that it orders.
//!
//! Which requests are old enough a leader knows by its own clock, which nobody sets: it notes where each shard's log stands,
//! and what was there already when it looked so long ago may go. By the server's wall clock, a step forward would make the
//! requests of the last seconds old, and whoever takes over then would do their retries a second time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{Position, Seq, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_shard_store::write::{REQUEST_RETENTION, TOMBSTONE_RETENTION};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Inner;

/// Request rows are told apart from others by leaders up to their retention; twice that for what other leaders may still
/// be loading.
const REQUESTS_KEPT: Duration = REQUEST_RETENTION.saturating_mul(2);
/// Leaves all tombstones alone, without a look at them.
const KEEP_TOMBSTONES: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Where the logs of shards stood at times of this machine's clock, oldest first.
#[derive(Default)]
struct Marks(HashMap<ShardId, VecDeque<(Instant, Position)>>);

impl Marks {
    /// Notes where a log stands; answers the last position that it had passed [`REQUESTS_KEPT`] ago.
    fn note(&mut self, now: Instant, position: Position) -> Option<Position> {
        let marks = self.0.entry(position.shard).or_default();
        marks.push_back((now, position));
        let old = |(at, _): &(Instant, Position)| now.saturating_duration_since(*at) >= REQUESTS_KEPT;
        while marks.get(1).is_some_and(old) {
            marks.pop_front();
        }
        marks.front().filter(|mark| old(mark)).map(|(_, position)| *position)
    }
}

impl Inner {
    /// Until the leader stops.
    pub(super) async fn purge_forever(self: Arc<Self>) {
        let every = self.options.purge_every;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tombstones_due = Instant::now() + self.options.purge_tombstones_every;
        let mut marks = Marks::default();
        loop {
            let work = async {
                let now = ticks.tick().await;
                let tombstones = now >= tombstones_due;
                if tombstones {
                    tombstones_due = now + self.options.purge_tombstones_every;
                }
                self.purge(&mut marks, if tombstones { TOMBSTONE_RETENTION } else { KEEP_TOMBSTONES }).await;
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
    async fn purge(&self, marks: &mut Marks, tombstones: Duration) {
        let ordered = self.routes.ordered_here();
        marks.0.retain(|shard, _| ordered.binary_search(shard).is_ok());
        for shard in ordered {
            let Some(slot) = self.shards.slot(shard) else { continue };
            let old = marks.note(Instant::now(), slot.core.position());
            // What a promotion has cut off says nothing about the seqs that were given again since.
            let old = old.filter(|old| slot.core.check_lineage(&[*old]).is_ok());
            let (requests, tombstones) = match planted(Bug::PurgeTooEarly) {
                true => (slot.core.position().seq, Duration::ZERO),
                false => (old.map_or(Seq::ZERO, |old| old.seq), tombstones),
            };
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

#[cfg(test)]
mod tests {
    use tao_schema::ids::Epoch;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_log_had_passed_long_ago_is_old() {
        let at = |seq| Position { shard: ShardId(3), epoch: Epoch(1), seq: Seq(seq) };
        let (mut marks, minute) = (Marks::default(), REQUESTS_KEPT / 4);
        for seq in [10, 20, 30, 40] {
            assert_eq!(marks.note(Instant::now(), at(seq)), None);
            tokio::time::advance(minute).await;
        }
        assert_eq!(marks.note(Instant::now(), at(50)), Some(at(10)));
        tokio::time::advance(minute * 5 / 2).await;
        assert_eq!(marks.note(Instant::now(), at(60)), Some(at(30)));
        assert_eq!(marks.0[&ShardId(3)].len(), 4, "no more than are needed");
    }
}
