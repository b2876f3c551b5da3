//! What a run of moves found, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::MovesOptions;
use super::journey::{MoveReport, Pause};
use crate::history::Invariant;
use crate::scenarios::findings::Findings;
use crate::scenarios::meter::{Availability, Figures};
use crate::scenarios::sampling::Flatness;
use crate::soak::Quantiles;

/// Moves of which everything is kept; the rest is counted.
const KEPT: usize = 1_000;

/// The outcome of a run. Times are in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MovesSummary {
    /// Version of the programs.
    pub version: String,
    /// The databases: engine and version, or where they come from.
    pub engine: String,
    /// Number of regions.
    pub regions: usize,
    /// Number of host groups.
    pub groups: usize,
    /// `async` or `lossless`.
    pub mode: String,
    /// How long all of it took.
    pub seconds: f64,
    /// Windows that were judged.
    pub windows: u64,
    /// Rows that one shard had before it was the first to move.
    pub rows_loaded: u64,
    /// Whether users went by the clock.
    pub paced: bool,
    /// Moves, and what became of them.
    pub moves: Moves,
    /// Faults that happened, by step of the mover and kind; those whose step did not come are under `not reached`.
    pub faults: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long writes waited at changes of the owner.
    pub pauses: Pauses,
    /// Reads that were answered, without a move and during one.
    pub reads: BeforeAndDuring,
    /// Writes likewise.
    pub writes: BeforeAndDuring,
    /// What users and probes got; the phases are kinds of faults, `move` (none), and `quiet`.
    pub figures: Figures,
    /// What was judged, and what is wrong.
    #[serde(flatten)]
    pub findings: Findings,
    /// Memory and files of every process.
    pub processes: BTreeMap<String, Flatness>,
    /// Each move.
    pub each: Vec<MoveReport>,
}

/// Moves, and what became of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Moves {
    /// All that were ordered.
    pub begun: u64,
    /// The shard went, and the way back was closed.
    pub finished: u64,
    /// It went and came back.
    pub reversed: u64,
    /// It did not go.
    pub aborted: u64,
    /// None of that came about: a failure.
    pub stuck: u64,
    /// Times that `tao shard resume` was called.
    pub resumes: u64,
    /// Cutovers begun.
    pub cutovers: u64,
    /// Of those, taken back.
    pub rollbacks: u64,
    /// Copies begun anew.
    pub recopies: u64,
    /// Rows copied.
    pub rows_copied: u64,
    /// Rows copied in a second by the largest copy.
    pub rows_per_second: Option<f64>,
    /// Rows of which both sides were compared.
    pub rows_compared: u64,
    /// Of those.
    pub rows_different: u64,
}

/// Over all changes of the owner.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pauses {
    /// The longest time between two acknowledgements of a probe, of each change the longest of all probes.
    pub client_gap: Option<Quantiles>,
    /// The same, of every probe.
    pub client_gap_of_each_probe: Option<Quantiles>,
    /// The slowest write of any probe.
    pub client_slowest_write: Option<Quantiles>,
    /// The longest gap of any probe while rows were copied and compared.
    pub client_gap_copying: Option<Quantiles>,
    /// The longest gap of any probe in the seconds before the moves.
    pub client_gap_before: Option<Quantiles>,
    /// As the worker measured it.
    pub worker: Option<Quantiles>,
    /// As the rehearsal foretold it.
    pub predicted: Option<Quantiles>,
    /// Measured by the worker, as a part of what was foretold.
    pub worker_by_predicted: Vec<f64>,
}

/// One kind of calls.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BeforeAndDuring {
    /// While no shard moved.
    pub before: Availability,
    /// While one moved and nothing else happened.
    pub during: Availability,
    /// The p99 while a shard moved, as a part of the p99 before.
    pub p99_during_by_before: f64,
}

