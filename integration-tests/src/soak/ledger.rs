//! What was acknowledged, what was read, and what was wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tao_client::{Error, ErrorCode};
use tao_schema::ops::{Explain, Source};

use super::summary::{Count, Summary};
use super::{Quantiles, SoakOptions};

/// Violations that are kept with their text; the rest is counted.
const KEPT: usize = 50;
/// Acknowledged values that are kept of a user, for bounded reads.
const RECENT: usize = 4_096;

/// Filled by all users at once.
#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<&'static str, Count>,
    errors: BTreeMap<String, u64>,
    violations: Vec<String>,
    violation_count: u64,
    /// By user: value and when it was acknowledged.
    acknowledged: BTreeMap<u32, VecDeque<(Instant, i64)>>,
    lossy: bool,
    write_latency: Vec<Duration>,
    outages: Vec<Duration>,
}

/// Where an answer was found, seen from the region that was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Served {
    Follower,
    Region,
    Elsewhere,
}

/// Node names start with their region's name, so the path tells whether an answer came from another one.
pub(super) fn served(explain: Option<&Explain>, region: &str) -> Served {
    match explain {
        Some(explain) if explain.source == Source::FollowerCache => Served::Follower,
        Some(explain) if explain.path.iter().all(|node| node.starts_with(region)) => Served::Region,
        _ => Served::Elsewhere,
    }
}

impl Ledger {
    /// A read that was judged.
    pub(super) fn read(&self, kind: &'static str, served: Served, took: Duration) {
        let mut state = self.state.lock();
        let count = state.counts.entry(kind).or_default();
        count.done += 1;
        match served {
            Served::Follower => count.follower += 1,
            Served::Region => count.region += 1,
            Served::Elsewhere => count.elsewhere += 1,
        }
        count.total_micros += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        count.longest_micros = count.longest_micros.max(took.as_micros() as u64);
    }

    /// A write that was acknowledged.
    pub(super) fn wrote(&self, took: Duration) {
        let mut state = self.state.lock();
        state.counts.entry("write").or_default().done += 1;
        state.write_latency.push(took);
    }

    /// A call that failed, as calls may.
    pub(super) fn failed(&self, what: &str, error: &Error) {
        let mut state = self.state.lock();
        *state.errors.entry(format!("{what}: {}", error.code)).or_default() += 1;
        let allowed =
            error.retryable() || matches!(error.code, ErrorCode::LostEpoch | ErrorCode::RetryTooLate);
        if !allowed {
            drop(state);
            self.violation(format!("{what} failed for good: {error}"));
        }
    }

    /// A session was told that what it had seen is lost: an answer, but one to be counted.
    pub(super) fn told_of_loss(&self) {
        self.state.lock().counts.entry("told_of_loss").or_default().done += 1;
    }

    /// While a failover may lose what was acknowledged, and of what was acknowledged until its end, bounded reads are not
    /// judged: an async loss is no violation.
    pub(super) fn may_lose(&self, lossy: bool) {
        let mut state = self.state.lock();
        state.lossy = lossy;
        state.acknowledged.clear();
    }

    /// Something that must not be.
    pub(super) fn violation(&self, text: String) {
        tracing::error!("{text}");
        let mut state = self.state.lock();
        state.violation_count += 1;
        if state.violations.len() < KEPT {
            state.violations.push(text);
        }
    }

    /// A user's value is acknowledged from now on.
    pub(super) fn acknowledge(&self, user: u32, value: i64) {
        let mut state = self.state.lock();
        if state.lossy {
            return;
        }
        let recent = state.acknowledged.entry(user).or_default();
        recent.push_back((Instant::now(), value));
        while recent.len() > RECENT {
            recent.pop_front();
        }
    }

    /// What was acknowledged of a user at `moment`; `None`: nothing, or it is not known any more.
    pub(super) fn acknowledged_by(&self, user: u32, moment: Instant) -> Option<i64> {
        let state = self.state.lock();
        let recent = state.acknowledged.get(&user)?;
        recent.iter().rev().find(|(when, _)| *when <= moment).map(|(_, value)| *value)
    }

    /// A time in which a probe could not write.
    pub(super) fn outage(&self, length: Duration) {
        self.state.lock().outages.push(length);
    }

    pub(super) fn summary(&self, options: &SoakOptions, work: Duration) -> Summary {
        let mut state = self.state.lock();
        let counts: BTreeMap<String, Count> =
            state.counts.iter().map(|(kind, count)| ((*kind).to_owned(), count.clone())).collect();
        Summary {
            engine: options.source.to_string(),
            seed: options.seed,
            regions: options.regions,
            wan_one_way_ms: options.wan.as_millis() as u64,
            mode: format!("{:?}", options.mode).to_lowercase(),
            seconds: work.as_secs_f64(),
            operations: counts.values().map(|count| count.done).sum(),
            counts,
            errors: state.errors.clone(),
            violation_count: state.violation_count,
            violations: state.violations.clone(),
            write_latency_ms: Quantiles::of(&mut state.write_latency),
            longest_outage_ms: state.outages.iter().max().map(|longest| longest.as_secs_f64() * 1e3),
            ..Summary::default()
        }
    }
}
