//! Applies the schedule of one window, tells the meter what is wrong when, and looks at memory and files meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::block_in_place;

use super::summary::FaultsSummary;
use crate::faults::{FaultKind, Impossible, Injected, Schedule};
use crate::scenarios::meter::{Meter, Phase};
use crate::scenarios::progress::Progress;
use crate::scenarios::sampling::Samples;
use crate::scenarios::stage::Stage;

/// Between two looks at memory and files.
const LOOK: Duration = Duration::from_secs(2);
/// A fault may show so long after its end (I9).
const RECOVERY: Duration = Duration::from_secs(10);
/// A server whose disk was full looks for room once a minute.
const ROOM_NOTICED: Duration = Duration::from_secs(90);

pub(super) struct Drive<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) meter: &'a Meter,
    pub(super) progress: &'a Progress,
    pub(super) summary: &'a mut FaultsSummary,
    pub(super) samples: &'a mut Samples,
    /// When the run's users began.
    pub(super) began: Instant,
}

/// A beginning or an end of a planned fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at_ms: u64,
    begins: bool,
    fault: usize,
}

impl Drive<'_> {
    /// Applies a schedule; at its end everything is healed.
    pub(super) async fn run(&mut self, schedule: &Schedule) -> Result<()> {
        let mut start = Instant::now();
        let mut events: Vec<Event> = Vec::new();
        for (fault, planned) in schedule.faults.iter().enumerate() {
            events.push(Event { at_ms: planned.at_ms, begins: true, fault });
            events.push(Event { at_ms: planned.at_ms + planned.length_ms, begins: false, fault });
        }
        // Ends before beginnings, where they coincide.
        events.sort_unstable();
        let mut active: BTreeMap<usize, Injected> = BTreeMap::new();
        let mut quiet_from = None;
        for event in events {
            self.wait(start + Duration::from_millis(event.at_ms), &mut quiet_from).await;
            if event.begins {
                self.note_baseline();
                self.begin(schedule, event.fault, &mut active).await;
            } else if let Some(injected) = active.remove(&event.fault) {
                let healing = Instant::now();
                self.end(injected).await?;
                // What comes later keeps its length and its distance.
                start += healing.elapsed();
            }
            quiet_from = self.enter(&active);
        }
        for injected in std::mem::take(&mut active).into_values() {
            self.end(injected).await?;
        }
        quiet_from = self.enter(&active);
        self.wait(start + Duration::from_millis(schedule.length_ms), &mut quiet_from).await;
        Ok(())
    }

    /// Another region takes over, with everything running.
    pub(super) async fn failover(&mut self) -> Result<()> {
        self.meter.enter(Phase::Fault("failover".to_owned()));
        let cluster = &self.stage.cluster;
        let master = block_in_place(|| cluster.masters())?.first().copied().context("a host group")?;
        let other = (master + 1) % cluster.topology().regions.len();
        // A replica of MariaDB that lost its connection in the greeting stays stopped: as an administrator would before.
        cluster.start_replication().await.context("replication before a failover")?;
        let start = Instant::now();
        cluster.promote(other, &[]).await.context("a planned failover")?;
        self.progress.say(&format!("failover to region {other} took {:.1} s", start.elapsed().as_secs_f64()));
        *self.summary.injections.entry("failover".to_owned()).or_default() += 1;
        self.meter.enter(Phase::Recovery);
        Ok(())
    }

    async fn begin(&mut self, schedule: &Schedule, at: usize, active: &mut BTreeMap<usize, Injected>) {
        let Some(planned) = schedule.faults.get(at) else { return };
        let kind = planned.fault.kind().to_string();
        match self.stage.cluster.inject(&planned.fault).await {
            Ok(injected) => {
                self.progress.say(&format!("{} for {} ms", planned.fault, planned.length_ms));
                *self.summary.injections.entry(kind).or_default() += 1;
                active.insert(at, injected);
            }
            Err(error) => match error.downcast_ref::<Impossible>() {
                Some(Impossible(why)) => {
                    self.summary.impossible.insert(kind, why.clone());
                }
                None => self.fails(format!("inject {}: {error:#}", planned.fault)),
            },
        }
    }

    async fn end(&mut self, mut injected: Injected) -> Result<()> {
        let fault = injected.fault().clone();
        let cluster = &mut self.stage.cluster;
        if let Err(first) = cluster.heal(&mut injected).await {
            self.progress.say(&format!("heal {fault}: {first:#}; once more"));
            // What is still wrong may have been in its way.
            cluster.network().heal_all();
            cluster.heal(&mut injected).await.with_context(|| format!("heal {fault}, twice"))?;
        }
        if fault.kind() == FaultKind::FillDisk
            && let Err(error) = cluster.caught_up(ROOM_NOTICED).await
        {
            self.fails(format!("after {fault}: {error:#}"));
        }
        Ok(())
    }

    fn fails(&mut self, text: String) {
        self.summary.findings.fails(text, self.progress);
    }

    /// Tells the meter what is wrong now; when it is quiet again, if nothing is.
    fn enter(&self, active: &BTreeMap<usize, Injected>) -> Option<Instant> {
        let mut faults = active.values().map(|injected| injected.fault().kind().to_string());
        let phase = match (faults.next(), faults.next()) {
            (None, _) => Phase::Recovery,
            (Some(kind), None) => Phase::Fault(kind),
            (Some(_), Some(_)) => Phase::Several,
        };
        let quiet_from = (phase == Phase::Recovery).then(|| Instant::now() + RECOVERY);
        self.meter.enter(phase);
        quiet_from
    }

    /// What users get without any fault: taken once, before the first one.
    fn note_baseline(&mut self) {
        if self.summary.baseline.calls == 0
            && let Some(moment) = Instant::now().checked_sub(Duration::from_secs(2))
        {
            self.summary.baseline = self.meter.window(moment);
        }
    }

    async fn wait(&mut self, until: Instant, quiet_from: &mut Option<Instant>) {
        loop {
            let now = Instant::now();
            if quiet_from.is_some_and(|from| now >= from) {
                self.meter.enter(Phase::Quiet);
                *quiet_from = None;
            }
            let processes = self.stage.processes();
            self.samples
                .take(self.began.elapsed(), processes.iter().map(|(name, pid)| (name.as_str(), *pid)));
            if now >= until {
                return;
            }
            tokio::time::sleep(LOOK.min(until - now)).await;
        }
    }
}
