//! The world of one random history.

use std::collections::VecDeque;
use std::sync::Arc;

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};

use super::super::super::rules::Rule;
use super::super::super::{Answered, Body, Entries, Key, ShardCore};
use super::super::log::{Dice, Log};
use super::super::{LIST, MapEntries, OBJECT, SHARD, options};

pub(super) type Violation = String;

/// A message of the leader's stream.
pub(super) enum Message {
    Subscribed(Position, Vec<EpochStart>),
    Epoch(EpochStart),
    Change(Arc<ShardChange>),
    Reset(Position, Vec<EpochStart>),
    Heartbeat(Position),
}

/// Rows on their way.
pub(super) struct Rows {
    pub(super) key: Key,
    pub(super) as_of: Position,
    pub(super) state: ShardState,
    pub(super) body: Body,
    /// What the readers who wait for it had been shown when they came.
    pub(super) shown: Position,
    pub(super) need: Position,
}

pub(super) struct Node {
    pub(super) core: ShardCore,
    pub(super) entries: MapEntries,
    pub(super) fills: Vec<Rows>,
}

pub(super) struct World {
    pub(super) dice: Dice,
    /// The primary's.
    pub(super) log: Log,
    /// The logs of the epochs before, from the first, as far as anybody may ever have seen them.
    pub(super) past: Vec<Log>,
    pub(super) without: Option<Rule>,
    /// The replica that fills usually read.
    pub(super) replica: u64,
    pub(super) leader: Node,
    pub(super) follower: Node,
    /// How far the leader's tail has read the primary's log.
    pub(super) tailed: Position,
    /// Own commits, not yet told to the leader.
    pub(super) commits: Vec<Arc<ShardChange>>,
    /// The change that is in the log and not committed yet, if it is the leader's own, or a client's of the follower.
    pub(super) own: bool,
    pub(super) asked: bool,
    /// Of writes through the follower, on their way back to it.
    pub(super) answers: Vec<Arc<ShardChange>>,
    pub(super) wire: VecDeque<Message>,
    /// What was sent on the wire; none: no subscription.
    pub(super) sent: Option<Position>,
    /// What the last `Subscribed` or `Reset` that arrived promised.
    pub(super) promised: Position,
    /// The newest change that the follower has shown or acknowledged, object and list.
    pub(super) shown: [Position; 2],
    pub(super) watermark: Position,
    /// What went wrong where nobody looked.
    pub(super) broken: Option<Violation>,
}

/// The place of everybody at the beginning.
pub(super) const NOTHING: Position = Position { shard: SHARD, epoch: Epoch(1), seq: Seq::ZERO };

impl World {
    pub(super) fn new(seed: u64, without: Option<Rule>, versions_restart: bool) -> Self {
        let mut log = Log::new();
        log.versions_restart = versions_restart;
        let mut world = Self {
            dice: Dice(seed),
            log,
            past: Vec::new(),
            without,
            replica: 0,
            leader: Node::new(without),
            follower: Node::new(without),
            tailed: NOTHING,
            commits: Vec::new(),
            own: false,
            asked: false,
            answers: Vec::new(),
            wire: VecDeque::new(),
            sent: None,
            promised: NOTHING,
            shown: [NOTHING; 2],
            watermark: NOTHING,
            broken: None,
        };
        world.leader.core.learn_history(&world.log.epochs);
        world.leader.core.open(NOTHING).expect("a new core opens anywhere");
        world
    }

    pub(super) fn step(&mut self) -> Result<(), Violation> {
        match self.dice.below(44) {
            0..=5 => self.append(),
            6..=9 => self.deliver_commit(),
            10..=12 => self.tail(),
            13..=18 => self.deliver(false),
            19 => self.deliver(true),
            20..=24 => self.follower_asks(),
            25..=28 => self.follower_filled()?,
            29 => self.leader_asks(),
            30 => self.leader_filled(),
            31..=32 => self.deliver_answer(),
            33 => self.replica = self.replica + self.dice.below(self.log.committed - self.replica + 1),
            34..=35 => self.evict(),
            36 => self.heartbeat(),
            37..=38 => self.subscribe(),
            39 => self.disconnect(),
            40 => self.rare(),
            41 => self.commit(),
            42 => self.see_row(),
            _ => self.leader_reset(),
        }
        if !self.dice.one_in(4) {
            self.pass_on();
        }
        self.check()
    }

