//! Readers and fills of a random history, and what must hold after each step.

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::rows::ShardState;

use super::super::super::{Entry, Filled, Key, Lookup};
use super::super::log::Log;
use super::super::{LIST, OBJECT, at};
use super::world::{Node, Rows, Violation, World};

impl World {
    pub(super) fn key(&mut self) -> Key {
        if self.dice.one_in(2) { OBJECT } else { LIST }
    }

    /// A snapshot that knows at least `need`, if that is not lost: from the replica, or from a server that has not heard
    /// of the promotion, if they do, else from the primary.
    fn snapshot(&mut self, key: Key, need: Position, shown: Position) -> Option<Rows> {
        let old = Epoch(1 + self.dice.below(self.past.len() as u64 + 1) as u32);
        let as_of = if old < self.log.epoch() && self.dice.one_in(3) {
            let len = self.truth(old).len();
            let behind = self.dice.below(len + 1).min(3);
            self.truth(old).row_at(len - behind)
        } else {
            self.log.row_at(self.replica)
        };
        let enough = |as_of: Position| {
            as_of.epoch >= need.epoch && self.is_kept(need, as_of.epoch) && as_of.seq >= need.seq
        };
        let primary = self.log.row_at(self.log.committed);
        let as_of = [as_of, primary].into_iter().find(|as_of| enough(*as_of))?;
        let depth = self.dice.below(5) as usize;
        // A server that the shard has left says that nothing is there.
        if self.dice.one_in(12) {
            let body = Log::new().row(&key, 0, 0);
            return Some(Rows { key, as_of, state: ShardState::Gone, body, shown, need });
        }
        let body = self.truth(as_of.epoch).row(&key, as_of.seq.0, depth);
        Some(Rows { key, as_of, state: ShardState::Serving, body, shown, need })
    }

    pub(super) fn leader_asks(&mut self) {
        let key = self.key();
        let need = self.leader.core.need(&key);
        if let Some(rows) = self.snapshot(key, need, need) {
            self.leader.fills.push(rows);
        }
    }

    pub(super) fn leader_filled(&mut self) {
        if let Some(rows) = self.leader.fills.pop() {
            let Node { core, entries, .. } = &mut self.leader;
            core.on_fill(rows.key, rows.as_of, rows.state, rows.body, entries);
        }
    }

    /// A reader comes, with or without a token, and memory is passed by or does not answer.
    pub(super) fn follower_asks(&mut self) {
        if self.follower.fills.len() >= 4 {
            return;
        }
        let key = self.key();
        let mut need = self.follower.core.need(&key);
        if self.dice.one_in(3) {
            let token = self.token();
            if (token.epoch, token.seq) > (need.epoch, need.seq) {
                need = token;
            }
        }
        let shown = self.shown[usize::from(key == LIST)];
        let hit = self.leader.core.lookup(&self.leader.entries, &key, Some(need));
        let rows = match hit {
            Lookup::Hit { entry, as_of } => {
                let body = entry.body();
                Some(Rows { key, as_of, state: ShardState::Serving, body, shown, need })
            }
            Lookup::Miss(_) => self.snapshot(key, need, shown),
        };
        self.follower.fills.extend(rows);
    }

    /// What a session may have seen somewhere.
    fn token(&mut self) -> Position {
        let epoch = Epoch(1 + self.dice.below(self.past.len() as u64 + 1) as u32);
        let seq = self.dice.below(self.truth(epoch).committed + 1);
        at(epoch.0, seq)
    }

    pub(super) fn follower_filled(&mut self) -> Result<(), Violation> {
        if self.follower.fills.is_empty() {
            return Ok(());
        }
        let next = self.dice.below(self.follower.fills.len() as u64) as usize;
        let Rows { key, as_of, state, body, shown, need } = self.follower.fills.swap_remove(next);
        let Node { core, entries, .. } = &mut self.follower;
        let (Filled::Stored(entry) | Filled::AnswerOnly(entry, _)) =
            core.on_fill(key, as_of, state, body, entries)
        else {
            return Ok(());
        };
        // The epochs since may have lost what the reader must see.
        if entry.as_of() < need.seq || core.check_lineage(&[need]).is_err() {
            return Ok(());
        }
        let as_of = Position { seq: entry.as_of(), ..core.position() };
        self.satisfied(need, as_of)?;
        self.serve(&key, &entry, as_of, shown)
    }

