//! `tao-soak`: a whole-cluster scenario on real servers, with a JSON summary. Started by `cargo xtask soak`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal; what it does is its output"
)]

mod moves;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use integration_tests::scenarios::faults::{self, FaultsOptions};
use integration_tests::scenarios::matrix::{self, MatrixOptions};
use integration_tests::servers::Source;
use integration_tests::soak::{self, Event, SoakOptions, Summary};
use integration_tests::{fuzz, model};
use tao_schema::topology::ReplicationMode;
use tao_shard_store::fleet;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a scenario; exit code 1 if it found a violation.
#[derive(Parser)]
#[command(name = "cargo xtask soak", version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    soak: Soak,
}

#[derive(Subcommand)]
enum Other {
    /// The fault matrix: every fault at every component. `cargo xtask matrix` runs it.
    Matrix(Matrix),
}

#[derive(Args)]
struct Matrix {
    /// Which cells, `fault/component`; `*` stands for any text, commas separate.
    #[arg(long, default_value = "*")]
    cells: String,
    /// How often each cell is run.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Of the first run; the others count on.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the databases come from, in turns: `both`, the programs of this machine; or as `cargo xtask soak` takes it.
    #[arg(long, value_delimiter = ',', default_value = "both")]
    database: Vec<String>,
    /// As `cargo xtask soak` has it. Cells that did not pass leave servers that the next one can't use: without this, given
    /// servers last until then.
    #[arg(long)]
    empty_servers: bool,
    /// Users at once.
    #[arg(long, default_value_t = 24)]
    users: u32,
    /// Their longest pause between two calls, in milliseconds.
    #[arg(long, default_value_t = 80)]
    pause_ms: u64,
    /// Write everything that was found here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// With --json: keep what that file says, and repeat only what did not pass.
    #[arg(long, requires = "json")]
    resume: bool,
    /// Write the table here.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

#[derive(Args)]
struct Soak {
    /// What to run.
    #[arg(long, value_enum, default_value = "regions")]
    scenario: Scenario,
    /// How long users are at work.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Where all randomness starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the summary here, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Number of regions.
    #[arg(long, default_value_t = 2)]
    regions: usize,
    /// Users at once.
    #[arg(long, default_value_t = 16)]
    users: u32,
    /// One-way delay between regions, in milliseconds.
    #[arg(long, default_value_t = 60)]
    wan_ms: u64,
    /// `async` or `lossless`.
    #[arg(long, value_enum, default_value = "async")]
    mode: Mode,
    /// What happens meanwhile, evenly spread: promotion, kill-follower, kill-leader, kill-replica, kill-primary,
    /// lose-region, stop-replication=SECONDS.
    #[arg(long, value_delimiter = ',', default_value = "promotion")]
    events: Vec<String>,
    /// Writes whose visibility in another region is timed at the end.
    #[arg(long, default_value_t = 500)]
    visible_writes: u32,
    /// Where the databases come from: `maria` or `mysql`, a program of this machine (default: the first that is found);
    /// `docker:IMAGE:TAG`, containers; `file:PATH`, servers that are there, by a TOML file with a list of regions' DSNs for
    /// each host group: host_groups = [["mysql://…", "mysql://…"], …]. These must be empty.
    #[arg(long)]
    database: Option<String>,
    /// With `file:PATH`: throws away what an earlier run left on these servers, databases and logs, and nothing else's.
    #[arg(long, requires = "database")]
    empty_servers: bool,
    /// Model: addresses of followers of a cluster that runs, in place of one of its own.
    #[arg(long, value_delimiter = ',')]
    cluster: Vec<String>,
    /// Model: only this case of the seed.
    #[arg(long)]
    case: Option<u64>,
    /// Faults and move: the longest pause of a user between two calls, in milliseconds.
    #[arg(long, default_value_t = 60)]
    pause_ms: u64,
    /// Faults: size of each database server's disk, in MiB; 0: disks are not filled.
    #[arg(long, default_value_t = 2_048)]
    disk_mib: u64,
    #[command(flatten)]
    moves: moves::MovesArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Users in several regions, events, a check of everything.
    Regions,
    /// Users in several regions, random faults all the time, everything judged against the logs.
    Faults,
    /// Users in several regions, shards that are moved one after the other, with faults if wanted, everything judged.
    Move,
    /// Cases by chance of the whole API, judged by a plain graph in memory. On databases in memory unless --database names
    /// a server, or --cluster a cluster that runs.
    Model,
    /// Bytes by chance for everything that reads bytes from outside.
    Fuzz,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Acknowledged when the primary has it.
    Async,
    /// Acknowledged when a replica has it, too.
    Lossless,
}

impl From<Mode> for ReplicationMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Async => Self::Async,
            Mode::Lossless => Self::Lossless,
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,integration_tests=info")
        .init();
    let command = Command::parse();
    let run = || -> Result<bool> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            tokio::select! {
                biased;
                ended = told_to_end() => bail!("{}: servers and nodes are stopped, nothing is left behind", ended?),
                done = run_all(&command) => done,
            }
        })
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the run could not be made: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run_all(command: &Command) -> Result<bool> {
    match &command.other {
        Some(Other::Matrix(matrix)) => run_matrix(matrix).await,
        None if matches!(command.soak.scenario, Scenario::Faults) => run_faults(&command.soak).await,
        None if matches!(command.soak.scenario, Scenario::Move) => moves::run(&command.soak).await,
        None if matches!(command.soak.scenario, Scenario::Model) => run_model(&command.soak).await,
        None if matches!(command.soak.scenario, Scenario::Fuzz) => run_fuzz(&command.soak),
        None => Ok(run(&command.soak).await?.violation_count == 0),
    }
}

