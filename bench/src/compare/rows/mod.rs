//! The rows, in groups that share a cluster and its data.

mod reads;
mod writes;

use anyhow::Result;

use super::Bench;

/// All rows, by the names of `--rows`.
pub const NAMES: [&str; 7] = ["point16", "point64", "callers50", "range50", "write512", "write1", "added"];

/// Measures what is wanted.
///
/// # Errors
/// Something can't be started or fails.
pub async fn all(bench: &mut Bench) -> Result<()> {
    reads::measure(bench).await?;
    writes::measure(bench).await?;
    Ok(())
}
