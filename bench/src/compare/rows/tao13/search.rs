//! The search for a cache size that hits as often as is wanted.

use super::stack::Stack;

/// How near is near enough.
pub const NEAR: f64 = 0.004;
/// A step changes a size by at most this factor.
const STEP: f64 = 2.5;
/// A step stays so far, in parts of what is between them, from the ends that were tried.
const INWARD: f64 = 0.1;

/// What was tried for one system and one hit rate.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    target: f64,
    /// The largest size that hits too seldom.
    low: Option<Tried>,
    /// The smallest that hits too often.
    high: Option<Tried>,
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
            self.low = self.low.filter(|low| low.bytes > bytes).or(Some(tried));
        } else {
            self.high = self.high.filter(|high| high.bytes < bytes).or(Some(tried));
        }
        let law = |reached: f64| stack.bytes_for(reached) as f64;
        let wanted = law(self.target) / law(reached);
        let next = match (self.low, self.high) {
            (Some(low), Some(high)) => between(low, high, law(self.target), law),
            // The law is right up to a factor; longer steps where it changes too little.
            (Some(low), None) => {
                let step = wanted.powi(self.same_side).clamp(1.05, STEP);
                low.bytes as f64 * step
            }
            (None, Some(high)) => {
                high.bytes as f64 * wanted.powi(self.same_side).clamp(1.0 / STEP, 1.0 / 1.05)
            }
            (None, None) => bytes as f64 * wanted,
        };
        let next = ((next / grain as f64).round() as u64).max(1) * grain;
        let known = |end: Option<Tried>| end.is_some_and(|end| end.bytes == next);
        (!known(self.low) && !known(self.high)).then_some(next)
    }
}

/// The size between two at which the law comes to `wanted`, were the factor between law and size to change evenly.
fn between(low: Tried, high: Tried, wanted: f64, law: impl Fn(f64) -> f64) -> f64 {
    let (from, to) = (law(low.reached).ln(), law(high.reached).ln());
    let part = if to > from { (wanted.ln() - from) / (to - from) } else { 0.5 };
    let part = part.clamp(INWARD, 1.0 - INWARD);
    ((low.bytes as f64).ln() * (1.0 - part) + (high.bytes as f64).ln() * part).exp()
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
        for (factor, target) in [(1.7, 0.96), (0.8, 0.85), (2.0, 0.99), (1.2, 0.90)] {
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
