//! What a comparison comes to: rows with their goals, as a table, as JSON and as a plot.

mod curves;
mod plot;
mod row;
mod svg;
mod table;

use serde::Serialize;

pub use curves::{Curves, HitPoint, MemoryPoint, PathLatency};
pub use plot::plot;
pub use row::{Goal, Round, Row};
pub use table::table;

use crate::cluster::Checked;

/// Everything that was measured in one call.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// What ran where, and on what.
    pub machine: Machine,
    /// Where all chance started.
    pub seed: u64,
    /// Whether the short form was asked for.
    pub quick: bool,
    /// Seconds of one round.
    pub round_seconds: f64,
    /// The rows.
    pub rows: Vec<Row>,
    /// What `tao check` compared after them; a difference ends the comparison with an error.
    pub checks: Vec<Checked>,
    /// What the plot shows.
    pub curves: Curves,
    /// Groups of rows that ended with an error; the run does, too.
    pub failures: Vec<String>,
    /// How long each group of rows took.
    pub groups: Vec<GroupTime>,
    /// How long all of it took.
    pub seconds: f64,
}

/// How long a group of rows took, with starting, loading and checking.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GroupTime {
    /// Which.
    pub name: &'static str,
    /// Seconds.
    pub seconds: f64,
}

/// What a comparison ran on.
#[derive(Debug, Default, Serialize)]
pub struct Machine {
    /// Model of the processor, as the kernel tells it.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Who ran where.
    pub pinning: String,
    /// Database engine and version; of redis and memcached the first line of `--version`.
    pub engines: Vec<String>,
}
