//! Which changes are looked at: so many a second, spread over all of them, with injected time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Time for which the rate of changes is counted before it is believed.
const WINDOW: Duration = Duration::from_secs(1);

/// Chooses changes by chance, each with the same probability, so that on average `rate` a second are chosen, and never
/// more than that in any second (and a burst of one second's worth after a silence).
#[derive(Debug)]
pub struct Sampler {
    /// Wanted, a second.
    rate: f64,
    /// What may be taken now.
    room: f64,
    /// When `room` was reckoned.
    at: Duration,
    /// Changes a second, of the last window; `None`: no window has passed.
    pace: Option<f64>,
    window: Duration,
    in_window: u64,
    chance: StdRng,
}

impl Sampler {
    /// `rate` a second; the same seed chooses alike.
    pub fn new(rate: f64, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        Self {
            rate,
            room: rate.max(1.0),
            at: Duration::ZERO,
            pace: None,
            window: Duration::ZERO,
            in_window: 0,
            chance,
        }
    }

    /// Whether to take the change that comes `now` (time since the start; never falls).
    pub fn takes(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.room = (self.room + passed * self.rate).min(self.rate.max(1.0));
        self.at = now;
        let counted = now.saturating_sub(self.window);
        if counted >= WINDOW {
            self.pace = Some(self.in_window as f64 / counted.as_secs_f64());
            (self.window, self.in_window) = (now, 0);
        }
        self.in_window += 1;
        let probability = self.pace.map_or(1.0, |pace| (self.rate / pace.max(f64::MIN_POSITIVE)).min(1.0));
        if self.room < 1.0 || !self.chance.random_bool(probability) {
            return false;
        }
        self.room -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `per_second` evenly spread changes a second are taken.
    fn taken(rate: f64, per_second: u32, seconds: u32) -> Vec<Duration> {
        let mut sampler = Sampler::new(rate, 7);
        let all = (0..per_second * seconds).map(|at| Duration::from_secs(1) / per_second * at);
        all.filter(|at| sampler.takes(*at)).collect()
    }

    #[test]
    fn a_slow_log_is_sampled_whole_and_a_fast_one_at_the_rate() {
        assert_eq!(taken(10.0, 5, 20).len(), 100);
        let fast = taken(10.0, 5_000, 60);
        assert!((500..=620).contains(&fast.len()), "{}", fast.len());
    }

    #[test]
    fn samples_are_spread_and_bounded_in_every_second() {
        let fast = taken(10.0, 5_000, 60);
        for second in 0..60 {
            let within = fast.iter().filter(|at| at.as_secs() == second).count();
            assert!(within <= 20, "second {second}: {within}");
        }
        let late = fast.iter().filter(|at| at.subsec_millis() >= 500).count();
        assert!(
            late * 3 > fast.len(),
            "only the first changes of a second are taken: {late} of {}",
            fast.len()
        );
    }

    #[test]
    fn less_than_one_a_second_is_possible() {
        let few = taken(0.1, 100, 200);
        assert!((10..=30).contains(&few.len()), "{}", few.len());
    }
}