    /// A reader that demanded `need` is answered at `as_of`.
    fn satisfied(&self, need: Position, as_of: Position) -> Result<(), Violation> {
        if need.seq <= as_of.seq && self.is_kept(need, as_of.epoch) && need.epoch <= as_of.epoch {
            return Ok(());
        }
        Err(format!("{need} was demanded, and {as_of} passed for it"))
    }

    /// A reader that came when `shown` had been shown is given the entry as right at `as_of`.
    fn serve(&mut self, key: &Key, entry: &Entry, as_of: Position, shown: Position) -> Result<(), Violation> {
        let log = self.truth(as_of.epoch);
        if !log.agrees(key, as_of.seq.0, &entry.body()) {
            return Err(format!("{key:?} shown at {as_of} is not what the log says: {:?}", entry.body()));
        }
        let change = Position { seq: Seq(log.last_change(key, as_of.seq.0)), ..as_of };
        let left = self.left(key, shown, as_of.epoch);
        if shown.epoch > as_of.epoch || change.seq < left {
            return Err(format!("{key:?} went back from {shown} to {change}"));
        }
        self.acknowledged(*key, change);
        Ok(())
    }

    /// What the history of `epoch` has of a change that was shown.
    fn left(&self, key: &Key, shown: Position, epoch: Epoch) -> Seq {
        if self.is_kept(shown, epoch) {
            return shown.seq;
        }
        Seq(self.truth(epoch).last_change(key, self.kept(shown.epoch, epoch)))
    }

    /// The follower has shown or acknowledged a change.
    pub(super) fn acknowledged(&mut self, key: Key, change: Position) {
        let before = self.shown[usize::from(key == LIST)];
        // What was never written is the same in every epoch.
        if before.epoch > change.epoch || change.seq == Seq::ZERO {
            return;
        }
        let seq = self.left(&key, before, change.epoch).max(change.seq);
        self.shown[usize::from(key == LIST)] = Position { seq, ..change };
    }

    /// A read that memory has no part in is answered from the primary.
    pub(super) fn through(&mut self) {
        let key = self.key();
        let row = self.log.row_at(self.log.committed);
        let change = Seq(self.log.last_change(&key, row.seq.0));
        let body = self.log.row(&key, row.seq.0, 0);
        let shown = if body.version() == Seq::ZERO { row.seq } else { body.version() };
        let Node { core, entries, .. } = &mut self.follower;
        core.promise(key, Position { seq: shown, ..row }, entries);
        self.acknowledged(key, Position { seq: change, ..row });
    }

    /// Nothing hangs on what is lost.
    pub(super) fn stores_everything(&mut self) -> Result<(), Violation> {
        let row = self.log.row_at(self.log.len());
        for key in [OBJECT, LIST] {
            let body = self.log.row(&key, row.seq.0, 2);
            let Node { core, entries, .. } = &mut self.follower;
            let filled = core.on_fill(key, row, ShardState::Serving, body, entries);
            if !matches!(filled, Filled::Stored(_)) {
                return Err(format!("settled, but {key:?} is not kept: {filled:?}"));
            }
        }
        self.check()
    }

    pub(super) fn check(&mut self) -> Result<(), Violation> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        for (name, node) in [("leader", &self.leader), ("follower", &self.follower)] {
            let Position { epoch, seq, .. } = node.core.position();
            for (key, entry) in node.entries.0.lock().iter() {
                let right_at = entry.as_of().max(seq).0;
                let own = entry.generation() == node.core.generation();
                if own && !self.truth(epoch).agrees(key, right_at, &entry.body()) {
                    return Err(format!(
                        "{name} holds {key:?} as right at {epoch}/{right_at}: {:?}",
                        entry.body()
                    ));
                }
            }
        }
        let position = self.follower.core.position();
        let least = self.least_watermark();
        if position.seq < least {
            return Err(format!("the follower's watermark fell from {least} to {position}"));
        }
        self.watermark = position;
        let promise = self.promise();
        if self.follower.core.is_continuous() && position.seq < promise.seq {
            return Err(format!("trusted at {position}, though the leader was at {promise}"));
        }
        // Whatever memory would show now, somebody is shown: somebody with a token, too.
        for key in [OBJECT, LIST] {
            let shown = self.shown[usize::from(key == LIST)];
            let token = self.dice.one_in(4).then(|| self.token());
            let seen = self.follower.core.lookup(&self.follower.entries, &key, token);
            if let Lookup::Hit { entry, as_of } = seen {
                if let Some(token) = token {
                    self.satisfied(token, as_of)?;
                }
                self.serve(&key, &entry, as_of, shown)?;
            }
        }
        Ok(())
    }
}
