//! What a leader looks after from time to time: outboxes that others left, and commits that wait for what never comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Inner;

/// The log may be this much ahead of the answer to an own commit, before the change counts as somebody else's.
const SETTLE: Duration = Duration::from_secs(1);

impl Inner {
    /// Until the leader stops.
    pub(super) async fn upkeep_forever(self: Arc<Self>) {
        let mut ticks = interval(self.options.upkeep_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drained_for = None;
        loop {
            tokio::select! {
                biased;
                () = self.stop_streams.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let version = self.routes.cluster.load().topology.version;
            let all = drained_for != Some(version);
            drained_for = Some(version);
            self.drain_what_others_left(all);
            for slot in self.shards.all_open() {
                self.shards.give_up_waiting(slot, self.options.tail.gap_patience);
            }
        }
    }

    /// The outboxes of the shards whose writes this leader orders: `all` of them when that may be new, else those of
    /// shards whose log held what this leader did not publish. Whoever left it may be dead (R23).
    fn drain_what_others_left(&self, all: bool) {
        for shard in self.routes.ordered_here() {
            let foreign = self.shards.slot(shard).is_some_and(|slot| slot.foreign.take(SETTLE));
            if all || foreign {
                self.inverses.drain(shard);
            }
        }
    }
}
