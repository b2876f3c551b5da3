//! What the log brings, on its way into the cores. Heartbeats are barriers: one that follows a change which may not be
//! committed yet waits with it (R7, R10).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::ids::{Position, PrimaryTime, Seq, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{ShardChange, ShardState};
use tao_shard_store::log::{LogPosition, TailEvent};
use tokio::sync::Notify;

use super::GroupTail;
use super::beats::Sent;
use crate::leader::handover::Arrival;
use crate::leader::slot::Slot;

/// State of a log that is followed.
pub(super) struct Feed {
    state: Mutex<State>,
    /// Something is held.
    holds: Notify,
}

#[derive(Default)]
struct State {
    /// Shards with a change that is not known to be visible.
    held: BTreeSet<ShardId>,
    /// Heartbeats that wait for what was held when they came, oldest first.
    beats: VecDeque<Waiting>,
    /// Where the log stood behind the last events.
    taken: LogPosition,
    /// Nothing that the log brought up to here is held.
    settled: LogPosition,
}

struct Waiting {
    held: Vec<Position>,
    /// Not beyond the heartbeat.
    position: LogPosition,
    time: PrimaryTime,
    sent: Option<Sent>,
}

impl Feed {
    /// Of a log that comes after `position`.
    pub(super) fn new(position: LogPosition) -> Self {
        let state = State { taken: position.clone(), settled: position, ..State::default() };
        Self { state: Mutex::new(state), holds: Notify::new() }
    }

    /// All events up to `position` were taken in.
    pub(super) fn moved(&self, position: LogPosition) {
        let mut state = self.state.lock();
        if state.held.is_empty() {
            state.settled.clone_from(&position);
        }
        state.taken = position;
    }

    /// From where another server's log must be followed: what is held is dropped then (H10), and if it was committed
    /// after all, that log must bring it once more. Without it a heartbeat behind it would prove an age that leaves it
    /// out (R10, R20), until a later change of the shard or an audit finds the hole.
    pub(super) fn settled(&self) -> LogPosition {
        let state = self.state.lock();
        if planted(Bug::HeldNotBroughtAgain) { state.taken.clone() } else { state.settled.clone() }
    }

    /// Whether anything is held.
    pub(super) fn is_holding(&self) -> bool {
        !self.state.lock().held.is_empty()
    }

    /// Waits until something is. Cancel-safe.
    pub(super) async fn holding(&self) {
        while !self.is_holding() {
            self.holds.notified().await;
        }
    }

    /// Shards with something that is held.
    pub(super) fn held(&self) -> BTreeSet<ShardId> {
        self.state.lock().held.clone()
    }
}

impl GroupTail {
    /// Takes in an event; `visible`: what the log has is committed for certain.
    pub(super) fn take(&self, feed: &Feed, event: TailEvent, visible: bool) {
        match event {
            TailEvent::Change { change, state } => {
                let Some(slot) = self.shards.slot(change.shard) else { return };
                let taken = || self.take_change(feed, slot, &change, state, visible);
                if slot.handover.if_fed_by(self.id, taken).is_none() && state.readable() {
                    slot.handover.keep(self.id, Arrival::Change { change, state, visible });
                }
            }
            TailEvent::Epoch { shard, start } => {
                let Some(slot) = self.shards.slot(shard) else { return };
                let told = slot.handover.if_fed_by(self.id, || self.shards.epoch(slot, start));
                if told == Some(false) {
                    self.audit_wanted.notify_one();
                }
                if told.is_none() {
                    let failed_over = slot.handover.begin(self.id, start, slot.core.position().epoch);
                    self.routes.stale_topology.notify_one();
                    self.arrived.notify_one();
                    if !failed_over {
                        // A move's: the same primary as before wrote it.
                        return;
                    }
                }
                // Another primary wrote this, with a clock of its own. What the one before it proved says nothing about
                // what is committed there: until a heartbeat of the new one has come through, nobody knows an age
                // (R20, H20). Those that waited for what was held are of the old one, so they pass first.
                self.settle(feed);
                if !planted(Bug::AgeOutlivesEpoch) {
                    self.health.forget();
                }
                self.beats.kick();
            }
            TailEvent::Beat { beat, time } => {
                let own = beat.writer == self.beats.writer();
                if own {
                    self.beats.saw(beat.nonce);
                }
                let sent = if own { self.beats.through(beat.nonce) } else { None };
                let held = feed.held().into_iter().filter(|_| !planted(Bug::HeartbeatOvertakes));
                let held = held.filter_map(|shard| self.shards.slot(shard)?.held());
                let held = held.collect();
                {
                    let mut state = feed.state.lock();
                    let position = state.taken.clone();
                    state.beats.push_back(Waiting { held, position, time, sent });
                }
                self.settle(feed);
            }
            TailEvent::Topology { version } => {
                // A replayed log tells of old ones.
                if version > self.routes.cluster.load().topology.version {
                    self.routes.newer_topology.notify_one();
                }
            }
        }
    }

