//! The search for a cache size that hits as often as is wanted.

use super::stack::Stack;

/// How near is near enough.
pub const NEAR: f64 = 0.005;
/// A step changes a size by at most this factor.
const STEP: f64 = 2.5;
/// A step stays so far, in parts of what is between them, from the ends that were tried.
const INWARD: f64 = 0.1;

/// What was tried for one system and one hit rate.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    target: f64,
    /// The largest size that hits too seldom.
    low: Option<u64>,
    /// The smallest that hits too often.
    high: Option<u64>,
    best: Option<Tried>,
    /// Steps in a row to the same side: the law changes too little there.
    same_side: i32,
}

/// A size, and how often it hits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tried {
    /// Bytes.
    pub bytes: u64,
    /// Part of the reads that hit.
    pub reached: f64,
}

impl Search {
    /// Nothing tried.
    pub const fn new(target: f64) -> Self {
        Self { target, low: None, high: None, best: None, same_side: 0 }
    }

    /// The nearest of all that were tried.
    pub const fn best(&self) -> Option<Tried> {
        self.best
    }

    /// Notes what a size came to: the next size to try, in whole `grain`s; none if this one is near enough, or none is left
    /// between those that were tried.
    pub fn tried(&mut self, tried: Tried, stack: &Stack, grain: u64) -> Option<u64> {
        let Tried { bytes, reached } = tried;
        let off = (reached - self.target).abs();
        if self.best.is_none_or(|best| off < (best.reached - self.target).abs()) {
            self.best = Some(tried);
        }
        if off <= NEAR {
            return None;
        }
        let turned = if reached < self.target { self.high.is_some() } else { self.low.is_some() };
        self.same_side = if turned { 0 } else { self.same_side + 1 };
        if reached < self.target {
            self.low = Some(self.low.map_or(bytes, |low| low.max(bytes)));
        } else {
            self.high = Some(self.high.map_or(bytes, |high| high.min(bytes)));
        }
        // The law first, which is right up to a factor; longer steps, or bounds, where it was wrong before.
        let law = stack.bytes_for(self.target) as f64 / stack.bytes_for(reached) as f64;
        let next = bytes as f64 * law.powi(self.same_side.max(1)).clamp(1.0 / STEP, STEP);
        let next = match (self.low, self.high) {
            (Some(low), Some(high)) => {
                let (low, high) = (low.min(high) as f64, high as f64);
                let inward = (high - low) * INWARD;
                next.clamp(low + inward, high - inward)
            }
            (Some(low), None) => next.max(low as f64 * 1.05),
            (None, Some(high)) => next.min(high as f64 / 1.05),
            (None, None) => next,
        };
        let next = ((next / grain as f64).round() as u64).max(1) * grain;
        let known = |end: Option<u64>| end == Some(next);
        (!known(self.low) && !known(self.high)).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stack::Counts;
    use super::*;
    use crate::workloads::{DataFolder, Size, Tao13};

    fn stack() -> Stack {
        let size = Size { objects: 3_000, shards: 16, data: DataFolder::none(), seed: 5 };
        Stack::of(&Tao13::new(&size).unwrap(), Counts::WithEdges, 2)
    }

    /// Hits of a cache that needs `factor` times the stack's bytes, by looking for the rate that needs its size.
    fn hits(stack: &Stack, factor: f64, bytes: u64) -> f64 {
        (1..1_000)
            .map(|rate| f64::from(rate) / 1_000.0)
            .rfind(|rate| stack.bytes_for(*rate) as f64 * factor <= bytes as f64)
            .unwrap_or(0.0)
    }

    #[test]
    fn a_few_steps_come_near_from_wherever_they_begin() {
        let stack = stack();
        for (factor, target) in [(1.7, 0.96), (0.8, 0.85), (3.0, 0.99), (1.2, 0.90)] {
            let mut search = Search::new(target);
            let mut next = Some(stack.bytes_for(target));
            let mut steps = 0;
            while let Some(bytes) = next {
                next = search.tried(Tried { bytes, reached: hits(&stack, factor, bytes) }, &stack, 1);
                steps += 1;
                assert!(steps <= 5, "{search:?}");
            }
            let best = search.best().unwrap();
            assert!((best.reached - target).abs() <= NEAR, "{best:?} for {target}");
        }
    }

    #[test]
    fn between_two_neighbours_there_is_nothing_to_try() {
        let stack = stack();
        let mut search = Search::new(0.96);
        assert!(
            search
                .tried(Tried { bytes: 3 << 20, reached: 0.90 }, &stack, 1 << 20)
                .is_some_and(|next| next > 3 << 20)
        );
        let next = search.tried(Tried { bytes: 4 << 20, reached: 0.98 }, &stack, 1 << 20);
        assert_eq!(next, None, "no whole MiB is between 3 and 4");
        assert_eq!(search.best().map(|best| best.bytes), Some(4 << 20), "two points are nearer than six");
    }
}
