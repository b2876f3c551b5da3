//! Batches: independent calls sent together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::limits::MAX_FRAME_OPS;
use tao_schema::ops::{Answer, ReadOp};
use tao_schema::{Error, Result};

use super::{Call, CallOptions, Context, Operation, Reply, Request, mismatch};
use crate::answers::{AssocList, Count, Object, ObjectAdded, Written};
use crate::client::Client;

/// Independent calls that are sent together, those for one node in common frames. Each has its own outcome.
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch<'a> {
    client: &'a Client,
    context: Context,
    calls: Vec<Planned>,
    others: Vec<Other>,
    timeout: Option<Duration>,
}

/// Calls that there is room for at first.
const ROOM: usize = 32;

/// A call that waits to be sent.
enum Planned {
    /// Small, because batches are mostly of these, with options that few have.
    Read(ReadOp, Option<Box<CallOptions>>),
    /// The next of [`Batch::others`].
    Other,
}

/// A write, or a call that contradicts the schema.
struct Other {
    request: Result<Request>,
    options: CallOptions,
    output: Box<MakeOutput>,
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
        Batch { client: self, context, calls: Vec::with_capacity(ROOM), others: Vec::new(), timeout: None }
    }
}

impl Batch<'_> {
    /// Adds a call. Its own timeout counts, else the batch's.
    pub fn add<Op>(&mut self, call: Call<'_, Op>)
    where
        Op: Operation,
        Op::Asked: 'static,
    {
        let (request, asked) = match call.op.prepare(&self.context) {
            Ok((Request::Read(op), _)) => {
                let options = call.options.is_some().then(|| Box::new(call.options));
                self.calls.push(Planned::Read(op, options));
                return;
            }
            Ok((request, asked)) => (Ok(request), Some(asked)),
            Err(error) => (Err(error), None),
        };
        let output: Box<MakeOutput> = Box::new(move |reply, context| match asked {
            Some(asked) => Ok(Op::output(reply, &asked, context)?.into()),
            None => Err(mismatch("a call that was not sent")),
        });
        self.calls.push(Planned::Other);
        self.others.push(Other { request, options: call.options, output });
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
        let mut replies = Vec::new();
        let mut others = self.others.into_iter();
        for wave in self.calls.chunks(MAX_FRAME_OPS) {
            let number = wave.iter().filter(|planned| matches!(planned, Planned::Other)).count();
            let others = others.by_ref().take(number).collect();
            let answers = send_wave(self.client, &self.context, wave, others, self.timeout).await;
            if replies.is_empty() {
                replies = answers;
            } else {
                replies.extend(answers);
            }
        }
        replies
    }
}

/// Sends calls together. Outcomes are in their order.
async fn send_wave(
    client: &Client,
    context: &Context,
    wave: &[Planned],
    others: Vec<Other>,
    timeout: Option<Duration>,
) -> Vec<Result<BatchReply>> {
    let (all, number) = (wave.len(), wave.len() - others.len());
    let reads = client.run_reads(context, wave.iter().filter_map(Planned::read), number, timeout);
    if number == all {
        return reads.await;
    }
    let (reads, others) = join(reads, send_others(client, context, others, timeout)).await;
    let (mut reads, mut others) = (reads.into_iter(), others.into_iter());
    let lost = || Err(Error::internal("a call of the batch was lost"));
    let next = |planned: &Planned| match planned {
        Planned::Read(..) => reads.next(),
        Planned::Other => others.next(),
    };
    wave.iter().map(next).map(|answer| answer.unwrap_or_else(lost)).collect()
}

async fn send_others(
    client: &Client,
    context: &Context,
    others: Vec<Other>,
    timeout: Option<Duration>,
) -> Vec<Result<BatchReply>> {
    let mut outputs = Vec::with_capacity(others.len());
    let requests = others.into_iter().map(|other| {
        let Other { request, mut options, output } = other;
        outputs.push(output);
        options.timeout = options.timeout.or(timeout);
        (request, options)
    });
    let answers: Vec<Result<Reply>> = client.run_writes(context, requests).await.collect();
    let outputs = answers.into_iter().zip(outputs);
    outputs.map(|(answer, output)| answer.and_then(|reply| output(reply, context))).collect()
}

impl Planned {
    fn read(&self) -> Option<(&ReadOp, Option<&CallOptions>)> {
        match self {
            Self::Read(op, options) => Some((op, options.as_deref())),
            Self::Other => None,
        }
    }
}

impl BatchReply {
    /// The answer to a read.
    #[inline]
    pub(crate) fn of_read(op: &ReadOp, answer: Answer, schema: &Arc<GraphSchema>) -> Result<Self> {
        match (op, answer) {
            (ReadOp::ObjectGet(_), Answer::Object(object)) => {
                Ok(Self::Object(object.map(|(id, row)| Object::new(id, row, schema))))
            }
            (
                ReadOp::AssocGet { list, .. }
                | ReadOp::AssocRange { list, .. }
                | ReadOp::AssocTimeRange { list, .. },
                Answer::Edges { edges, version },
            ) => Ok(Self::List(AssocList::new(*list, edges, version, schema))),
            (ReadOp::AssocCount(_), Answer::Count { count, version }) => {
                Ok(Self::Count(Count { count, version }))
            }
            (op, _) => Err(mismatch(op.name())),
        }
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
