//! Nodes in memory, for tests and runnable examples: a network of byte streams that can be cut, and nodes that answer
//! as they are told. Not part of the SDK's contract.

mod network;
mod node;

pub use network::Network;
pub use node::{FakeNode, Reaction};
