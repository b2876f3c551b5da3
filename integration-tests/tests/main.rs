//! Scenarios over whole regions. One test binary: linking dominates.

mod command;
mod failures;
mod graph;
mod life;
mod sessions;
mod wire;
