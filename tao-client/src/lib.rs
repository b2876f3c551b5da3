//! The Rust SDK of the tier: typed calls, routing by shard, pipelining, sessions and failover.

pub mod connection;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
