//! The Rust SDK of the tier.
//!
//! [`Client::connect`] finds a cluster through any of its nodes. Then every operation is a call that is built and sent:
//! see [`Client`]. The client routes each call to the follower that holds its shard, shares one pipelined stream with all
//! callers ([`connection`]), fails over to the next node, and retries what may be retried, within a budget, with one
//! effect. [`Client::session`] makes a user read his own writes, in every region; [`cookie`] carries what he has seen from one
//! request of his to the next; [`Consistency`] is chosen for each read.
//!
//! ```no_run
//! # async fn example() -> Result<(), tao_client::Error> {
//! use tao_client::{Client, Options};
//!
//! let client = Client::connect(Options::new(["127.0.0.1:7401"])).await?;
//! let ann = client.object_add("user").set("name", "Ann").send().await?.id;
//! # let _ = ann;
//! # Ok(())
//! # }
//! ```
//!
//! # What may go wrong
//! Every error is a [`tao_schema::Error`] with a code to match on and two answers: whether the same call may succeed
//! later ([`Error::retryable`]), and whether it is certain that nothing was written ([`ErrorCode::outcome_certain`]). A
//! write that timed out is `OutcomeUnknown`, never "failed". Dropping a call's future is safe; a write that was sent may
//! still happen.

mod answers;
mod budget;
mod calls;
mod client;
mod cluster;
pub mod connection;
mod consistency;
pub mod cookie;
mod flight;
mod options;
mod record;
mod retry;
mod session;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;

pub use answers::{Answered, Assoc, AssocList, Count, NamedFields, Object, ObjectAdded, Written};
pub use calls::{
    AssocAdd, AssocChangeType, AssocCount, AssocDelete, AssocGet, AssocRange, AssocTimeRange, Atomic, Batch,
    BatchReply, Call, FieldRef, FieldValue, HasExpected, HasFields, ObjectAdd, ObjectDelete, ObjectGet,
    ObjectUpdate, Operation, TypeRef, WriteOperation,
};
pub use client::Client;
pub use consistency::Consistency;
pub use options::Options;
pub use record::{Recorded, RecordedReply, Recorder};
pub use session::{MAX_STICK, SessionClient, SessionOptions};
pub use tao_schema::{Error, ErrorCode, Result};

/// The examples of the README must compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
