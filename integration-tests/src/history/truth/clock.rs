//! The clock of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The one clock of a run: operations, changes and faults are timed with it, and no two of its times are equal, so that
/// what came first is known even where time stands still (tokio's time may be paused).
#[derive(Clone, Debug)]
pub struct RunClock {
    start: Instant,
    last_nanos: Arc<AtomicU64>,
}

impl RunClock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { start: Instant::now(), last_nanos: Arc::new(AtomicU64::new(0)) }
    }

    /// Time since the run's start, later than every time before.
    pub fn now(&self) -> Duration {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let step = |last: u64| Some(now.max(last.saturating_add(1)));
        // The closure always answers, so both arms hold the time before.
        let (Ok(last) | Err(last)) = self.last_nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        Duration::from_nanos(now.max(last.saturating_add(1)))
    }
}