    /// A change of a shard that this log feeds.
    fn take_change(
        &self,
        feed: &Feed,
        slot: &Slot,
        change: &Arc<ShardChange>,
        state: ShardState,
        visible: bool,
    ) {
        if !state.readable() {
            // Its rows are no news (R9): whoever serves the shard has another log, which will feed it (R25). What is known
            // here stands, without an age.
            slot.set_state(state);
            return;
        }
        if !slot.follows() {
            let before = Seq(change.seq.0.saturating_sub(1));
            self.shards.replay_from(slot, Position { seq: before, ..change.position() });
        }
        if self.shards.tailed(slot, change, state, visible) {
            self.metrics.held.set(self.hold(feed, change.shard));
            feed.holds.notify_one();
        }
    }

    fn hold(&self, feed: &Feed, shard: ShardId) -> i64 {
        let mut state = feed.state.lock();
        state.held.insert(shard);
        self.health.set_holding(true);
        state.held.len() as i64
    }

    /// Looks at what is still held, and lets heartbeats pass that wait for nothing any more.
    pub(super) fn settle(&self, feed: &Feed) {
        let mut passed = Vec::new();
        {
            let mut state = feed.state.lock();
            state.held.retain(|shard| self.shards.slot(*shard).is_some_and(|slot| slot.held().is_some()));
            self.metrics.held.set(state.held.len() as i64);
            self.health.set_holding(!state.held.is_empty());
            while let Some(first) = state.beats.front_mut() {
                let still =
                    |at: &Position| self.shards.slot(at.shard).is_some_and(|slot| slot.held() == Some(*at));
                first.held.retain(still);
                if !first.held.is_empty() {
                    break;
                }
                passed.extend(state.beats.pop_front());
            }
            if let Some(last) = passed.last() {
                state.settled.clone_from(&last.position);
            }
        }
        for Waiting { time, sent, .. } in passed {
            self.passed(time, sent);
        }
    }

    fn passed(&self, time: PrimaryTime, sent: Option<Sent>) {
        self.health.heard(time, sent.as_ref().map(|sent| sent.at));
        for row in sent.and_then(|sent| sent.audit).unwrap_or_default() {
            let Some(slot) = self.shards.slot(row.shard) else { continue };
            if !slot.handover.is_fed_by(self.id) {
                // It moved away since the row was read.
            } else if !slot.is_open() {
                // A row that came after the start, or a shard that was away: the log has brought what followed it.
                self.shards.opened(slot, &row);
            } else if planted(Bug::NoAudit) {
            } else if !self.shards.audit(slot, &row) {
                let why =
                    format!("the log did not bring shard {} up to {}:{}", row.shard, row.epoch, row.seq);
                self.alarm("audit", &why);
            }
        }
    }
}
