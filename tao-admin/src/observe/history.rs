//! Where positions of one shard stand to each other: its epochs, and how far its log is known (R19).

use tao_schema::ids::{Epoch, Seq};
use tao_schema::rows::EpochStart;

/// A place in one shard's log.
pub type Place = (Epoch, Seq);

/// What the primary's log has told of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardHistory {
    /// Ascending.
    epochs: Vec<EpochStart>,
    /// The last change that the log brought.
    known: Option<Place>,
    /// Changes up to here had been made before the log was (re)opened: nobody knows how old they are.
    old: Seq,
}

/// How an answer's position stands to a change's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The answer's history has the change in it.
    Contains,
    /// It does not: the answer is older, or of a history that a promotion cut off before the change.
    Lacks,
    /// The change itself is beyond the end of its epoch: a promotion lost it.
    Lost,
    /// The answer is of an epoch that the log has not told of yet.
    Unheard,
}

impl ShardHistory {
    /// All that a survey of the primary shows: the epochs, and which changes were made before it.
    pub fn surveyed(&mut self, epochs: impl IntoIterator<Item = EpochStart>, old: Option<Seq>) {
        for start in epochs {
            self.epoch(start);
        }
        if let Some(seq) = old {
            self.old = seq;
        }
    }

    /// The log was lost: what it brought up to now says nothing about what comes.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// An epoch begins: what was known behind its start is lost.
    pub fn epoch(&mut self, start: EpochStart) {
        let ended = |(epoch, seq): Place| epoch < start.epoch && seq >= start.first_seq;
        if let Some((epoch, _)) = self.known.filter(|known| ended(*known)) {
            self.known = Some((epoch, Seq(start.first_seq.0.saturating_sub(1))));
        }
        match self.epochs.binary_search_by_key(&start.epoch, |known| known.epoch) {
            Ok(at) => self.epochs[at] = start,
            Err(at) => self.epochs.insert(at, start),
        }
    }

    /// The log brought a change.
    pub fn change(&mut self, at: Place) {
        self.known = Some(at);
    }

    /// Whether a change is so new that its age is known.
    pub fn is_new(&self, seq: Seq) -> bool {
        seq > self.old
    }

    /// Whether every change up to a position has been brought by the log, and the position is in the present lineage.
    pub fn complete(&self, at: Place) -> bool {
        self.known.is_some_and(|(_, seq)| at.1 <= seq) && !self.lost(at)
    }

    /// Whether a position is beyond the end of its epoch.
    pub fn lost(&self, at: Place) -> bool {
        self.end(at.0, Epoch(u32::MAX)).is_some_and(|end| at.1 >= end)
    }

    /// How an answer at `seen` stands to the change at `change`.
    pub fn relate(&self, seen: Place, change: Place) -> Relation {
        if self.lost(change) {
            return Relation::Lost;
        }
        let newest = self.epochs.last().map(|start| start.epoch).max(self.known.map(|(epoch, _)| epoch));
        if newest.is_none_or(|newest| seen.0 > newest) {
            return Relation::Unheard;
        }
        // A change of a later epoch is in no history of an earlier one, whatever the seqs are (H19). One of an earlier
        // epoch is in the answer's history if the epochs in between began behind it.
        let inherited = seen.0 >= change.0 && self.end(change.0, seen.0).is_none_or(|end| change.1 < end);
        if inherited && seen.1 >= change.1 { Relation::Contains } else { Relation::Lacks }
    }

    /// The first seq that is no longer of `epoch`, as epochs up to `last` say.
    fn end(&self, epoch: Epoch, last: Epoch) -> Option<Seq> {
        let later = self.epochs.iter().filter(|start| start.epoch > epoch && start.epoch <= last);
        later.map(|start| start.first_seq).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(epoch: u32, seq: u64) -> Place {
        (Epoch(epoch), Seq(seq))
    }

    fn history(starts: &[(u32, u64)], known: Place) -> ShardHistory {
        let mut history = ShardHistory::default();
        for (epoch, seq) in starts {
            history.epoch(EpochStart { epoch: Epoch(*epoch), first_seq: Seq(*seq) });
        }
        history.change(known);
        history
    }

    #[test]
    fn within_an_epoch_seqs_decide() {
        let history = history(&[], at(1, 100));
        assert_eq!(history.relate(at(1, 99), at(1, 100)), Relation::Lacks);
        assert_eq!(history.relate(at(1, 100), at(1, 100)), Relation::Contains);
        assert_eq!(history.relate(at(1, 107), at(1, 100)), Relation::Contains);
        assert!(history.complete(at(1, 100)) && !history.complete(at(1, 101)));
    }

    #[test]
    fn h19_a_greater_seq_of_another_history_contains_nothing() {
        // A promotion cut epoch 1 at 118; its writes 118 to 125 are lost.
        let history = history(&[(2, 118)], at(2, 130));
        assert_eq!(history.relate(at(2, 130), at(1, 120)), Relation::Lost);
        assert_eq!(history.relate(at(1, 125), at(2, 119)), Relation::Lacks, "a node on the lost branch");
        assert_eq!(history.relate(at(2, 119), at(1, 117)), Relation::Contains);
        assert_eq!(history.relate(at(1, 125), at(1, 117)), Relation::Contains, "before the histories parted");
        assert!(!history.complete(at(1, 125)) && history.lost(at(1, 118)) && !history.lost(at(1, 117)));
    }

    #[test]
    fn an_epoch_that_the_log_has_not_told_of_is_waited_for() {
        let mut history = history(&[], at(1, 100));
        assert_eq!(history.relate(at(2, 101), at(1, 100)), Relation::Unheard);
        history.epoch(EpochStart { epoch: Epoch(2), first_seq: Seq(101) });
        assert_eq!(history.relate(at(2, 101), at(1, 100)), Relation::Contains);
    }

    #[test]
    fn what_was_there_before_the_log_was_opened_has_no_age() {
        let mut history = ShardHistory::default();
        history.surveyed([], Some(Seq(40)));
        assert!(!history.is_new(Seq(40)) && history.is_new(Seq(41)));
    }
}
