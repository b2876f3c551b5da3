//! Runs cells: inject, hold, heal, recover, rest, judge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_schema::topology::ReplicationMode;

use super::cell::{Cell, Fault, How, Injection, MoverFault, Poison};
use super::inject::{self, Held};
use super::report::{CellRun, MatrixReport, Verdict};
use super::table::CELLS;
use crate::faults::Impossible;
use crate::history::{Invariant, Judgement, Violation};
use crate::regions::{Links, RegionsOptions};
use crate::scenarios::liveness;
use crate::scenarios::meter::{Meter, Phase};
use crate::scenarios::progress::Progress;
use crate::scenarios::stage::Stage;
use crate::scenarios::workload::{Workload, WorkloadOptions};
use crate::servers::Source;

/// How long users work before the fault.
const BEFORE: Duration = Duration::from_millis(2_000);
/// How long a fault is held.
const HOLD: Duration = Duration::from_millis(2_500);
/// A sleeper must sleep longer than anybody waits for it.
const HOLD_PAUSE: Duration = Duration::from_millis(5_500);
/// Between two of what happens again and again.
const AGAIN: Duration = Duration::from_millis(250);
/// A disk of each database server, in memory, so that it can get full.
const DISK_BYTES: u64 = 1 << 30;
/// A cell that takes longer than this is broken.
const LIMIT: Duration = Duration::from_secs(300);
/// Calls that a cell must have answered, or it is void (I9).
const LEAST_OPERATIONS: u64 = 150;

/// What is run.
#[derive(Clone, Debug)]
pub struct MatrixOptions {
    /// Which cells: `kill/leader`, with `*` for any text; several with commas.
    pub cells: String,
    /// How often each.
    pub times: usize,
    /// Of the first run; the others count on.
    pub seed: u64,
    /// Where the databases come from: each run takes the next one.
    pub sources: Vec<Source>,
    /// Users at once.
    pub users: u32,
    /// Their longest pause between two calls.
    pub pause: Duration,
    /// Where to write the report as JSON, after each cell: a run that is cut off leaves what it found.
    pub json: Option<PathBuf>,
    /// Keeps what that file says: runs that passed (by cell, seed and engine) are not repeated, others are.
    pub resume: bool,
}

