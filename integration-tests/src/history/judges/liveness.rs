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

/// Figures of a time.
struct Figures {
    operations: u64,
    errors: u64,
    p99: Duration,
}

/// Judges the operations that began in each healthy time. `PreconditionFailed`, `NotFound` and `LostEpoch` are answers.
pub fn judge_liveness(history: &History, wanted: &Liveness) -> Judgement {
    let mut found = Judgement::default();
    let baseline = wanted.baseline.as_ref().map(|time| figures(history, time));
    for time in &wanted.healthy {
        let now = figures(history, time);
        found.count(Invariant::I9, now.operations);
        let seconds = time.end.saturating_sub(time.start).as_secs_f64();
        let mut blame = |message: String| {
            let message = format!(
                "{:.1} to {:.1} s, healthy: {message}",
                time.start.as_secs_f64(),
                time.end.as_secs_f64()
            );
            let slice = errors(history, time).take(5).map(super::slice::line).collect();
            found.blame(Violation { invariant: Invariant::I9, message, slice });
        };
        let done = now.operations - now.errors;
        if (done as f64) < wanted.min_rate * seconds {
            blame(format!("{done} operations succeeded; at least {} a second make a run", wanted.min_rate));
        }
        if now.errors as f64 > wanted.max_errors * now.operations as f64 {
            blame(format!("{} of {} operations failed", now.errors, now.operations));
        }
        if let Some(baseline) = baseline.as_ref().filter(|baseline| baseline.operations > 0)
            && now.p99 > baseline.p99.mul_f64(wanted.max_slower)
        {
            blame(format!("the 99th percentile is {:?}; without faults it was {:?}", now.p99, baseline.p99));
        }
    }
    found
}

fn began_in<'a>(history: &'a History, time: &Range<Duration>) -> impl Iterator<Item = &'a Operation> {
    let time = time.clone();
    history.operations.iter().filter(move |operation| time.contains(&operation.start))
}

fn errors<'a>(history: &'a History, time: &Range<Duration>) -> impl Iterator<Item = &'a Operation> {
    began_in(history, time).filter(|operation| operation.result.as_ref().is_err_and(is_failure))
}

const fn is_failure(code: &ErrorCode) -> bool {
    !matches!(code, ErrorCode::PreconditionFailed | ErrorCode::NotFound | ErrorCode::LostEpoch)
}

fn figures(history: &History, time: &Range<Duration>) -> Figures {
    let mut took: Vec<Duration> =
        began_in(history, time).map(|operation| operation.end.saturating_sub(operation.start)).collect();
    took.sort_unstable();
    let at = (took.len() * 99 / 100).min(took.len().saturating_sub(1));
    let p99 = took.get(at).copied().unwrap_or_default();
    Figures { operations: took.len() as u64, errors: errors(history, time).count() as u64, p99 }
}
