//! The suite, built once with the bugs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What makes the bugs part of a build.
const FEATURE: &str = "tao-schema/planted-bugs";

/// Crates that are no part of the suite.
const OTHERS: [&str; 2] = ["xtask", "bench"];

/// A program of the suite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// Folder of its crate, relative to the repository.
    pub(crate) folder: String,
    /// Its target: of a crate's unit tests the crate's name.
    pub(crate) target: String,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

/// What a program is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Tests inside a crate.
    Unit,
    /// Tests beside it.
    Integration,
    /// No test.
    Binary,
}

/// The suite's programs.
pub(crate) struct Suite {
    pub(crate) programs: Vec<Program>,
    /// Seeds that the simulator is given, from 1 on.
    pub(crate) seeds: u64,
    /// Where logs go.
    pub(crate) logs: PathBuf,
    /// Tells this build from every other.
    pub(crate) stamp: String,
}

/// Builds everything in a folder of its own, so that the usual build stays as it is.
pub(crate) fn build(root: &Path, seeds: u64) -> Result<Suite> {
    let folder = crate::checks::target_folder(root).join("planted-bugs");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What `cargo xtask` tells about xtask: to some build scripts it is news, and they would run again each time.
    let own = |name: &String| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
        command.env_remove(name);
    }
    let output = command
        .current_dir(root)
        .args(["build", "--workspace", "--all-targets", "--locked", "--features", FEATURE])
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_TARGET_DIR", &folder)
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "the suite does not build with {FEATURE}");
    let said = String::from_utf8(output.stdout).context("cargo's messages")?;
    let mut programs: Vec<Program> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|m| program(root, &m))
        .collect();
    programs.sort_by(|a, b| (&a.folder, &a.target, &a.path).cmp(&(&b.folder, &b.target, &b.path)));
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
    let stamp = stamp(&programs)?;
    Ok(Suite { programs, seeds, logs, stamp })
}

/// The program of one of cargo's messages.
fn program(root: &Path, message: &Value) -> Option<Program> {
    let path = PathBuf::from(message.get("executable")?.as_str()?);
    let manifest = PathBuf::from(message.get("manifest_path")?.as_str()?);
    let folder = manifest.parent()?.strip_prefix(root).ok()?.to_string_lossy().into_owned();
    let target = message.get("target")?;
    let of_kind =
        |name: &str| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == name));
    let is_test = message.get("profile")?.get("test")?.as_bool()?;
    let kind = match (is_test, of_kind("test"), of_kind("bin")) {
        (true, true, _) => Kind::Integration,
        (true, false, _) => Kind::Unit,
        (false, _, true) => Kind::Binary,
        (false, ..) => return None,
    };
    if OTHERS.contains(&folder.as_str()) {
        return None;
    }
    Some(Program { folder, target: target["name"].as_str()?.to_owned(), kind, path })
}

/// Sizes and times of all programs, mixed into one number: another build has another.
fn stamp(programs: &[Program]) -> Result<String> {
    let mut mixed: u64 = 0xcbf2_9ce4_8422_2325;
    for program in programs {
        let about =
            fs::metadata(&program.path).with_context(|| format!("look at {}", program.path.display()))?;
        let changed = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        for number in [about.len(), changed] {
            mixed = (mixed ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(format!("{mixed:016x}"))
}
