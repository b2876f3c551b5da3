//! The MySQL engine on every server found. Checks of a group share a server, each with a database of its own.

mod believed;
mod conformance;
mod faults;
mod locking;
mod moves;
mod moves_promoted;
mod presumed;
mod recorded;
mod server;
mod support;
mod tail;
mod tail_replica;
mod tail_server;
mod traps;
mod trips;
