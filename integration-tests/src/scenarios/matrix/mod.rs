//! The fault matrix: every fault at every component, on real servers under load. Inject, hold, heal, rest, judge.

pub mod cell;
mod churn;
mod inject;
mod poison;
mod report;
mod run;
pub mod table;

pub use self::report::{CellRun, JUDGED, MatrixReport, Verdict};
pub use self::run::{MatrixOptions, run};
