//! How much of the traffic may be retries: a token bucket.
//!
//! Without a bound, clients that retry turn a short overload into a lasting one. Every request pays a fraction of a
//! token in, every retry takes a whole one out.

use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of a token, so that a fraction can be paid in with whole numbers.
const TOKEN: u64 = 1_000;

/// Of one client. Lock-free; slightly generous when two requests meet, never by more than what they pay in.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    parts: AtomicU64,
    per_request: u64,
    max: u64,
}

impl RetryBudget {
    /// A full bucket: `burst` retries at once, then `ratio` of the requests.
    pub(crate) fn new(ratio: f64, burst: u32) -> Self {
        let max = u64::from(burst) * TOKEN;
        let per_request = (ratio.clamp(0.0, 1.0) * TOKEN as f64) as u64;
        Self { parts: AtomicU64::new(max), per_request, max }
    }

    /// A request is made: not a retry.
    pub(crate) fn pay_in(&self) {
        // A full bucket is the usual case: it costs a load, and no cache line changes owner.
        let held = self.parts.load(Ordering::Relaxed);
        if held < self.max {
            let _ = self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some((held + self.per_request).min(self.max))
            });
        }
    }

    /// Whether a retry may be made now; if so, it is paid.
    pub(crate) fn take(&self) -> bool {
        self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(TOKEN)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_tenth() {
        let budget = RetryBudget::new(0.1, 3);
        assert_eq!((0..5).filter(|_| budget.take()).count(), 3);
        for _ in 0..9 {
            budget.pay_in();
        }
        assert!(!budget.take());
        budget.pay_in();
        assert!(budget.take());
        for _ in 0..1_000 {
            budget.pay_in();
        }
        assert_eq!((0..100).filter(|_| budget.take()).count(), 3, "what is saved up is bounded");
    }
}