impl MovesSummary {
    pub(super) fn of(options: &MovesOptions, replay: String) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: options.source.to_string(),
            regions: options.regions,
            groups: options.groups,
            paced: options.pace.is_some(),
            mode: format!("{:?}", options.mode).to_lowercase(),
            findings: Findings::new(options.seed, replay),
            ..Self::default()
        }
    }

    /// Whether shards moved, everything was judged, nothing is wrong, and the run itself did what it should.
    pub fn passed(&self) -> bool {
        let moved = self.moves.finished + self.moves.reversed > 0;
        let looked = self.findings.checked.contains_key(&Invariant::I7);
        let clean = self.findings.violation_count == 0 && self.findings.failures.is_empty();
        moved
            && looked
            && self.moves.stuck == 0
            && self.moves.rows_different == 0
            && clean
            && self.void().is_empty()
    }

    /// Invariants of which nothing was checked. Users who go by the clock write no batches (I8).
    pub fn void(&self) -> Vec<Invariant> {
        let mut void = self.findings.void();
        void.retain(|invariant| !(self.paced && *invariant == Invariant::I8));
        void
    }

    pub(super) fn add(&mut self, report: MoveReport) {
        let moves = &mut self.moves;
        moves.begun += 1;
        match report.outcome {
            "finished" => moves.finished += 1,
            "reversed" => moves.reversed += 1,
            "aborted" => moves.aborted += 1,
            _ => moves.stuck += 1,
        }
        moves.resumes += report.way.resumes;
        moves.cutovers += u64::from(report.way.cutovers);
        moves.rollbacks += u64::from(report.way.rollbacks);
        moves.recopies += u64::from(report.way.recopies);
        moves.rows_copied += report.rows_copied;
        moves.rows_compared += report.rows_compared;
        moves.rows_different += report.rows_different;
        if let Some((kind, step)) = report.fault.as_deref().and_then(|fault| fault.split_once(" at ")) {
            let step = if report.fault_happened { step } else { "not reached" };
            let kinds = self.faults.entry(step.to_owned()).or_default();
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
        if self.each.len() < KEPT {
            self.each.push(report);
        }
    }

    /// What only the end of the run tells.
    pub(super) fn close(&mut self, figures: Figures) {
        let largest = self.each.iter().max_by_key(|report| report.rows_copied);
        self.moves.rows_per_second = largest.and_then(|report| report.rows_per_second);
        let undisturbed = self.each.iter().filter(|report| report.fault.is_none());
        let all: Vec<&Pause> = undisturbed.flat_map(|report| &report.pauses).collect();
        // With faults alone, these are what there is.
        let disturbed = self.each.iter().flat_map(|report| &report.pauses);
        let all = if all.is_empty() { disturbed.collect() } else { all };
        self.pauses = Pauses::of(&all);
        let kind = |name: &str| {
            let of = |phase: &str| figures.availability.get(name)?.get(phase).cloned();
            let (before, during) = (of("quiet").unwrap_or_default(), of("move").unwrap_or_default());
            let ratio = if before.p99_ms > 0.0 { during.p99_ms / before.p99_ms } else { 0.0 };
            BeforeAndDuring { before, during, p99_during_by_before: ratio }
        };
        (self.reads, self.writes) = (kind("reads"), kind("writes"));
        self.figures = figures;
    }
}

impl Pauses {
    fn of(all: &[&Pause]) -> Self {
        let quantiles = |values: &mut dyn Iterator<Item = f64>| {
            let mut times: Vec<Duration> =
                values.map(|ms| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()).collect();
            Quantiles::of(&mut times)
        };
        let by_predicted = all.iter().filter_map(|pause| Some(pause.worker_ms? / pause.predicted_ms?));
        Self {
            client_gap: quantiles(&mut all.iter().map(|pause| pause.during.gap_ms())),
            client_gap_of_each_probe: quantiles(
                &mut all.iter().flat_map(|pause| pause.during.gaps_ms.iter().copied()),
            ),
            client_slowest_write: quantiles(&mut all.iter().map(|pause| pause.during.slowest_write_ms())),
            client_gap_copying: quantiles(&mut all.iter().map(|pause| pause.copying.gap_ms())),
            client_gap_before: quantiles(&mut all.iter().map(|pause| pause.before.gap_ms())),
            worker: quantiles(&mut all.iter().filter_map(|pause| pause.worker_ms)),
            predicted: quantiles(&mut all.iter().filter_map(|pause| pause.predicted_ms)),
            worker_by_predicted: by_predicted.collect(),
        }
    }
}
