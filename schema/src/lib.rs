//! The vocabulary of the tier: ids, positions, values, rows, operations, errors, the graph schema, the topology, and
//! the wire contract with its encoding. Pure: no I/O, no clock, no randomness.
//!
//! Where to start reading: [`ids`], then [`ops`] (what can be asked) and [`rows`] (what the database holds and how it
//! changes). [`graph_schema`] says what a cluster's graph may hold, [`topology`] where its parts are, [`session`] what
//! a user has seen. [`wire`] brings all of it over a connection.

mod demand;
pub mod edges;
pub mod error;
mod field_walk;
pub mod fields;
pub mod graph_schema;
pub mod held;
pub mod ids;
pub mod limits;
pub mod ops;
pub mod planted;
pub mod rows;
pub mod session;
mod shown;
pub mod stream;
mod toml_text;
pub mod topology;
pub mod wire;

pub use error::{Error, ErrorCode, Result};
pub use field_walk::{FieldSeen, FieldWalk, NotStoredLayout};
