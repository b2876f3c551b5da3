//! Whether a log is read as it is written: heartbeats that come later than others did show that it is behind.

use std::time::Duration;

use tao_schema::ids::PrimaryTime;

/// How long the quickest heartbeat is remembered: a clock that was set is believed again after twice this.
const WINDOW: Duration = Duration::from_secs(60);
/// A log that is further behind gives no samples: they would be older than they seem.
const LIMIT_MS: i64 = 500;

/// How late one host group's heartbeats come. Two clocks are compared, but only each with itself: their difference
/// cancels out, and what is left is how much longer a heartbeat took than the quickest of the last minutes.
#[derive(Debug, Default)]
pub struct Beats {
    quickest: Option<i64>,
    before: Option<i64>,
    since: Duration,
    behind: bool,
}

impl Beats {
    /// A heartbeat that the primary's clock wrote at `time` came through `now`.
    pub fn came(&mut self, time: PrimaryTime, now: Duration) {
        let took = now.as_millis() as i64 - time.0 as i64;
        if now.saturating_sub(self.since) > WINDOW {
            (self.before, self.quickest, self.since) = (self.quickest.take(), None, now);
        }
        self.quickest = Some(self.quickest.map_or(took, |known| known.min(took)));
        let least = self.quickest.into_iter().chain(self.before).min().unwrap_or(took);
        self.behind = took - least > LIMIT_MS;
    }

    /// Whether what comes now was written a while ago.
    pub const fn behind(&self) -> bool {
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_backlog_is_noticed_and_its_end_too() {
        let mut beats = Beats::default();
        beats.came(PrimaryTime(1_000_000), ms(50));
        assert!(!beats.behind());
        beats.came(PrimaryTime(1_000_250), ms(5_000));
        assert!(beats.behind());
        beats.came(PrimaryTime(1_005_000), ms(5_060));
        assert!(!beats.behind());
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_again() {
        let mut beats = Beats::default();
        let hour = 3_600_000;
        beats.came(PrimaryTime(2 * hour), ms(0));
        let mut behind = 0;
        for second in 1..300 {
            beats.came(PrimaryTime(hour + second * 1_000), ms(second * 1_000));
            behind += u64::from(beats.behind());
        }
        assert!((60..=125).contains(&behind), "{behind}");
    }
}
