//! What a run found wrong, and how much it looked at.

use std::collections::BTreeMap;

use serde::Serialize;

use super::matrix::JUDGED;
use super::progress::Progress;
use crate::history::{Invariant, Judgement, Violation};

/// Violations that are kept with their slices; the rest is counted.
const KEPT: usize = 50;

/// A part of the summary of a long run. Its size does not grow with the run's length, but for `failures`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// The run's seed.
    pub seed: u64,
    /// What repeats it.
    pub replay: String,
    /// Single facts that were checked, by invariant.
    pub checked: BTreeMap<Invariant, u64>,
    /// Violations by invariant.
    pub violated: BTreeMap<Invariant, u64>,
    /// All of them.
    pub violation_count: u64,
    /// The first of them, each with the part of history and log that shows it.
    pub violations: Vec<Violation>,
    /// Answers of which nothing could be said.
    pub unjudged: u64,
    /// Acknowledged writes that a promotion lost, as `async` allows.
    pub lost: u64,
    /// Edges that it left in half: the known gap of R23.
    pub halved: u64,
    /// What did not work, of the run itself.
    pub failures: Vec<String>,
}

impl Findings {
    /// Of a run that begins.
    pub fn new(seed: u64, replay: String) -> Self {
        Self { seed, replay, ..Self::default() }
    }

    /// Nothing is wrong with what was looked at, and everything was looked at.
    pub fn passed(&self) -> bool {
        self.violation_count == 0 && self.failures.is_empty() && self.void().is_empty()
    }

    /// Invariants of which nothing was checked: of these nothing is known.
    pub fn void(&self) -> Vec<Invariant> {
        JUDGED.into_iter().filter(|invariant| !self.checked.contains_key(invariant)).collect()
    }

    /// Violations of anything but I9: how quickly users were served says little on a machine with other work.
    pub fn but_for_speed(&self) -> u64 {
        self.violation_count - self.violated.get(&Invariant::I9).copied().unwrap_or(0)
    }

    /// Adds what judges found.
    pub fn absorb(&mut self, judgement: Judgement, progress: &Progress) {
        for (invariant, facts) in judgement.checked {
            *self.checked.entry(invariant).or_default() += facts;
        }
        self.unjudged += judgement.unjudged;
        self.lost += judgement.lost;
        self.halved += judgement.halved;
        self.violation_count += judgement.unlisted;
        for violation in judgement.violations {
            self.blame(violation, progress);
        }
    }

    /// Notes a violation, and says at once what it is, what shows it, and how to repeat the run.
    pub fn blame(&mut self, violation: Violation, progress: &Progress) {
        if self.violations.len() < KEPT {
            progress.say(&format!("VIOLATION of {:?}: {}", violation.invariant, violation.message));
            for line in &violation.slice {
                progress.say(&format!("    {line}"));
            }
            progress.say(&format!("    seed {}; repeat it: {}", self.seed, self.replay));
        }
        self.note(violation);
    }

    /// Notes a violation of which nothing need be said now.
    pub fn note(&mut self, violation: Violation) {
        self.violation_count += 1;
        *self.violated.entry(violation.invariant).or_default() += 1;
        if self.violations.len() < KEPT {
            self.violations.push(violation);
        }
    }

    /// Notes what did not work, and says it.
    pub fn fails(&mut self, text: String, progress: &Progress) {
        progress.say(&text);
        self.failures.push(text);
    }
}
