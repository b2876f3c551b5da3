//! Waiting until somebody can take a call: a promotion, or a leader that comes back.

use std::time::Duration;

use tao_schema::{Error, ErrorCode};
use tokio::time::{Instant, sleep_until};

use super::shared::Shared;

/// How long one call may still wait.
#[derive(Debug)]
pub(super) struct Patience {
    pause: Duration,
    until: Instant,
    /// Version of the topology when the call was last made.
    topology: u64,
}

impl Shared {
    pub(super) fn patience(&self, deadline: Instant) -> Patience {
        let until = deadline.min(Instant::now() + self.options.patience);
        Patience { pause: self.options.backoff, until, topology: self.leaders.topology_version() }
    }

    /// Waits before a call that failed is made again. False, without a wait: it is not to be made again, because trying
    /// again does not help or its time is up. Only for what certainly did nothing.
    pub(super) async fn waits(&self, error: &Error, patience: &mut Patience) -> bool {
        if !matches!(error.code, ErrorCode::NotOwner | ErrorCode::Unavailable)
            || self.check_running().is_err()
        {
            return false;
        }
        let next = Instant::now() + patience.pause;
        if next >= patience.until {
            return false;
        }
        // Twice as long each time: who waits for a server that stays away asks for it a few times, no more.
        patience.pause *= 2;
        if error.code == ErrorCode::NotOwner {
            self.leaders.newer_topology(patience.topology, next).await;
        } else {
            sleep_until(next).await;
        }
        patience.topology = self.leaders.topology_version();
        true
    }
}
