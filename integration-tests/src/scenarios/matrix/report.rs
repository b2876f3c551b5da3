//! What the matrix found: as JSON, and as the table of `docs/faults.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, How};
use super::table::CELLS;
use crate::history::{Invariant, Violation};

/// Ends of the names of cells in which a shard moves.
const MOVER: &str = "/migrator";
/// What is judged in every cell. I7, the mover's, is judged in those where a shard moves.
pub const JUDGED: [Invariant; 8] = [
    Invariant::I1,
    Invariant::I2,
    Invariant::I3,
    Invariant::I4,
    Invariant::I5,
    Invariant::I6,
    Invariant::I8,
    Invariant::I9,
];

/// One run of one cell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CellRun {
    /// `fault/component`.
    pub cell: String,
    /// Counted from 1.
    pub run: usize,
    /// Of the run: the same one does the same things at the same steps.
    pub seed: u64,
    /// Engine and version of the databases.
    pub engine: String,
    /// What was done.
    pub injected: Vec<String>,
    /// How many single injections that were: resets, connections, forged tokens, or one for what was held.
    pub injections: u64,
    /// Calls of users that were answered.
    pub operations: u64,
    /// Calls of users without an answer, before, during and after.
    pub failed: u64,
    /// Single facts that were checked, by invariant.
    pub checked: BTreeMap<Invariant, u64>,
    /// What must not be: the first of it.
    pub violations: Vec<Violation>,
    /// Violations that are not listed.
    pub unlisted: u64,
    /// Answers of which nothing could be said.
    pub unjudged: u64,
    /// Acknowledged writes that a promotion lost, as `async` allows.
    pub lost: u64,
    /// Edges that it left in half: the known gap of R23.
    pub halved: u64,
    /// From the end of the fault until calls were answered as before, in milliseconds.
    pub recovered_ms: Option<u64>,
    /// 99 of 100 calls were quicker before the fault, in milliseconds.
    pub baseline_p99_ms: f64,
    /// And after it, when recovered.
    pub recovered_p99_ms: f64,
    /// How long all of it took.
    pub seconds: f64,
    /// Why it can't be run here.
    pub impossible: Option<String>,
    /// Why it could not be run to its end.
    pub broken: Option<String>,
    /// What repeats it.
    pub replay: String,
}

/// What a run of a cell says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All invariants were checked and hold.
    Passed,
    /// This machine lacks what it needs; nothing was done.
    Impossible,
    /// Something was not checked at all: nothing is known of it.
    Void,
    /// It could not be run to its end.
    Broken,
    /// An invariant does not hold.
    Violated,
}

/// All runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MatrixReport {
    /// Version of the programs.
    pub version: String,
    /// The first run's seed.
    pub seed: u64,
    /// Every run.
    pub runs: Vec<CellRun>,
    /// Cells that can't be run, with the reason.
    pub not_run: BTreeMap<String, String>,
    /// How long all of it took.
    pub seconds: f64,
}

impl CellRun {
    /// What it says.
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if self.impossible.is_some() {
            Verdict::Impossible
        } else if self.broken.is_some() {
            Verdict::Broken
        } else if !self.void().is_empty() {
            Verdict::Void
        } else {
            Verdict::Passed
        }
    }
}

impl MatrixReport {
    /// Whether every run that this machine can do passed, and there was one.
    pub fn passed(&self) -> bool {
        let verdicts = || self.runs.iter().map(CellRun::verdict);
        verdicts().any(|verdict| verdict == Verdict::Passed)
            && verdicts().all(|verdict| matches!(verdict, Verdict::Passed | Verdict::Impossible))
    }

    /// All injections of all runs.
    pub fn injections(&self) -> u64 {
        self.runs.iter().map(|run| run.injections).sum()
    }

    /// The table for `docs/faults.md`.
    pub fn markdown(&self) -> String {
        let mut text = String::from(HEAD);
        let runs = self.runs.len();
        let operations: u64 = self.runs.iter().map(|run| run.operations).sum();
        let checked: u64 = self.runs.iter().flat_map(|run| run.checked.values()).sum();
        let violations: usize = self.runs.iter().map(|run| run.violations.len()).sum();
        let passed = self.runs.iter().filter(|run| run.verdict() == Verdict::Passed).count();
        say(
            &mut text,
            &format!(
                "{runs} runs of {} cells, {passed} passed; {} injections, {operations} answered calls, {checked} facts \
                 checked, {violations} violations; {:.0} minutes. Version {}, first seed {}.\n",
                self.cells_run(),
                self.injections(),
                self.seconds / 60.0,
                self.version,
                self.seed
            ),
        );
        say(
            &mut text,
            "| cell | likely trap | runs | injections | operations | checked | violations | back after | seeds |",
        );
        say(&mut text, "|---|---|---|---|---|---|---|---|---|");
        for cell in &CELLS {
            say(&mut text, &self.row(cell));
        }
        let troubled: Vec<&CellRun> =
            self.runs.iter().filter(|run| run.verdict() != Verdict::Passed).collect();
        if !troubled.is_empty() {
            say(&mut text, "\n## Runs that did not pass\n");
        }
        for run in troubled {
            say(&mut text, &run.trouble());
        }
        text
    }

