//! Batches: independent calls sent together.

use std::time::Duration;

use tao_schema::Result;
use tao_schema::limits::MAX_FRAME_OPS;

use super::{Call, CallOptions, Context, Operation, Reply, Request};
use crate::answers::{AssocList, Count, Object, ObjectAdded, Written};
use crate::client::Client;

/// Independent calls that are sent together, those for one node in common frames. Each has its own outcome.
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch<'a> {
    client: &'a Client,
    context: Context,
    calls: Vec<(Result<Request>, CallOptions)>,
    outputs: Vec<Box<MakeOutput>>,
    timeout: Option<Duration>,
}

type MakeOutput = dyn FnOnce(Reply, &Context) -> Result<BatchReply> + Send;

/// The answer to one call of a batch.
#[derive(Clone, Debug)]
pub enum BatchReply {
    /// Of `object_get`.
    Object(Option<Object>),
    /// Of `assoc_get`, `assoc_range` and `assoc_time_range`.
    List(AssocList),
    /// Of `assoc_count`.
    Count(Count),
    /// Of `object_add`.
    Added(ObjectAdded),
    /// Of the other writes.
    Written(Written),
}

impl Client {
    /// A batch of independent calls.
    ///
    /// ```
    /// # tao_client::testing::run(async |client: tao_client::Client| {
    /// let ann = client.object_add("user").send().await?.id;
    /// let mut batch = client.batch();
    /// batch.add(client.object_get(ann));
    /// batch.add(client.assoc_count(ann, "friend"));
    /// for reply in batch.send().await {
    ///     match reply? {
    ///         tao_client::BatchReply::Object(user) => assert!(user.is_some()),
    ///         tao_client::BatchReply::Count(friends) => assert_eq!(friends.count, 0),
    ///         other => panic!("not asked: {other:?}"),
    ///     }
    /// }
    /// # Ok(())
    /// # });
    /// ```
    pub fn batch(&self) -> Batch<'_> {
        let context = self.context();
        Batch { client: self, context, calls: Vec::new(), outputs: Vec::new(), timeout: None }
    }
}

impl Batch<'_> {
    /// Adds a call. Its own timeout counts, else the batch's.
    pub fn add<Op>(&mut self, call: Call<'_, Op>)
    where
        Op: Operation,
        Op::Asked: 'static,
    {
        match call.op.prepare(&self.context) {
            Ok((request, asked)) => {
                self.calls.push((Ok(request), call.options));
                self.outputs
                    .push(Box::new(move |reply, context| Ok(Op::output(reply, &asked, context)?.into())));
            }
            Err(error) => {
                self.calls.push((Err(error), call.options));
                self.outputs.push(Box::new(|_, _| Err(super::mismatch("a call that was not sent"))));
            }
        }
    }

    /// Longest wait for each call that does not say otherwise.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Number of calls.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is no call.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Sends all calls, [`MAX_FRAME_OPS`] at a time; the timeouts of the next ones start when those are answered. The
    /// outcomes are in the order in which the calls were added; for errors see [`Call::send`].
    pub async fn send(self) -> Vec<Result<BatchReply>> {
        let mut replies = Vec::with_capacity(self.calls.len());
        let mut outputs = self.outputs.into_iter();
        let mut calls = self.calls.into_iter();
        let timeout = self.timeout;
        while calls.len() > 0 {
            let wave = calls.by_ref().take(MAX_FRAME_OPS).map(|(request, mut options)| {
                options.timeout = options.timeout.or(timeout);
                (request, options)
            });
            let answers = self.client.run_all(&self.context, wave).await;
            for (answer, output) in answers.zip(outputs.by_ref()) {
                replies.push(answer.and_then(|reply| output(reply, &self.context)));
            }
        }
        replies
    }
}

impl From<Option<Object>> for BatchReply {
    fn from(object: Option<Object>) -> Self {
        Self::Object(object)
    }
}

impl From<AssocList> for BatchReply {
    fn from(list: AssocList) -> Self {
        Self::List(list)
    }
}

impl From<Count> for BatchReply {
    fn from(count: Count) -> Self {
        Self::Count(count)
    }
}

impl From<ObjectAdded> for BatchReply {
    fn from(added: ObjectAdded) -> Self {
        Self::Added(added)
    }
}

impl From<Written> for BatchReply {
    fn from(written: Written) -> Self {
        Self::Written(written)
    }
}
