//! What a run found, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::FaultsOptions;
use crate::history::{Invariant, Judgement, Violation};
use crate::scenarios::matrix::JUDGED;
use crate::scenarios::meter::{Figures, Window};
use crate::scenarios::progress::Progress;
use crate::scenarios::sampling::Flatness;

/// Violations that are kept with their slices; the rest is counted.
const KEPT: usize = 50;

/// The outcome of a run. Times are in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FaultsSummary {
    /// Version of the programs.
    pub version: String,
    /// The databases: engine and version, or where they come from.
    pub engine: String,
    /// The run's seed.
    pub seed: u64,
    /// What repeats it.
    pub replay: String,
    /// Number of regions.
    pub regions: usize,
    /// `async` or `lossless`.
    pub mode: String,
    /// How long all of it took.
    pub seconds: f64,
    /// Windows that were judged.
    pub windows: u64,
    /// Faults by kind.
    pub injections: BTreeMap<String, u64>,
    /// Faults that can't happen here, and why: they were left out.
    pub impossible: BTreeMap<String, String>,
    /// What users got.
    pub figures: Figures,
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
    /// What users got before the first fault.
    pub baseline: Window,
    /// The longest time after the end of a window's faults until calls were answered as before.
    pub slowest_recovery_ms: u64,
    /// Memory and files of every process.
    pub processes: BTreeMap<String, Flatness>,
}

impl FaultsSummary {
    pub(super) fn of(options: &FaultsOptions) -> Self {
        let mode = format!("{:?}", options.mode).to_lowercase();
        let replay = format!(
            "cargo xtask soak --scenario faults --seed {} --minutes {:.2} --users {} --pause-ms {} --regions {} --wan-ms {} \
             --disk-mib {} --mode {mode} --database {}",
            options.seed,
            options.time.as_secs_f64() / 60.0,
            options.users,
            options.pause.as_millis(),
            options.regions,
            options.wan.as_millis(),
            options.disk_bytes.unwrap_or(0) >> 20,
            options.source.word(),
        );
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: options.source.to_string(),
            seed: options.seed,
            replay,
            regions: options.regions,
            mode,
            ..Self::default()
        }
    }

    /// Whether everything was checked, nothing is wrong, and the run itself did what it should.
    pub fn passed(&self) -> bool {
        self.violation_count == 0 && self.failures.is_empty() && self.void().is_empty() && self.windows > 0
    }

    /// Invariants of which nothing was checked: of these nothing is known.
    pub fn void(&self) -> Vec<Invariant> {
        JUDGED.into_iter().filter(|invariant| !self.checked.contains_key(invariant)).collect()
    }

    pub(super) fn absorb(&mut self, judgement: Judgement, progress: &Progress) {
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
    pub(super) fn blame(&mut self, violation: Violation, progress: &Progress) {
        self.violation_count += 1;
        *self.violated.entry(violation.invariant).or_default() += 1;
        if self.violations.len() >= KEPT {
            return;
        }
        progress.say(&format!("VIOLATION of {:?}: {}", violation.invariant, violation.message));
        for line in &violation.slice {
            progress.say(&format!("    {line}"));
        }
        progress.say(&format!("    seed {}; repeat it: {}", self.seed, self.replay));
        self.violations.push(violation);
    }

    /// Memory and files that grow without end are against I9.
    pub(super) fn judge_flatness(&mut self) {
        let growing: Vec<String> = self
            .processes
            .iter()
            .filter(|(_, flatness)| flatness.flat == Some(false))
            .map(|(name, flatness)| format!("{name} grows: {flatness:?}"))
            .collect();
        for message in growing {
            // A short run warms up all the time: only a long one says that something grows.
            if self.seconds_of_work() < LONG_SECONDS {
                continue;
            }
            self.violation_count += 1;
            *self.violated.entry(Invariant::I9).or_default() += 1;
            self.violations.push(Violation { invariant: Invariant::I9, message, slice: Vec::new() });
        }
    }

    fn seconds_of_work(&self) -> u64 {
        self.windows * super::WINDOW.as_secs()
    }
}

/// From so many seconds on, memory must have become flat.
const LONG_SECONDS: u64 = 1_200;