    /// Delivers everything, lets the follower subscribe and hear a heartbeat; then it must know the whole log, and keep
    /// what it is given.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        while !self.answers.is_empty() {
            self.deliver_answer();
            self.check()?;
        }
        self.commit();
        let end = self.log.row_at(self.log.len());
        while self.tailed != end {
            self.tail();
            self.check()?;
        }
        self.see_row();
        let known = self.leader.core.position();
        if known != end {
            return Err(format!("settled, but the leader is at {known} of {end}"));
        }
        self.commits.clear();
        self.replica = self.log.len();
        for _ in 0..4 {
            self.pass_on();
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
        let known = self.follower.core.position();
        if !self.follower.core.is_continuous() || known != end {
            return Err(format!("settled, but the follower is at {known} of {end}"));
        }
        self.stores_everything()
    }

    /// A transaction gets into the primary's log.
    fn append(&mut self) {
        if self.log.len() >= 40 {
            return;
        }
        self.commit();
        self.log.append(&mut self.dice);
        self.asked = self.dice.one_in(2);
        // The others are another leader's: only the tail brings them.
        self.own = !self.dice.one_in(5);
    }

    /// And is committed, and acknowledged.
    pub(super) fn commit(&mut self) {
        if self.log.committed == self.log.len() {
            return;
        }
        self.log.committed = self.log.len();
        let change = self.log.changes.last().expect("it is there");
        if self.asked {
            self.answers.push(Arc::clone(change));
        }
        if self.own {
            self.commits.push(Arc::clone(change));
        }
    }

    fn rare(&mut self) {
        match self.dice.below(8) {
            0 => self.replace_leader(),
            1 => self.forget(),
            2..=3 => self.promote(),
            4 => self.crash(),
            5 => self.through(),
            // A replayed write: its answer has no change, only a position.
            _ => {
                if let Some(change) = self.answers.pop() {
                    for key in [OBJECT, LIST] {
                        if self.truth(change.epoch).last_change(&key, change.seq.0) == change.seq.0 {
                            let Node { core, entries, .. } = &mut self.follower;
                            core.promise(key, change.position(), entries);
                            self.acknowledged(key, change.position());
                        }
                    }
                }
            }
        }
    }

    /// The shard leaves this follower, and comes back later.
    fn forget(&mut self) {
        self.cut();
        self.follower.core.forget();
        self.watermark = NOTHING;
        self.promised = NOTHING;
    }

    /// Another region becomes the master, with everything up to some seq that its replica has. What was in no replica
    /// and not committed was never there.
    fn promote(&mut self) {
        let kept = self.replica + self.dice.below(self.log.len() - self.replica + 1);
        let kept = if self.dice.one_in(2) { self.log.len() } else { kept };
        let mut past = self.log.clone();
        past.keep(kept.max(self.log.committed));
        past.committed = past.len();
        self.past.push(past);
        let epoch = Epoch(self.past.len() as u32 + 1);
        self.log.promote(epoch, kept, self.dice.one_in(2));
        (self.own, self.asked) = (false, false);
        self.tailed.seq = self.tailed.seq.min(Seq(kept));
        self.replica = self.replica.min(kept);
    }

    /// The primary dies with a transaction in its log that nobody has, and comes back without it (H10). The leader reads
    /// its log again from before what it held.
    fn crash(&mut self) {
        self.log.keep(self.log.committed);
        let held = self.leader.core.held().map_or(u64::MAX, |held| held.seq.0 - 1);
        self.leader.core.on_log_lost();
        self.tailed.seq = self.tailed.seq.min(Seq(self.log.committed.min(held)));
    }

    fn deliver_answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let next = self.dice.below(self.answers.len() as u64) as usize;
        let change = self.answers.swap_remove(next);
        if self.follower.core.on_answer(&change, &self.follower.entries) == Answered::OlderEpoch {
            return;
        }
        for key in [OBJECT, LIST] {
            if self.truth(change.epoch).last_change(&key, change.seq.0) == change.seq.0 {
                self.acknowledged(key, change.position());
            }
        }
    }

    fn evict(&mut self) {
        let key = self.key();
        let node = if self.dice.one_in(3) { &self.leader } else { &self.follower };
        node.entries.remove(&key);
    }

    /// The log of an epoch.
    pub(super) fn truth(&self, epoch: Epoch) -> &Log {
        self.past.get(epoch.0.saturating_sub(1) as usize).unwrap_or(&self.log)
    }

    /// Whether everything up to `position` is in the history of `epoch`.
    pub(super) fn is_kept(&self, position: Position, epoch: Epoch) -> bool {
        position.seq.0 <= self.kept(position.epoch, epoch)
    }

    /// How much of `old` is left in the history of `new`.
    pub(super) fn kept(&self, old: Epoch, new: Epoch) -> u64 {
        let logs = (old.0 + 1..=new.0).map(|epoch| self.truth(Epoch(epoch)));
        // The epoch's own start: that of its log, which may have been lost later.
        let starts = logs.filter_map(|log| log.epochs.last()).map(|start| start.first_seq.0 - 1);
        starts.min().unwrap_or(u64::MAX)
    }
}

impl Node {
    pub(super) fn new(without: Option<Rule>) -> Self {
        Self {
            core: ShardCore::new(SHARD, options(without)),
            entries: MapEntries::default(),
            fills: Vec::new(),
        }
    }
}
