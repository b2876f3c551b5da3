//! Distributions as the published files have them.

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;

/// Numbers by how many are at least so large: rows `value, P(N >= value)`.
#[derive(Clone, Debug)]
pub struct AtLeast(Vec<(u64, f64)>);

/// One of several outcomes, by weight.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// Cumulative, the last is 1.
    cumulative: Vec<f64>,
}

/// Sizes in buckets of powers of two.
#[derive(Clone, Debug)]
pub struct Sizes {
    buckets: Weighted,
    /// Least and most bytes of each.
    bounds: Vec<(u64, u64)>,
}

/// Numbers by cumulative percent: rows `value percent`, as LinkBench writes them.
#[derive(Clone, Debug)]
pub struct Cumulative(Vec<(u64, f64)>);

impl AtLeast {
    /// From rows in ascending order of value.
    ///
    /// # Errors
    /// The values do not ascend, or a probability grows.
    pub fn new(rows: Vec<(u64, f64)>) -> Result<Self> {
        let falls = rows.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 >= pair[1].1);
        ensure!(falls && rows.iter().all(|row| (0.0..=1.0).contains(&row.1)), "rows of falling probability");
        Ok(Self(rows))
    }

    /// From the text of a file: comments, a heading, then `value,probability`.
    ///
    /// # Errors
    /// A line is something else.
    pub fn parse(text: &str) -> Result<Self> {
        Self::new(csv(text, |fields| {
            let [value, probability] = fields else { return None };
            Some((value.parse().ok()?, probability.parse().ok()?))
        })?)
    }

    /// The largest value whose probability is at least `u`; 0 if there is none.
    pub fn at(&self, u: f64) -> u64 {
        let reached = self.0.partition_point(|(_, probability)| *probability >= u);
        reached.checked_sub(1).map_or(0, |at| self.0[at].0)
    }

    /// P(N >= 1).
    pub fn not_zero(&self) -> f64 {
        self.0.iter().find(|(value, _)| *value >= 1).map_or(0.0, |(_, probability)| *probability)
    }
}

impl Weighted {
    /// By weights, of which one is above 0.
    ///
    /// # Errors
    /// There is none, or one is below 0.
    pub fn new(weights: &[f64]) -> Result<Self> {
        let sum: f64 = weights.iter().sum();
        ensure!(sum > 0.0 && weights.iter().all(|weight| *weight >= 0.0), "weights, one above 0");
        let mut before = 0.0;
        let cumulative = weights.iter().map(|weight| {
            before += weight / sum;
            before
        });
        Ok(Self { cumulative: cumulative.collect() })
    }

    /// Draws the index of one; never one of weight 0.
    pub fn draw(&self, random: &mut StdRng) -> usize {
        let u: f64 = random.random();
        self.cumulative.partition_point(|reached| *reached <= u).min(self.cumulative.len() - 1)
    }
}

impl Sizes {
    /// From buckets of (least bytes, most bytes, weight).
    ///
    /// # Errors
    /// No weight is above 0.
    pub fn new(buckets: &[(u64, u64, f64)]) -> Result<Self> {
        let weights: Vec<f64> = buckets.iter().map(|bucket| bucket.2).collect();
        let bounds = buckets.iter().map(|bucket| (bucket.0, bucket.1.max(bucket.0))).collect();
        Ok(Self { buckets: Weighted::new(&weights)?, bounds })
    }

    /// From Figure 6's histogram (`label,assoc,object`). The paper does not say which edge of a bucket its label is: the upper
    /// one for associations and the lower one for objects come nearest to the means that its text gives.
    ///
    /// # Errors
    /// A line is something else.
    pub fn parse(text: &str) -> Result<(Self, Self)> {
        let rows: Vec<(u64, f64, f64)> = csv(text, |fields| {
            let [label, assoc, object] = fields else { return None };
            let fraction = |field: &str| if field.is_empty() { Some(0.0) } else { field.parse().ok() };
            Some((bytes_of(label)?, fraction(assoc)?, fraction(object)?))
        })?;
        let assoc: Vec<_> =
            rows.iter().map(|(label, part, _)| (label / 2 + u64::from(*label > 0), *label, *part)).collect();
        let object: Vec<_> =
            rows.iter().map(|(label, _, part)| (*label, (label * 2).saturating_sub(1), *part)).collect();
        Ok((Self::new(&assoc)?, Self::new(&object)?))
    }

