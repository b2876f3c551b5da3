//! The consistency core: one shard's cache as a state machine, events in, actions out (PROTOCOL R6, R11-R18a).
//! No clock, no lock, no I/O: everything it knows, it was told.

mod entry;

pub use entry::{Body, Entry, Key};
