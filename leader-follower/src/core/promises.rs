//! What answers must at least know, so that this node's readers never go back (R15).

use tao_schema::ids::{Epoch, Position, Seq};

use super::epochs::Lineage;
use super::floors::Floors;
use super::rules::Rule;
use super::shard::ShardCore;
use super::{Entries, Key};

/// What was shown of an epoch that this core has not heard of: its seqs can't be compared with ours before the history
/// comes. Until then these keys are in nobody's memory here.
#[derive(Debug)]
pub(super) struct Unheard {
    epoch: Epoch,
    floors: Floors,
}

impl ShardCore {
    /// The least seq that an answer for `key` must know, so that this node's readers never go back: take it when a read
    /// begins, and ask every fill for at least that (R15). It covers floors and the changes that the ring still shows;
    /// below the ring's base any key may have changed.
    ///
    /// In this core's epoch: [`Self::need`] knows floors in newer ones, too.
    pub fn floor(&self, key: &Key) -> Seq {
        let floor = self.floors.get(key);
        if self.rules.hold(Rule::AskFloor) {
            floor.max(self.ring.last_change(key).unwrap_or_else(|| self.ring.base()))
        } else {
            floor
        }
    }

    /// [`Self::floor`] as the position to ask for; in a newer epoch than this core's if something of it was shown.
    pub fn need(&self, key: &Key) -> Position {
        match &self.unheard {
            Some(Unheard { epoch, floors }) if floors.get(key) > Seq::ZERO => {
                Position { shard: self.shard, epoch: *epoch, seq: floors.get(key) }
            }
            _ => Position { shard: self.shard, epoch: self.epoch(), seq: self.floor(key) },
        }
    }

    /// Keys that have a floor of their own now.
    pub fn floors(&self) -> usize {
        self.floors.len()
    }

    /// As [`Self::raise_floor`], to a position of any epoch. One that is lost is nobody's promise any more. One of an
    /// epoch not heard of takes the key out of memory until the epoch is known: an answer of the epoch before would be
    /// older than what was promised, whatever its seq.
    pub fn promise(&mut self, key: Key, position: Position, entries: &dyn Entries) {
        self.meet(position.epoch);
        match self.lineage(position.epoch, position.seq) {
            Lineage::Same => self.raise_floor(key, position.seq, entries),
            Lineage::Older => {}
            Lineage::Newer => {
                let (max, rules) = (self.options.max_floors, self.rules);
                let unheard = self.unheard.get_or_insert_with(|| Unheard {
                    epoch: position.epoch,
                    floors: Floors::new(max, rules),
                });
                unheard.epoch = unheard.epoch.max(position.epoch);
                unheard.floors.raise(key, position.seq);
                entries.remove(&key);
            }
        }
    }

    /// Raises the floor of `key` to `seq`: for writes whose change did not come with the answer (replayed ones), and for
    /// answers passed on without being stored. Drops the entry if it is right only below that, so that a hit never
    /// needs a look at the floors.
    pub fn raise_floor(&mut self, key: Key, seq: Seq, entries: &dyn Entries) {
        if seq <= self.watermark {
            return;
        }
        self.floors.raise(key, seq);
        if self.own_entry(&key, entries).is_some_and(|entry| entry.as_of < seq) {
            entries.remove(&key);
        }
    }

    /// An answer about `key` was shown that this core did not store, with the version of what it showed, or, if it
    /// showed absence, with its `as_of` (R15).
    pub fn shown(&mut self, key: Key, version_or_as_of: Seq, entries: &dyn Entries) {
        if self.rules.hold(Rule::ShownFloor) {
            self.raise_floor(key, version_or_as_of, entries);
        }
    }

    /// Whether what was shown of `key` is of an epoch that this core has not heard of.
    pub(super) fn is_unheard(&self, key: &Key) -> bool {
        self.unheard.as_ref().is_some_and(|unheard| unheard.floors.get(key) > Seq::ZERO)
    }

    /// An epoch was learned: what was shown of it is comparable now.
    pub(super) fn hear(&mut self) {
        let Some(unheard) = self.unheard.take_if(|unheard| unheard.epoch <= self.epochs.current()) else {
            return;
        };
        let mut floors = unheard.floors;
        if let Some(end) = self.epochs.end(unheard.epoch) {
            floors.cap(end);
        }
        self.floors.absorb(floors);
        self.floors.pass(self.watermark);
    }
}
