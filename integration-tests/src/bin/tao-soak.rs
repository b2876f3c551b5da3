//! `tao-soak`: a whole-cluster scenario on real servers, with a JSON summary. Started by `cargo xtask soak`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal; what it does is its output"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use integration_tests::soak::{self, Event, SoakOptions, Summary};
use tao_schema::topology::ReplicationMode;
use tao_shard_store::fleet;

/// Runs a scenario; exit code 1 if it found a violation.
#[derive(Parser)]
#[command(name = "cargo xtask soak", version)]
struct Command {
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
    /// Which database: a part of its name. Default: the first that is found.
    #[arg(long)]
    database: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Users in several regions, events, a check of everything.
    Regions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Acknowledged when the primary has it.
    Async,
    /// Acknowledged when a replica has it, too.
    Lossless,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,integration_tests=info")
        .init();
    let command = Command::parse();
    let run = || -> Result<Summary> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&command))
    };
    match run() {
        Ok(summary) => {
            if summary.violation_count == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("the run could not be made: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: &Command) -> Result<Summary> {
    let wanted = command.database.as_deref().unwrap_or_default().to_lowercase();
    let servers = fleet::test_servers()?;
    let found =
        servers.into_iter().find(|server| server.flavour().to_string().to_lowercase().contains(&wanted));
    let Some(binary) = found else { bail!("no database server {wanted:?} is installed") };
    let options = SoakOptions {
        binary,
        regions: command.regions,
        time: Duration::from_secs_f64(command.minutes * 60.0),
        seed: command.seed,
        users: command.users,
        wan: Duration::from_millis(command.wan_ms),
        mode: match command.mode {
            Mode::Async => ReplicationMode::Async,
            Mode::Lossless => ReplicationMode::Lossless,
        },
        events: command.events.iter().map(|event| Event::parse(event)).collect::<Result<_>>()?,
        visible_writes: command.visible_writes,
    };
    eprintln!("seed {}, {} regions, {:?}", options.seed, options.regions, options.events);
    let summary = match command.scenario {
        Scenario::Regions => soak::regions(&options).await?,
    };
    let text = serde_json::to_string_pretty(&summary)?;
    println!("{text}");
    if let Some(path) = &command.json {
        std::fs::write(path, &text).with_context(|| path.display().to_string())?;
    }
    Ok(summary)
}