/// Runs all cells that are asked for, all of them once, then again.
///
/// # Errors
/// No cell is of that name, or no database is given. What goes wrong in a cell is in the report.
pub async fn run(options: &MatrixOptions) -> Result<MatrixReport> {
    let began = Instant::now();
    let cells: Vec<&Cell> = CELLS.iter().filter(|cell| matches(&options.cells, &cell.name())).collect();
    ensure!(!cells.is_empty(), "no cell is called {:?}", options.cells);
    ensure!(!options.sources.is_empty(), "no database is given");
    let progress = Progress::start(began);
    let mut report = MatrixReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: options.seed,
        ..earlier(options)?
    };
    for cell in &cells {
        if let How::Not(reason) = cell.how {
            report.not_run.insert(cell.name(), reason.to_owned());
        }
    }
    let mut told = began;
    for run in 0..options.times {
        let source = &options.sources[run % options.sources.len()];
        let seed = options.seed + run as u64;
        let mut stage = None;
        for cell in &cells {
            let Some(way) = cell.way(usize::try_from(seed % 6).unwrap_or_default()) else { continue };
            let same = |found: &CellRun| {
                found.cell == cell.name() && found.seed == seed && found.engine == source.to_string()
            };
            if report.runs.iter().any(|found| same(found) && found.verdict() == Verdict::Passed) {
                continue;
            }
            // What is not repeated stays as it was found.
            report.runs.retain(|found| !same(found));
            let found = one(cell, way, &mut stage, source, (seed, run), options).await;
            let verdict = found.verdict();
            progress.say(&format!(
                "{} run {} seed {seed}: {verdict:?}, {} operations, {} violations, back after {:?} ms, {:.1} s{}",
                found.cell,
                run + 1,
                found.operations,
                found.violations.len(),
                found.recovered_ms,
                found.seconds,
                found.broken.as_ref().map(|broken| format!(": {broken}")).unwrap_or_default()
            ));
            if verdict == Verdict::Void {
                progress.say(&format!("    checked: {:?}", found.checked));
            }
            for violation in found.violations.iter().take(3) {
                progress.say(&format!("    {:?}: {}", violation.invariant, violation.message));
                violation.slice.iter().for_each(|line| progress.say(&format!("        {line}")));
            }
            if let Some(why) = &found.impossible {
                progress.say(&format!("    {why}"));
            }
            if !matches!(verdict, Verdict::Passed | Verdict::Void | Verdict::Impossible) {
                progress.say(&format!("    repeat it: {}", found.replay));
                // What it left behind is nobody else's.
                stage = None;
            }
            report.runs.push(found);
            report.seconds += std::mem::replace(&mut told, Instant::now()).elapsed().as_secs_f64();
            if let Some(path) = &options.json {
                let text = serde_json::to_string_pretty(&report)?;
                std::fs::write(path, text).with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(report)
}

/// What an earlier call found and need not be done again.
fn earlier(options: &MatrixOptions) -> Result<MatrixReport> {
    let Some(path) = options.json.as_ref().filter(|path| options.resume && path.exists()) else {
        return Ok(MatrixReport::default());
    };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut report: MatrixReport = serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of the matrix", path.display()))?;
    report.runs.retain(|run| run.verdict() == Verdict::Passed);
    Ok(report)
}

/// One run of one cell. The cluster is kept for the next one.
async fn one(
    cell: &Cell,
    way: &'static [Injection],
    stage: &mut Option<Stage>,
    source: &Source,
    (seed, run): (u64, usize),
    options: &MatrixOptions,
) -> CellRun {
    let began = Instant::now();
    let (engine, name) = (source.to_string(), cell.name());
    let database = source.word();
    let replay = format!("cargo xtask matrix --cells {name} --times 1 --seed {seed} --database {database}");
    let mut found = CellRun { cell: name, run: run + 1, seed, engine, replay, ..CellRun::default() };
    found.injected = way.iter().map(ToString::to_string).collect();
    let work = async {
        if stage.is_none() {
            *stage = Some(Stage::start(source, &cluster(seed)).await.context("start a cluster")?);
        }
        let stage = stage.as_mut().context("it was just started")?;
        if let Some(Impossible(why)) = inject::impossible(&stage.cluster, way)? {
            found.impossible = Some(why);
            return Ok(());
        }
        play(cell, way, stage, seed, options, &mut found).await
    };
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            match error.downcast_ref::<Impossible>() {
                Some(Impossible(why)) => found.impossible = Some(why.clone()),
                None => found.broken = Some(format!("{error:#}")),
            }
            // A part of it was done: that is nobody else's.
            *stage = None;
        }
        Err(_) => found.broken = Some(format!("not over after {LIMIT:?}")),
    }
    found.seconds = began.elapsed().as_secs_f64();
    found
}

/// Two regions with two leaders and two followers each, so that one of a kind may be away.
fn cluster(seed: u64) -> RegionsOptions {
    RegionsOptions {
        leaders: 2,
        followers: 2,
        mode: ReplicationMode::Async,
        links: Links::Everywhere,
        disk_bytes: Some(DISK_BYTES),
        clocks: true,
        seed,
        ..RegionsOptions::default()
    }
}

