//! The memory engine: the semantics of [`ShardStore`](crate::ShardStore) on ordered maps, for simulation and for
//! `tao dev` where no database server is found. Nothing survives the process.
//!
//! [`MemoryDatabase`] is the server: it can be read-only, hold commits between durable and visible, and have rows
//! locked by others. [`MemoryStore`] is one leader's connection to it: it can lose its server or a commit's answer.
//! Several stores on one database are several leaders. Time comes from the options; nothing else is left to chance.

mod commit;
mod database;
mod read;
mod store;
mod tables;

#[cfg(test)]
mod tests;

pub use database::{Clock, CommitHold, MemoryDatabase, MemoryOptions, RowLock};
pub use store::{CommitFault, MemoryStore};
