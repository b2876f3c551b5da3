//! The world of one random history.

use std::collections::VecDeque;
use std::sync::Arc;

use tao_schema::ids::{Position, Seq};
use tao_schema::rows::{ShardChange, ShardState};

use super::super::super::rules::Rule;
use super::super::super::{Body, Entries, Entry, Filled, Key, Lookup, RingAnswer, ShardCore, StreamVerdict};
use super::super::log::{Dice, Log};
use super::super::{LIST, MapEntries, OBJECT, SHARD, at, options};

pub(super) type Violation = String;

/// A message of the leader's stream.
enum Message {
    Subscribed(Position),
    Change(Arc<ShardChange>),
    Reset(Position),
    Heartbeat(Position),
}

/// Rows on their way.
struct Rows {
    key: Key,
    as_of: u64,
    state: ShardState,
    body: Body,
    /// What the readers who wait for it had been shown when they came.
    shown: u64,
    need: u64,
}

struct Node {
    core: ShardCore,
    entries: MapEntries,
    fills: Vec<Rows>,
}

pub(super) struct World {
    dice: Dice,
    log: Log,
    without: Option<Rule>,
    /// The replica that fills usually read.
    replica: u64,
    leader: Node,
    follower: Node,
    /// Committed, not yet told to the leader.
    commits: Vec<Arc<ShardChange>>,
    /// Of writes through the follower, on their way back to it.
    answers: Vec<Arc<ShardChange>>,
    wire: VecDeque<Message>,
    /// The last seq sent on the wire; none: no subscription.
    sent: Option<u64>,
    /// What the last `Subscribed` or `Reset` that arrived promised.
    promised: u64,
    /// The newest change that the follower has shown or acknowledged, object and list.
    shown: [u64; 2],
    watermark: u64,
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

    fn key(&mut self) -> Key {
        if self.dice.one_in(2) { OBJECT } else { LIST }
    }

    /// A snapshot that knows at least `need`: from the replica if it does, else from the primary.
    fn snapshot(&mut self, key: Key, need: u64, shown: u64) -> Rows {
        let as_of = if self.replica >= need { self.replica } else { self.log.len() };
        let depth = self.dice.below(5) as usize;
        // A server that the shard has left says that nothing is there.
        if self.dice.one_in(12) {
            let body = Log::new().row(&key, 0, 0);
            return Rows { key, as_of, state: ShardState::Gone, body, shown, need };
        }
        let body = self.log.row(&key, as_of, depth);
        Rows { key, as_of, state: ShardState::Serving, body, shown, need }
    }

    fn leader_asks(&mut self) {
        let key = self.key();
        let need = self.leader.core.floor(&key).0;
        let rows = self.snapshot(key, need, 0);
        self.leader.fills.push(rows);
    }

    fn leader_filled(&mut self) {
        if let Some(rows) = self.leader.fills.pop() {
            let Node { core, entries, .. } = &mut self.leader;
            core.on_fill(rows.key, at(1, rows.as_of), rows.state, rows.body, entries);
        }
    }

    /// A reader comes, with or without a token, and memory is passed by or does not answer.
    fn follower_asks(&mut self) {
        if self.follower.fills.len() >= 4 {
            return;
        }
        let key = self.key();
        let token = if self.dice.one_in(3) { self.dice.below(self.log.len() + 1) } else { 0 };
        let need = self.follower.core.floor(&key).0.max(token);
        let shown = self.shown[usize::from(key == LIST)];
        let hit = self.leader.core.lookup(&self.leader.entries, &key, Some(at(1, need)));
        let rows = match hit {
            Lookup::Hit { entry, as_of } => {
                let body = entry.body.clone();
                Rows { key, as_of: as_of.seq.0, state: ShardState::Serving, body, shown, need }
            }
            Lookup::Miss(_) => self.snapshot(key, need, shown),
        };
        self.follower.fills.push(rows);
    }

    fn follower_filled(&mut self) -> Result<(), Violation> {
        if self.follower.fills.is_empty() {
            return Ok(());
        }
        let next = self.dice.below(self.follower.fills.len() as u64) as usize;
        let Rows { key, as_of, state, body, shown, need } = self.follower.fills.swap_remove(next);
        let Node { core, entries, .. } = &mut self.follower;
        let (Filled::Stored(entry) | Filled::AnswerOnly(entry, _)) =
            core.on_fill(key, at(1, as_of), state, body, entries)
        else {
            return Ok(());
        };
        if entry.as_of.0 < need {
            return Ok(());
        }
        self.serve(&key, &entry, entry.as_of, shown)
    }

    /// A reader that came when `shown` had been shown is given the entry as right at `as_of`.
    fn serve(&mut self, key: &Key, entry: &Entry, as_of: Seq, shown: u64) -> Result<(), Violation> {
        if !self.log.agrees(key, as_of.0, &entry.body) {
            return Err(format!("{key:?} shown at {as_of} is not what the log says: {:?}", entry.body));
        }
        let change = self.log.last_change(key, as_of.0);
        if change < shown {
            return Err(format!("{key:?} went back from {shown} to {change}"));
        }
        let now = &mut self.shown[usize::from(*key == LIST)];
        *now = (*now).max(change);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Violation> {
        for (name, node) in [("leader", &self.leader), ("follower", &self.follower)] {
            for (key, entry) in node.entries.0.lock().iter() {
                let right_at = entry.as_of.max(node.core.watermark()).0;
                if entry.generation == node.core.generation() && !self.log.agrees(key, right_at, &entry.body)
                {
                    return Err(format!("{name} holds {key:?} as right at {right_at}: {:?}", entry.body));
                }
            }
        }
        let watermark = self.follower.core.watermark().0;
        if watermark < self.watermark {
            return Err(format!("the follower's watermark fell from {} to {watermark}", self.watermark));
        }
        self.watermark = watermark;
        if self.follower.core.is_continuous() && watermark < self.promised {
            return Err(format!("trusted at {watermark}, though the leader was at {}", self.promised));
        }
        // Whatever memory would show now, somebody is shown.
        for key in [OBJECT, LIST] {
            let shown = self.shown[usize::from(key == LIST)];
            if let Lookup::Hit { entry, as_of } =
                self.follower.core.lookup(&self.follower.entries, &key, None)
            {
                self.serve(&key, &entry, as_of.seq, shown)?;
            }
        }
        Ok(())
    }
}
