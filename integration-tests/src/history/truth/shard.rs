//! The log of one shard.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{Epoch, Position, PrimaryTime, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};

use super::replay::Epochs;
use super::seed::Seed;

/// A change as a primary's log has it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The change.
    pub change: Arc<ShardChange>,
    /// The state that it left the shard row in.
    pub state: ShardState,
    /// When it was first read from a log; not the moment of its commit, which may be a little earlier or, where a
    /// commit waits for a replica, later.
    pub seen: Duration,
}

/// A heartbeat with what was before it in the same log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeMark {
    /// The primary's clock.
    pub time: PrimaryTime,
    /// Where the shard was.
    pub position: Position,
    /// When the heartbeat was read from a log.
    pub seen: Duration,
}

/// Everything that is known of a shard's log.
#[derive(Clone, Default, Debug)]
pub struct ShardTruth {
    base: Option<(Epoch, Seq)>,
    seed: Option<Seed>,
    epochs: Epochs,
    log: BTreeMap<(Epoch, Seq), Logged>,
    times: Vec<TimeMark>,
}

impl ShardTruth {
    pub(super) fn begin(&mut self, base: Position, seed: Option<Seed>) {
        self.base = Some((base.epoch, base.seq));
        self.seed = seed;
    }

    /// The answer is what contradicts what was known.
    pub(super) fn note_epoch(&mut self, start: EpochStart) -> Option<String> {
        self.epochs.note(start)
    }

    pub(super) fn note_change(
        &mut self,
        change: &Arc<ShardChange>,
        state: ShardState,
        seen: Duration,
    ) -> Option<String> {
        // A server that was rebuilt has a log that begins before everything: what is told from the base on is news.
        if self.base.is_some_and(|base| (change.epoch, change.seq) <= base) {
            return None;
        }
        match self.log.entry((change.epoch, change.seq)) {
            Entry::Vacant(entry) => {
                entry.insert(Logged { change: Arc::clone(change), state, seen });
                None
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.seen = known.seen.min(seen);
                (known.change != *change).then(|| {
                    let at = change.position();
                    format!(
                        "two servers disagree about {at}: {:?} and {:?}",
                        known.change.items, change.items
                    )
                })
            }
        }
    }

    pub(super) fn note_time(&mut self, mark: TimeMark) {
        // Servers follow each other: only news, and one mark for what a shard was at when several beats came.
        let later = self.times.last().is_none_or(|last| {
            (last.position.epoch, last.time) < (mark.position.epoch, mark.time)
                && last.position != mark.position
        });
        if later {
            self.times.push(mark);
        }
    }

    /// The position before the first change that is known; content is known from there on if there is a
    /// [seed](ShardTruth::seed), or if it is seq 0.
    pub fn base(&self) -> (Epoch, Seq) {
        self.base.unwrap_or_else(|| match self.log.first_key_value() {
            Some(((epoch, seq), _)) => (*epoch, Seq(seq.0.saturating_sub(1))),
            None => (Epoch(0), Seq::ZERO),
        })
    }

    /// The content at the base, if it is known and not empty.
    pub fn seed(&self) -> Option<&Seed> {
        self.seed.as_ref()
    }

    pub(super) const fn seed_mut(&mut self) -> Option<&mut Seed> {
        self.seed.as_mut()
    }

    /// Whether the content of every key is known at and behind the base.
    pub fn is_whole(&self) -> bool {
        self.seed.is_some() || super::is_first(self.base().1)
    }

    /// Whether the content of every key is known at a position.
    pub fn knows(&self, at: (Epoch, Seq)) -> bool {
        self.is_whole() && at.1 >= self.base().1
    }

    /// Where the epochs begin.
    pub const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// What happened at a position, lost or not.
    pub fn at(&self, epoch: Epoch, seq: Seq) -> Option<&Logged> {
        self.log.get(&(epoch, seq))
    }

    /// All changes by epoch and seq, lost ones included.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        self.log.values()
    }

    /// Changes around a position: `before` of them up to it, `after` behind it.
    pub fn around(&self, at: (Epoch, Seq), before: usize, after: usize) -> impl Iterator<Item = &Logged> {
        let mut first: Vec<_> = self.log.range(..=at).rev().take(before).map(|(_, logged)| logged).collect();
        first.reverse();
        let behind = self.log.range((std::ops::Bound::Excluded(at), std::ops::Bound::Unbounded));
        first.into_iter().chain(behind.take(after).map(|(_, logged)| logged))
    }

    /// The last position of the present lineage.
    pub fn end(&self) -> (Epoch, Seq) {
        let newest =
            self.epochs.newest().map(|start| (start.epoch, Seq(start.first_seq.0.saturating_sub(1))));
        let last = self.log.last_key_value().map(|(key, _)| *key);
        newest.max(last).unwrap_or_default().max(self.base())
    }

    /// Whether a position is beyond the end of its epoch.
    pub fn is_lost(&self, (epoch, seq): (Epoch, Seq)) -> bool {
        self.epochs.end(epoch).is_some_and(|end| seq > end)
    }

    /// Whether what was written at `part` is in the history of `whole`.
    pub fn contains(&self, whole: (Epoch, Seq), part: (Epoch, Seq)) -> bool {
        self.epochs.contains(whole, part)
    }

    /// Heartbeats, ascending by epoch and time.
    pub fn times(&self) -> &[TimeMark] {
        &self.times
    }

    pub(super) fn gaps(&self, shard: ShardId) -> Vec<Position> {
        let mut gaps = Vec::new();
        let mut before = self.base().1;
        for (epoch, seq) in self.log.keys().copied().filter(|at| !self.is_lost(*at)) {
            if seq > before.next() {
                gaps.push(Position { shard, epoch, seq: before.next() });
            }
            before = before.max(seq);
        }
        // The newest epoch begins behind what is known.
        if let Some(start) = self.epochs.newest()
            && start.first_seq > before.next()
        {
            gaps.push(Position { shard, epoch: start.epoch, seq: before.next() });
        }
        gaps
    }

    pub(super) fn lost(&self, shard: ShardId) -> impl Iterator<Item = (Position, &Logged)> {
        self.log
            .iter()
            .filter(|(at, _)| self.is_lost(**at))
            .map(move |((epoch, seq), logged)| (Position { shard, epoch: *epoch, seq: *seq }, logged))
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether no change is known.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }
}
