//! Scenarios that prove: users at work on real servers and processes, faults, and everything judged.

pub mod faults;
pub mod findings;
mod liveness;
pub mod matrix;
pub mod meter;
pub mod moves;
pub mod progress;
mod quiet;
pub mod sampling;
pub mod stage;
pub mod workload;