async fn play(
    cell: &Cell,
    way: &'static [Injection],
    stage: &mut Stage,
    seed: u64,
    options: &MatrixOptions,
    found: &mut CellRun,
) -> Result<()> {
    let name = cell.name();
    // Each cell has its own randomness, whichever others are run with it.
    let mut random = StdRng::seed_from_u64(seed ^ hash(&name));
    let meter = Arc::new(Meter::default());
    stage.open().await?;
    let load = WorkloadOptions {
        users: options.users,
        pause: options.pause,
        seed: random.random(),
        first_session: stage.sessions(options.users),
        pace: None,
    };
    let doors = stage.doors().to_vec();
    let mut users = Workload::start(doors, stage.cluster.shards(), Arc::clone(&meter), &load);
    // The first second opens connections and fills memories.
    tokio::time::sleep(BEFORE / 2).await;
    let measured = Instant::now();
    tokio::time::sleep(BEFORE / 2).await;
    let baseline = meter.window(measured);
    found.baseline_p99_ms = baseline.p99_ms;

    let unreadable = way.iter().any(|injection| {
        matches!(
            injection,
            Injection::Poison(Poison::RowWithoutVersion | Poison::Definition)
                | Injection::Move(MoverFault::Mislead)
        )
    });
    if unreadable {
        // The log can't be followed over this: judged is what is before and what is behind it.
        users.pause().await;
        found.absorb(stage.close().await?);
        users.resume();
    }
    meter.enter(Phase::Fault(cell.fault.name().to_owned()));
    hurt(cell, way, stage, &mut users, &meter, &load, &mut random, found).await?;
    users.resume();
    let healed = Instant::now();
    meter.enter(Phase::Recovery);
    let recovery = liveness::recovery(&meter, healed, &baseline).await;
    found.recovered_ms = recovery.after.and_then(|after| u64::try_from(after.as_millis()).ok());
    found.recovered_p99_ms = recovery.window.p99_ms;
    found.absorb(liveness::judge(&recovery, &name, &baseline));
    if unreadable {
        users.pause().await;
        stage.open().await?;
        users.resume();
        tokio::time::sleep(BEFORE).await;
    }
    users.pause().await;
    let judged = stage.close().await?;
    found.absorb(judged);
    found.absorb(stage.check().await?);
    enough(&meter, &users, found);
    users.abandon().await;
    Ok(())
}

/// Injects, holds and heals.
#[expect(clippy::too_many_arguments, reason = "a part of `play`, which has all of these at hand")]
async fn hurt(
    cell: &Cell,
    way: &'static [Injection],
    stage: &mut Stage,
    users: &mut Workload,
    meter: &Arc<Meter>,
    load: &WorkloadOptions,
    random: &mut StdRng,
    found: &mut CellRun,
) -> Result<()> {
    let mut held = Vec::new();
    for injection in way {
        match injection {
            Injection::AbandonUsers => {
                let first_session = stage.sessions(load.users);
                let next = WorkloadOptions { seed: random.random(), first_session, ..*load };
                let doors = stage.doors().to_vec();
                let others = Workload::start(doors, stage.cluster.shards(), Arc::clone(meter), &next);
                std::mem::replace(users, others).abandon().await;
                found.injections += u64::from(load.users);
            }
            Injection::FreezeUsers => {
                users.pause().await;
                found.injections += u64::from(load.users);
            }
            _ => held.push(Held::inject(*injection, stage, random.random()).await?),
        }
    }
    let hold = Instant::now();
    while hold.elapsed() < if cell.fault == Fault::Pause { HOLD_PAUSE } else { HOLD } {
        tokio::time::sleep(AGAIN).await;
        held.iter_mut().try_for_each(|held| held.again(stage))?;
    }
    // In the reverse order: what was done last may need what was done first.
    while let Some(last) = held.pop() {
        let healed = last.heal(stage).await?;
        found.injections += healed.injections;
        found.absorb(healed.judgement);
    }
    Ok(())
}

/// A run that did too little means nothing, and users must not be refused what is right.
fn enough(meter: &Meter, users: &Workload, found: &mut CellRun) {
    let figures = meter.figures();
    found.operations = figures.operations.values().sum();
    found.failed =
        figures.availability.values().filter_map(|kinds| kinds.get("all")).map(|all| all.failed).sum();
    if found.operations < LEAST_OPERATIONS {
        // Void: too little was done to mean anything.
        found.checked.remove(&Invariant::I9);
    }
    for text in users.unexpected() {
        found.violations.push(Violation { invariant: Invariant::I9, message: text, slice: Vec::new() });
    }
}

impl CellRun {
    fn absorb(&mut self, judgement: Judgement) {
        for (invariant, checked) in judgement.checked {
            *self.checked.entry(invariant).or_default() += checked;
        }
        self.violations.extend(judgement.violations);
        self.unlisted += judgement.unlisted;
        self.unjudged += judgement.unjudged;
        self.lost += judgement.lost;
        self.halved += judgement.halved;
    }
}

/// Whether one of the patterns, separated by commas, describes the name.
fn matches(patterns: &str, name: &str) -> bool {
    patterns.split(',').any(|pattern| matches_one(pattern.trim(), name))
}

fn matches_one(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| rest.get(at..).is_some_and(|rest| matches_one(after, rest)))
        }),
    }
}

/// The same on every machine (FNV-1a).
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
