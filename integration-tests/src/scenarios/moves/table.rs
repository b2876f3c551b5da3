//! Every step of a move with a kill of every part: one move each, then `resume`, and everything judged.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tao_admin::shard::Step;
use tao_schema::ids::ShardId;

use super::journey::{Journey, MoveReport};
use super::order::{BEFORE_BACK, Lead, MoveFault, Order, Planned, Side, lead};
use super::site::Site;
use super::{MovesOptions, has_failpoints};
use crate::scenarios::findings::Findings;

/// What is killed: the columns.
const KILLED: [(&str, MoveFault); 4] = [
    ("mover", MoveFault::KillMover),
    ("leader", MoveFault::KillLeader),
    ("source", MoveFault::KillServer(Side::Source)),
    ("target", MoveFault::KillServer(Side::Target)),
];
/// A cell that takes longer is broken.
const LIMIT: Duration = Duration::from_secs(420);

/// Which part of the table is made.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// Names of steps; none: all.
    pub steps: Vec<String>,
    /// `mover`, `leader`, `source`, `target`; none: all.
    pub killed: Vec<String>,
    /// Where the table is written after each cell: a run that is cut off leaves what it found.
    pub markdown: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableReport {
    /// Version of the programs.
    pub version: String,
    /// The databases.
    pub engine: String,
    /// How long all of it took.
    pub seconds: f64,
    /// Row by row.
    pub cells: Vec<TableRow>,
    /// What was judged, and what is wrong.
    #[serde(flatten)]
    pub findings: Findings,
}

/// One cell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableRow {
    /// Where the worker was.
    pub step: &'static str,
    /// What was killed.
    pub killed: &'static str,
    /// `None`: it came about, and nothing was found wrong.
    pub wrong: Option<String>,
    /// How long it took to come about, from the order on.
    pub seconds: f64,
    /// The move.
    pub report: MoveReport,
}

impl TableReport {
    /// Whether every cell is right. (I9 is told, and no reason to fail: a move that came about late has come about.)
    pub fn passed(&self) -> bool {
        let cells = self.cells.iter().all(|cell| cell.wrong.is_none());
        cells
            && !self.cells.is_empty()
            && self.findings.but_for_speed() == 0
            && self.findings.failures.is_empty()
    }

    /// As a table.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| step | ");
        text.push_str(&KILLED.map(|(name, _)| name).join(" | "));
        text.push_str(" |\n|---|---|---|---|---|\n");
        for step in Step::ALL {
            let of_step = || self.cells.iter().filter(|cell| cell.step == step.name());
            if of_step().next().is_none() {
                continue;
            }
            let cells = KILLED.map(|(name, _)| match of_step().find(|cell| cell.killed == name) {
                None => "-".to_owned(),
                Some(TableRow { wrong: Some(_), .. }) => "**FAILED**".to_owned(),
                Some(cell) => format!("ok {:.1} s", cell.seconds),
            });
            let _infallible = writeln!(text, "| `{}` | {} |", step.name(), cells.join(" | "));
        }
        let Findings { seed, replay, .. } = &self.findings;
        let _infallible = write!(text, "\n{}, seed {seed}, {:.0} s: `{replay}`\n", self.engine, self.seconds);
        for cell in self.cells.iter().filter(|cell| cell.wrong.is_some()) {
            let wrong = cell.wrong.as_deref().unwrap_or_default().replace('\n', " ");
            let _infallible = write!(text, "\n- `{}`, {}: {wrong}", cell.step, cell.killed);
        }
        text
    }
}

/// Makes it.
///
/// # Errors
/// The cluster can't be started, the programs were built without failpoints, or no cell is of these names. What goes wrong in a
/// cell is in the report; the next cell has a cluster of its own then.
pub async fn table(options: &MovesOptions, part: &TableOptions) -> Result<TableReport> {
    options.check()?;
    has_failpoints()?;
    let began = Instant::now();
    let cells = cells(part)?;
    let replay = options.replay();
    let mut report = TableReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: options.source.to_string(),
        findings: Findings::new(options.seed, format!("{replay} --table FILE")),
        ..TableReport::default()
    };
    let mut site = None;
    for (number, (step, name, fault)) in cells.into_iter().enumerate() {
        let mut cell = TableRow { step: step.name(), killed: name, ..TableRow::default() };
        let started = Instant::now();
        let before = report.findings.but_for_speed();
        let planned = Planned { step, fault };
        let made = make(options, &mut site, &mut report.findings, number, planned, &mut cell);
        let made = tokio::time::timeout(LIMIT, made).await;
        cell.wrong = match made {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some(format!("not over after {LIMIT:?}")),
        };
        let found = report.findings.but_for_speed() - before;
        if cell.wrong.is_none() && found > 0 {
            let last = report.findings.violations.last().map(|violation| violation.message.clone());
            cell.wrong = Some(format!("{found} violations: {}", last.unwrap_or_default()));
        }
        if let Some(site) = &site {
            let verdict = cell.wrong.as_deref().unwrap_or("ok");
            let took = started.elapsed().as_secs_f64();
            site.progress.say(&format!("{} / {name}: {verdict} ({took:.1} s)", step.name()));
        }
        if cell.wrong.is_some() {
            // What it left behind is nobody else's.
            site = None;
        }
        report.cells.push(cell);
        report.seconds = began.elapsed().as_secs_f64();
        if let Some(path) = &part.markdown {
            std::fs::write(path, report.markdown()).with_context(|| path.display().to_string())?;
        }
    }
    if let Some(site) = site {
        site.close(&mut report.findings).await;
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

fn cells(part: &TableOptions) -> Result<Vec<(Step, &'static str, MoveFault)>> {
    let wanted = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
    let mut cells = Vec::new();
    for step in Step::ALL.iter().filter(|step| wanted(&part.steps, step.name())) {
        for (name, fault) in KILLED.iter().filter(|(name, _)| wanted(&part.killed, name)) {
            cells.push((*step, *name, *fault));
        }
    }
    ensure!(!cells.is_empty(), "no step is called {:?}, or nothing {:?}", part.steps, part.killed);
    Ok(cells)
}

/// One cell: a move of the next shard, with a window of its own.
async fn make(
    options: &MovesOptions,
    site: &mut Option<Site>,
    findings: &mut Findings,
    number: usize,
    planned: Planned,
    cell: &mut TableRow,
) -> Result<()> {
    match site {
        None => *site = Some(Site::start(options).await?),
        Some(site) => site.go_on().await?,
    }
    let site = site.as_mut().context("it was just started")?;
    let topology = site.stage.topology().await?;
    let shard = ShardId(u16::try_from(number % topology.shards as usize)?);
    let from = topology.assignment(shard).context("a shard of the cluster")?.host_group;
    let at = topology.host_groups.iter().position(|group| group.id == from).context("its host group")?;
    let to = topology.host_groups[(at + 1) % topology.host_groups.len()].id;
    let back_after = (lead(planned.step) == Lead::Back).then_some(BEFORE_BACK);
    let order = Order { shard, from, to, back_after, still: true, fault: Some(planned) };
    let mut journey = Journey::new(site, findings, order);
    let travelled = journey.travel().await;
    cell.report = journey.report;
    cell.seconds = cell.report.seconds;
    travelled?;
    ensure!(cell.report.fault_happened, "the worker did not come to {}", planned.step.name());
    ensure!(cell.report.outcome != "aborted", "the move was given up: {:?}", cell.report.way.error);
    site.check(findings).await
}
