//! Readers and fills of a random history, and what must hold after each step.

use tao_schema::ids::Seq;
use tao_schema::rows::ShardState;

use super::super::super::{Entry, Filled, Key, Lookup};
use super::super::log::Log;
use super::super::{LIST, OBJECT, at};
use super::world::{Node, Rows, Violation, World};

impl World {
    pub(super) fn key(&mut self) -> Key {
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

    pub(super) fn leader_asks(&mut self) {
        let key = self.key();
        let need = self.leader.core.floor(&key).0;
        let rows = self.snapshot(key, need, 0);
        self.leader.fills.push(rows);
    }

    pub(super) fn leader_filled(&mut self) {
        if let Some(rows) = self.leader.fills.pop() {
            let Node { core, entries, .. } = &mut self.leader;
            core.on_fill(rows.key, at(1, rows.as_of), rows.state, rows.body, entries);
        }
    }

    /// A reader comes, with or without a token, and memory is passed by or does not answer.
    pub(super) fn follower_asks(&mut self) {
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

    pub(super) fn follower_filled(&mut self) -> Result<(), Violation> {
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

    pub(super) fn check(&mut self) -> Result<(), Violation> {
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