    fn cells_run(&self) -> usize {
        self.runs.iter().map(|run| &run.cell).collect::<std::collections::BTreeSet<_>>().len()
    }

    fn row(&self, cell: &Cell) -> String {
        let name = cell.name();
        let trap = format!("{:?}: {}", cell.invariant, cell.trap);
        if let How::Not(reason) = cell.how {
            return format!("| {name} | {trap} | not run: {reason} | | | | | | |");
        }
        let runs: Vec<&CellRun> = self.runs.iter().filter(|run| run.cell == name).collect();
        if runs.is_empty() {
            return format!("| {name} | {trap} | not asked for | | | | | | |");
        }
        let passed = runs.iter().filter(|run| run.verdict() == Verdict::Passed).count();
        let injections: u64 = runs.iter().map(|run| run.injections).sum();
        let operations: u64 = runs.iter().map(|run| run.operations).sum();
        let violations: usize = runs.iter().map(|run| run.violations.len()).sum();
        let back = runs.iter().filter_map(|run| run.recovered_ms).max();
        let back = back.map_or("-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
        let seeds: Vec<String> =
            runs.iter().map(|run| format!("{} ({})", run.seed, run.engine_name())).collect();
        format!(
            "| {name} | {trap} | {passed} of {} | {injections} | {operations} | {} | {violations} | {back} | {} |",
            runs.len(),
            checked(&runs),
            seeds.join(", ")
        )
    }
}

impl CellRun {
    fn engine_name(&self) -> &str {
        self.engine.split_whitespace().next().unwrap_or_default()
    }

    /// Of what should have been judged, that of which nothing was.
    fn void(&self) -> Vec<Invariant> {
        let moves = self.cell.ends_with(MOVER).then_some(Invariant::I7);
        let wanted = JUDGED.into_iter().chain(moves);
        wanted.filter(|invariant| self.checked.get(invariant).copied().unwrap_or(0) == 0).collect()
    }

    /// A paragraph on a run that did not pass.
    fn trouble(&self) -> String {
        let Self { cell, run, seed, engine, replay, .. } = self;
        let mut text =
            format!("- {cell}, run {run}, seed {seed}, {engine}: {:?}. `{replay}`", self.verdict());
        if let Some(why) = &self.impossible {
            let _infallible = write!(text, "\n  - this machine can't: {}", line(why));
        }
        if let Some(broken) = &self.broken {
            let _infallible = write!(text, "\n  - not run to its end: {}", line(broken));
        }
        if self.verdict() == Verdict::Void {
            let missing: Vec<String> = self.void().iter().map(|invariant| format!("{invariant:?}")).collect();
            let _infallible = write!(text, "\n  - nothing checked for {}", missing.join(", "));
        }
        for violation in self.violations.iter().take(5) {
            let _infallible = write!(text, "\n  - {:?}: {}", violation.invariant, line(&violation.message));
        }
        text
    }
}

const HEAD: &str = "# Faults

<!-- Written by `cargo xtask matrix --markdown docs/faults.md`. -->

Every fault at every component, on real servers and processes, with users at work in two regions: inject, hold, heal,
rest, judge. All invariants are judged in every cell (I1 to I9 as in `docs/tests.md`; I7 where a shard moves); the one named is the
one that the cell's likely trap would break. \"Checked\" counts single facts, by invariant; a run in which anything was not
checked is void, not passed. \"Back after\" is the longest time from the end of a fault until calls were answered as before
it (I9: at most 10 s). A run is repeated with `cargo xtask matrix --cells CELL --times 1 --seed SEED --database ENGINE`.

";

fn say(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A text on one line, not too long for a table.
fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|").chars().take(600).collect()
}

/// Sums by invariant: `I1 1234, I2 567`.
fn checked(runs: &[&CellRun]) -> String {
    let mut sums = BTreeMap::<Invariant, u64>::new();
    for (invariant, count) in runs.iter().flat_map(|run| &run.checked) {
        *sums.entry(*invariant).or_default() += count;
    }
    sums.iter().map(|(invariant, count)| format!("{invariant:?} {count}")).collect::<Vec<_>>().join(", ")
}
