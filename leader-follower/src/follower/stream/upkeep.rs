//! What the subscription task does by the clock.

use std::sync::Arc;

use tao_schema::ids::ShardId;
use tokio::time::Instant;

use super::assignment::Phase;
use super::links::{Link, LinkState};
use super::{Loss, Subscriptions};

impl Subscriptions {
    pub(super) fn tick(&mut self) {
        self.shared.shards.tick();
        self.drop_silent_links();
        self.place_all_anew();
        self.assign_parked();
        self.forget_idle();
        self.tend_links();
        self.show_ages();
    }

    /// A stream that stays silent may be dead, and then changes are missed unseen (R10).
    fn drop_silent_links(&mut self) {
        let (now, limit) = (Instant::now(), self.shared.options.liveness());
        let silent: Vec<Arc<str>> = self
            .links
            .iter()
            .filter(|(_, link)| match &link.state {
                LinkState::Open(open) => {
                    !link.shards.is_empty() && now.saturating_duration_since(open.heard) > limit
                }
                LinkState::Closed | LinkState::Opening(_) => false,
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in silent {
            self.link_lost(&name, Loss::Silent, None);
        }
    }

    /// Only when the topology or a leader's health has changed: otherwise every choice would be the same.
    fn place_all_anew(&mut self) {
        let version = self.shared.leaders.version();
        if version == self.placed_by {
            return;
        }
        self.placed_by = version;
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        for shard in shards {
            self.place_anew(shard);
        }
    }

    /// Moves a shard if another leader is the better one now. Its trust ends with the old stream, and its entries
    /// stay: the new leader goes on from the shard's own watermark, or resets it (R16).
    pub(super) fn place_anew(&mut self, shard: ShardId) {
        let Some(assignment) = self.shards.get(&shard) else { return };
        let Some(current) = &assignment.leader else { return };
        let best = self.shared.leaders.choose(shard, &assignment.refused_by);
        if best.is_none_or(|best| best.name == *current) {
            return;
        }
        if assignment.phase == Phase::Live {
            self.end_trust(shard, Loss::Moved);
        }
        self.detach(shard);
        self.assign(shard);
    }

    fn assign_parked(&mut self) {
        let now = Instant::now();
        let due: Vec<ShardId> = self
            .shards
            .iter()
            .filter(|(_, assignment)| matches!(assignment.phase, Phase::Parked(until) if until <= now))
            .map(|(shard, _)| *shard)
            .collect();
        for shard in due {
            self.assign(shard);
        }
    }

    fn forget_idle(&mut self) {
        let idle: Vec<ShardId> =
            self.shards.keys().copied().filter(|shard| self.shared.shards.idle(*shard)).collect();
        for shard in &idle {
            self.detach(*shard);
            self.shards.remove(shard);
            self.shared.shards.forget(*shard);
        }
        if !idle.is_empty() {
            self.count_shards();
        }
    }

    /// Closes streams without shards, and keeps knocking at leaders that are passed over: calls skip them, so only
    /// this finds out that they are back.
    fn tend_links(&mut self) {
        let shared = Arc::clone(&self.shared);
        let unneeded: Vec<Arc<str>> = self
            .links
            .iter()
            .filter(|(_, link)| link.shards.is_empty() && !shared.leaders.worth_a_probe(&link.leader))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in unneeded {
            if let Some(mut link) = self.links.remove(&name)
                && link.close()
            {
                shared.metrics.streams_open.dec();
                shared.leaders.stream_closed(&link.leader);
            }
        }
        for leader in shared.leaders.passed_over() {
            let name = Arc::clone(&leader.name);
            self.links.entry(Arc::clone(&name)).or_insert_with(|| Link::new(leader));
            self.drive(&name);
        }
    }
}
