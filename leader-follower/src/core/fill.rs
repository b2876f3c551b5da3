//! Fills: rows that came from further up, with the position of their snapshot (R12).

use tao_schema::ids::{Position, Seq};
use tao_schema::rows::ShardState;

use super::epochs::Lineage;
use super::rules::Rule;
use super::shard::ShardCore;
use super::{Body, Entries, Entry, Key};

/// What became of a fill. The entry's `as_of` is the truth about it in each case: the caller gives it only to readers
/// whose token, and whose floor at the time they came, are not above that. It is a seq of the core's own epoch
/// ([`ShardCore::position`], under the same lock), which the fill's may have ended before.
#[derive(Clone, PartialEq, Debug)]
pub enum Filled {
    /// It may answer, and it, or the like, is in memory now. The entry is whole even if memory keeps less of it.
    Stored(Entry),
    /// It may answer, but is not kept.
    AnswerOnly(Entry, NotStored),
    /// It says nothing about this lineage. Ask again.
    Discarded(Discarded),
}

/// Why a fill may answer but is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NotStored {
    /// There is no subscription to keep it right.
    NoStream,
    /// The ring no longer has all changes since the snapshot: any of them may have changed it.
    RingTooShort,
    /// The ring has a change that does not fit it.
    DoesNotFit,
    /// Something newer than it was promised for this key.
    BelowFloor,
}

/// Why a fill is not used at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Discarded {
    /// Of an epoch before this core's.
    OlderEpoch,
    /// Of an epoch that this core has not heard of, or something of such an epoch was shown of this key.
    NewerEpoch,
    /// The shard row of its snapshot was in a state whose rows are no news (H32).
    Unreadable(ShardState),
}

impl ShardCore {
    /// Takes in rows of `key` read at `position` under `state`.
    pub fn on_fill(
        &mut self,
        key: Key,
        position: Position,
        state: ShardState,
        body: Body,
        entries: &dyn Entries,
    ) -> Filled {
        if !state.readable() && self.rules.hold(Rule::FillState) {
            return Filled::Discarded(Discarded::Unreadable(state));
        }
        self.meet(position.epoch);
        if self.rules.hold(Rule::FillLineage) {
            match self.lineage(position.epoch, position.seq) {
                // What was shown of the key is newer than anything of an epoch that is known here.
                Lineage::Same if self.is_unheard(&key) => return Filled::Discarded(Discarded::NewerEpoch),
                Lineage::Same => {}
                Lineage::Older => return Filled::Discarded(Discarded::OlderEpoch),
                Lineage::Newer => return Filled::Discarded(Discarded::NewerEpoch),
            }
        }
        let filled = self.store(key, position.seq, body, entries);
        if let Filled::Stored(entry) | Filled::AnswerOnly(entry, _) = &filled {
            // Whoever is given this must not be shown less later (R15). At the usual place, not ahead of the
            // watermark, this is one comparison.
            self.shown(key, shown_seq(entry), entries);
        }
        filled
    }

    /// Stores what is right at `as_of`, as far as R12, R14 and R15 allow.
    pub(super) fn store(&mut self, key: Key, as_of: Seq, body: Body, entries: &dyn Entries) -> Filled {
        let (mut as_of, mut body) = (as_of, body);
        if as_of < self.ring.base() && self.rules.hold(Rule::RingReaches) {
            return self.answer(as_of, body, NotStored::RingTooShort);
        }
        if as_of < self.watermark && self.rules.hold(Rule::RollForward) {
            // A key written faster than a fill takes is stored all the same (H14).
            let Some(rolled) = self.rolled_forward(&key, as_of, &body) else {
                return self.answer(as_of, body, NotStored::DoesNotFit);
            };
            (as_of, body) = (self.watermark, rolled);
        }
        if !self.resumable {
            return self.answer(as_of, body, NotStored::NoStream);
        }
        if as_of < self.floors.get(&key) && self.rules.hold(Rule::StoreFloor) {
            return self.answer(as_of, body, NotStored::BelowFloor);
        }
        // A fill never replaces an entry that is right further than it. What is right further than both fill and
        // watermark left a floor when it was stored: its version, or for absence its `as_of`. A fill at or above that
        // floor has the same version.
        if let Some(held) = self.own_entry(&key, entries)
            && held.version() == body.version()
            && held.version() > Seq::ZERO
        {
            return self.store_same_version(key, as_of, body, &held, entries);
        }
        Filled::Stored(self.put_whole(key, as_of, body, entries))
    }

    /// Two contents of one version are the same content, to different depths: keep the deeper one, and both proofs.
    fn store_same_version(
        &mut self,
        key: Key,
        as_of: Seq,
        body: Body,
        held: &Entry,
        entries: &dyn Entries,
    ) -> Filled {
        let further = as_of.max(held.as_of());
        if body.depth() > held.view().depth() {
            return Filled::Stored(self.put_whole(key, further, body, entries));
        }
        if further == held.as_of() {
            return Filled::Stored(held.clone());
        }
        if further <= self.watermark {
            // In memory the watermark says how far it is right; here only its `as_of` does. Were that left behind, a reader
            // who has seen the watermark would be refused by what has just been read for him.
            return Filled::Stored(self.entry(further, &held.body()));
        }
        Filled::Stored(self.put_whole(key, further, held.body(), entries))
    }

    /// Puts, and answers with all of it even if the cached list keeps less.
    fn put_whole(&mut self, key: Key, as_of: Seq, body: Body, entries: &dyn Entries) -> Entry {
        let cut = matches!(&body, Body::List(list) if self.trimmed(list).is_some());
        if !cut {
            return self.put(key, as_of, body, entries);
        }
        let whole = self.entry(as_of, &body);
        self.put(key, as_of, body, entries);
        whole
    }

    fn answer(&self, as_of: Seq, body: Body, why: NotStored) -> Filled {
        Filled::AnswerOnly(self.entry(as_of, &body), why)
    }
}

/// What showing the entry shows: its version, or for absence that it is so at `as_of` (R15).
fn shown_seq(entry: &Entry) -> Seq {
    match entry.version() {
        Seq::ZERO => entry.as_of(),
        version => version,
    }
}
