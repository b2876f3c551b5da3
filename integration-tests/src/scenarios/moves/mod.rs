//! The scenario `move`: users at work in several regions while shards are moved from one host group to another, one after the
//! other, by `tao shard` as a process of its own, and everything is judged.
//!
//! | file | is |
//! |---|---|
//! | `tool` | the processes, and what they say |
//! | `order` | a move as it is drawn, and which way leads to which step |
//! | `settle` | a command until it has come about, with `resume` |
//! | `escort` | a move that is under way while another scenario does something |
//! | `journey` | one move, with a fault at a step or none, to its end |
//! | `hurt` | the faults |
//! | `probes` | the write pause, from outside |
//! | `sides` | both sides of a move compared, past the mover |
//! | `rows` | many rows for one shard |
//! | `site` | the cluster with users, and windows that are judged |
//! | `table` | every step with every kill: one move each |

pub(crate) mod escort;
mod hurt;
mod journey;
mod order;
mod probes;
mod rows;
mod settle;
pub(crate) mod sides;
mod site;
mod summary;
mod table;
mod tool;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tao_schema::topology::ReplicationMode;

pub use self::escort::MoverFault;
use self::journey::Journey;
pub use self::journey::{MoveReport, Pause};
pub use self::probes::Seen;
pub use self::settle::Way;
use self::site::Site;
pub use self::summary::{BeforeAndDuring, Moves, MovesSummary, Pauses};
pub use self::table::{TableOptions, TableReport, TableRow, table};
use super::workload::Pace;
use crate::servers::Source;

/// Users work so long before the first move.
const BEFORE: Duration = Duration::from_secs(5);
/// A window is judged when it is older than this and no move is under way.
const WINDOW: Duration = Duration::from_secs(45);

/// What a run is.
#[derive(Clone, Debug)]
pub struct MovesOptions {
    /// Where the databases come from.
    pub source: Source,
    /// Regions, 2 or more.
    pub regions: usize,
    /// Host groups, 2 or more, each with a database server in every region.
    pub groups: usize,
    /// Leaders, and followers, of each region.
    pub nodes: usize,
    /// No move begins later.
    pub time: Duration,
    /// So many moves at most.
    pub moves: Option<u64>,
    /// Where all randomness starts.
    pub seed: u64,
    /// Users at once.
    pub users: u32,
    /// Their longest pause between two calls.
    pub pause: Duration,
    /// Calls a second, in place of pauses by chance.
    pub pace: Option<Pace>,
    /// One-way delay between regions.
    pub wan: Duration,
    /// What an acknowledgement promises.
    pub mode: ReplicationMode,
    /// One fault by chance for each move.
    pub faults: bool,
    /// One shard has so many rows more, and is the first to move; 0: none.
    pub rows: u64,
    /// Every shard is brought back, after so much time where it went.
    pub reverse_after: Option<Duration>,
}

impl MovesOptions {
    /// The command that repeats a run.
    fn replay(&self) -> String {
        let mode = format!("{:?}", self.mode).to_lowercase();
        let faults = if self.faults { "random" } else { "none" };
        let mut text = format!(
            "cargo xtask soak --scenario move --seed {} --minutes {:.2} --users {} --pause-ms {} --regions {} --groups {} \
             --wan-ms {} --rows {} --faults {faults} --mode {mode} --database {}",
            self.seed,
            self.time.as_secs_f64() / 60.0,
            self.users,
            self.pause.as_millis(),
            self.regions,
            self.groups,
            self.wan.as_millis(),
            self.rows,
            self.source.word(),
        );
        if let Some(Pace { reads, writes }) = self.pace {
            text.push_str(&format!(" --rate {writes} --read-rate {reads}"));
        }
        if let Some(moves) = self.moves {
            text.push_str(&format!(" --moves {moves}"));
        }
        if let Some(time) = self.reverse_after {
            text.push_str(&format!(" --reverse-after {}", time.as_secs_f64()));
        }
        text
    }

