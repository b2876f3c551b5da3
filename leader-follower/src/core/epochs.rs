//! The epochs of a shard as far as a core knows them: which positions belong to the present lineage (R19), and what a
//! new epoch leaves of a cache (R24).

use std::cmp::Ordering;

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::rows::EpochStart;

use super::Entries;
use super::rules::Rule;
use super::shard::{ShardCore, Trust};

/// Epochs that a core keeps of one shard. There is one more with each promotion or move; positions of epochs before
/// these count as lost.
const MAX_EPOCHS: usize = 256;

/// What a new epoch in the log, or in the stream, meant to a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochVerdict {
    /// It was known.
    Known,
    /// The log goes on where this core stands: every entry stays.
    Continues,
    /// The epoch before ended below what was known here: all of that is void, the watermark has gone back to the end,
    /// and the log goes on from there.
    Flushed,
    /// Changes from before the epoch have not come: nothing is served from memory. A leader reads the shard row and
    /// resets; a subscriber asks again.
    Gap,
    /// No log or stream is being followed here: the epoch is known now, and that is all.
    Learned,
}

/// Why positions are not all of one history with a core's (R19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LineageProblem {
    /// The position lies beyond the end of its epoch: the promotion after it lost what it stands for.
    #[error("{position} is lost: {}", ended(*end))]
    Lost {
        /// The position.
        position: Position,
        /// The last seq of its epoch; absent if this node does not know that far back.
        end: Option<Seq>,
    },
    /// The position is of an epoch that this node has not heard of: load the topology, or ask further up.
    #[error("{position} is of a newer epoch than is known here, {ours}")]
    Newer {
        /// The position.
        position: Position,
        /// This node's epoch; zero: none yet.
        ours: Epoch,
    },
}

fn ended(end: Option<Seq>) -> String {
    end.map_or_else(|| "its epoch is too old".into(), |end| format!("its epoch ended at {end}"))
}

/// What a position is to a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lineage {
    /// Its seq is comparable with ours.
    Same,
    /// Of an epoch before ours that had ended by then, or whose end we don't know.
    Older,
    /// Of an epoch that we have not heard of.
    Newer,
}

/// The known epochs, ascending, without a gap in what is known: between two of these there was no other that left
/// anything in the present lineage. First seqs ascend, too. The first epoch's start may be zero: not known.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    known: Vec<EpochStart>,
}

impl Epochs {
    /// The newest; zero: none is known.
    pub(super) fn current(&self) -> Epoch {
        self.known.last().map_or(Epoch(0), |start| start.epoch)
    }

    /// The last seq that `epoch` left in the present lineage; `None`: it has not ended, or nobody knows.
    pub(super) fn end(&self, epoch: Epoch) -> Option<Seq> {
        let next = self.known.partition_point(|start| start.epoch <= epoch);
        if next == 0 {
            return None;
        }
        self.known.get(next).map(|start| before(start.first_seq))
    }

    /// The last seq before all that is known.
    pub(super) fn before_all(&self) -> Seq {
        self.known.first().map_or(Seq::ZERO, |start| before(start.first_seq))
    }

    pub(super) fn lineage(&self, epoch: Epoch, seq: Seq) -> Lineage {
        match epoch.cmp(&self.current()) {
            Ordering::Equal => Lineage::Same,
            Ordering::Greater => Lineage::Newer,
            Ordering::Less if self.end(epoch).is_some_and(|end| seq <= end) => Lineage::Same,
            Ordering::Less => Lineage::Older,
        }
    }

    /// Nothing is known but that this epoch is the present one.
    pub(super) fn start_over(&mut self, epoch: Epoch) {
        self.known.clear();
        self.known.push(EpochStart { epoch, first_seq: Seq::ZERO });
    }

    /// Takes in a history without gaps, ascending, that ends at our present epoch or later. What we know from before
    /// its first epoch stays.
    fn take(&mut self, history: &[EpochStart]) {
        let Some(first) = history.first() else { return };
        let unknown = |start: &EpochStart| start.first_seq == Seq::ZERO;
        let ours = self.known.iter().find(|start| start.epoch == first.epoch).copied();
        self.known.retain(|start| start.epoch < first.epoch);
        self.known.extend_from_slice(history);
        if unknown(first) {
            match ours.filter(|ours| !unknown(ours)) {
                Some(ours) => {
                    self.known
                        .iter_mut()
                        .filter(|start| start.epoch == first.epoch)
                        .for_each(|mine| *mine = ours);
                }
                // Nobody knows where those before it ended.
                None => self.known.retain(|start| start.epoch >= first.epoch),
            }
        }
        // An epoch that begins below the one before it leaves nothing of that one: so an end is the least of all
        // starts that follow.
        let mut least = Seq(u64::MAX);
        for start in self.known.iter_mut().rev() {
            least = least.min(start.first_seq);
            start.first_seq = least;
        }
        self.known.drain(..self.known.len().saturating_sub(MAX_EPOCHS));
    }
}

impl ShardCore {
    /// Every epoch that is known, ascending: what a stream says with `Subscribed` and `Reset`. The first one's start is
    /// zero if it is not known.
    pub fn history(&self) -> &[EpochStart] {
        &self.epochs.known
    }

    /// Whether a position of an epoch before all of [`Self::history`] is too old to be known to anybody. Else this core
    /// has met its epoch in an answer, and knows no history yet.
    pub fn knows_history(&self) -> bool {
        self.history().first().is_some_and(|start| start.first_seq > Seq::ZERO)
    }

