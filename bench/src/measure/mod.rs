//! How things are measured: closed loops, open loops, and latencies.

mod closed;
mod latency;
mod open;

use std::time::Duration;

pub use closed::{Caller, closed_loop};
pub use latency::{Figures, Latency};
pub use open::{Open, OutOfReach, open_loop};

/// When to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Runs before anything is counted.
    pub warm: Duration,
    /// Is counted.
    pub time: Duration,
    /// Where the chance of the callers starts.
    pub seed: u64,
}

impl Plan {
    /// With a fifth of the time before it.
    pub fn new(time: Duration, seed: u64) -> Self {
        Self { warm: time / 5, time, seed }
    }
}
