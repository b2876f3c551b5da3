//! The databases under the tier: one trait, [`ShardStore`], whose documentation is its specification; a MySQL engine
//! and a memory engine behind it, held to one conformance suite.

pub mod apply;
pub mod conformance;
pub mod fleet;
pub mod log;
pub mod memory;
pub mod moves;
pub mod mysql;
pub mod replication;
pub mod store;
pub mod write;

pub use store::{ShardStore, StoreError, StoreErrorKind};
