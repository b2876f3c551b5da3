//! The machine that is measured on: its cores, and the processes that the benchmark starts.

mod cores;
mod memory;
mod process;
mod stalls;

pub use cores::Cores;
pub use memory::resident_bytes;
pub use process::{Process, find_program, free_address, sibling_program};
pub use stalls::stalls;
