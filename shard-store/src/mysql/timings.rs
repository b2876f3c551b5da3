//! Where the time of transactions goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time spent in the transactions of a store, by phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhaseTimes {
    /// Transactions that began.
    pub transactions: u64,
    /// Of these, those that were one round trip: planned from what was believed to be there, and committed.
    pub believed: u64,
    /// Of these, those whose edges were not read, because none of them was there.
    pub presumed: u64,
    /// Waiting for a connection, and for the shard rows; with the rows touched, where those are few.
    pub lock: Duration,
    /// Reading request rows and the rows touched.
    pub read: Duration,
    /// Computing outcomes.
    pub plan: Duration,
    /// Writing rows, where those are many.
    pub write: Duration,
    /// Writing rows, where those are few, and COMMIT.
    pub commit: Duration,
}

/// Sums behind [`PhaseTimes`], in nanoseconds.
#[derive(Default)]
pub(super) struct Timings {
    transactions: AtomicU64,
    believed: AtomicU64,
    presumed: AtomicU64,
    phases: [AtomicU64; 5],
}

/// Index into [`Timings`].
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Lock,
    Read,
    Plan,
    Write,
    Commit,
}

impl Timings {
    pub(super) fn begins(&self) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn was_believed(&self) {
        self.believed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn was_presumed(&self) {
        self.presumed.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the time since `since` to a phase, and starts the next.
    pub(super) fn lap(&self, phase: Phase, since: &mut Instant) {
        let now = Instant::now();
        let nanos = now.duration_since(*since).as_nanos() as u64;
        self.phases[phase as usize].fetch_add(nanos, Ordering::Relaxed);
        *since = now;
    }

    pub(super) fn sum(&self) -> PhaseTimes {
        let time = |phase: Phase| Duration::from_nanos(self.phases[phase as usize].load(Ordering::Relaxed));
        PhaseTimes {
            transactions: self.transactions.load(Ordering::Relaxed),
            believed: self.believed.load(Ordering::Relaxed),
            presumed: self.presumed.load(Ordering::Relaxed),
            lock: time(Phase::Lock),
            read: time(Phase::Read),
            plan: time(Phase::Plan),
            write: time(Phase::Write),
            commit: time(Phase::Commit),
        }
    }
}
