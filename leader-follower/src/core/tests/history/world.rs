//! The world of one random history.

use std::collections::VecDeque;
use std::sync::Arc;

use tao_schema::ids::Position;
use tao_schema::rows::{ShardChange, ShardState};

use super::super::super::rules::Rule;
use super::super::super::{Body, Entries, Key, RingAnswer, ShardCore, StreamVerdict};
use super::super::log::{Dice, Log};
use super::super::{LIST, MapEntries, OBJECT, SHARD, at, options};

pub(super) type Violation = String;

/// A message of the leader's stream.
pub(super) enum Message {
    Subscribed(Position),
    Change(Arc<ShardChange>),
    Reset(Position),
    Heartbeat(Position),
}

/// Rows on their way.
pub(super) struct Rows {
    pub(super) key: Key,
    pub(super) as_of: u64,
    pub(super) state: ShardState,
    pub(super) body: Body,
    /// What the readers who wait for it had been shown when they came.
    pub(super) shown: u64,
    pub(super) need: u64,
}

pub(super) struct Node {
    pub(super) core: ShardCore,
    pub(super) entries: MapEntries,
    pub(super) fills: Vec<Rows>,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) log: Log,
    pub(super) without: Option<Rule>,
    /// The replica that fills usually read.
    pub(super) replica: u64,
    pub(super) leader: Node,
    pub(super) follower: Node,
    /// Committed, not yet told to the leader.
    pub(super) commits: Vec<Arc<ShardChange>>,
    /// Of writes through the follower, on their way back to it.
    pub(super) answers: Vec<Arc<ShardChange>>,
    pub(super) wire: VecDeque<Message>,
    /// The last seq sent on the wire; none: no subscription.
    pub(super) sent: Option<u64>,
    /// What the last `Subscribed` or `Reset` that arrived promised.
    pub(super) promised: u64,
    /// The newest change that the follower has shown or acknowledged, object and list.
    pub(super) shown: [u64; 2],
    pub(super) watermark: u64,
}

impl World {
    pub(super) fn new(seed: u64, without: Option<Rule>, versions_restart: bool) -> Self {
        let mut log = Log::new();
        log.versions_restart = versions_restart;
        let node = || Node {
            core: ShardCore::new(SHARD, options(without)),
            entries: MapEntries::default(),
            fills: Vec::new(),
        };
        let mut world = Self {
            dice: Dice(seed),
            log,
            without,
            replica: 0,
            leader: node(),
            follower: node(),
            commits: Vec::new(),
            answers: Vec::new(),
            wire: VecDeque::new(),
            sent: None,
            promised: 0,
            shown: [0; 2],
            watermark: 0,
        };
        world.leader.core.open(at(1, 0)).expect("a new core opens anywhere");
        world
    }

    pub(super) fn step(&mut self) -> Result<(), Violation> {
        match self.dice.below(40) {
            0..=5 => self.commit(),
            6..=9 => self.deliver_commit(),
            10 => self.tail(),
            11..=16 => self.deliver(false),
            17 => self.deliver(true),
            18..=22 => self.follower_asks(),
            23..=26 => self.follower_filled()?,
            27 => self.leader_asks(),
            28 => self.leader_filled(),
            29..=30 => self.deliver_answer(),
            31 => self.replica = self.replica + self.dice.below(self.log.len() - self.replica + 1),
            32..=33 => self.evict(),
            34 => self.heartbeat(),
            35..=36 => self.subscribe(),
            37 => self.disconnect(),
            38 => self.rare(),
            _ => self.leader_reset(),
        }
        self.check()
    }

