//! `--scenario move`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a person who waits looks at")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use integration_tests::scenarios::moves::{self, MovesOptions, TableOptions};
use integration_tests::scenarios::workload::Pace;

use super::{Soak, source, tell};

/// Options of the scenario `move` alone.
#[derive(Args)]
pub(super) struct MovesArgs {
    /// Move: what goes wrong.
    #[arg(long, value_enum, default_value = "none")]
    faults: Faults,
    /// Move: rows that one shard has more than the others; it is the first to be moved.
    #[arg(long, default_value_t = 0)]
    rows: u64,
    /// Move: writes a second by all users together, in place of pauses by chance; reads and writes are then mixed as TAO's paper
    /// says.
    #[arg(long)]
    rate: Option<u32>,
    /// Move: reads a second by all users together [default: as many as writes].
    #[arg(long, requires = "rate")]
    read_rate: Option<u32>,
    /// Move: host groups.
    #[arg(long, default_value_t = 2)]
    groups: usize,
    /// Move: leaders, and followers, of each region.
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    /// Move: so many at most.
    #[arg(long)]
    moves: Option<u64>,
    /// Move: brings every shard back, after so many seconds of writes where it went.
    #[arg(long, value_name = "SECONDS")]
    reverse_after: Option<f64>,
    /// Move: in place of moves by chance, one for each step of the mover and each part that is killed there; writes the table
    /// here.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Move, with --table: only these steps.
    #[arg(long, value_delimiter = ',', requires = "table")]
    steps: Vec<String>,
    /// Move, with --table: only these parts: mover, leader, source, target.
    #[arg(long, value_delimiter = ',', requires = "table")]
    killed: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Faults {
    /// Nothing.
    None,
    /// One fault for each move, at a step of the mover by chance.
    Random,
}

/// Whether everything came about, everything was checked, and nothing is wrong.
pub(super) async fn run(command: &Soak) -> Result<bool> {
    let args = &command.moves;
    let options = MovesOptions {
        source: source(command.database.as_deref().unwrap_or_default(), command.empty_servers)?,
        regions: command.regions,
        groups: args.groups,
        nodes: args.nodes,
        time: Duration::from_secs_f64(command.minutes * 60.0),
        moves: args.moves,
        seed: command.seed,
        users: command.users,
        pause: Duration::from_millis(command.pause_ms),
        pace: args.rate.map(|writes| Pace { writes, reads: args.read_rate.unwrap_or(writes) }),
        wan: Duration::from_millis(command.wan_ms),
        mode: command.mode.into(),
        faults: args.faults == Faults::Random,
        rows: args.rows,
        reverse_after: args.reverse_after.map(Duration::from_secs_f64),
    };
    eprintln!("seed {}, {} regions, {} host groups", options.seed, options.regions, options.groups);
    if let Some(path) = &args.table {
        return table(command, &options, path).await;
    }
    let summary = moves::run(&options).await?;
    tell(command, &summary)?;
    if !summary.passed() {
        let found = &summary.findings;
        eprintln!(
            "seed {}: {} violations, {} rows different, failures {:?}, nothing checked for {:?}; repeat it: {}",
            found.seed,
            found.violation_count,
            summary.moves.rows_different,
            found.failures,
            summary.void(),
            found.replay
        );
    }
    Ok(summary.passed())
}

async fn table(command: &Soak, options: &MovesOptions, path: &Path) -> Result<bool> {
    let part = TableOptions {
        steps: command.moves.steps.clone(),
        killed: command.moves.killed.clone(),
        markdown: Some(path.to_owned()),
    };
    let report = moves::table(options, &part).await?;
    let text = report.markdown();
    println!("{text}");
    if let Some(path) = &command.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| path.display().to_string())?;
    }
    Ok(report.passed())
}
