//! A row: a goal, and what was measured of it, round by round.

use serde::Serialize;

/// What a row must come to.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The median is at least this.
    AtLeast(f64),
    /// The median is at most this.
    AtMost(f64),
    /// Measured for itself.
    None,
}

/// One round of a row.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Round {
    /// The tier's figure.
    pub ours: f64,
    /// The peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs: Option<f64>,
    /// What the goal is about: mostly their ratio.
    pub value: f64,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// For `--rows`.
    pub name: &'static str,
    /// What is done.
    pub work: String,
    /// Against whom.
    pub against: String,
    /// What it must come to.
    pub goal: Goal,
    /// Of the goal and of `median`, `min`, `max`: `x` for a ratio, `us`, `B`.
    pub unit: &'static str,
    /// Of the figures of the rounds.
    pub figure_unit: &'static str,
    /// Each round.
    pub rounds: Vec<Round>,
    /// Of the rounds' values; 0 without rounds.
    pub median: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Whether the median reaches the goal; absent without a goal or without rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// What one must know to judge it, or why there is nothing.
    pub notes: Vec<String>,
}

impl Goal {
    /// Whether `value` reaches it.
    pub fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(goal) => Some(value >= goal),
            Self::AtMost(goal) => Some(value <= goal),
            Self::None => None,
        }
    }

    /// For the table.
    pub fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(goal) => format!("≥ {goal} {unit}"),
            Self::AtMost(goal) => format!("≤ {goal} {unit}"),
            Self::None => "–".to_owned(),
        }
    }
}

impl Round {
    /// The tier's figure divided by the peer's.
    pub fn ratio(ours: f64, theirs: f64) -> Self {
        Self { ours, theirs: Some(theirs), value: if theirs > 0.0 { ours / theirs } else { 0.0 } }
    }
}

impl Row {
    /// A row without rounds.
    pub fn new(name: &'static str, work: impl Into<String>, against: impl Into<String>, goal: Goal) -> Self {
        Self {
            name,
            work: work.into(),
            against: against.into(),
            goal,
            unit: "x",
            figure_unit: "/s",
            rounds: Vec::new(),
            median: 0.0,
            min: 0.0,
            max: 0.0,
            met: None,
            notes: Vec::new(),
        }
    }

    /// With other units: of the value, and of the rounds' figures.
    #[must_use]
    pub const fn units(mut self, unit: &'static str, figure_unit: &'static str) -> Self {
        self.unit = unit;
        self.figure_unit = figure_unit;
        self
    }

    /// With something to know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// With what was measured.
    #[must_use]
    pub fn measured(mut self, rounds: Vec<Round>) -> Self {
        let mut values: Vec<f64> = rounds.iter().map(|round| round.value).collect();
        values.sort_by(f64::total_cmp);
        if let (Some(first), Some(last)) = (values.first(), values.last()) {
            (self.min, self.max) = (*first, *last);
            self.median = median(&values);
            self.met = self.goal.met(self.median);
        }
        self.rounds = rounds;
        self
    }

    /// Medians of the figures: the tier's and the peer's.
    pub fn figures(&self) -> (f64, Option<f64>) {
        let of = |figures: Vec<f64>| {
            let mut figures = figures;
            figures.sort_by(f64::total_cmp);
            (!figures.is_empty()).then(|| median(&figures))
        };
        let ours = of(self.rounds.iter().map(|round| round.ours).collect());
        (ours.unwrap_or(0.0), of(self.rounds.iter().filter_map(|round| round.theirs).collect()))
    }
}

/// Of sorted values, of which there is one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_its_median() {
        let rounds = [(10.0, 5.0), (30.0, 10.0), (8.0, 8.0), (9.0, 5.0)];
        let rounds: Vec<Round> = rounds.map(|(ours, theirs)| Round::ratio(ours, theirs)).to_vec();
        let row = Row::new("x", "w", "a", Goal::AtLeast(2.0)).measured(rounds);
        assert_eq!((row.min, row.max, row.met), (1.0, 3.0, Some(false)));
        assert!((row.median - 1.9).abs() < 1e-9);
        assert_eq!(row.figures(), (9.5, Some(6.5)));
        let row = Row::new("x", "w", "a", Goal::AtMost(2.0)).measured(vec![Round {
            ours: 2.0,
            theirs: None,
            value: 2.0,
        }]);
        assert_eq!(row.met, Some(true));
        assert_eq!(Row::new("x", "w", "a", Goal::AtMost(2.0)).measured(Vec::new()).met, None);
        assert_eq!(Goal::None.met(1.0), None);
        assert!(Round::ratio(1.0, 0.0).value.abs() < 1e-9, "nothing is infinitely better");
    }
}
