//! What the looks came to: counts, and what may be said of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tao_schema::planted::{Bug, planted};

/// What kind of a node was looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A follower, as its clients see it.
    Follower,
    /// A leader, as its followers see it.
    Leader,
    /// A database server.
    Database,
}

/// Something that is looked at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    /// Its region.
    pub region: String,
    /// What it is.
    pub role: Role,
    /// Its name in the topology; of a database server `database-N`, N being its host group.
    pub node: String,
    /// `host:port`.
    pub address: String,
}

/// What one look came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// The change was there.
    Consistent,
    /// It was not there yet.
    Stale,
    /// The answer claims a position at which the log says something else.
    Wrong,
    /// It could not be told.
    Unknown,
}

/// Looks at one target, or at all, at one age.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// The change was there.
    pub consistent: u64,
    /// It was not there yet.
    pub stale: u64,
    /// The answer contradicts the log.
    pub wrong: u64,
    /// It could not be told: never counted as consistent.
    pub unknown: u64,
    /// Of those judged, answered from the memory of the node that was asked.
    pub from_memory: u64,
}

/// All counts.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(Arc<Target>, usize), Counts>,
    reasons: BTreeMap<&'static str, u64>,
}

impl Role {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Database => "database",
        }
    }
}

impl Verdict {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::Stale => "stale",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
        }
    }
}

impl Counts {
    /// N: looks that could be judged.
    pub const fn judged(&self) -> u64 {
        self.consistent + self.stale + self.wrong
    }

    /// Judged, and not consistent.
    pub const fn bad(&self) -> u64 {
        self.stale + self.wrong
    }

    fn add(&mut self, verdict: Verdict, from_memory: bool) {
        match verdict {
            Verdict::Consistent => self.consistent += 1,
            Verdict::Stale if planted(Bug::ObserverSeesNothing) => self.consistent += 1,
            Verdict::Unknown if planted(Bug::ObserverGuesses) => self.consistent += 1,
            Verdict::Stale => self.stale += 1,
            Verdict::Wrong => self.wrong += 1,
            Verdict::Unknown => self.unknown += 1,
        }
        if from_memory && verdict != Verdict::Unknown {
            self.from_memory += 1;
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.consistent += other.consistent;
        self.stale += other.stale;
        self.wrong += other.wrong;
        self.unknown += other.unknown;
        self.from_memory += other.from_memory;
    }

    /// The consistent part in per cent, rounded down, so that "100" is said only of no exception: `99.9993 %`.
    pub fn percent(&self) -> String {
        let judged = self.judged();
        if judged == 0 {
            return "-".to_owned();
        }
        if self.bad() == 0 {
            return "100 %".to_owned();
        }
        // As many digits as the number of looks bears.
        let digits = (judged.ilog10() as usize).saturating_sub(1).clamp(1, 9);
        let unit = 10u128.pow(digits as u32);
        let scaled = u128::from(self.consistent) * 100 * unit / u128::from(judged);
        format!("{}.{:0digits$} %", scaled / unit, scaled % unit)
    }

    /// The part that is not consistent is below this at 95 % confidence, if none was seen: the rule of three.
    pub fn below(&self) -> Option<f64> {
        (self.judged() > 0 && self.bad() == 0).then(|| (3.0 / self.judged() as f64).min(1.0))
    }

    /// How many nines that is: what was measured or, if no exception was seen, what the number of looks proves at 95 %.
    pub fn nines(&self) -> Option<f64> {
        let part = match self.below() {
            Some(below) => below,
            None if self.judged() > 0 => self.bad() as f64 / self.judged() as f64,
            None => return None,
        };
        // Not below zero, nor "-0".
        Some((-part.log10()).max(0.0))
    }

    /// In a sentence: `consistent at 5s: 99.93 % (N = 30,145; 20 stale, 0 wrong; 3.1 nines), 3 unknown`.
    pub fn sentence(&self, age: &str) -> String {
        let unknown =
            if self.unknown == 0 { String::new() } else { format!(", {} unknown", grouped(self.unknown)) };
        let judged = grouped(self.judged());
        match self.below() {
            Some(below) => format!(
                "consistent at {age}: 100 % (N = {judged}; 0 later than {age}, i.e. < {below:.1e} at 95 %){unknown}"
            ),
            None if self.judged() == 0 => format!("consistent at {age}: nothing judged yet{unknown}"),
            None => format!(
                "consistent at {age}: {} (N = {judged}; {} stale, {} wrong; {:.1} nines){unknown}",
                self.percent(),
                grouped(self.stale),
                grouped(self.wrong),
                self.nines().unwrap_or_default()
            ),
        }
    }
}

impl Tally {
    /// One more look.
    pub fn add(&mut self, target: &Arc<Target>, age: usize, verdict: Verdict, from_memory: bool) {
        self.counts.entry((Arc::clone(target), age)).or_default().add(verdict, from_memory);
    }

