//! The ring of recent changes: what brings fills forward and lets subscribers resume (R12, R16).

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tao_schema::ids::Seq;
use tao_schema::rows::{ChangeItem, ShardChange};

use super::Key;

/// All changes in `(base, base + len]`, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    max_changes: usize,
    max_bytes: usize,
    base: Seq,
    bytes: usize,
    changes: VecDeque<Arc<ShardChange>>,
    /// The last change in the ring to each key, so that a fill that missed nothing needs no walk.
    last: HashMap<Key, Seq, RandomState>,
}

impl Ring {
    pub(crate) fn new(max_changes: usize, max_bytes: usize) -> Self {
        Self {
            max_changes,
            max_bytes,
            base: Seq::ZERO,
            bytes: 0,
            changes: VecDeque::new(),
            last: HashMap::default(),
        }
    }

    /// The ring knows nothing at or below this seq.
    pub(crate) const fn base(&self) -> Seq {
        self.base
    }

    /// Empties the ring; the next change is `base + 1`.
    pub(crate) fn restart(&mut self, base: Seq) {
        self.base = base;
        self.bytes = 0;
        self.changes.clear();
        self.last.clear();
    }

    /// Appends the next change; drops the oldest beyond the bounds.
    pub(crate) fn push(&mut self, change: Arc<ShardChange>) {
        for item in &change.items {
            self.last.insert(key_of(item), change.seq);
        }
        self.bytes += weight(&change);
        self.changes.push_back(change);
        while self.changes.len() > self.max_changes || self.bytes > self.max_bytes {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.base = oldest.seq;
            self.bytes -= weight(&oldest);
            for item in &oldest.items {
                let key = key_of(item);
                if self.last.get(&key) == Some(&oldest.seq) {
                    self.last.remove(&key);
                }
            }
        }
    }

    /// The changes after `seq`; the caller has checked that `seq` is not below the base.
    pub(crate) fn after(&self, seq: Seq) -> impl Iterator<Item = &Arc<ShardChange>> {
        let start = self.changes.partition_point(|change| change.seq <= seq);
        self.changes.range(start..)
    }

    /// The last change to `key` that the ring knows.
    pub(crate) fn last_change(&self, key: &Key) -> Option<Seq> {
        self.last.get(key).copied()
    }
}

/// The key that an item changes.
pub(crate) const fn key_of(item: &ChangeItem) -> Key {
    match item {
        ChangeItem::Object { id, .. } => Key::Object(*id),
        ChangeItem::List(list) => Key::List(list.key),
    }
}

/// Bytes that a change takes, nearly.
pub(crate) fn weight(change: &ShardChange) -> usize {
    let items: usize = change
        .items
        .iter()
        .map(|item| match item {
            ChangeItem::Object { row, .. } => row.as_ref().map_or(0, |row| row.fields.len()),
            ChangeItem::List(list) => list
                .edges
                .iter()
                .map(|(_, value)| 56 + value.as_ref().map_or(0, |value| value.fields.len()))
                .sum(),
        })
        .sum();
    64 + change.items.len() * 128 + items
}
