//! Composition: a node from its configuration, and a whole region in one process.
//!
//! Nothing here decides anything about consistency: it reads configuration, wires the services of `leader-follower`
//! to the network and to the databases by value, and takes them down in order.

pub mod config;
pub mod dev;
pub mod grpc;
pub mod health;
pub mod logging;
pub mod node;
pub mod peers;
pub mod ready;
pub mod stores;
pub mod topology;
pub mod translate;
pub mod wan;
