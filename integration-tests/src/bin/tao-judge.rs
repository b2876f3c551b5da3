//! Judges a run that was written to disk: `tao-judge FOLDER`. The judgement goes to the standard output as JSON; the exit
//! status is 1 if anything is wrong, 2 if nothing could be judged.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use integration_tests::history::{Invariant, RunFiles};

/// Judges a run that was written to disk.
#[derive(Parser)]
struct Options {
    /// The run's folder.
    folder: PathBuf,
}

fn main() -> Result<ExitCode> {
    let run = RunFiles::open(&Options::parse().folder)?;
    let found = run.judge(None)?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &found)?;
    writeln!(out)?;
    let all = [Invariant::I1, Invariant::I2, Invariant::I3, Invariant::I4, Invariant::I6, Invariant::I8];
    Ok(if !found.is_clean() {
        ExitCode::FAILURE
    } else if found.void(all).len() == all.len() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}
