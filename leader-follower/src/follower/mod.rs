//! The follower: answers reads from memory, fills it from its leader, forwards writes (DESIGN sections 3 and 4).
//!
//! A read that hits touches an array, one cache entry and a few counters, and nothing that waits
//! ([`FollowerHandle::try_read`]). Everything else goes one step up, to the leader of the shard.
//!
//! What it may serve from memory is decided by the pure core; this module feeds the cores and obeys them: one task
//! ([`stream`]) owns all change streams, and a shard without a continuous stream is served uncached (R16).

mod age;
mod fills;
mod handle;
mod inspect;
mod leaders;
mod metrics;
mod options;
mod patience;
mod reads;
mod shards;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod writes;

pub use handle::{Follower, FollowerContext, FollowerHandle};
pub use inspect::ShardStatus;
pub use metrics::{FollowerMetrics, Loss, ReadResult};
pub use options::FollowerOptions;
