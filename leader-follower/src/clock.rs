//! A clock for ages (R20): it counts the time that the machine was suspended, and nobody sets it.

use std::sync::Arc;
use std::time::Duration;

/// Time since some moment before this program began. Only differences within one machine mean something.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Duration;
}

/// A handle to any clock.
pub type SharedClock = Arc<dyn Clock>;

/// `CLOCK_BOOTTIME`. Rust's `Instant` stops while the machine is suspended (rust-lang/rust#87906): a node that slept
/// would believe that what it knows is fresh (H23).
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Neither is negative: it counts from the start of the machine.
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// The clock of tokio, which tests can pause and move.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    /// Starts an hour after its own beginning, so that ages can be taken from it at once.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        Duration::from_secs(3_600) + self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_moves_forward() {
        let before = BootClock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(BootClock.now() >= before + Duration::from_millis(2));
    }
}
