//! Probes and their answers: how old what is known here is (R20).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{HostGroupId, Position, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::stream::GroupAge;

use super::{Phase, Subscriptions};
use crate::follower::age::{as_duration, micros};

impl Subscriptions {
    /// Asks every open stream.
    pub(super) fn probe(&mut self) {
        self.unvouched = false;
        for link in self.links.values_mut() {
            self.probes += 1;
            // Before the question is sent: what comes back knows everything up to here, less the leader's own age.
            let now = self.shared.clock.now();
            self.calls.extend(link.probe(self.probes, now, &self.shared.options));
        }
    }

    /// A barrier, and, if it answers a probe, a proof of age.
    ///
    /// Only the question counts, never the arrival: a heartbeat that lay in a buffer while this node slept says what it
    /// said when it was sent (H23).
    pub(super) fn on_heartbeats(
        &mut self,
        name: &Arc<str>,
        positions: Vec<Position>,
        probe: u64,
        ages: Vec<GroupAge>,
    ) {
        let mut asked = self.answered(name, probe);
        if planted(Bug::AgeFromArrival) {
            asked = asked.map(|_| self.shared.clock.now());
        }
        let mut whole: Vec<ShardId> = Vec::new();
        for position in positions {
            if self.on_heartbeat(name, position) && asked.is_some() {
                whole.push(position.shard);
            }
        }
        let Some(asked) = asked else { return };
        // The leader's age is that of its own log; it is ours only for what this stream is known to have brought.
        whole.sort_unstable();
        for GroupAge { age, time, shards, .. } in ages {
            // Older than this clock: nothing is known of it.
            let Some(at) = asked.checked_sub(age) else { continue };
            for shard in shards {
                if whole.binary_search(&shard).is_ok() {
                    self.shared.shards.vouch(shard, at, time);
                }
            }
        }
    }

    fn answered(&mut self, name: &Arc<str>, probe: u64) -> Option<Duration> {
        match &mut self.links.get_mut(name)?.state {
            super::LinkState::Open(open) if probe != 0 => open.probes.answered(probe),
            _ => None,
        }
    }

    /// Says how old the oldest knowledge is, by host group; shards that nobody has vouched for are counted.
    pub(super) fn show_ages(&mut self) {
        let shared = Arc::clone(&self.shared);
        let now = micros(shared.clock.now());
        let mut oldest: BTreeMap<HostGroupId, Option<Duration>> =
            std::mem::take(&mut self.groups).into_iter().map(|group| (group, None)).collect();
        let mut unknown = 0;
        for (shard, assignment) in &self.shards {
            let (Some(slot), Some(group)) = (shared.shards.get(*shard), shared.leaders.host_group(*shard))
            else {
                continue;
            };
            match as_duration(slot.known.look().age(now)) {
                Some(age) if assignment.phase == Phase::Live => {
                    let of_group = oldest.entry(group).or_default();
                    *of_group = (*of_group).max(Some(age));
                }
                _ => unknown += 1,
            }
        }
        shared.metrics.shards_unvouched.set(unknown);
        for (group, age) in oldest {
            shared.metrics.show_age(group, age);
            self.groups.extend(age.map(|_| group));
        }
    }
}
