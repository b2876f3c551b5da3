//! Followers and leaders: the cache and consistency core, pure, and the two services around it.
//!
//! No network here: what a service needs of other nodes is a trait in [`ports`], so that a whole region runs in one
//! deterministic test as it does over gRPC.

pub mod clock;
pub mod core;
pub mod engine;
pub mod fills;
pub mod follower;
pub mod lanes;
pub mod leader;
pub mod ports;
