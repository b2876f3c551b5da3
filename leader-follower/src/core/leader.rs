//! The leader's side: commits in, the published log out (R6, R16).

use std::sync::Arc;

use tao_schema::ids::Position;
use tao_schema::rows::ShardChange;

use super::Entries;
use super::epochs::Lineage;
use super::rules::Rule;
use super::shard::ShardCore;

/// What a commit made visible.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Published {
    /// The changes that are now part of the published log, in order: pass them to the subscribers.
    pub changes: Vec<Arc<ShardChange>>,
    /// A change before this one is missing and too many wait for it: read the shard row and [`ShardCore::reset`].
    pub gap: bool,
}

/// What a subscriber gets.
#[derive(Clone, PartialEq, Debug)]
pub enum RingAnswer {
    /// `Subscribed` at the watermark, then these changes, then whatever is published from now on. At most as many as
    /// the ring holds.
    Replay(Vec<Arc<ShardChange>>),
    /// The subscriber is ahead, in seq or in epoch: nothing is said until the watermark has come to its position (it
    /// keeps its entries; a Reset would take it back in time: H15). Ask again then.
    Wait,
    /// `Reset` to the watermark: the ring lacks what the subscriber needs, or it has nothing.
    Reset,
}

/// A position that lies behind what is known already in its lineage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("shard {} can't go back from {known} to {asked}", known.shard)]
pub struct Backwards {
    /// Where the core stands; unchanged.
    pub known: Position,
    /// Where it was asked to go.
    pub asked: Position,
}

impl Published {
    pub(super) fn append(&mut self, mut later: Self) {
        self.changes.append(&mut later.changes);
        self.gap |= later.gap;
    }
}

impl ShardCore {
    /// Becomes the shard's leader at the position of its row. Entries of an earlier time are void.
    ///
    /// # Errors
    /// [`Backwards`] if the row says less than this node has seen in the same lineage: the database lost something.
    pub fn open(&mut self, position: Position) -> Result<(), Backwards> {
        self.restart(position).map_err(|known| Backwards { known, asked: position })
    }

    /// After a gap: goes on at the position that the shard row was read at. All entries are void, the ring is empty;
    /// changes that waited are published if they follow.
    ///
    /// # Errors
    /// [`Backwards`], as with [`Self::open`].
    pub fn reset(&mut self, position: Position, entries: &dyn Entries) -> Result<Published, Backwards> {
        self.open(position)?;
        Ok(self.publish_waiting(entries))
    }

    /// A commit of this leader that returned OK; in any order with what the log brings, and both bring it. Only the one
    /// after the watermark is published; a leader never jumps to its own commit, for what another leader committed
    /// before it would be taken for old (H7).
    ///
    /// What the log brought below it and nobody had seen committed is published, too: the transaction had the row's
    /// lock after those (R7).
    pub fn on_commit(&mut self, change: Arc<ShardChange>, entries: &dyn Entries) -> Published {
        match self.lineage(change.epoch, change.seq) {
            Lineage::Same => {}
            Lineage::Older => return Published::default(),
            // The log has not told of its epoch yet, and will. Its keys go to the database till then.
            Lineage::Newer => {
                self.on_answer(&change, entries);
                return self.wait(change);
            }
        }
        self.visible = self.visible.max(change.seq);
        self.held.take_if(|held| held.seq == change.seq);
        let mut published = self.publish_held(entries);
        published.append(self.publish(change, entries));
        published
    }

    /// Changes that wait for one before them. If that does not come in time, read the shard row and [`Self::reset`].
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The first of [`Self::waiting`].
    pub fn first_waiting(&self) -> Option<Position> {
        self.waiting.values().next().map(|change| change.position())
    }

    /// What a subscriber gets that has everything up to `from`; `None`: it has nothing. Atomic with what is published:
    /// call it, and register the subscriber, under the same lock.
    pub fn ring_after(&self, from: Option<Position>) -> RingAnswer {
        let Some(from) = from else { return RingAnswer::Reset };
        match self.lineage(from.epoch, from.seq) {
            Lineage::Newer if self.rules.hold(Rule::AheadWaits) => RingAnswer::Wait,
            Lineage::Newer | Lineage::Older => RingAnswer::Reset,
            Lineage::Same if from.seq > self.watermark && self.rules.hold(Rule::AheadWaits) => {
                RingAnswer::Wait
            }
            Lineage::Same if from.seq > self.watermark || from.seq < self.ring.base() => RingAnswer::Reset,
            Lineage::Same => RingAnswer::Replay(self.ring.after(from.seq).cloned().collect()),
        }
    }

    /// Publishes a change that is known to be committed, and what has waited for it; or it waits.
    pub(super) fn publish(&mut self, change: Arc<ShardChange>, entries: &dyn Entries) -> Published {
        if change.seq <= self.watermark {
            return Published::default();
        }
        if change.seq == self.watermark.next() || !self.rules.hold(Rule::Contiguous) {
            self.advance(Arc::clone(&change), entries);
            let mut published = self.publish_waiting(entries);
            published.changes.insert(0, change);
            return published;
        }
        // It is acknowledged all the same: readers here must not see less than its writer was told.
        self.on_answer(&change, entries);
        self.wait(change)
    }

    fn wait(&mut self, change: Arc<ShardChange>) -> Published {
        let place = (change.epoch, change.seq);
        if self.waiting.len() < self.options.max_waiting || self.waiting.contains_key(&place) {
            self.waiting.insert(place, change);
            return Published::default();
        }
        Published { changes: Vec::new(), gap: true }
    }

    /// Publishes what has waited and now follows.
    pub(super) fn publish_waiting(&mut self, entries: &dyn Entries) -> Published {
        let mut changes = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let &(epoch, seq) = first.key();
            let lineage = self.epochs.lineage(epoch, seq);
            if lineage == Lineage::Newer || (lineage == Lineage::Same && seq > self.watermark.next()) {
                break;
            }
            let change = first.remove();
            if lineage == Lineage::Same && seq > self.watermark {
                self.advance(Arc::clone(&change), entries);
                changes.push(change);
            }
        }
        Published { changes, gap: false }
    }
}
