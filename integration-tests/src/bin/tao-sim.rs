//! `tao-sim`: runs seeds of the simulation, in parallel, or one with a readable trace.
#![expect(clippy::print_stderr, reason = "a program for a terminal; what it does is its output")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use integration_tests::history::Invariant;
use integration_tests::simulation::{Outcome, Size, costs, note_panics, run};
use tracing_subscriber::EnvFilter;

/// Deterministic simulation of the whole tier: each seed is one run, the same one each time.
#[derive(Parser)]
#[command(name = "tao-sim", version)]
struct Arguments {
    /// Seeds to run: FROM..TO, without TO.
    #[arg(long, default_value = "1..101", conflicts_with = "seed")]
    seeds: String,
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: says on stderr what happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; each runs one seed at a time.
    #[arg(long)]
    jobs: Option<usize>,
    /// Simulated seconds in which users and faults are busy; what it takes to be whole again comes after.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// Runs each seed twice and compares the traces.
    #[arg(long)]
    twice: bool,
    /// Ends with the first seed that finds something.
    #[arg(long)]
    stop_at_first: bool,
    /// No seeds: what a hundred nodes with 10,000 shards cost, beside as many with 100.
    #[arg(long, conflicts_with_all = ["seeds", "seed", "twice"])]
    large: bool,
    /// A summary, and everything that was found, as JSON; `-` is stdout.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A seed that takes longer than this, in real seconds, hangs.
    #[arg(long, default_value_t = 600)]
    patience: u64,
}

/// What became of all seeds.
#[derive(Default, serde::Serialize)]
struct Summary {
    seeds: u64,
    simulated_seconds: f64,
    real_seconds: f64,
    /// Simulated seconds for each second of a processor.
    speed: f64,
    operations: u64,
    answered: u64,
    faults: u64,
    events: u64,
    checked: BTreeMap<Invariant, u64>,
    /// Seeds whose second run was another one.
    not_repeated: Vec<u64>,
    /// Seeds that did not end.
    hung: Vec<u64>,
    /// Seeds with panics or violations.
    found: Vec<Outcome>,
}

enum Said {
    Begun(usize, u64),
    Done(usize, Box<Outcome>, bool),
}

/// What all threads share.
struct Shared {
    next: AtomicU64,
    to: u64,
    stop: AtomicBool,
    seconds: u64,
    readable: bool,
    twice: bool,
}

fn main() -> ExitCode {
    match go(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tao-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was found.
fn go(arguments: &Arguments) -> Result<bool> {
    let filter = if arguments.trace { "simulation=info" } else { "off" };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter)))
        .init();
    if arguments.large {
        return large(arguments).map(|()| true);
    }
    note_panics();
    let (from, to) = match arguments.seed {
        Some(seed) => (seed, seed + 1),
        None => range(&arguments.seeds)?,
    };
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let shared = Arc::new(Shared {
        next: AtomicU64::new(from),
        to,
        stop: AtomicBool::new(false),
        seconds: arguments.seconds,
        readable: arguments.trace,
        twice: arguments.twice,
    });
    let (sender, receiver) = channel();
    for job in 0..jobs {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        let work = move || work(job, &shared, &sender);
        std::thread::Builder::new().name(format!("job-{job}")).spawn(work).context("start a thread")?;
    }
    drop(sender);
    let summary = collect(&receiver, arguments, &shared, to - from);
    report(&summary, arguments)?;
    Ok(summary.found.is_empty() && summary.hung.is_empty() && summary.not_repeated.is_empty())
}

/// Leaders and followers of a large cluster.
const HUNDRED: (usize, usize) = (20, 80);
/// Reads that are timed.
const HITS: u64 = 2_000_000;

fn large(arguments: &Arguments) -> Result<()> {
    let (leaders, followers) = HUNDRED;
    let mut all = Vec::new();
    for shards in [100, 10_000] {
        let began = Instant::now();
        let costs = costs(Size { shards, leaders, followers }, HITS)?;
        eprintln!(
            "{leaders} leaders, {followers} followers, {shards} shards: {} change streams, at most {} of a follower and {} of \
             a leader; a hit {:.0} ns; an idle second {:.0} ms of a processor for all together; {:.0?}",
            costs.streams,
            costs.streams_of_a_follower,
            costs.streams_of_a_leader,
            costs.hit_ns,
            costs.idle_ms,
            began.elapsed()
        );
        eprintln!("    for each write: {}", list(&costs.messages_a_write));
        eprintln!("    for each second: {}", list(&costs.messages_a_second));
        all.push(costs);
    }
    write_json(arguments, &all)
}

fn list(messages: &BTreeMap<&'static str, f64>) -> String {
    let sent = messages.iter().filter(|(_, sent)| sent.abs() >= 0.005);
    sent.map(|(what, sent)| format!("{what} {sent:.2}")).collect::<Vec<_>>().join(", ")
}

