//! What the subscription task knows of one shard.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::links::backoff;
use crate::follower::options::FollowerOptions;

/// A wanted shard.
pub(super) struct Assignment {
    /// Whose stream carries it; `None` while parked.
    pub(super) leader: Option<Arc<str>>,
    pub(super) phase: Phase,
    /// Leaders that refused it since it was last live.
    pub(super) refused_by: Vec<Arc<str>>,
    /// Resets, gaps and refusals since it last ran well for `reset_window`.
    troubles: u32,
    last_trouble: Instant,
}

/// Where a shard stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Served uncached until then.
    Parked(Instant),
    /// Asked for; what comes before the answer is void.
    Awaiting,
    /// Its stream is continuous.
    Live,
}

impl Assignment {
    pub(super) const fn new(now: Instant) -> Self {
        Self { leader: None, phase: Phase::Awaiting, refused_by: Vec::new(), troubles: 0, last_trouble: now }
    }

    /// Counts a trouble of a shard of a node; `Some`: there were too many in a row, serve the shard uncached for so long (R16).
    pub(super) fn trouble(&mut self, options: &FollowerOptions, who: impl Hash) -> Option<Duration> {
        let now = Instant::now();
        // A pause is not running well: it must not make the next one short again.
        let quiet = options.reset_window.saturating_add(options.backoff_max);
        if now.duration_since(self.last_trouble) > quiet {
            self.troubles = 0;
        }
        self.last_trouble = now;
        self.troubles = self.troubles.saturating_add(1);
        let beyond = self.troubles.checked_sub(options.resets_tolerated + 1)?;
        Some(backoff(options, beyond, who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn too_many_troubles_in_a_row_park_and_a_quiet_time_forgives() {
        let options = FollowerOptions { resets_tolerated: 2, ..FollowerOptions::default() };
        let mut shard = Assignment::new(Instant::now());
        assert_eq!((shard.trouble(&options, "node"), shard.trouble(&options, "node")), (None, None));
        let first = shard.trouble(&options, "node").expect("the third parks");
        tokio::time::advance(first).await;
        let again = shard.trouble(&options, "node").expect("one more right after the pause parks again");
        assert!(again >= options.backoff && first <= options.backoff, "{first:?}, then {again:?}");
        tokio::time::advance(options.reset_window + options.backoff_max * 2).await;
        assert_eq!(shard.trouble(&options, "node"), None);
    }
}
