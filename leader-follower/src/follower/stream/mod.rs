//! The follower's subscriptions: one task that is the only consumer of all change streams (R16).
//!
//! Because one task owns every stream and every assignment, a shard's messages are applied in the order they were
//! sent, and nothing of a stream is applied after its shard went to another: an [`Opening`] that is no longer current
//! is not listened to.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use tao_schema::Error;
use tao_schema::ids::{HostGroupId, ShardId};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::assignment::{Assignment, Phase};
use self::links::{Done, Incoming, Link, LinkState, Links, Opening};
use super::leaders::Leader;
use super::metrics::Loss;
use super::shared::Shared;

mod ages;
mod assignment;
mod links;
mod messages;
mod probes;
mod upkeep;

/// A shard that has just come to life is probed so soon, together with those that follow it.
const PROBE_SOON: Duration = Duration::from_millis(2);

/// The task.
pub(super) struct Subscriptions {
    shared: Arc<Shared>,
    wanted: mpsc::Receiver<ShardId>,
    links: Links,
    shards: BTreeMap<ShardId, Assignment>,
    incoming: SelectAll<BoxStream<'static, Incoming>>,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
    openings: u64,
    probes: u64,
    /// A shard has come to life since the last probes: it is served only when its age is known.
    unvouched: bool,
    /// Host groups whose age is shown.
    groups: BTreeSet<HostGroupId>,
    /// Of [`super::leaders::Leaders::version`]: what the assignments were made from.
    placed_by: (u64, u64),
}

/// Ends all trust when the task ends, however it ends: watermarks that nobody moves must not be believed (R16).
struct TrustGuard(Arc<Shared>);

