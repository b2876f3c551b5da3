//! Popularity by Zipf's law: the k-th most popular of n is asked for with a probability proportional to k^-s.

use rand::Rng;
use rand::rngs::StdRng;

/// A Zipf distribution over `0..n`, by the method of Gray et al. (SIGMOD 1994), which needs no table. Ranks are spread over the
/// numbers by a permutation, so that neighbours are not popular together.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    n: u64,
    s: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
    stride: u64,
    offset: u64,
}

impl Zipf {
    /// Over `n` numbers (at least 1) with exponent `s` (0 to below 1); `salt` chooses the permutation.
    pub fn new(n: u32, s: f64, salt: u64) -> Self {
        let n = u64::from(n.max(1));
        let s = s.clamp(0.0, 0.999);
        let zeta: f64 = (1..=n).map(|k| (k as f64).powf(-s)).sum();
        let zeta2 = 1.0 + 0.5f64.powf(s);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - s)) / (1.0 - zeta2 / zeta);
        let mut stride = (n as f64 * 0.618_033_988_75) as u64 | 1;
        while gcd(stride, n) != 1 {
            stride += 2;
        }
        Self {
            n,
            s,
            zeta,
            alpha: 1.0 / (1.0 - s),
            eta,
            stride,
            offset: salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) % n,
        }
    }

    /// A rank, 0 the most popular.
    pub fn rank(&self, random: &mut StdRng) -> u64 {
        let u: f64 = random.random();
        let uz = u * self.zeta;
        if uz < 1.0 || self.n == 1 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(self.s) {
            return 1;
        }
        let rank = (self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64;
        rank.min(self.n - 1)
    }

    /// A number, popular ones spread over all.
    pub fn number(&self, random: &mut StdRng) -> u32 {
        let rank = self.rank(random);
        ((rank * self.stride + self.offset) % self.n) as u32
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Part of all calls that go to the `first` most popular, by the law.
    fn share(zipf: &Zipf, first: u64) -> f64 {
        (1..=first.min(zipf.n)).map(|k| (k as f64).powf(-zipf.s)).sum::<f64>() / zipf.zeta
    }

    #[test]
    fn the_shares_of_the_hottest_are_those_of_the_law() {
        let zipf = Zipf::new(100_000, 0.8, 1);
        let mut random = StdRng::seed_from_u64(5);
        let drawn = 200_000;
        let mut hot = [0u32; 3];
        for _ in 0..drawn {
            let rank = zipf.rank(&mut random);
            for (at, bound) in [100, 1_000, 10_000].into_iter().enumerate() {
                hot[at] += u32::from(rank < bound);
            }
        }
        for (at, bound) in [100, 1_000, 10_000].into_iter().enumerate() {
            let (seen, law) = (f64::from(hot[at]) / f64::from(drawn), share(&zipf, bound));
            assert!((seen - law).abs() < 0.02, "hottest {bound}: {seen} drawn, {law} by the law");
        }
    }

    #[test]
    fn every_number_has_one_rank() {
        for n in [1, 2, 10, 999, 4_096] {
            let zipf = Zipf::new(n, 0.8, 77);
            let mut seen = vec![false; n as usize];
            for rank in 0..u64::from(n) {
                let number = ((rank * zipf.stride + zipf.offset) % zipf.n) as usize;
                assert!(!std::mem::replace(&mut seen[number], true), "{number} of {n} twice");
            }
        }
    }

    #[test]
    fn an_exponent_of_zero_is_even() {
        let zipf = Zipf::new(10, 0.0, 0);
        let mut random = StdRng::seed_from_u64(9);
        let mut seen = [0u32; 10];
        for _ in 0..20_000 {
            seen[zipf.number(&mut random) as usize] += 1;
        }
        assert!(seen.iter().all(|times| (1_500..2_500).contains(times)), "{seen:?}");
    }
}
