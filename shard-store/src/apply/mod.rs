//! What a batch does, computed without I/O: both engines lock and read, then ask this module for outcomes and row
//! images, so that the semantics of [`StoreOp`](crate::write::StoreOp) exist once.
//!
//! An engine's commit, in order:
//!
//! 1. [`lock_set`]: lock the shard rows; tell what came of it in [`Locks`].
//! 2. Where the locked seq is not the one last seen, load request rows into [`RecentRequests`] (R3).
//! 3. [`Admission::of`]: units that leave the batch before anything is read.
//! 4. [`ReadSet::of`]: read these rows, after the lock, and load what exists into a [`Workspace`].
//! 5. [`Workspace::run`]: the [`Plan`]; write its advances, mutations and request rows; commit.
//! 6. After a certain commit only: [`RecentRequests::record`] the plan's request rows, answer
//!    [`Plan::into_result`].

mod admission;
mod edges;
mod inverse;
mod locks;
mod objects;
mod overlay;
mod plan;
mod read_set;
mod request_row;
mod requests;
mod rows;
mod workspace;

pub use admission::{Admission, Verdict};
pub use locks::{Lock, LockedShard, Locks, lock_set};
pub use plan::{Advance, Mutations, Plan};
pub use read_set::ReadSet;
pub use request_row::{RequestRow, StoredOutcome};
pub use requests::{Lookup, RecentRequests};
pub use rows::{CountRow, EdgeRow, OutboxRow, Tombstone, UnixMillis};
pub use workspace::Workspace;
