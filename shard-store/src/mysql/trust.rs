//! [`Trust`]: whether to go on acting on what is not known.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Whether what was believed came true lately. Counted without a lock: a count that is lost costs one try.
pub(super) struct Trust {
    /// What one that did not come true costs, in what one that did spares.
    wrong: i32,
    credit: AtomicI32,
    refused: AtomicU32,
}

impl Trust {
    const MOST: i32 = 32;
    const LEAST: i32 = -8;
    /// One in so many is tried all the same, to learn of better times.
    const PROBE: u32 = 32;

    pub(super) fn new(wrong: i32) -> Self {
        Self { wrong, credit: AtomicI32::new(0), refused: AtomicU32::new(0) }
    }

    pub(super) fn is_due(&self) -> bool {
        self.credit.load(Ordering::Relaxed) >= 0
            || self.refused.fetch_add(1, Ordering::Relaxed).is_multiple_of(Self::PROBE)
    }

    pub(super) fn note(&self, came_true: bool) {
        let credit = self.credit.load(Ordering::Relaxed) + if came_true { 1 } else { -self.wrong };
        self.credit.store(credit.clamp(Self::LEAST, Self::MOST), Ordering::Relaxed);
    }
}