    fn check(&self) -> Result<()> {
        ensure!(self.regions >= 2 && self.groups >= 2, "two regions and two host groups at least");
        Ok(())
    }
}

/// Runs it.
///
/// # Errors
/// The cluster can't be started, or the programs were built without failpoints and faults are wanted. What goes wrong later is
/// in the summary.
pub async fn run(options: &MovesOptions) -> Result<MovesSummary> {
    options.check()?;
    if options.faults {
        has_failpoints()?;
    }
    let began = Instant::now();
    let mut site = Site::start(options).await?;
    let mut summary = MovesSummary::of(options, options.replay());
    summary.rows_loaded = site.loaded.map_or(0, |(_, rows)| rows);
    if let Err(error) = work(options, &mut site, &mut summary).await {
        summary.findings.fails(format!("{error:#}"), &site.progress);
    }
    summary.processes = site.samples.verdicts();
    let figures = site.meter.figures();
    site.close(&mut summary.findings).await;
    summary.close(figures);
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(summary)
}

async fn work(options: &MovesOptions, site: &mut Site, summary: &mut MovesSummary) -> Result<()> {
    site.pass(BEFORE).await;
    let (began, mut window) = (Instant::now(), Instant::now());
    loop {
        let number = summary.moves.begun + 1;
        let given = site.loaded.map(|(shard, _)| shard).filter(|_| number == 1);
        let topology = site.stage.topology().await?;
        let order = order::draw(&mut site.random, &topology, given, options.faults);
        let mut order = order.context("a shard that can move")?;
        // What is past cannot be known before the move: it is the last of its window if it begins late in it.
        let enough = options.moves.is_some_and(|moves| number >= moves);
        let last = enough || began.elapsed() >= options.time;
        let ends = last || window.elapsed() >= WINDOW || number == 1;
        order.still = ends;
        order.back_after = options.reverse_after.or(order.back_after);
        let mut journey = Journey::new(site, &mut summary.findings, order);
        let travelled = journey.travel().await;
        let report = journey.report;
        site.progress.say(&tell(number, &report));
        summary.add(report);
        travelled?;
        if ends {
            if !judged_already(summary) {
                site.judge(&mut summary.findings).await?;
            }
            site.check(&mut summary.findings).await?;
            summary.windows += 1;
        }
        if last {
            return Ok(());
        }
        if ends {
            site.go_on().await?;
            window = Instant::now();
        }
    }
}

/// Whether the last move was one that ended with a look at its two sides: then the window was closed for it.
fn judged_already(summary: &MovesSummary) -> bool {
    summary.each.last().is_none_or(|report| report.outcome != "aborted")
}

fn tell(number: u64, report: &MoveReport) -> String {
    let pause = report.pauses.first().map(|pause| {
        format!(
            ", gap {:.0} ms (before {:.0}), worker {:.0} ms, predicted {:.0} ms",
            pause.during.gap_ms(),
            pause.before.gap_ms(),
            pause.worker_ms.unwrap_or_default(),
            pause.predicted_ms.unwrap_or_default()
        )
    });
    format!(
        "move {number}: shard {} from {} to {}: {} in {:.1} s, {} rows copied, {} compared, {} different, fault {:?} ({}), {} resumes{}",
        report.shard,
        report.from,
        report.to,
        report.outcome,
        report.seconds,
        report.rows_copied,
        report.rows_compared,
        report.rows_different,
        report.fault,
        if report.fault_happened { "happened" } else { "did not come" },
        report.way.resumes,
        pause.unwrap_or_default()
    )
}

/// Workers stand still at named steps only in programs that were built for it.
fn has_failpoints() -> Result<()> {
    ensure!(
        cfg!(feature = "failpoints"),
        "built without failpoints: `cargo xtask soak` builds them in (--features integration-tests/failpoints)"
    );
    Ok(())
}
