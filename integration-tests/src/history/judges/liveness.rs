//! I9: when faults are over, the cluster works again; and a run did enough to mean something.

use std::ops::Range;
use std::time::Duration;

use tao_schema::ErrorCode;

use crate::history::operation::{History, Invariant, Judgement, Operation, Violation};

/// What a run must achieve.
#[derive(Clone, PartialEq, Debug)]
pub struct Liveness {
    /// Times in which no fault was active, each beginning when the cluster was given its time to heal (10 s).
    pub healthy: Vec<Range<Duration>>,
    /// Without any fault, at the start: what latency is compared with. `None`: it is not compared.
    pub baseline: Option<Range<Duration>>,
    /// Successful operations per second, at least, over each healthy time.
    pub min_rate: f64,
    /// Errors that may come in a healthy time, as a part of its operations.
    pub max_errors: f64,
    /// How much longer the 99th percentile may be than in the baseline.
    pub max_slower: f64,
}

impl Default for Liveness {
    /// Errors below 0.1 %, latency at most doubled, one operation a second.
    fn default() -> Self {
        Self { healthy: Vec::new(), baseline: None, min_rate: 1.0, max_errors: 0.001, max_slower: 2.0 }
    }
}

/// Takes in operations, in any order and in parts, and judges at the end.
pub struct Living {
    wanted: Liveness,
    healthy: Vec<Figures>,
    baseline: Figures,
}

/// Of the operations that began in a time.
#[derive(Clone, Default)]
struct Figures {
    took: Vec<Duration>,
    errors: u64,
    /// Some of these.
    shown: Vec<String>,
}

/// Errors of a time that a violation shows.
const SHOWN: usize = 5;

/// Judges the operations that began in each healthy time. `PreconditionFailed`, `NotFound` and `LostEpoch` are answers.
pub fn judge_liveness(history: &History, wanted: &Liveness) -> Judgement {
    let mut living = Living::new(wanted.clone());
    history.operations.iter().for_each(|operation| living.add(operation));
    living.judge()
}

impl Living {
    /// Nothing was done yet.
    pub fn new(wanted: Liveness) -> Self {
        let healthy = vec![Figures::default(); wanted.healthy.len()];
        Self { wanted, healthy, baseline: Figures::default() }
    }

    /// Takes in an operation.
    pub fn add(&mut self, operation: &Operation) {
        if self.wanted.baseline.as_ref().is_some_and(|time| time.contains(&operation.start)) {
            self.baseline.add(operation);
        }
        for (time, figures) in self.wanted.healthy.iter().zip(&mut self.healthy) {
            if time.contains(&operation.start) {
                figures.add(operation);
            }
        }
    }

    /// Says whether it was enough.
    pub fn judge(self) -> Judgement {
        let Self { wanted, healthy, mut baseline } = self;
        let usual = baseline.p99();
        let mut found = Judgement::default();
        for (time, mut now) in wanted.healthy.iter().zip(healthy) {
            let operations = now.took.len() as u64;
            found.count(Invariant::I9, operations);
            let seconds = time.end.saturating_sub(time.start).as_secs_f64();
            let done = operations - now.errors;
            let mut wrong = Vec::new();
            if (done as f64) < wanted.min_rate * seconds {
                wrong.push(format!(
                    "{done} operations succeeded; at least {} a second make a run",
                    wanted.min_rate
                ));
            }
            if now.errors as f64 > wanted.max_errors * operations as f64 {
                wrong.push(format!("{} of {operations} operations failed", now.errors));
            }
            if let (Some(usual), Some(p99)) = (usual, now.p99())
                && p99 > usual.mul_f64(wanted.max_slower)
            {
                wrong.push(format!("the 99th percentile is {p99:?}; without faults it was {usual:?}"));
            }
            for what in wrong {
                let (from, to) = (time.start.as_secs_f64(), time.end.as_secs_f64());
                let message = format!("{from:.1} to {to:.1} s, healthy: {what}");
                found.blame(Violation { invariant: Invariant::I9, message, slice: now.shown.clone() });
            }
        }
        found
    }
}

impl Figures {
    fn add(&mut self, operation: &Operation) {
        self.took.push(operation.end.saturating_sub(operation.start));
        if operation.result.as_ref().is_err_and(is_failure) {
            self.errors += 1;
            if self.shown.len() < SHOWN {
                self.shown.push(super::slice::line(operation));
            }
        }
    }

    fn p99(&mut self) -> Option<Duration> {
        self.took.sort_unstable();
        let at = (self.took.len() * 99 / 100).min(self.took.len().saturating_sub(1));
        self.took.get(at).copied()
    }
}

const fn is_failure(code: &ErrorCode) -> bool {
    !matches!(code, ErrorCode::PreconditionFailed | ErrorCode::NotFound | ErrorCode::LostEpoch)
}