fn range(text: &str) -> Result<(u64, u64)> {
    let (from, to) = text.split_once("..").with_context(|| format!("{text:?} is not FROM..TO"))?;
    let (from, to) = (from.parse()?, to.parse()?);
    ensure!(from < to, "{text:?} has no seeds");
    Ok((from, to))
}

fn work(job: usize, shared: &Shared, sender: &Sender<Said>) {
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= shared.to || shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let _ = sender.send(Said::Begun(job, seed));
        let outcome = run(seed, shared.seconds, shared.readable);
        let same = !shared.twice || {
            let again = run(seed, shared.seconds, false);
            (again.hash, again.events) == (outcome.hash, outcome.events)
        };
        // Nobody listens any more when the program ends early.
        let _ = sender.send(Said::Done(job, Box::new(outcome), same));
    }
}

fn collect(receiver: &Receiver<Said>, arguments: &Arguments, shared: &Shared, seeds: u64) -> Summary {
    let (began, cpu) = (Instant::now(), processor_time());
    let mut summary = Summary::default();
    let mut running: BTreeMap<usize, (u64, Instant)> = BTreeMap::new();
    let mut shown = Instant::now();
    loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(Said::Begun(job, seed)) => drop(running.insert(job, (seed, Instant::now()))),
            Ok(Said::Done(job, outcome, same)) => {
                running.remove(&job);
                summary.take(*outcome, same);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let patience = Duration::from_secs(arguments.patience);
        summary.hung =
            running.values().filter(|(_, at)| at.elapsed() > patience).map(|(seed, _)| *seed).collect();
        let found = summary.found.len() + summary.not_repeated.len() + summary.hung.len();
        if shown.elapsed() >= Duration::from_secs(5) {
            shown = Instant::now();
            eprintln!("{} of {seeds} seeds, {found} with findings, {:.0?}", summary.seeds, began.elapsed());
        }
        // A seed that hangs keeps its thread: nobody can end it but the end of the program.
        if !summary.hung.is_empty() || (arguments.stop_at_first && found > 0) {
            shared.stop.store(true, Ordering::Relaxed);
            break;
        }
    }
    summary.real_seconds = began.elapsed().as_secs_f64();
    summary.speed = summary.simulated_seconds / (processor_time() - cpu).as_secs_f64().max(1e-9);
    summary.found.sort_by_key(|outcome| outcome.seed);
    summary
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // Neither is negative: it counts from the start of the process.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Summary {
    fn take(&mut self, outcome: Outcome, same: bool) {
        self.seeds += 1;
        self.simulated_seconds += outcome.simulated.as_secs_f64();
        self.operations += outcome.operations;
        self.answered += outcome.answered;
        self.faults += outcome.faults;
        self.events += outcome.events;
        for (invariant, count) in &outcome.judgement.checked {
            *self.checked.entry(*invariant).or_default() += count;
        }
        if !same {
            self.not_repeated.push(outcome.seed);
        }
        if !outcome.is_right() {
            eprintln!("seed {}: {}", outcome.seed, first_finding(&outcome));
            self.found.push(outcome);
        }
    }
}

fn first_finding(outcome: &Outcome) -> String {
    let count = outcome.panics.len() + outcome.judgement.violations.len();
    let first = match (outcome.panics.first(), outcome.judgement.violations.first()) {
        (Some(panic), _) => format!("panic: {panic}"),
        (None, Some(violation)) => format!("{:?}: {}", violation.invariant, violation.message),
        (None, None) => String::new(),
    };
    format!("{count} findings, the first: {first}")
}

fn report(summary: &Summary, arguments: &Arguments) -> Result<()> {
    for outcome in summary.found.iter().take(3) {
        eprintln!("\nseed {} (tao-sim --seed {} --trace):", outcome.seed, outcome.seed);
        for violation in outcome.judgement.violations.iter().take(5) {
            eprintln!("  {:?}: {}", violation.invariant, violation.message);
            violation.slice.iter().for_each(|line| eprintln!("      {line}"));
        }
        outcome.panics.iter().for_each(|panic| eprintln!("  panic: {panic}"));
    }
    let Summary { seeds, simulated_seconds, real_seconds, speed, operations, answered, faults, .. } = summary;
    eprintln!(
        "{seeds} seeds, {simulated_seconds:.0} s simulated in {real_seconds:.1} s: {speed:.0} for each second of a \
         processor; {operations} calls, {answered} answered, {faults} faults; checked {:?}; {} seeds with findings, {} \
         hung, {} not repeated",
        summary.checked,
        summary.found.len(),
        summary.hung.len(),
        summary.not_repeated.len(),
    );
    write_json(arguments, summary)
}

fn write_json(arguments: &Arguments, found: &impl serde::Serialize) -> Result<()> {
    let Some(file) = &arguments.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(found)?;
    if file.as_os_str() == "-" {
        writeln!(std::io::stdout(), "{text}")?;
    } else {
        File::create(file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .context("write the summary")?;
    }
    Ok(())
}