/// Waits for a signal that asks for the end. The run is dropped then, and with it everything that it started: a program
/// that dies of the signal would leave its nodes behind.
async fn told_to_end() -> Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
    })
}

/// The source of a word; of given servers with leave to empty them, if that was said.
fn source(word: &str, may_empty: bool) -> Result<Source> {
    let source = Source::parse(word)?;
    if may_empty { source.that_may_be_emptied() } else { Ok(source) }
}

/// Whether every cell passed.
async fn run_matrix(matrix: &Matrix) -> Result<bool> {
    let given = |word: &String| word.starts_with("file:");
    if matrix.empty_servers && !matrix.database.iter().any(given) {
        bail!("--empty-servers needs servers that are given: --database file:PATH");
    }
    let mut sources = Vec::new();
    for word in &matrix.database {
        match word.as_str() {
            "both" => sources.extend(fleet::test_servers()?.into_iter().map(Source::Local)),
            _ => sources.push(source(word, matrix.empty_servers && given(word))?),
        }
    }
    let options = MatrixOptions {
        cells: matrix.cells.clone(),
        times: matrix.times,
        seed: matrix.seed,
        sources,
        users: matrix.users,
        pause: Duration::from_millis(matrix.pause_ms),
        json: matrix.json.clone(),
        resume: matrix.resume,
    };
    let report = matrix::run(&options).await?;
    let table = report.markdown();
    println!("{table}");
    if let Some(path) = &matrix.markdown {
        std::fs::write(path, &table).with_context(|| path.display().to_string())?;
    }
    Ok(report.passed())
}

/// Whether the model explains every answer.
async fn run_model(command: &Soak) -> Result<bool> {
    let on = match &command.database {
        _ if !command.cluster.is_empty() => model::On::Cluster(command.cluster.clone()),
        Some(wanted) => match Source::parse(wanted)? {
            Source::Local(binary) => model::On::Servers(binary),
            other => bail!(
                "the model runs on a program of this machine, in memory, or on --cluster; not on {other}"
            ),
        },
        None => model::On::Memory,
    };
    let time = Duration::from_secs_f64(command.minutes * 60.0);
    let report = model::soak(&on, command.seed, time, command.case).await?;
    tell(command, &report)?;
    let verdict = report.verdict();
    if let Err(error) = &verdict {
        eprintln!("{error}");
    }
    Ok(verdict.is_ok())
}

/// Whether no input broke a property.
fn run_fuzz(command: &Soak) -> Result<bool> {
    let reports = fuzz::soak(command.seed, Duration::from_secs_f64(command.minutes * 60.0));
    tell(command, &reports)?;
    Ok(reports.iter().all(|report| report.crash.is_none()))
}

fn tell(command: &Soak, report: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    println!("{text}");
    match &command.json {
        Some(path) => std::fs::write(path, &text).with_context(|| path.display().to_string()),
        None => Ok(()),
    }
}

/// Whether everything was checked and nothing is wrong.
async fn run_faults(command: &Soak) -> Result<bool> {
    let options = FaultsOptions {
        source: source(command.database.as_deref().unwrap_or_default(), command.empty_servers)?,
        regions: command.regions,
        time: Duration::from_secs_f64(command.minutes * 60.0),
        seed: command.seed,
        users: command.users,
        pause: Duration::from_millis(command.pause_ms),
        wan: Duration::from_millis(command.wan_ms),
        mode: command.mode.into(),
        nodes: 2,
        groups: 2,
        disk_bytes: (command.disk_mib > 0).then_some(command.disk_mib << 20),
    };
    eprintln!("seed {}, {} regions, {:.1} minutes", options.seed, options.regions, command.minutes);
    let summary = faults::run(&options).await?;
    let text = serde_json::to_string_pretty(&summary)?;
    println!("{text}");
    if let Some(path) = &command.json {
        std::fs::write(path, &text).with_context(|| path.display().to_string())?;
    }
    if !summary.passed() {
        eprintln!(
            "seed {}: {} violations, failures {:?}, nothing checked for {:?}; repeat it: {}",
            summary.findings.seed,
            summary.findings.violation_count,
            summary.findings.failures,
            summary.findings.void(),
            summary.findings.replay
        );
    }
    Ok(summary.passed())
}

async fn run(command: &Soak) -> Result<Summary> {
    let options = SoakOptions {
        source: source(command.database.as_deref().unwrap_or_default(), command.empty_servers)?,
        regions: command.regions,
        time: Duration::from_secs_f64(command.minutes * 60.0),
        seed: command.seed,
        users: command.users,
        wan: Duration::from_millis(command.wan_ms),
        mode: command.mode.into(),
        events: command.events.iter().map(|event| Event::parse(event)).collect::<Result<_>>()?,
        visible_writes: command.visible_writes,
    };
    eprintln!("seed {}, {} regions, {:?}", options.seed, options.regions, options.events);
    let summary = soak::regions(&options).await?;
    let text = serde_json::to_string_pretty(&summary)?;
    println!("{text}");
    if let Some(path) = &command.json {
        std::fs::write(path, &text).with_context(|| path.display().to_string())?;
    }
    Ok(summary)
}
