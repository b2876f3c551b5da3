//! Calls: built by methods of [`Client`](crate::Client), refined by methods of [`Call`], sent by [`Call::send`].

mod assocs;
mod atomic;
mod batch;
mod names;
mod objects;

use std::sync::Arc;
use std::time::Duration;

use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Position, Seq, ShardId};
use tao_schema::ops::{Explain, Freshness, ReadOp, ReadReply, WriteOp, WriteReply};
use tao_schema::{Error, ErrorCode, Result};

pub use self::assocs::{
    AssocAdd, AssocChangeType, AssocCount, AssocDelete, AssocGet, AssocRange, AssocTimeRange,
};
pub use self::atomic::Atomic;
pub use self::batch::{Batch, BatchReply};
use self::names::NewFields;
pub use self::names::{FieldRef, FieldValue, TypeRef};
pub use self::objects::{ObjectAdd, ObjectDelete, ObjectGet, ObjectUpdate};
use crate::answers::{Answered, Written};
use crate::client::Client;
use crate::consistency::Consistency;

/// A call that is being built. `Op` says which; [`Call::send`] sends it. Does nothing until then.
#[must_use = "a call does nothing until it is sent"]
pub struct Call<'a, Op> {
    client: &'a Client,
    op: Op,
    options: CallOptions,
}

/// What every call may ask for.
#[derive(Clone, Copy, Default)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) at_least: Option<Position>,
    /// `None`: the session's.
    pub(crate) freshness: Option<Freshness>,
    pub(crate) explain: bool,
}

/// What calls are prepared with.
pub struct Context {
    pub(crate) schema: Arc<GraphSchema>,
    pub(crate) shards: u32,
}

/// A prepared request.
pub enum Request {
    /// One read.
    Read(ReadOp),
    /// One write.
    Write {
        /// Its operations.
        ops: Vec<WriteOp>,
        /// The shard was drawn at random: an atomic write may put it elsewhere.
        random_shard: bool,
    },
}

/// An answer, translated from the wire.
pub enum Reply {
    /// Of a read.
    Read(ReadReply),
    /// Of a write.
    Write(WriteReply, Option<Explain>),
}

/// What a [`Call`] does. Implemented by the operations of this module only.
pub trait Operation: sealed::Prepare {
    /// What [`Call::send`] returns.
    type Output: Into<BatchReply>;

    /// Makes the output from what was asked and answered.
    #[doc(hidden)]
    fn output(reply: Reply, asked: &Self::Asked, context: &Context) -> Result<Self::Output>;
}

/// A write, which may be part of an [`Atomic`] write.
pub trait WriteOperation: Operation {}

pub(crate) mod sealed {
    use super::{Context, Request, Result};

    /// The hidden half of an operation.
    pub trait Prepare: Sized {
        /// What of the request is needed to understand its answer.
        type Asked: Send;
        /// Resolves names and chooses what was left open.
        fn prepare(self, context: &Context) -> Result<(Request, Self::Asked)>;
    }
}

/// An operation that takes field values.
pub trait HasFields<'a> {
    #[doc(hidden)]
    fn new_fields(&mut self) -> &mut NewFields<'a>;
}

/// An operation that can be made conditional on a version.
pub trait HasExpected {
    #[doc(hidden)]
    fn expected(&mut self) -> &mut Option<Seq>;
}

impl CallOptions {
    /// Whether anything is asked for.
    #[inline]
    pub(crate) const fn is_some(&self) -> bool {
        self.timeout.is_some() || self.at_least.is_some() || self.freshness.is_some() || self.explain
    }
}

impl<'a, Op> Call<'a, Op> {
    #[inline]
    pub(crate) fn new(client: &'a Client, op: Op) -> Self {
        Self { client, op, options: CallOptions::default() }
    }

    /// Longest wait for this call, retries included, in place of the client's; at most 60 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// A read must not be older than this position of its shard. A session does this by itself. Without meaning for a
    /// write or another shard.
    pub const fn at_least(mut self, position: Position) -> Self {
        self.options.at_least = Some(position);
        self
    }

    /// How fresh a read must be, in place of the session's default; see [`Consistency`]. What the session has seen is
    /// demanded in any case. Without meaning for a write.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        if let Consistency::AtLeast(position) = consistency {
            self.options.at_least = Some(position);
        }
        self.options.freshness = Some(consistency.freshness());
        self
    }
}

impl<Op: Operation> Call<'_, Op> {
    /// Sends the call and waits for its answer: over as many attempts as the retry budget and the deadline allow, with
    /// one effect (R3).
    ///
    /// # Errors
    /// - `InvalidArgument`: contradicts the graph schema or a limit; found before anything is sent.
    /// - `NoSuchShard`: an id of no shard of the cluster.
    /// - `PreconditionFailed`, `NotFound`: a write was refused; nothing was written.
    /// - `Unavailable`, `Overloaded`, `DeadlineExceeded`, `NotOwner`: it was certainly not done; may be tried later.
    /// - `OutcomeUnknown`, `RetryTooLate`: a write may have happened (R4); read, then decide.
    /// - `LostEpoch`: the session has seen what a failover lost (R19): tell the user, then
    ///   [`SessionClient::forget`](crate::SessionClient::forget) the shard that the message names.
    pub async fn send(self) -> Result<Op::Output> {
        let context = self.client.context();
        let (request, asked) = self.op.prepare(&context)?;
        let reply = self.client.run(&context, request, &self.options).await?;
        Op::output(reply, &asked, &context)
    }

    /// As [`Call::send`], and tells the position of the answer and the path that it took.
    ///
    /// # Errors
    /// As [`Call::send`].
    pub async fn send_explained(mut self) -> Result<Answered<Op::Output>> {
        self.options.explain = true;
        let context = self.client.context();
        let (request, asked) = self.op.prepare(&context)?;
        let reply = self.client.run(&context, request, &self.options).await?;
        let (position, explain) = match &reply {
            Reply::Read(reply) => (Some(reply.position), reply.explain.clone()),
            Reply::Write(reply, explain) => (reply.positions.first().copied(), explain.clone()),
        };
        Ok(Answered { value: Op::output(reply, &asked, &context)?, position, explain })
    }
}

impl<'a, Op: HasFields<'a>> Call<'a, Op> {
    /// Sets a field, by name or number. The last value of a field counts.
    pub fn set(mut self, field: impl Into<FieldRef<'a>>, value: impl FieldValue) -> Self {
        self.op.new_fields().set(field.into(), value.into_value());
        self
    }
}

impl<Op: HasExpected> Call<'_, Op> {
    /// Refuse unless the object, or the list of the association, has this version.
    pub fn expected_version(mut self, version: Seq) -> Self {
        *self.op.expected() = Some(version);
        self
    }
}

impl Context {
    /// A shard by chance.
    pub(crate) fn random_shard(&self) -> ShardId {
        use rand::Rng;
        // Shards are at most 2^16, so the number fits.
        ShardId(rand::rng().random_range(0..self.shards.max(1)) as u16)
    }
}

/// The answer of a write.
pub(crate) fn written(reply: Reply) -> Result<Written> {
    match reply {
        Reply::Write(reply, explain) => Ok(Written {
            positions: reply.positions,
            outcomes: reply.outcomes,
            inverse_pending: reply.inverse_pending,
            replayed: reply.replayed,
            explain,
        }),
        Reply::Read(_) => Err(mismatch("a write")),
    }
}

/// The node answered another question than was asked.
pub(crate) fn mismatch(asked: &str) -> Error {
    Error::new(ErrorCode::Corrupt, format!("the node's answer is not one to {asked}"))
}
