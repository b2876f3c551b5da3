//! Chores of this repository: `cargo xtask test`, `cargo xtask soak`, `cargo xtask matrix`, `cargo xtask bugs`, `cargo xtask tidy`,
//! `cargo xtask setup`.
#![expect(clippy::print_stdout, reason = "a program for a terminal; what it does is its output")]

mod arrows;
mod bugs;
mod checks;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Set up, then check everything: formatting, tidy, lints, all tests. Stops at the first failure.
    Test,
    /// Check the house rules that no compiler knows: lengths, wording, SQL in .sql files, arrows between crates.
    Tidy,
    /// Run a whole-cluster scenario on real servers, with a JSON summary: --help lists its options.
    #[command(disable_help_flag = true)]
    Soak {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Plant bugs, one after the other, and see whether the suite catches them.
    Bugs(bugs::Options),
    /// Run the fault matrix on real servers, and write its table: --help lists its options.
    #[command(disable_help_flag = true)]
    Matrix {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Run seeds of the deterministic simulation: --help lists its options.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Install what the tests need (a MariaDB server) if nothing of it is there and it may be installed.
    Setup,
}

fn main() -> ExitCode {
    let root = repository();
    let result = match Cli::parse().chore {
        Chore::Test => checks::run_all(&root),
        Chore::Tidy => checks::tidy(&root),
        Chore::Soak { options } => checks::soak(&root, &options),
        Chore::Bugs(options) => bugs::run(&root, &options),
        Chore::Matrix { options } => checks::matrix(&root, &options),
        Chore::Simulate { options } => checks::simulate(&root, &options),
        Chore::Setup => setup::ensure_server().map(|server| println!("database server: {server}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// This crate stands in the repository's root folder.
fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// The standard output of a program that must succeed.
fn output_of(command: &mut std::process::Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("output of {command:?}"))
}