    /// The epochs after `epoch`: what a subscriber that was told up to there has to hear before their changes.
    pub fn epochs_after(&self, epoch: Epoch) -> &[EpochStart] {
        let known = &self.epochs.known;
        &known[known.partition_point(|start| start.epoch <= epoch)..]
    }

    /// Takes in a history from the database or from a leader: every epoch from its first one on. Call it before the
    /// event that it came with (`open`, `on_subscribed`, `on_reset`).
    ///
    /// What this core has beyond the end of its epoch is dropped (R24), and trust with it. If the history does not
    /// reach back to this core's epoch, nobody knows what of the cache is still true: all of it is dropped. A history
    /// of somebody who knows less is no news.
    pub fn learn_history(&mut self, history: &[EpochStart]) {
        let mut history = history.to_vec();
        history.sort_unstable_by_key(|start| start.epoch);
        history.dedup_by_key(|start| start.epoch);
        let (Some(first), Some(last)) = (history.first().copied(), history.last().copied()) else { return };
        let ours = self.epoch();
        if last.epoch < ours {
            return;
        }
        // Epochs count up by one, so nothing can be missing before the very next; if its start is known, so is our end.
        let next = first.epoch.0 == ours.0.saturating_add(1) && first.first_seq > Seq::ZERO;
        let whole = ours == Epoch(0) || first.epoch <= ours || next;
        if !whole && self.rules.hold(Rule::WholeHistory) {
            self.forget();
            self.floors.cap(before(first.first_seq));
            self.epochs = Epochs::default();
        }
        self.epochs.take(&history);
        if let Some(end) = self.epochs.end(ours)
            && self.cut(end)
        {
            self.trust = Trust::Lost;
        }
        self.hear();
    }

    /// An epoch begins in the log or stream that this core follows, behind every change of the epoch before (R24).
    /// Changes of a leader that were held are visible now, and published: whoever opened the epoch had the row's lock
    /// after them.
    pub fn on_epoch(&mut self, start: EpochStart, entries: &dyn Entries) -> EpochVerdict {
        if start.epoch <= self.epoch() {
            if start.epoch == self.epoch() {
                self.epochs.take(&[start]);
            }
            return EpochVerdict::Known;
        }
        if self.trust == Trust::Lost {
            // Epochs in between may have been missed.
            self.learn_history(&[start]);
            return EpochVerdict::Learned;
        }
        let end = before(start.first_seq);
        self.epochs.take(&[start]);
        let flushed = self.cut(end);
        self.hear();
        self.visible_to(end, entries);
        if self.watermark < end && self.rules.hold(Rule::Contiguous) {
            self.on_lost();
            return EpochVerdict::Gap;
        }
        self.publish_waiting(entries);
        self.catch_up();
        if flushed { EpochVerdict::Flushed } else { EpochVerdict::Continues }
    }

    /// Whether all these positions are of one history with this core's: an answer right at [`Self::position`] has them
    /// in it as far as their seqs say (R19). What is known to be lost is told before what is not known yet.
    ///
    /// # Errors
    /// The first position that is lost; else the first of an unknown newer epoch, which all are to a core that knows
    /// no epoch yet.
    pub fn check_lineage(&self, positions: &[Position]) -> Result<(), LineageProblem> {
        let mut newer = Ok(());
        for &position in positions {
            match self.lineage(position.epoch, position.seq) {
                Lineage::Same => {}
                Lineage::Older => {
                    return Err(LineageProblem::Lost { position, end: self.epochs.end(position.epoch) });
                }
                Lineage::Newer if newer.is_ok() => {
                    newer = Err(LineageProblem::Newer { position, ours: self.epoch() });
                }
                Lineage::Newer => {}
            }
        }
        newer
    }

    /// The present epoch; zero: none is known.
    pub(super) fn epoch(&self) -> Epoch {
        self.epochs.current()
    }

    /// What a position is to this core.
    pub(super) fn lineage(&self, epoch: Epoch, seq: Seq) -> Lineage {
        match self.epochs.lineage(epoch, seq) {
            Lineage::Older if !self.rules.hold(Rule::EpochEnds) => Lineage::Same,
            lineage => lineage,
        }
    }

    /// A core that knows no epoch yet takes the first that it hears of: what it shows before its first subscription
    /// leaves floors, too.
    pub(super) fn meet(&mut self, epoch: Epoch) {
        if self.epoch() == Epoch(0) && epoch != Epoch(0) {
            self.epochs.start_over(epoch);
        }
    }

    /// The lineage broke off at `end`: drops what is beyond it, everything if an entry is. Answers whether it did. A floor
    /// beyond the end might never be reached.
    fn cut(&mut self, end: Seq) -> bool {
        let epochs = &self.epochs;
        self.waiting.retain(|&(epoch, seq), _| epochs.lineage(epoch, seq) != Lineage::Older);
        self.held.take_if(|held| epochs.lineage(held.epoch, held.seq) == Lineage::Older);
        self.visible = self.visible.min(end);
        if let Trust::CatchingUp(target) = &mut self.trust {
            *target = (*target).min(end);
        }
        if self.rules.hold(Rule::FloorsEnd) {
            self.floors.cap(end);
        }
        if self.watermark.max(self.ahead) <= end || !self.rules.hold(Rule::EpochFlush) {
            return false;
        }
        self.void();
        if self.watermark > end {
            self.watermark = end;
            self.ring.restart(end);
        }
        true
    }
}

const fn before(first_seq: Seq) -> Seq {
    Seq(first_seq.0.saturating_sub(1))
}