    /// Delivers everything, lets the follower subscribe and hear a heartbeat; then it must know the whole log.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        while !self.answers.is_empty() {
            self.deliver_answer();
            self.check()?;
        }
        while self.leader.core.watermark().0 < self.log.len() {
            self.tail();
            self.check()?;
        }
        self.commits.clear();
        self.replica = self.log.len();
        for _ in 0..4 {
            while !self.wire.is_empty() {
                self.deliver(false);
                self.check()?;
            }
            self.subscribe();
            self.heartbeat();
        }
        while !self.follower.fills.is_empty() {
            self.follower_filled()?;
            self.check()?;
        }
        let known = self.follower.core.watermark().0;
        if !self.follower.core.is_continuous() || known != self.log.len() {
            return Err(format!("settled, but the follower is at {known} of {}", self.log.len()));
        }
        Ok(())
    }

    fn commit(&mut self) {
        if self.log.len() >= 40 {
            return;
        }
        let change = self.log.commit(&mut self.dice);
        if self.dice.one_in(2) {
            self.answers.push(Arc::clone(&change));
        }
        // The others are another leader's: only the tail brings them.
        if !self.dice.one_in(5) {
            self.commits.push(change);
        }
    }

    fn deliver_commit(&mut self) {
        if self.commits.is_empty() {
            return;
        }
        let next = self.dice.below(self.commits.len() as u64) as usize;
        let change = self.commits.swap_remove(next);
        self.publish(change);
    }

    fn tail(&mut self) {
        if let Some(change) = self.log.changes.get(self.leader.core.watermark().0 as usize) {
            self.publish(Arc::clone(change));
        }
    }

    fn publish(&mut self, change: Arc<ShardChange>) {
        let published = self.leader.core.on_commit(change, &self.leader.entries);
        self.send(published.changes);
        if published.gap {
            self.reset_leader();
        }
    }

    fn send(&mut self, changes: Vec<Arc<ShardChange>>) {
        for change in changes {
            if self.sent.is_some_and(|sent| change.seq.0 > sent) {
                self.sent = Some(change.seq.0);
                self.wire.push_back(Message::Change(change));
            }
        }
    }

    fn leader_reset(&mut self) {
        if self.leader.core.waiting() > 0 {
            self.reset_leader();
        }
    }

    fn reset_leader(&mut self) {
        let row = at(1, self.log.len());
        let published = self.leader.core.reset(row, &self.leader.entries).expect("the row is never behind");
        self.tell_reset(row);
        self.send(published.changes);
    }

    /// The subscriber must hear of it: what was between is not in the ring.
    fn tell_reset(&mut self, row: Position) {
        if let Some(sent) = self.sent
            && sent < row.seq.0
        {
            self.sent = Some(row.seq.0);
            self.wire.push_back(Message::Reset(row));
        }
    }

    fn deliver(&mut self, lose: bool) {
        let Some(message) = self.wire.pop_front() else { return };
        if lose && matches!(message, Message::Change(_)) {
            return;
        }
        let Node { core, entries, .. } = &mut self.follower;
        let verdict = match message {
            Message::Subscribed(position) => {
                self.promised = position.seq.0;
                core.on_subscribed(position)
            }
            Message::Change(change) => core.on_change(change, entries),
            Message::Reset(position) => {
                self.promised = position.seq.0;
                core.on_reset(position)
            }
            Message::Heartbeat(position) => core.on_heartbeat(position),
        };
        if matches!(verdict, StreamVerdict::Lost(_)) {
            self.cut();
        }
    }

    fn heartbeat(&mut self) {
        if let Some(sent) = self.sent {
            self.wire.push_back(Message::Heartbeat(at(1, sent)));
        }
    }

    fn cut(&mut self) {
        self.wire.clear();
        self.sent = None;
    }

    fn disconnect(&mut self) {
        if self.sent.is_some() {
            self.cut();
            self.follower.core.on_lost();
        }
    }

    /// As the service does: when there is no subscription and trust is gone.
    fn subscribe(&mut self) {
        if self.sent.is_some() || self.follower.core.is_continuous() {
            return;
        }
        let from = self.follower.core.subscribe_from();
        let here = self.leader.core.position();
        match self.leader.core.ring_after(from) {
            RingAnswer::Replay(changes) => {
                self.sent = from.map(|from| from.seq.0);
                self.wire.push_back(Message::Subscribed(here));
                self.send(changes);
            }
            RingAnswer::Reset => {
                self.sent = Some(here.seq.0);
                self.wire.push_back(Message::Reset(here));
            }
            RingAnswer::Wait => {}
        }
    }

    fn rare(&mut self) {
        match self.dice.below(4) {
            // Another node becomes the leader, at the position of a server that lags.
            0 => {
                let mut core = ShardCore::new(SHARD, options(self.without));
                core.open(at(1, self.replica)).expect("a new core opens anywhere");
                self.leader = Node { core, entries: MapEntries::default(), fills: Vec::new() };
                self.disconnect();
            }
            // The shard leaves this follower, and comes back later.
            1 => {
                self.cut();
                self.follower.core.forget();
                self.watermark = 0;
                self.promised = 0;
            }
            // A replayed write: its answer has no change, only a position.
            _ => {
                if let Some(change) = self.answers.pop() {
                    for (key, shown) in [OBJECT, LIST].into_iter().zip(&mut self.shown) {
                        if self.log.last_change(&key, change.seq.0) == change.seq.0 {
                            self.follower.core.raise_floor(key, change.seq, &self.follower.entries);
                            *shown = (*shown).max(change.seq.0);
                        }
                    }
                }
            }
        }
    }

    fn deliver_answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let next = self.dice.below(self.answers.len() as u64) as usize;
        let change = self.answers.swap_remove(next);
        self.follower.core.on_answer(&change, &self.follower.entries);
        for (key, shown) in [OBJECT, LIST].into_iter().zip(&mut self.shown) {
            if self.log.last_change(&key, change.seq.0) == change.seq.0 {
                *shown = (*shown).max(change.seq.0);
            }
        }
    }

    fn evict(&mut self) {
        let key = self.key();
        let node = if self.dice.one_in(3) { &self.leader } else { &self.follower };
        node.entries.remove(&key);
    }
}
