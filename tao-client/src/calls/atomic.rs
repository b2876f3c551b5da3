//! Several writes to one shard that happen together or not at all.

use std::time::Duration;

use tao_schema::ops::WriteOp;
use tao_schema::{Error, Result};

use super::{Call, CallOptions, Context, Request, WriteOperation, written};
use crate::answers::Written;
use crate::client::Client;

/// Writes to one shard that happen together or not at all.
#[must_use = "a write does nothing until it is sent"]
pub struct Atomic<'a> {
    client: &'a Client,
    context: Context,
    /// Each with whether its shard was drawn at random.
    ops: Vec<(WriteOp, bool)>,
    /// The first call that can't be part of it.
    refused: Option<Error>,
    timeout: Option<Duration>,
}

impl Client {
    /// Several writes as one: all of them on one shard, or refused. An `object_add` that names no place goes to the
    /// shard of the others.
    ///
    /// ```
    /// # tao_client::testing::run(async |client: tao_client::Client| {
    /// let post = client.object_add("post").set("text", "hello").send().await?.id;
    /// let comment = client.object_add("comment").set("text", "hi").send().await?.id;
    /// let mut write = client.atomic();
    /// write.add(client.assoc_add(post, "has_comment", comment));
    /// write.add(client.object_update(post, "post").set("edited", true));
    /// let written = write.send().await?;
    /// assert_eq!(written.outcomes.len(), 2);
    /// # Ok(())
    /// # });
    /// ```
    pub fn atomic(&self) -> Atomic<'_> {
        let context = self.context();
        Atomic { client: self, context, ops: Vec::new(), refused: None, timeout: None }
    }
}

impl Atomic<'_> {
    /// Adds a write. What is wrong with it is told by [`Atomic::send`].
    pub fn add<Op: WriteOperation>(&mut self, call: Call<'_, Op>) {
        match call.op.prepare(&self.context) {
            Ok((Request::Write { ops, random_shard }, _)) => {
                self.ops.extend(ops.into_iter().map(|op| (op, random_shard)));
            }
            Ok((Request::Read(_), _)) => {
                self.refused.get_or_insert_with(|| Error::invalid("a read can't be part of an atomic write"));
            }
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
    }

    /// Longest wait for the write, retries included.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Sends the write. [`Written::outcomes`] has one outcome for each operation, in order.
    ///
    /// # Errors
    /// `InvalidArgument` if an operation contradicts the graph schema, or one shard can't order them all (R22); else as
    /// [`Call::send`].
    pub async fn send(self) -> Result<Written> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let placed = self.ops.iter().find(|(_, random)| !random).or(self.ops.first());
        let common = placed.map(|(op, _)| op.shard());
        let ops = self.ops.into_iter().map(|(op, random)| match (op, common) {
            (WriteOp::ObjectAdd { id, otype, fields, .. }, Some(shard)) if random => {
                WriteOp::ObjectAdd { id, shard, otype, fields }
            }
            (op, _) => op,
        });
        let request = Request::Write { ops: ops.collect(), random_shard: false };
        let options = CallOptions { timeout: self.timeout, ..CallOptions::default() };
        written(self.client.run(&self.context, request, &options).await?)
    }
}
