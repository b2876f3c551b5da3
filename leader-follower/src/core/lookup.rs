//! Reading an entry: is it there, and is it right at what the reader demands (R11, R19, R21)?

use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::planted::{Bug, planted};

use super::epochs::Lineage;
use super::shard::ShardCore;
use super::{Entries, Entry, Key};

/// Answer to a lookup.
#[derive(Clone, PartialEq, Debug)]
pub enum Lookup {
    /// The entry, and what it is right at: the reply's position.
    Hit {
        /// The entry.
        entry: Entry,
        /// What it is right at.
        as_of: Position,
    },
    /// Memory can't answer.
    Miss(MissReason),
}

/// Why memory can't answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MissReason {
    /// There is no entry.
    Absent,
    /// There is one, right at `have`: below the reader's token.
    Stale {
        /// What the entry is right at.
        have: Position,
    },
    /// There is no continuous subscription: memory is not served (R16).
    NoStream,
    /// The token is of a newer epoch than this node has heard of: load the topology, ask further up.
    OtherEpoch {
        /// This node's epoch.
        ours: Epoch,
    },
    /// The token lies beyond the end of its epoch: what it stands for is lost (R19).
    Lost {
        /// This node's epoch.
        ours: Epoch,
        /// The last seq of the token's epoch; absent if this node does not know that far back: a node further up may.
        end: Option<Seq>,
    },
}

impl MissReason {
    /// As users see it in `explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Stale { .. } => "stale for the token",
            Self::NoStream => "no stream",
            Self::OtherEpoch { .. } => "other epoch",
            Self::Lost { .. } => "lost epoch",
        }
    }
}

/// What a core says about all of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) watermark: Seq,
    pub(super) generation: u32,
    pub(super) continuous: bool,
}

impl View {
    /// Whether the view alone tells what a reader that demands `at_least` can compare. Else only the core can, which has
    /// the history of the epochs. A core that knows no epoch yet has nothing to compare.
    pub(super) fn comparable(&self, at_least: Option<Position>) -> bool {
        let same_epoch = |token: Position| token.epoch == self.epoch || planted(Bug::TokenWithoutEpoch);
        at_least.is_none_or(same_epoch) || self.epoch == Epoch(0)
    }

    /// What the entry answers to a reader whose token is of this lineage. `watermark` was read before the entry was
    /// (R11).
    pub(super) fn judge(&self, entry: Option<Entry>, at_least: Option<Position>) -> Lookup {
        let Some(entry) = entry.filter(|entry| entry.generation() == self.generation) else {
            return Lookup::Miss(MissReason::Absent);
        };
        let as_of = Position { shard: self.shard, epoch: self.epoch, seq: self.watermark.max(entry.as_of()) };
        if at_least.is_some_and(|token| as_of.seq < token.seq) && !planted(Bug::IgnoreToken) {
            return Lookup::Miss(MissReason::Stale { have: as_of });
        }
        Lookup::Hit { entry, as_of }
    }
}

impl ShardCore {
    /// What memory answers for `key` to a reader that demands `at_least`.
    ///
    /// No look at the floors: what is shown ahead of the watermark left its floor when it was stored, and an entry
    /// below a floor was dropped when the floor was raised.
    pub fn lookup(&self, entries: &dyn Entries, key: &Key, at_least: Option<Position>) -> Lookup {
        // The epoch first: whoever goes on to the database for want of a stream must not compare the seqs of two
        // epochs there (R19).
        let view = self.view();
        if let Some(token) = at_least
            && !view.comparable(at_least)
        {
            let ours = view.epoch;
            match self.lineage(token.epoch, token.seq) {
                Lineage::Same => {}
                Lineage::Newer => return Lookup::Miss(MissReason::OtherEpoch { ours }),
                Lineage::Older => {
                    return Lookup::Miss(MissReason::Lost { ours, end: self.epochs.end(token.epoch) });
                }
            }
        }
        if !view.continuous {
            return Lookup::Miss(MissReason::NoStream);
        }
        view.judge(entries.get(key), at_least)
    }

    pub(super) fn view(&self) -> View {
        View {
            shard: self.shard,
            epoch: self.epoch(),
            watermark: self.watermark,
            generation: self.generation,
            continuous: self.is_continuous(),
        }
    }
}
