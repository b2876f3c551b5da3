//! The memory engine: the semantics of [`ShardStore`](crate::ShardStore) on ordered maps, for simulation and for
//! `tao dev` where no database server is found. Nothing survives the process.
//!
//! [`MemoryDatabase`] is the server: it has a log that tails and replicas follow, can be a replica itself, and fails on
//! demand: read-only, down, commits held between durable and visible or lost there, rows locked by others, a damaged
//! log. [`MemoryStore`] is one leader's connection to it: it can lose its server or a commit's answer.
//! Several stores on one database are several leaders. Time comes from the options and from tokio; nothing else is left
//! to chance.

mod commit;
mod database;
mod epochs;
mod faults;
mod log;
mod moves;
mod raw;
mod read;
mod replication;
mod server_log;
mod store;
mod tables;
mod tail;

#[cfg(test)]
mod tests;

pub use database::{Clock, MemoryDatabase, MemoryOptions, RowLock};
pub use faults::Hold;
pub use replication::{ReplicationError, ReplicationOptions, ReplicationStatus};
pub use store::{CommitFault, MemoryStore};
