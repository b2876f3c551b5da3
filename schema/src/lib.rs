//! The vocabulary of the tier: ids, positions, values, rows, operations, errors, the graph schema, the topology, and
//! the wire contract with its encoding. Pure: no I/O, no clock, no randomness.

pub mod edges;
pub mod error;
pub mod fields;
pub mod ids;
pub mod limits;
pub mod ops;
pub mod rows;
pub mod wire;

pub use error::{Error, ErrorCode, Result};