impl Subscriptions {
    pub(super) fn new(shared: Arc<Shared>, wanted: mpsc::Receiver<ShardId>) -> Self {
        let placed_by = shared.leaders.version();
        Self {
            shared,
            wanted,
            links: Links::new(),
            shards: BTreeMap::new(),
            incoming: SelectAll::new(),
            calls: FuturesUnordered::new(),
            openings: 0,
            probes: 0,
            unvouched: false,
            groups: BTreeSet::new(),
            placed_by,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let _trust = TrustGuard(Arc::clone(&self.shared));
        let mut ticks = tokio::time::interval(self.shared.options.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probes = tokio::time::interval(self.shared.options.probe_every);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut soon = false;
        loop {
            if self.unvouched && !soon {
                soon = true;
                probes.reset_after(PROBE_SOON.min(self.shared.options.probe_every));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.tick(),
                _ = probes.tick() => {
                    soon = false;
                    self.probe();
                }
                Some(done) = self.calls.next(), if !self.calls.is_empty() => self.done(done),
                // Before the messages: a busy stream must not keep new shards waiting. Bounded by its queue.
                Some(shard) = self.wanted.recv() => self.want(shard),
                Some(said) = self.incoming.next(), if !self.incoming.is_empty() => self.hear(said),
            }
        }
    }

    fn want(&mut self, shard: ShardId) {
        if let Entry::Vacant(vacant) = self.shards.entry(shard) {
            vacant.insert(Assignment::new(Instant::now()));
            self.assign(shard);
            self.count_shards();
        }
    }

    /// Gives a shard that has no leader to the best one.
    fn assign(&mut self, shard: ShardId) {
        let Some(assignment) = self.shards.get_mut(&shard) else { return };
        let leaders = &self.shared.leaders;
        let choice = leaders.choose(shard, &assignment.refused_by).or_else(|| {
            assignment.refused_by.clear();
            leaders.choose(shard, &[])
        });
        match choice {
            Some(leader) => {
                assignment.leader = Some(Arc::clone(&leader.name));
                assignment.phase = Phase::Awaiting;
                let name = Arc::clone(&leader.name);
                self.links.entry(Arc::clone(&name)).or_insert_with(|| Link::new(leader)).subscribe(shard);
                self.drive(&name);
            }
            None => assignment.phase = Phase::Parked(Instant::now() + self.shared.options.backoff_max),
        }
    }

    /// Takes a shard from its leader; the caller has ended the trust in it.
    fn detach(&mut self, shard: ShardId) {
        let Some(assignment) = self.shards.get_mut(&shard) else { return };
        if let Some(name) = assignment.leader.take()
            && let Some(link) = self.links.get_mut(&name)
        {
            link.unsubscribe(shard);
            self.drive(&name);
        }
    }

    /// Brings a link forward: opens it if it is wanted, says what there is to say if it is open.
    fn drive(&mut self, name: &Arc<str>) {
        let Some(link) = self.links.get_mut(name) else { return };
        let shared = &self.shared;
        match link.state {
            // Without shards a stream is only opened to see whether a leader is back.
            LinkState::Closed if link.shards.is_empty() && !shared.leaders.worth_a_probe(&link.leader) => {}
            LinkState::Closed => {
                self.openings += 1;
                let call = link.start(Opening(self.openings), &shared.node, &shared.options);
                self.calls.push(call);
            }
            LinkState::Opening(_) => {}
            LinkState::Open(_) => {
                self.calls.extend(link.flush(&shared.options, |shard| shared.shards.subscribe_from(shard)));
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Opened(name, opening, result) => {
                let Some(link) = self.links.get_mut(&name) else { return };
                if !matches!(link.state, LinkState::Opening(current) if current == opening) {
                    return;
                }
                match result {
                    Ok(stream) => {
                        self.incoming.push(link.opened(opening, stream));
                        self.shared.metrics.streams_open.inc();
                        // A probe has nothing to hear; a stream with shards must say something first.
                        if link.shards.is_empty() {
                            self.shared.leaders.streaming(&link.leader, true);
                        }
                        self.drive(&name);
                    }
                    Err(error) => self.link_lost(&name, Loss::StreamEnded, Some(&error)),
                }
            }
            Done::Probed(name, opening, result) => {
                let Some(link) = self.links.get_mut(&name) else { return };
                let Some(open) = link.open(opening) else { return };
                open.probes.sent();
                if let Err(error) = result {
                    self.link_lost(&name, Loss::StreamEnded, Some(&error));
                }
            }
            Done::Controlled(name, opening, result) => {
                let Some(link) = self.links.get_mut(&name) else { return };
                if link.open(opening).is_none() {
                    return;
                }
                link.controlled();
                match result {
                    Ok(()) => self.drive(&name),
                    Err(error) => self.link_lost(&name, Loss::StreamEnded, Some(&error)),
                }
            }
        }
    }

    fn hear(&mut self, said: Incoming) {
        let Incoming { leader: name, opening, message } = said;
        let Some(link) = self.links.get_mut(&name) else { return };
        let Some(open) = link.open(opening) else { return };
        match message {
            Some(Ok(message)) => {
                open.heard = Instant::now();
                link.heard();
                self.shared.leaders.streaming(&link.leader, true);
                self.apply(&name, message);
            }
            Some(Err(error)) => self.link_lost(&name, Loss::StreamEnded, Some(&error)),
            None => self.link_lost(&name, Loss::StreamEnded, None),
        }
    }

    /// The phase of a shard that is assigned to this leader.
    fn phase(&self, name: &Arc<str>, shard: ShardId) -> Option<Phase> {
        let assignment = self.shards.get(&shard)?;
        (assignment.leader.as_ref() == Some(name)).then_some(assignment.phase)
    }

    fn live(&mut self, shard: ShardId) {
        if let Some(assignment) = self.shards.get_mut(&shard) {
            assignment.phase = Phase::Live;
            assignment.refused_by.clear();
            self.unvouched = true;
        }
    }

    fn end_trust(&self, shard: ShardId, reason: Loss) {
        self.shared.shards.on_lost(shard);
        self.shared.metrics.lost(reason, 1);
    }

    /// One shard's stream is not whole: it is asked for again from its own watermark, at once the first times.
    fn shard_lost(&mut self, shard: ShardId, reason: Loss) {
        self.end_trust(shard, reason);
        let Some(assignment) = self.shards.get_mut(&shard) else { return };
        if let Some(wait) = assignment.trouble(&self.shared.options, (&self.shared.node, shard)) {
            self.park(shard, wait);
            return;
        }
        assignment.phase = Phase::Awaiting;
        if let Some(name) = assignment.leader.clone()
            && let Some(link) = self.links.get_mut(&name)
        {
            link.subscribe(shard);
            self.drive(&name);
        }
    }

    /// Serves a shard uncached for `wait` (R16).
    fn park(&mut self, shard: ShardId, wait: Duration) {
        tracing::debug!(%shard, ?wait, "a shard is served uncached for a while");
        self.shared.shards.on_lost(shard);
        self.detach(shard);
        if let Some(assignment) = self.shards.get_mut(&shard) {
            assignment.phase = Phase::Parked(Instant::now() + wait);
        }
    }

    /// A stream is gone: nothing of its shards is served from memory until they are subscribed again.
    fn link_lost(&mut self, name: &Arc<str>, reason: Loss, error: Option<&Error>) {
        let Some(link) = self.links.get_mut(name) else { return };
        let was_open = link.close();
        let leader: Arc<Leader> = Arc::clone(&link.leader);
        let shards: Vec<ShardId> = link.shards.iter().copied().collect();
        tracing::info!(leader = %name, shards = shards.len(), reason = reason.name(), error = ?error, "lost a change stream");
        if was_open {
            self.shared.metrics.streams_open.dec();
            self.shared.metrics.lost(reason, shards.len() as u64);
        }
        for shard in &shards {
            self.shared.shards.on_lost(*shard);
            if let Some(assignment) = self.shards.get_mut(shard) {
                assignment.phase = Phase::Awaiting;
            }
        }
        self.shared.leaders.streaming(&leader, false);
        for shard in shards {
            self.place_anew(shard);
        }
        self.drive(name);
    }

    fn count_shards(&self) {
        self.shared.metrics.shards_subscribed.set(self.shards.len() as i64);
    }
}

impl Drop for TrustGuard {
    fn drop(&mut self) {
        self.0.shards.lose_all();
    }
}
