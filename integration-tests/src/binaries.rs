//! The programs under test, and a way to call them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde_json::Value;

/// Path of the `tao` command.
///
/// # Errors
/// It is not built.
pub fn tao() -> Result<PathBuf> {
    built("tao")
}

/// Path of `tao-server`.
///
/// # Errors
/// It is not built.
pub fn tao_server() -> Result<PathBuf> {
    built("tao-server")
}

/// Tests run from `target/<profile>/deps`, programs from `target/<profile>`, where all of them stand.
fn built(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().context("a program runs from the target folder")?;
    let profile =
        if folder.ends_with("deps") { folder.parent().context("deps is in a folder")? } else { folder };
    let path = profile.join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --bins` first (`cargo xtask test` does)",
        path.display()
    );
    Ok(path)
}

/// Runs `tao --cluster CLUSTER --output json ARGS…`: its exit code, its data (null if it printed
/// none), and what it said on stderr.
///
/// # Errors
/// It can't be run, or its data is no JSON.
pub fn run_tao(cluster: &Path, args: &[&str]) -> Result<(i32, Value, String)> {
    let Output { status, stdout, stderr } = Command::new(tao()?)
        .arg("--cluster")
        .arg(cluster)
        .args(["--output", "json"])
        .args(args)
        .output()
        .context("run tao")?;
    let talk = String::from_utf8_lossy(&stderr).into_owned();
    let data = if stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&stdout)
            .with_context(|| format!("tao {args:?} printed no JSON; it said: {talk}"))?
    };
    Ok((status.code().unwrap_or(-1), data, talk))
}
