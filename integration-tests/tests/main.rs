//! Scenarios over whole regions. One test binary: linking dominates.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails ends a test; seeds and counts are shown"
)]

mod command;
mod failures;
mod faults;
mod fuzz;
mod graph;
mod history;
mod life;
mod lossless;
mod model;
mod moves;
mod observe;
mod regions;
mod scenarios;
mod servers;
mod sessions;
mod simulation;
mod wire;
