//! What a run found, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::FaultsOptions;
use crate::history::{Invariant, Violation};
use crate::scenarios::findings::Findings;
use crate::scenarios::meter::{Figures, Window};
use crate::scenarios::sampling::Flatness;

/// The outcome of a run. Times are in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FaultsSummary {
    /// Version of the programs.
    pub version: String,
    /// The databases: engine and version, or where they come from.
    pub engine: String,
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
    /// What was judged, and what is wrong.
    #[serde(flatten)]
    pub findings: Findings,
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
            findings: Findings::new(options.seed, replay),
            regions: options.regions,
            mode,
            ..Self::default()
        }
    }

    /// Whether everything was checked, nothing is wrong, and the run itself did what it should.
    pub fn passed(&self) -> bool {
        self.findings.passed() && self.windows > 0
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
            self.findings.note(Violation { invariant: Invariant::I9, message, slice: Vec::new() });
        }
    }

    fn seconds_of_work(&self) -> u64 {
        self.windows * super::WINDOW.as_secs()
    }
}

/// From so many seconds on, memory must have become flat.
const LONG_SECONDS: u64 = 1_200;
