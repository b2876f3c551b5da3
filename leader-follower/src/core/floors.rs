//! Floors: what a key's next answer must at least know (R15).

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tao_schema::ids::Seq;

use super::Key;
use super::rules::{Rule, Rules};

/// The floors of one shard: those above its watermark. Kept here, never in the cache, which may evict them (H17).
#[derive(Debug)]
pub(crate) struct Floors {
    rules: Rules,
    max: usize,
    keys: HashMap<Key, Seq, RandomState>,
    /// The same, by seq, to drop what the watermark has passed.
    order: BTreeSet<(Seq, Key)>,
    /// The floor of every key, once there were too many.
    shard: Seq,
}

impl Floors {
    pub(crate) fn new(max: usize, rules: Rules) -> Self {
        Self { rules, max, keys: HashMap::default(), order: BTreeSet::new(), shard: Seq::ZERO }
    }

    /// The key's floor; zero if there is none above the watermark.
    pub(crate) fn get(&self, key: &Key) -> Seq {
        self.keys.get(key).copied().unwrap_or_default().max(self.shard)
    }

    /// Number of keys with a floor of their own.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Raises the floor of one key. Bounded: one key too many and all become one floor of the shard.
    pub(crate) fn raise(&mut self, key: Key, seq: Seq) {
        let old = self.get(&key);
        if seq <= old {
            return;
        }
        if let Some(old) = self.keys.insert(key, seq) {
            self.order.remove(&(old, key));
        }
        self.order.insert((seq, key));
        if self.keys.len() > self.max {
            if self.rules.hold(Rule::Collapse) {
                self.collapse(Seq::ZERO);
            } else {
                self.clear();
            }
        }
    }

    /// One floor for all: the highest, at least `least`.
    pub(crate) fn collapse(&mut self, least: Seq) {
        let highest = self.order.last().map_or(Seq::ZERO, |(seq, _)| *seq);
        self.shard = self.shard.max(highest).max(least);
        self.clear();
    }

    /// The watermark has come to `watermark`: floors up to it have done their work.
    pub(crate) fn pass(&mut self, watermark: Seq) {
        while let Some(&(seq, key)) = self.order.first() {
            if seq > watermark {
                break;
            }
            self.order.pop_first();
            self.keys.remove(&key);
        }
        if self.shard <= watermark {
            self.shard = Seq::ZERO;
        }
    }

    /// A lineage ended at `end`: what was shown beyond it is lost, and can't be waited for.
    pub(crate) fn cap(&mut self, end: Seq) {
        while let Some(&(seq, key)) = self.order.last() {
            if seq <= end {
                break;
            }
            self.order.pop_last();
            self.keys.remove(&key);
            // The common floor stands in for the key's: at least as careful, and as long as the watermark is below.
            self.shard = self.shard.max(end);
        }
        self.shard = self.shard.min(end);
    }

    /// Takes over the floors of another.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.shard = self.shard.max(other.shard);
        for (seq, key) in other.order {
            self.raise(key, seq);
        }
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.order.clear();
    }
}
