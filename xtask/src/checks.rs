//! `cargo xtask test`: every check, one step after the other, the quick ones first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{arrows, output_of, setup, tidy};

/// Tells the tests that a missing database server is a failure, not a reason to do less.
const REQUIRE_SERVER: (&str, &str) = ("TAO_REQUIRE_DB", "1");

/// How the harness is asked for containers, and for servers that are there already.
const CONTAINERS: &str = "docker:";
const GIVEN: &str = "file:";

/// Workers that move shards stand still at named steps in a build of the tests; nobody else's build has that.
const FAILPOINTS: &str = "integration-tests/failpoints";

/// What the simulation is asked for: two thousand clusters.
const SIMULATION: [&str; 4] = ["--seeds", "1..2001", "--seconds", "2"];

/// Sets up and checks everything; stops at the first failure.
pub(crate) fn run_all(root: &Path) -> Result<()> {
    let start = Instant::now();
    step("setup", || {
        println!("database server: {}", setup::ensure_server()?);
        Ok(())
    })?;
    step("formatting", || {
        cargo(root, &["fmt", "--all", "--check"]).context("cargo fmt --all puts it right")
    })?;
    step("tidy", || tidy(root))?;
    step("lints", || {
        let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--features", FAILPOINTS];
        cargo(root, &[&lints[..], &["--", "-D", "warnings"]].concat())
    })?;
    // Scenarios start the programs, which `cargo test` alone leaves unbuilt. The same targets for the whole workspace,
    // so that features are the same and the next step builds nothing again.
    let all = ["--workspace", "--locked", "--features", FAILPOINTS];
    step("build", || cargo(root, &[&["build", "--all-targets"], &all[..]].concat()))?;
    step("tests", || cargo(root, &[&["test"], &all[..]].concat()))?;
    step("simulation", || simulation(root))?;
    println!("\nall checks passed in {:.0?}", start.elapsed());
    Ok(())
}

/// Seeds of the simulation, by the program that the build step made: to build it with optimisation would take longer than
/// it saves.
fn simulation(root: &Path) -> Result<()> {
    let program = target_folder(root).join("debug/tao-sim");
    let status = Command::new(&program)
        .args(SIMULATION)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    ensure!(
        status.success(),
        "the simulation found something: `cargo xtask simulate --seed N --seconds 2` repeats seed N"
    );
    Ok(())
}

/// `cargo xtask simulate`: seeds of the simulation. With optimisation: that costs minutes of building, and makes each seed
/// ten times cheaper.
pub(crate) fn simulate(root: &Path, options: &[String]) -> Result<()> {
    let run = ["run", "--release", "--locked", "-q", "-p", "integration-tests", "--bin", "tao-sim", "--"];
    let options = options.iter().map(String::as_str);
    cargo(root, &run.into_iter().chain(options).collect::<Vec<_>>())
}

/// `cargo xtask soak`: builds the programs as users run them, then the scenario.
pub(crate) fn soak(root: &Path, options: &[String]) -> Result<()> {
    scenario(root, &[], options)
}

/// `cargo xtask matrix`: the same for the fault matrix.
pub(crate) fn matrix(root: &Path, options: &[String]) -> Result<()> {
    scenario(root, &["matrix"], options)
}

fn scenario(root: &Path, which: &[&str], options: &[String]) -> Result<()> {
    let databases = databases(options);
    if databases.is_empty() || databases.iter().any(|word| !elsewhere(word)) {
        setup::ensure_server()?;
    }
    // Left out otherwise: it more than doubles what is built.
    let containers = databases.iter().any(|word| word.starts_with(CONTAINERS));
    let features: &[&str] = &[
        "--features",
        if containers { "integration-tests/containers,integration-tests/failpoints" } else { FAILPOINTS },
    ];
    let packages = ["-p", "tao-server", "-p", "tao-admin", "-p", "integration-tests"];
    cargo(root, &[&["build", "--release", "--locked", "--bins"], &packages[..], features].concat())?;
    let program = ["run", "--release", "--locked", "-q", "-p", "integration-tests", "--bin", "tao-soak"];
    let mut run = [&program[..], features, &["--"]].concat();
    run.extend(which);
    run.extend(options.iter().map(String::as_str));
    cargo(root, &run)
}

/// What `--database` names, word by word.
fn databases(options: &[String]) -> Vec<&str> {
    let next = options.windows(2).filter(|pair| pair[0] == "--database").map(|pair| pair[1].as_str());
    let same = options.iter().filter_map(|option| option.strip_prefix("--database="));
    next.chain(same).flat_map(|words| words.split(',')).collect()
}

/// Whether a word means no program of this machine.
fn elsewhere(word: &str) -> bool {
    word.starts_with(CONTAINERS) || word.starts_with(GIVEN)
}

/// `cargo xtask tidy`: the rules of [`tidy`] and the arrows between the crates.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let report = tidy::check_repository(root)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = output_of(Command::new(cargo).current_dir(root).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]))?;
    let wrong_arrows = arrows::violations(&metadata)?;
    for violation in &report.violations {
        println!("{violation}");
    }
    for arrow in &wrong_arrows {
        println!("{arrow}");
    }
    println!(
        "tidy: {} files, {} marked as long for a reason, {} as naming SQL for a reason",
        report.files, report.markers, report.naming_sql
    );
    let count = report.violations.len() + wrong_arrows.len();
    ensure!(count == 0, "tidy found {count} violations of the house rules");
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n=== {name}");
    let start = Instant::now();
    let result = work();
    println!("=== {name}: {} after {:.1?}", if result.is_ok() { "ok" } else { "FAILED" }, start.elapsed());
    result.with_context(|| format!("step \"{name}\""))
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    let usual = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root.join(usual)
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (name, value) = REQUIRE_SERVER;
    let status = Command::new(program)
        .current_dir(root)
        .args(arguments)
        .env(name, value)
        .status()
        .context("run cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_databases_of_a_run_are_known_before_it_is_built() {
        let known = |line: &str| {
            let options: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            databases(&options).into_iter().map(|word| (word.to_owned(), elsewhere(word))).collect::<Vec<_>>()
        };
        assert!(known("--scenario faults --minutes 1").is_empty());
        assert_eq!(known("--database maria --seed 1"), [("maria".to_owned(), false)]);
        assert_eq!(known("--seed 1 --database docker:mysql:9"), [("docker:mysql:9".to_owned(), true)]);
        let two = known("--database=file:servers.toml,docker:mariadb:11");
        assert_eq!(two, [("file:servers.toml".to_owned(), true), ("docker:mariadb:11".to_owned(), true)]);
    }
}