    /// Why a look is unknown.
    pub fn because(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Why looks are unknown.
    pub const fn reasons(&self) -> &BTreeMap<&'static str, u64> {
        &self.reasons
    }

    /// By target, then by age.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Target>, usize, &Counts)> {
        self.counts.iter().map(|((target, age), counts)| (target, *age, counts))
    }

    /// Of all targets at one age.
    pub fn at(&self, age: usize) -> Counts {
        let mut all = Counts::default();
        for (_, _, counts) in self.iter().filter(|(_, at, _)| *at == age) {
            all.absorb(counts);
        }
        all
    }
}

/// An age as it is told: `60s`, `250ms`.
pub fn age_name(age: Duration) -> String {
    let ms = age.as_millis();
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

/// A number with a comma before every three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(consistent: u64, stale: u64) -> Counts {
        Counts { consistent, stale, ..Counts::default() }
    }

    #[test]
    fn percents_are_rounded_down_and_a_hundred_means_all() {
        assert_eq!(counts(301_453, 2).percent(), "99.9993 %");
        assert_eq!(counts(999_999_999, 1).percent(), "99.99999990 %");
        assert_eq!(counts(10, 0).percent(), "100 %");
        assert_eq!(counts(2, 1).percent(), "66.6 %");
        assert_eq!(counts(0, 5).percent(), "0.0 %");
        assert_eq!(Counts::default().percent(), "-");
    }

    #[test]
    fn nothing_seen_proves_as_much_as_was_looked_at() {
        let none = counts(301_455, 0);
        assert_eq!(
            none.sentence("60s"),
            "consistent at 60s: 100 % (N = 301,455; 0 later than 60s, i.e. < 1.0e-5 at 95 %)"
        );
        assert_eq!(none.nines().map(|nines| format!("{nines:.1}")), Some("5.0".to_owned()));
        let some = Counts { unknown: 4, ..counts(99_990, 10) };
        assert_eq!(
            some.sentence("1s"),
            "consistent at 1s: 99.9900 % (N = 100,000; 10 stale, 0 wrong; 4.0 nines), 4 unknown"
        );
        assert_eq!(Counts::default().nines(), None);
        assert_eq!(counts(0, 5).nines(), Some(0.0));
        assert_eq!(counts(1, 0).below(), Some(1.0));
    }

    #[test]
    fn looks_are_counted_by_target_and_age_and_unknown_is_not_judged() {
        let target = |node: &str| {
            let (region, address) = ("a".to_owned(), String::new());
            Arc::new(Target { region, role: Role::Follower, node: node.to_owned(), address })
        };
        let mut tally = Tally::default();
        tally.add(&target("one"), 0, Verdict::Consistent, true);
        tally.add(&target("two"), 0, Verdict::Stale, false);
        tally.add(&target("two"), 0, Verdict::Unknown, true);
        tally.add(&target("two"), 1, Verdict::Consistent, false);
        let all = tally.at(0);
        assert_eq!((all.judged(), all.bad(), all.unknown, all.from_memory), (2, 1, 1, 1));
        assert_eq!(tally.iter().count(), 3);
    }
}
