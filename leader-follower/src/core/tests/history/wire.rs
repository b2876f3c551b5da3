//! The leader of a random history, with its tail, and its stream to the follower.

use std::sync::Arc;

use tao_schema::ids::{Position, Seq};
use tao_schema::rows::ShardChange;

use super::super::super::{EpochVerdict, Published, RingAnswer, StreamVerdict};
use super::super::at;
use super::world::{Message, Node, World};

impl World {
    pub(super) fn deliver_commit(&mut self) {
        if self.commits.is_empty() {
            return;
        }
        let next = self.dice.below(self.commits.len() as u64) as usize;
        let change = self.commits.swap_remove(next);
        let published = self.leader.core.on_commit(change, &self.leader.entries);
        self.published(&published);
    }

    /// The next event of the primary's log.
    pub(super) fn tail(&mut self) {
        let Position { epoch, seq, .. } = self.tailed;
        let started = self.log.epochs.iter().find(|start| start.epoch > epoch).copied();
        if let Some(start) = started
            && start.first_seq == seq.next()
        {
            self.tailed.epoch = start.epoch;
            match self.leader.core.on_epoch(start, &self.leader.entries) {
                EpochVerdict::Gap | EpochVerdict::Learned => self.reset_leader(),
                EpochVerdict::Known | EpochVerdict::Continues | EpochVerdict::Flushed => {}
            }
            return;
        }
        if let Some(change) = self.log.changes.get(seq.0 as usize).cloned() {
            self.tailed.seq = change.seq;
            self.tailed_change(change);
        }
    }

    fn tailed_change(&mut self, change: Arc<ShardChange>) {
        // A leader that knows it may say so; it need not.
        let visible = change.seq.0 <= self.log.committed && self.dice.one_in(2);
        let published = self.leader.core.on_tailed(change, visible, &self.leader.entries);
        self.published(&published);
    }

    /// The leader reads the shard row for what it holds.
    pub(super) fn see_row(&mut self) {
        let row = self.log.row_at(self.log.committed);
        let published = self.leader.core.on_visible(row, &self.leader.entries);
        self.published(&published);
    }

    fn published(&mut self, published: &Published) {
        if published.gap {
            self.reset_leader();
        }
    }

    pub(super) fn leader_reset(&mut self) {
        if self.leader.core.waiting() > 0 {
            self.reset_leader();
        }
    }

    fn reset_leader(&mut self) {
        let row = self.log.row_at(self.log.committed);
        let Node { core, entries, .. } = &mut self.leader;
        core.learn_history(&self.log.history(self.log.committed));
        if let Err(backwards) = core.reset(row, entries) {
            self.broken = Some(backwards.to_string());
        }
    }

    /// Another node becomes the leader, on a server that lags; it replays, or does not.
    pub(super) fn replace_leader(&mut self) {
        let row = self.log.row_at(self.replica);
        self.leader = Node::new(self.without);
        self.leader.core.learn_history(&self.log.history(self.replica));
        self.disconnect();
        let from = self.log.row_at(self.replica - self.dice.below(self.replica + 1).min(4));
        self.tailed = from;
        self.leader.core.open_replaying(from).expect("a new core opens anywhere");
        // The tail may break off.
        while self.tailed != row && !self.dice.one_in(10) {
            self.tail();
        }
        let opened = self.leader.core.opened_at(row, &self.leader.entries);
        self.tailed = row;
        if let Err(backwards) = opened {
            self.broken = Some(backwards.to_string());
        }
    }

    /// Sends what the leader has published since it last did.
    pub(super) fn pass_on(&mut self) {
        let Some(sent) = self.sent else { return };
        let here = self.leader.core.position();
        if here == sent {
            return;
        }
        match self.leader.core.ring_after(Some(sent)) {
            RingAnswer::Replay(changes) => self.send(sent, changes),
            RingAnswer::Reset => {
                self.wire.push_back(Message::Reset(here, self.leader.core.history().to_vec()));
            }
            // The leader was set back: nothing to say until it is there again.
            RingAnswer::Wait => return self.disconnect(),
        }
        self.sent = Some(here);
    }

    /// Each epoch before its first change.
    fn send(&mut self, sent: Position, changes: Vec<Arc<ShardChange>>) {
        let mut epochs = self.leader.core.epochs_after(sent.epoch).iter().copied().peekable();
        for change in changes {
            while let Some(start) = epochs.next_if(|start| start.epoch <= change.epoch) {
                self.wire.push_back(Message::Epoch(start));
            }
            self.wire.push_back(Message::Change(change));
        }
        self.wire.extend(epochs.map(Message::Epoch));
    }

    pub(super) fn deliver(&mut self, lose: bool) {
        let Some(message) = self.wire.pop_front() else { return };
        if lose && matches!(message, Message::Change(_) | Message::Epoch(_)) {
            return;
        }
        let Node { core, entries, .. } = &mut self.follower;
        let whole = match message {
            Message::Subscribed(position, history) => {
                self.promised = position;
                core.learn_history(&history);
                core.on_subscribed(position)
            }
            Message::Change(change) => core.on_change(change, entries),
            Message::Epoch(start) => match core.on_epoch(start, entries) {
                EpochVerdict::Gap | EpochVerdict::Learned => StreamVerdict::Ignored,
                EpochVerdict::Known | EpochVerdict::Continues | EpochVerdict::Flushed => {
                    StreamVerdict::Applied
                }
            },
            Message::Reset(position, history) => {
                self.promised = position;
                core.learn_history(&history);
                core.on_reset(position)
            }
            Message::Heartbeat(position) => core.on_heartbeat(position),
        };
        if matches!(whole, StreamVerdict::Lost(_) | StreamVerdict::Ignored) {
            self.disconnect();
        }
    }

    pub(super) fn heartbeat(&mut self) {
        if let Some(sent) = self.sent {
            self.wire.push_back(Message::Heartbeat(sent));
        }
    }

    pub(super) fn cut(&mut self) {
        self.wire.clear();
        self.sent = None;
    }

    pub(super) fn disconnect(&mut self) {
        if self.sent.is_some() {
            self.cut();
            self.follower.core.on_lost();
        }
    }

    /// As the service does: when there is no subscription and trust is gone.
    pub(super) fn subscribe(&mut self) {
        if self.sent.is_some() || self.follower.core.is_continuous() {
            return;
        }
        let from = self.follower.core.subscribe_from();
        let here = self.leader.core.position();
        let history = self.leader.core.history().to_vec();
        match self.leader.core.ring_after(from) {
            RingAnswer::Replay(changes) => {
                self.wire.push_back(Message::Subscribed(here, history));
                self.wire.extend(changes.into_iter().map(Message::Change));
            }
            RingAnswer::Reset => self.wire.push_back(Message::Reset(here, history)),
            RingAnswer::Wait => return,
        }
        self.sent = Some(here);
    }

    /// Nothing is served before this; the present epoch may have lost some of it.
    pub(super) fn promise(&self) -> Position {
        let now = self.follower.core.position().epoch;
        at(now.0, self.promised.seq.0.min(self.kept(self.promised.epoch, now)))
    }

    /// The watermark that may not be fallen below.
    pub(super) fn least_watermark(&self) -> Seq {
        let now = self.follower.core.position().epoch;
        self.watermark.seq.min(Seq(self.kept(self.watermark.epoch, now)))
    }
}
