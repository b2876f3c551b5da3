//! Whole regions under test: real processes, real databases, real sockets. Everything is taken down when its handle goes.

mod binaries;
pub mod cutover;
pub mod faults;
pub mod fuzz;
pub mod history;
pub mod model;
mod process;
mod region;
pub mod regions;
pub mod scenarios;
pub mod servers;
pub mod simulation;
pub mod soak;

pub use binaries::{run_tao, tao, tao_server};
pub use process::{Process, wait_until};
pub use region::{DevRegion, Region, RegionOptions};
