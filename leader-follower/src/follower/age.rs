//! How old this node's knowledge of a shard is (R20).

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use tao_schema::ids::PrimaryTime;

/// An age that nobody has vouched for.
const UNKNOWN: u64 = u64::MAX;

/// What one shard's stream has vouched for. Written by the subscription task alone, read by every read.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    /// Everything that was committed up to this moment of the node's clock, in microseconds, is applied. Zero: nothing
    /// was vouched for.
    at: AtomicU64,
    /// The primary's clock in the newest heartbeat row that was applied, in milliseconds. Zero: none.
    time: AtomicU64,
}

/// One look at a [`Knowledge`], taken before the entry that it is to vouch for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    at: u64,
    time: u64,
}

impl Knowledge {
    /// What is known now. Take it before the entry, and ask [`Self::stands`] after: what was stored here was proved by
    /// then, so an entry read later is at least that fresh. The other order would vouch for an old entry with the news
    /// of a heartbeat that came between (as H12 does with the watermark).
    #[inline]
    pub(super) fn look(&self) -> Known {
        // In this order: `time` is stored first, so it is not older than `at`, and their sum never too early.
        let at = self.at.load(Ordering::Acquire);
        Known { at, time: self.time.load(Ordering::Acquire) }
    }

    /// Whether nothing was vouched for, or taken back, since the look: an entry read between belongs to the same
    /// lineage as the look.
    #[inline]
    pub(super) fn stands(&self, known: Known) -> bool {
        fence(Ordering::Acquire);
        self.at.load(Ordering::Relaxed) == known.at
    }

    /// Everything committed up to `at` of the node's clock is applied; `time` came with it. Neither ever goes back.
    pub(super) fn vouch(&self, at: Duration, time: PrimaryTime) {
        self.time.fetch_max(time.0, Ordering::Release);
        self.at.fetch_max(micros(at), Ordering::Release);
    }

    /// Takes everything back: what was vouched for was another lineage, or its entries are gone. Call it before the
    /// core learns of that.
    pub(super) fn clear(&self) {
        self.at.store(0, Ordering::Release);
        self.time.store(0, Ordering::Release);
    }
}

impl Known {
    /// Microseconds since the moment that everything is known up to, at `now`, in microseconds; [`u64::MAX`] if none is.
    #[inline]
    pub(super) const fn age(self, now: u64) -> u64 {
        if self.at == 0 { UNKNOWN } else { now.saturating_sub(self.at) }
    }

    /// Everything committed up to here, by the primary's clock, is applied.
    pub(super) const fn up_to(self) -> PrimaryTime {
        PrimaryTime(self.time)
    }

    /// The primary's clock can't be beyond this at `now`, and so nothing that was read by then was committed later.
    #[inline]
    pub(super) const fn not_later(self, now: u64) -> Option<PrimaryTime> {
        if self.at == 0 || self.time == 0 {
            return None;
        }
        let passed = now.saturating_sub(self.at);
        // Two clocks run apart by at most 1/1024, twice what a disciplined one is slewed by; and one millisecond for
        // each figure that was cut to milliseconds.
        let passed = passed.saturating_add(passed >> 10) / 1_000 + 2;
        Some(PrimaryTime(self.time.saturating_add(passed)))
    }
}

/// A duration in microseconds; one beyond half a million years is [`u64::MAX`].
#[inline]
pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()))
}

/// The age as users see it; `None`: nobody has vouched for it.
pub(super) fn as_duration(age: u64) -> Option<Duration> {
    (age != UNKNOWN).then(|| Duration::from_micros(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_makes_a_shard_older_than_it_was_and_a_clear_forgets_all() {
        let knowledge = Knowledge::default();
        assert_eq!((knowledge.look().age(5), knowledge.look().not_later(5)), (UNKNOWN, None));
        knowledge.vouch(Duration::from_secs(10), PrimaryTime(5_000));
        // A slower answer to an older probe.
        knowledge.vouch(Duration::from_secs(9), PrimaryTime(4_000));
        let known = knowledge.look();
        assert_eq!((known.age(10_300_000), known.up_to()), (300_000, PrimaryTime(5_000)));
        assert_eq!(known.not_later(10_000_000), Some(PrimaryTime(5_002)));
        assert!(known.not_later(20_000_000).unwrap() >= PrimaryTime(15_000 + 9));
        assert!(knowledge.stands(known));
        knowledge.clear();
        assert!(!knowledge.stands(known));
        assert_eq!((knowledge.look().age(10_300_000), knowledge.look().up_to()), (UNKNOWN, PrimaryTime(0)));
    }
}
