//! What answers must at least know, so that this node's readers never go back (R15).

use std::collections::BTreeMap;

use tao_schema::ids::{Epoch, Position, Seq};

use super::epochs::Lineage;
use super::floors::Floors;
use super::rules::Rule;
use super::shard::ShardCore;
use super::{Entries, Key};

/// Epochs that were heard of before their histories, at most. One more, and the floors of the oldest are held against the
/// next one.
const MAX_UNHEARD: usize = 4;

/// What was shown of epochs that this core has not heard of: their seqs can't be compared with ours, nor with each
/// other's, before the history comes. Until then these keys are in nobody's memory here.
#[derive(Debug, Default)]
pub(super) struct Unheard(BTreeMap<Epoch, Floors>);

impl Unheard {
    /// The newest floor of a key.
    fn floor(&self, key: &Key) -> Option<(Epoch, Seq)> {
        let mut newest_first = self.0.iter().rev().map(|(epoch, floors)| (*epoch, floors.get(key)));
        newest_first.find(|(_, seq)| *seq > Seq::ZERO)
    }
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
        let (epoch, seq) = self.unheard.floor(key).unwrap_or_else(|| (self.epoch(), self.floor(key)));
        Position { shard: self.shard, epoch, seq }
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
                let floors = self.unheard.0.entry(position.epoch);
                floors.or_insert_with(|| Floors::new(max, rules)).raise(key, position.seq);
                if self.unheard.0.len() > MAX_UNHEARD
                    && let Some((_, oldest)) = self.unheard.0.pop_first()
                    && let Some(mut next) = self.unheard.0.first_entry()
                {
                    next.get_mut().absorb(oldest);
                }
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
        if self.own_entry(&key, entries).is_some_and(|entry| entry.as_of() < seq) {
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
        self.unheard.floor(key).is_some()
    }

    /// An epoch was learned: what was shown of it is comparable now.
    pub(super) fn hear(&mut self) {
        while let Some(first) = self.unheard.0.first_entry()
            && *first.key() <= self.epochs.current()
        {
            let (epoch, mut floors) = first.remove_entry();
            if epoch < self.epochs.current() {
                // Where its end is not known, what the present history surely has can be reached.
                let reached = || self.epochs.before_all().max(self.watermark);
                floors.cap(self.epochs.end(epoch).unwrap_or_else(reached));
            }
            self.floors.absorb(floors);
        }
        self.floors.pass(self.watermark);
    }
}
