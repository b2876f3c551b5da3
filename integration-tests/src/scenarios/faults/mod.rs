//! The scenario `faults`: users at work while random faults come and go, for as long as wanted, everything judged.
//!
//! A run is a row of windows. In each, a schedule of faults is applied; then everything is healed, users rest, and all that
//! they did in the window is judged against the logs, all caches and tables are compared, and the window is forgotten. So
//! an hour needs no more memory than a minute.

mod drive;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_schema::topology::ReplicationMode;

use self::drive::Drive;
pub use self::summary::FaultsSummary;
use super::liveness;
use super::meter::{Meter, Phase};
use super::progress::Progress;
use super::sampling::Samples;
use super::stage::Stage;
use super::workload::{Workload, WorkloadOptions};
use crate::faults::{FaultKind, Schedule, ScheduleOptions};
use crate::history::{Invariant, Violation};
use crate::regions::{Links, RegionsOptions};
use crate::servers::Source;

/// Length of the schedule of one window; the last one may be shorter.
const WINDOW: Duration = Duration::from_secs(50);
/// No fault begins so near to a window's ends.
const QUIET: Duration = Duration::from_secs(4);
/// Windows with a planned failover: every so many.
const FAILOVER_EVERY: u64 = 3;

/// What a run is.
#[derive(Clone, Debug)]
pub struct FaultsOptions {
    /// Where the databases come from.
    pub source: Source,
    /// Regions, 2 or more.
    pub regions: usize,
    /// How long users are at work.
    pub time: Duration,
    /// Where all randomness starts.
    pub seed: u64,
    /// Users at once.
    pub users: u32,
    /// Their longest pause between two calls.
    pub pause: Duration,
    /// One-way delay between regions.
    pub wan: Duration,
    /// What an acknowledgement promises.
    pub mode: ReplicationMode,
    /// Leaders, and followers, of each region.
    pub nodes: usize,
    /// Host groups, each with a database server in every region.
    pub groups: usize,
    /// A disk of this size for each database server, in memory, so that it can get full; `None`: disks are not filled.
    pub disk_bytes: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// The cluster can't be started. What goes wrong later is in the summary.
pub async fn run(options: &FaultsOptions) -> Result<FaultsSummary> {
    let began = Instant::now();
    let cluster = RegionsOptions {
        regions: options.regions,
        groups: options.groups,
        leaders: options.nodes,
        followers: options.nodes,
        wan: options.wan,
        mode: options.mode,
        links: Links::Everywhere,
        disk_bytes: options.disk_bytes,
        clocks: true,
        seed: options.seed,
        ..RegionsOptions::default()
    };
    let mut stage = Stage::start(&options.source, &cluster).await.context("start the regions")?;
    let meter = Arc::new(Meter::default());
    let progress = Progress::with_meter(began, Arc::clone(&meter));
    let mut summary = FaultsSummary::of(options);
    summary.impossible = stage.cluster.impossible();
    for (what, why) in &summary.impossible {
        progress.say(&format!("left out: {what}: {why}"));
    }
    let mut samples = Samples::default();
    let worked = work(options, &mut stage, &meter, &progress, &mut summary, &mut samples).await;
    if let Err(error) = worked {
        summary.findings.failures.push(format!("{error:#}"));
    }
    summary.figures = meter.figures();
    summary.processes = samples.verdicts();
    summary.judge_flatness();
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(summary)
}

async fn work(
    options: &FaultsOptions,
    stage: &mut Stage,
    meter: &Arc<Meter>,
    progress: &Progress,
    summary: &mut FaultsSummary,
    samples: &mut Samples,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(options.seed);
    stage.open().await?;
    let load = WorkloadOptions {
        users: options.users,
        pause: options.pause,
        seed: random.random(),
        first_session: stage.sessions(options.users),
        pace: None,
    };
    let users = Workload::start(stage.doors().to_vec(), stage.cluster.shards(), Arc::clone(meter), &load);
    let began = Instant::now();
    while began.elapsed() < options.time {
        let length = WINDOW.min(options.time.saturating_sub(began.elapsed()).max(QUIET * 3));
        let number = summary.windows;
        let schedule = schedule(stage, random.random(), number, length)?;
        let mut drive = Drive { stage, meter, progress, summary, samples, began };
        drive.run(&schedule).await?;
        if number % FAILOVER_EVERY == 1 {
            drive.failover().await?;
        }
        window(stage, &users, meter, progress, summary, number).await?;
        summary.windows += 1;
        if began.elapsed() < options.time {
            stage.open().await?;
            users.resume();
        }
    }
    for message in users.unexpected() {
        summary.findings.blame(Violation { invariant: Invariant::I9, message, slice: Vec::new() }, progress);
    }
    users.abandon().await;
    Ok(())
}

/// Single faults in every other window, whose availability is told by kind; up to two at once in the others.
fn schedule(stage: &Stage, seed: u64, number: u64, length: Duration) -> Result<Schedule> {
    let options = tokio::task::block_in_place(|| ScheduleOptions::of(&stage.cluster))?;
    let single = number.is_multiple_of(2);
    // A server notices only after a while that its disk has room again: what comes meanwhile would count for nothing.
    let kinds = options.kinds.iter().copied().filter(|kind| single || *kind != FaultKind::FillDisk);
    let options = ScheduleOptions {
        kinds: kinds.collect(),
        at_once: if single { 1 } else { 2 },
        quiet: QUIET,
        ..options
    };
    Ok(Schedule::random(seed, length, &options))
}

/// The end of a window: everything is well again, users rest, all is judged.
async fn window(
    stage: &mut Stage,
    users: &Workload,
    meter: &Arc<Meter>,
    progress: &Progress,
    summary: &mut FaultsSummary,
    number: u64,
) -> Result<()> {
    stage.cluster.network().heal_all();
    stage.cluster.start_replication().await?;
    stage.cluster.wait_ready().await?;
    let healed = Instant::now();
    meter.enter(Phase::Recovery);
    let baseline = summary.baseline;
    let recovery = liveness::recovery(meter, healed, &baseline).await;
    if let Some(after) = recovery.after {
        summary.slowest_recovery_ms = summary.slowest_recovery_ms.max(after.as_millis() as u64);
    }
    summary.findings.absorb(liveness::judge(&recovery, &format!("window {number}"), &baseline), progress);
    users.pause().await;
    let judged = stage.close().await?;
    summary.findings.absorb(judged, progress);
    let checked = stage.check().await?;
    summary.findings.absorb(checked, progress);
    meter.enter(Phase::Quiet);
    progress.say(&format!(
        "window {number} judged: {} facts so far, {} violations",
        summary.findings.checked.values().sum::<u64>(),
        summary.findings.violation_count
    ));
    Ok(())
}
