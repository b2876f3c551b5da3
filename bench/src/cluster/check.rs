//! `tao check`: correctness stays on while performance is measured.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::machine::{Cores, sibling_program};

/// What a check compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Checked {
    /// After which rows.
    pub after: String,
    /// Cached entries compared with the database.
    pub cached_entries: u64,
    /// Edges within these.
    pub cached_edges: u64,
    /// What differed; a benchmark with any is an error.
    pub difference_count: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Runs `tao check` on the cluster of a topology or ready file.
///
/// # Errors
/// It can't be run, or finds a difference.
pub async fn check(cluster: &Path, cores: &Cores) -> Result<Checked> {
    // Nothing is measured meanwhile, so it may have the clients' core.
    let output = Command::new(sibling_program("tao")?)
        .arg("--cluster")
        .arg(cluster)
        .args(["--output", "json", "check"])
        .output()
        .await
        .with_context(|| format!("run tao check ({})", cores.describe()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let checked: Checked =
        serde_json::from_slice(&output.stdout).with_context(|| format!("tao check said: {said}"))?;
    ensure!(
        output.status.success() && checked.difference_count == 0,
        "tao check found {} differences: {}",
        checked.difference_count,
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(checked)
}
