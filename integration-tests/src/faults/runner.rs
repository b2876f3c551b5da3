//! Applies a schedule.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{FaultKind, Impossible, Injected, Schedule};
use crate::regions::Regions;

/// Being later than this delays everything after it.
const LATE: Duration = Duration::from_millis(20);
/// Attempts to end a fault, when the schedule is over.
const ATTEMPTS: u32 = 4;
/// Between two of them.
const BETWEEN: Duration = Duration::from_secs(2);

/// What came of a schedule.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Report {
    /// Faults that were injected.
    pub injected: BTreeMap<FaultKind, u64>,
    /// Faults that can't happen here, and why the last one could not.
    pub impossible: BTreeMap<FaultKind, (u64, String)>,
    /// What went wrong with injecting or healing: the cluster may not be whole.
    pub failures: Vec<String>,
    /// Nodes that ended without being killed.
    pub ended: Vec<String>,
    /// Everything that was done.
    pub steps: Vec<Step>,
}

/// One beginning or end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// Since the start.
    pub at_ms: u64,
    /// How long it took to do it.
    pub took_ms: u64,
    /// `inject …`, `heal …`.
    pub what: String,
    /// What went wrong; the first time, if it was tried again.
    pub error: Option<String>,
}

impl Report {
    /// All injections.
    pub fn total(&self) -> u64 {
        self.injected.values().sum()
    }
}

struct Run<'a> {
    regions: &'a mut Regions,
    /// The start, for what is told.
    began: Instant,
    /// The start, for what is to be done: later, by all delays so far.
    base: Instant,
    report: Report,
    active: BTreeMap<usize, Injected>,
}

/// Applies a schedule, heals everything, and waits until all nodes are ready. What is still in force if this is cut off
/// ends with the cluster.
///
/// One thing is done at a time. If it takes longer than the schedule leaves for it (a server that starts), everything after
/// it comes so much later: faults keep their lengths, and meet those that they are to meet.
pub async fn run(regions: &mut Regions, schedule: &Schedule) -> Report {
    let began = Instant::now();
    let mut run = Run { regions, began, base: began, report: Report::default(), active: BTreeMap::new() };
    // Ends before beginnings, where they coincide.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, planned) in schedule.faults.iter().enumerate() {
        events.push((planned.at_ms, true, at));
        events.push((planned.at_ms + planned.length_ms, false, at));
    }
    events.sort_unstable();
    for (time, begins, at) in events {
        let due = run.base + Duration::from_millis(time);
        tokio::time::sleep_until(due).await;
        let late = due.elapsed();
        if late > LATE {
            run.base += late;
        }
        if begins {
            run.begin(schedule, at).await;
        } else {
            run.end(at).await;
        }
    }
    for attempt in 0..ATTEMPTS {
        if run.active.is_empty() {
            break;
        }
        if attempt > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        let left: Vec<usize> = run.active.keys().copied().collect();
        for at in left {
            run.end(at).await;
        }
    }
    for injected in run.active.values() {
        run.report.failures.push(format!("not healed: {}", injected.fault()));
    }
    run.regions.network().heal_all();
    run.revive().await;
    tokio::time::sleep_until(run.base + Duration::from_millis(schedule.length_ms)).await;
    run.report
}

impl Run<'_> {
    async fn begin(&mut self, schedule: &Schedule, at: usize) {
        let fault = &schedule.faults[at].fault;
        let start = Instant::now();
        let injected = self.regions.inject(fault).await;
        let error = injected.as_ref().err().map(|error| format!("{error:#}"));
        self.note(start, format!("inject {fault}"), error);
        match injected {
            Ok(injected) => {
                *self.report.injected.entry(fault.kind()).or_default() += 1;
                self.active.insert(at, injected);
            }
            Err(error) => match error.downcast_ref::<Impossible>() {
                Some(Impossible(why)) => {
                    let noted = self.report.impossible.entry(fault.kind()).or_default();
                    *noted = (noted.0 + 1, why.clone());
                }
                None => self.report.failures.push(format!("{error:#}")),
            },
        }
    }

    /// If it fails, it is tried again at the end of the schedule.
    async fn end(&mut self, at: usize) {
        let Some(mut injected) = self.active.remove(&at) else { return };
        let start = Instant::now();
        let healed = self.regions.heal(&mut injected).await;
        self.note(
            start,
            format!("heal {}", injected.fault()),
            healed.err().map(|error| format!("{error:#}")),
        );
        let failed = self.report.steps.last().is_some_and(|step| step.error.is_some());
        if failed {
            self.active.insert(at, injected);
        }
    }

    /// Starts nodes that ended by themselves, and waits for all.
    async fn revive(&mut self) {
        for name in self.regions.node_names() {
            if self.regions.nodes.get_mut(&name).is_some_and(|node| node.runs().unwrap_or(false)) {
                continue;
            }
            self.report.ended.push(name.clone());
            if let Err(error) = self.regions.launch_again(&name) {
                self.report.failures.push(format!("{error:#}"));
            }
        }
        let start = Instant::now();
        let ready = self.regions.wait_ready().await;
        let error = ready.err().map(|error| format!("{error:#}"));
        self.report.failures.extend(error.clone());
        self.note(start, "wait until all nodes are ready".to_owned(), error);
    }

    fn note(&mut self, start: Instant, what: String, error: Option<String>) {
        let at_ms = (start - self.began).as_millis() as u64;
        let took_ms = start.elapsed().as_millis() as u64;
        tracing::info!(at_ms, took_ms, error, "{what}");
        self.report.steps.push(Step { at_ms, took_ms, what, error });
    }
}