    /// Draws a size, evenly by its logarithm within a bucket.
    pub fn draw(&self, random: &mut StdRng) -> usize {
        let (least, most) = self.bounds[self.buckets.draw(random)];
        if least == 0 || least == most {
            return most as usize;
        }
        let (low, high) = ((least as f64).ln(), ((most + 1) as f64).ln());
        let drawn = random.random_range(low..high).exp() as u64;
        drawn.clamp(least, most) as usize
    }
}

impl Cumulative {
    /// The section `name` of a LinkBench file: a line with the name, then its rows up to the next name.
    ///
    /// # Errors
    /// There is no such section, or a line is something else.
    pub fn parse_section(text: &str, name: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).skip_while(|line| *line != name).skip(1);
        let rows = lines.take_while(|line| line.contains(' ')).map(|line| {
            let (value, percent) = line.split_once(' ')?;
            Some((value.parse().ok()?, percent.trim().parse().ok()?))
        });
        let rows: Option<Vec<(u64, f64)>> = rows.collect();
        let rows = rows.with_context(|| format!("a line of section {name} is no `value percent`"))?;
        ensure!(!rows.is_empty(), "no section {name}");
        Ok(Self(rows))
    }

    /// From rows of (value, cumulative percent).
    pub const fn new(rows: Vec<(u64, f64)>) -> Self {
        Self(rows)
    }

    /// The smallest value whose percent is at least that of `u` (0 to 1).
    pub fn at(&self, u: f64) -> u64 {
        let below = self.0.partition_point(|(_, percent)| *percent < u * 100.0);
        self.0.get(below).or(self.0.last()).map_or(0, |row| row.0)
    }
}

/// Rows of a CSV text without its comments and its heading.
fn csv<T>(text: &str, row: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines.skip(1).map(|line| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        row(&fields).with_context(|| format!("not understood: {line:?}"))
    });
    rows.collect()
}

/// `8`, `4K`.
fn bytes_of(label: &str) -> Option<u64> {
    match label.strip_suffix(['K', 'k']) {
        Some(kib) => Some(kib.parse::<u64>().ok()? * 1024),
        None => label.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_largest_value_that_is_likely_enough() {
        let sizes = AtLeast::parse("# c\nvalue,p_ge\n1,0.5\n2,0.25\n10,0.1\n").unwrap();
        for (u, expected) in
            [(0.0, 10), (0.1, 10), (0.11, 2), (0.25, 2), (0.4, 1), (0.5, 1), (0.51, 0), (1.0, 0)]
        {
            assert_eq!(sizes.at(u), expected, "{u}");
        }
        assert!((sizes.not_zero() - 0.5).abs() < 1e-9);
        assert!(AtLeast::parse("value,p\n2,0.5\n1,0.6\n").is_err());
        assert!(AtLeast::parse("value,p\nx,0.5\n").is_err());
    }

    #[test]
    fn weights_are_kept_and_nothing_impossible_is_drawn() {
        let weighted = Weighted::new(&[0.0, 3.0, 0.0, 1.0, 0.0]).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut seen = [0u32; 5];
        for _ in 0..8_000 {
            seen[weighted.draw(&mut random)] += 1;
        }
        assert_eq!((seen[0], seen[2], seen[4]), (0, 0, 0));
        assert!((5_700..6_300).contains(&seen[1]), "{seen:?}");
        assert!(Weighted::new(&[0.0]).is_err() && Weighted::new(&[-1.0, 2.0]).is_err());
    }

    #[test]
    fn sizes_lie_in_their_buckets() {
        let (assoc, object) = Sizes::parse("label,assoc,object\n0,0.5,0\n16,0.5,0.25\n1K,,0.75\n").unwrap();
        let mut random = StdRng::seed_from_u64(2);
        for _ in 0..1_000 {
            let size = assoc.draw(&mut random);
            assert!(size == 0 || (9..=16).contains(&size), "{size}");
            let size = object.draw(&mut random);
            assert!((16..32).contains(&size) || (1024..2048).contains(&size), "{size}");
        }
    }

    #[test]
    fn a_section_of_a_linkbench_file_ends_at_the_next() {
        let text = "nlinks\n0 45.5\n1 80\n7 100.0\nother\n3 100.0\n";
        let nlinks = Cumulative::parse_section(text, "nlinks").unwrap();
        assert_eq!([0.0, 0.455, 0.46, 0.8, 0.81, 1.0].map(|u| nlinks.at(u)), [0, 0, 1, 1, 7, 7]);
        assert_eq!(Cumulative::parse_section(text, "other").unwrap().at(0.1), 3);
        assert!(Cumulative::parse_section(text, "none").is_err());
    }
}
