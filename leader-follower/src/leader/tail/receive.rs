//! Shards that come from another host group: the change of hands (R25).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::ShardId;
use tao_shard_store::log::TailEvent;
use tokio::time::{Instant, sleep, timeout};

use super::GroupTail;
use super::feed::Feed;
use crate::leader::handover::{Arrival, Switch};
use crate::leader::slot::Slot;

/// Between two looks while a shard is on its way: a part of the pause that writers see.
const LOOK: Duration = Duration::from_millis(2);
/// Between two looks at the topology while none is.
const TOPOLOGY_LOOK: Duration = Duration::from_millis(50);
/// So long after a log told of a shard that it does not feed, the topology is looked at as often as for one on its way: a
/// move is released moments after its commit, and writers wait for that.
const EXPECTING: Duration = Duration::from_secs(1);

/// A shard that the topology has here while another group's log feeds it, or none.
struct Coming {
    slot: Arc<Slot>,
    /// By the machine's clock and by the runtime's.
    since: (Duration, Instant),
}

impl GroupTail {
    /// Takes over the shards that the topology gives to this group, as soon as both logs have come to it. In one task with
    /// the log's events: nothing comes between what was kept and what follows.
    pub(super) async fn receive(&self, feed: &Feed) -> Infallible {
        let (mut version, mut coming) = (None, Vec::<Coming>::new());
        let mut expecting = Instant::now();
        loop {
            let now = self.routes.cluster.load().topology.version;
            if version != Some(now) {
                version = Some(now);
                let known: Vec<Coming> = std::mem::take(&mut coming);
                for slot in self.elsewhere_fed() {
                    let before = known.iter().find(|coming| Arc::ptr_eq(&coming.slot, &slot));
                    let since =
                        before.map_or_else(|| (self.clock.now(), Instant::now()), |known| known.since);
                    coming.push(Coming { slot, since });
                }
            }
            coming.retain(|coming| !self.received(feed, coming));
            if !coming.is_empty() || Instant::now() < expecting {
                sleep(LOOK).await;
            } else if timeout(TOPOLOGY_LOOK, self.arrived.notified()).await.is_ok() {
                expecting = Instant::now() + EXPECTING;
            }
        }
    }

    /// What the topology has here and this log does not feed.
    fn elsewhere_fed(&self) -> Vec<Arc<Slot>> {
        let slots = self.routes.shards_of(self.id).into_iter();
        let slots = slots.filter_map(|shard| self.shards.slot(shard).cloned());
        slots.filter(|slot| !slot.handover.is_fed_by(self.id)).collect()
    }

    /// Whether the shard is fed from here now.
    fn received(&self, feed: &Feed, coming: &Coming) -> bool {
        let slot = &coming.slot;
        if slot.handover.is_fed_by(self.id) {
            return true;
        }
        if slot.handover.feed().is_none() {
            // The topology came between two starts: the other group's tail began after it, this one before.
            self.seize(slot);
            return true;
        }
        let known = slot.core.with(|core| core.held().unwrap_or_else(|| core.position()));
        let switched = if slot.is_open() { slot.handover.switch(self.id, known) } else { Switch::NotYet };
        match switched {
            Switch::Done(kept) => {
                tracing::info!(shard = %slot.shard, host_group = %self.id, at = %known, "the shard's log is here now");
                for arrival in kept {
                    self.take_arrival(feed, slot.shard, arrival);
                }
                slot.handover.tell();
                true
            }
            Switch::NotYet if !self.is_overdue(coming) => false,
            Switch::NotYet | Switch::Broken => {
                self.seize(slot);
                true
            }
        }
    }

    fn take_arrival(&self, feed: &Feed, shard: ShardId, arrival: Arrival) {
        match arrival {
            // No other primary: what its heartbeats prove stands.
            Arrival::Epoch(start) => {
                if let Some(slot) = self.shards.slot(shard)
                    && !self.shards.epoch(slot, start)
                {
                    self.audit_wanted.notify_one();
                }
            }
            Arrival::Change { change, state, visible } => {
                self.take(feed, TailEvent::Change { change, state }, visible);
            }
        }
    }

    /// The other log does not come to its fence, or this one should have told of the shard by now: a heartbeat that was
    /// written after the topology gave it here has come through. A replica that is behind is waited for.
    fn is_overdue(&self, coming: &Coming) -> bool {
        let (since, began) = coming.since;
        let told = coming.slot.handover.arrives_from(self.id)
            || self.health.known_at().is_some_and(|(at, _)| at >= since);
        told && began.elapsed() >= self.options.handover_patience
    }

    /// Starts the shard anew from this group's rows.
    fn seize(&self, slot: &Slot) {
        tracing::warn!(shard = %slot.shard, host_group = %self.id,
            "the shard is here, and no log has led to it: its cache is dropped");
        self.metrics.start_over("handover");
        self.shards.close(slot, true);
        slot.handover.seize(self.id);
        slot.handover.tell();
        self.audit_wanted.notify_one();
    }
}
