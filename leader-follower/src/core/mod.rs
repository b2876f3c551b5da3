//! The consistency core: one shard's cache as a state machine, events in, answers out (PROTOCOL R6, R10-R18a).
//! No clock, no lock, no I/O: everything it knows, it was told. [`SharedShard`] puts it behind a lock with a
//! lock-free way in for readers.
//!
//! What holds between events, and every function here keeps:
//!
//! 1. An entry of the current generation is right at `max(watermark, entry.as_of)`.
//! 2. The ring holds every change in `(base, watermark]`, in order.
//! 3. An entry is never right at less than its key's floor; so a hit needs no look at the floors (R15).
//! 4. Within a lineage the watermark never falls, except when the shard is forgotten; then it is a floor.

mod apply;
mod entry;
mod epochs;
mod fill;
mod floors;
mod leader;
mod list;
mod lookup;
mod promises;
mod ring;
mod rules;
mod serve;
mod shard;
mod shared;
mod subscriber;
mod tailed;
#[cfg(test)]
mod tests;

pub use apply::Answered;
pub use entry::{Body, BodyRef, Entry, Key, ListRef};
pub use epochs::{EpochVerdict, LineageProblem};
pub use fill::{Discarded, Filled, NotStored};
pub use leader::{Backwards, Published, RingAnswer};
pub use lookup::{Lookup, MissReason};
pub(crate) use ring::{key_of, weight};
pub use serve::{Serve, serve, show};
pub use shard::{CoreOptions, ShardCore};
pub use shared::SharedShard;
pub use subscriber::{LostReason, StreamVerdict};

/// Where entries live: a cache that may drop anything at any time.
///
/// After `put(key, e)` a `get(key)` gives `e`, something put later, or nothing; never anything put before. Eviction is
/// free to happen, going back is not.
pub trait Entries: Send + Sync {
    /// The entry of `key`, of whatever generation.
    fn get(&self, key: &Key) -> Option<Entry>;
    /// Stores an entry in place of the one before.
    fn put(&self, key: Key, entry: Entry);
    /// Drops the entry, if any.
    fn remove(&self, key: &Key);
    /// A hint that these keys are asked for next: an engine that can has their entries brought near, all at once.
    fn touch(&self, _keys: &[Key]) {}
}
