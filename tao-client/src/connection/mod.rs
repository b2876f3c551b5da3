//! Pipelined connections: many calls share one bidirectional stream to one node.
//!
//! A call puts its request in a queue and wakes the transport, which takes whatever waits there as one frame. An idle
//! connection sends a single request at once; a busy one fills its frames by itself. Replies come in any order and are
//! matched by id. There is no task and no timer for a call. Reads are encoded where they are asked and decoded where they
//! are awaited, and those that one caller sends together are queued and awaited as one group.
//!
//! Applications use it through [`crate::Client`]; nodes use it for follower → leader and leader → leader.

mod dial;
mod lane;
mod link;
mod slots;
mod state;
mod window;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::ShardId;
use tao_schema::ops::{ReadReply, ReadRequest};
use tao_schema::wire::frames::ReadRequestRef;
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

pub use dial::{Dialer, Dialing, Io, dial};
use lane::{Lane, Ticket};
use slots::{Caller, Outcome};

pub(crate) use slots::{Answers, MAX_GROUP};

/// Which service the stream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// `tao.v1.Tao/Pipeline`: applications.
    Tao,
    /// `tao.v1.Peer/Pipeline`: nodes among themselves.
    Peer,
}

/// Bounds and times of the connections to one node.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Streams to one node, each with its own HTTP/2 connection; ids are spread over them by shard.
    pub connections_per_node: usize,
    /// Requests that may wait for a stream; one more is refused as `Overloaded`. At most 32,767.
    pub queue_requests: usize,
    /// Bytes that may wait for a stream.
    pub queue_bytes: usize,
    /// Requests that may be under way on a stream at first, at least, and at most (at most 32,768).
    pub window_start: usize,
    /// See `window_start`.
    pub window_min: usize,
    /// See `window_start`.
    pub window_max: usize,
    /// By how many requests the window grows for each window of successes at its limit.
    pub window_step: usize,
    /// Longest wait for a connection, and then for the stream on it.
    pub connect_timeout: Duration,
    /// First pause after a failed attempt to connect; doubled at each, with jitter. Calls in it fail at once.
    pub backoff_start: Duration,
    /// Longest such pause.
    pub backoff_max: Duration,
    /// How often the peer's life is checked while a connection is quiet.
    pub keep_alive_interval: Duration,
    /// How long a peer may leave such a check unanswered.
    pub keep_alive_timeout: Duration,
    /// Where byte streams come from.
    pub dialer: Dialer,
}

/// A cheap handle to the pipelined streams of one node. Clones share them. Connects when it is first used, and again
/// when it is used after a failure.
#[derive(Clone)]
pub struct Connection {
    address: Arc<str>,
    lanes: Arc<[Lane]>,
    group_limit: usize,
}

/// What a connection is doing, for metrics and tests. Sums over its streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Every stream is up.
    pub open: bool,
    /// Requests sent and not answered.
    pub in_flight: usize,
    /// Requests that wait to be sent, those whose callers have gone included.
    pub queued: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// Requests that may be under way.
    pub window: usize,
    /// Requests sent so far.
    pub sent: u64,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            connections_per_node: 1,
            queue_requests: 16_384,
            queue_bytes: 64 << 20,
            window_start: 256,
            window_min: 8,
            window_max: 8_192,
            window_step: 16,
            connect_timeout: Duration::from_secs(2),
            backoff_start: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(5),
            dialer: Dialer::Tcp,
        }
    }
}

impl Connection {
    /// A connection to `address` (`host:port`). Opens nothing yet; [`Connection::call`] must run inside a tokio runtime.
    pub fn new(address: impl Into<Arc<str>>, service: Service, options: Arc<ConnectionOptions>) -> Self {
        let address = address.into();
        let lanes = (0..options.connections_per_node.max(1))
            .map(|_| Lane::new(&address, service, &options))
            .collect();
        // A group that has no room in an empty queue would never have any.
        let group_limit = state::max_queued(&options).min(MAX_GROUP);
        Self { address, lanes, group_limit }
    }

    /// Where it leads.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends one request and waits for its reply until `deadline`. Cancellation-safe: dropping the future frees its
    /// slot, and a late reply is dropped; a write that was sent still happens.
    ///
    /// # Errors
    /// The peer's own errors, and:
    /// - `Overloaded`: the queue is full; nothing was sent.
    /// - `Unavailable`: the node can't be reached, or the stream broke under a read, or before a write was sent.
    /// - `DeadlineExceeded`: no answer to a read in time, or a write was not sent in time.
    /// - `OutcomeUnknown`: a write was sent, and the stream broke or the deadline passed (R4).
    /// - `InvalidArgument`: the request is larger than a frame.
    pub async fn call(&self, op: proto::request::Op, deadline: Instant) -> Result<proto::reply::Result> {
        typed(self.call_raw(op, deadline).await)
    }

    /// As [`Connection::call`], of a read.
    ///
    /// # Errors
    /// As there, and `Corrupt` if the reply is none to a read.
    pub async fn read(&self, request: &ReadRequest, deadline: Instant) -> Result<ReadReply> {
        self.read_raw(request.into(), Instant::now(), deadline).await?.read()
    }

    /// Sends many independent requests, each with its deadline, in as few frames as they fit in. Outcomes are in the
    /// order of the requests.
    pub async fn call_many(
        &self,
        ops: Vec<(proto::request::Op, Instant)>,
    ) -> Vec<Result<proto::reply::Result>> {
        self.call_many_raw(ops).await.into_iter().map(typed).collect()
    }

    /// As [`Connection::call`], but what the peer says is `Ok`, its errors too: `Err` means that it was not reached.
    pub(crate) async fn call_raw(
        &self,
        op: proto::request::Op,
        deadline: Instant,
    ) -> Result<proto::reply::Result> {
        let writes = state::writes(&op);
        understood(self.submit(op, deadline)?.outcome().await?, writes)
    }

    /// As [`Connection::call_many`], in the manner of [`Connection::call_raw`].
    pub(crate) async fn call_many_raw(
        &self,
        ops: Vec<(proto::request::Op, Instant)>,
    ) -> Vec<Result<proto::reply::Result>> {
        // All are queued before the first is awaited.
        let submitted = ops.into_iter().map(|(op, until)| (state::writes(&op), self.submit(op, until)));
        let tickets: Vec<_> = submitted.collect();
        let mut outcomes = Vec::with_capacity(tickets.len());
        for (writes, ticket) in tickets {
            outcomes.push(match ticket {
                Ok(ticket) => ticket.outcome().await.and_then(|outcome| understood(outcome, writes)),
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// As [`Connection::call_raw`], of a read. The reply is not decoded yet.
    pub(crate) async fn read_raw(
        &self,
        request: ReadRequestRef<'_>,
        now: Instant,
        deadline: Instant,
    ) -> Outcome {
        let lane = &self.lanes[self.lane_of(request.op.shard())];
        let ticket = lane.submit(deadline, |state, sender| {
            let caller = |_| Caller::One(sender);
            state.enqueue_reads(std::iter::once(request), deadline, now, caller)
        })?;
        ticket.outcome().await?
    }

    /// Reads that are awaited together: at most [`Connection::group_limit`], all of one stream, which
    /// [`Connection::lane_of`] tells. What is said of each is as of [`Connection::read_raw`].
    pub(crate) async fn read_group<'r>(
        &self,
        lane: usize,
        reads: impl Iterator<Item = ReadRequestRef<'r>>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Answers> {
        let ticket = self.lanes[lane].submit(deadline, |state, sender| {
            let caller = |number| Caller::group(sender, number);
            state.enqueue_reads(reads, deadline, now, caller)
        })?;
        ticket.outcome().await
    }

    /// Reads that may be one group.
    pub(crate) const fn group_limit(&self) -> usize {
        self.group_limit
    }

    /// The stream that requests about a shard take: they share it, and so frames.
    pub(crate) fn lane_of(&self, shard: ShardId) -> usize {
        match self.lanes.len() {
            1 => 0,
            lanes => usize::from(shard.0) % lanes,
        }
    }

    fn submit(&self, op: proto::request::Op, deadline: Instant) -> Result<Ticket<'_, Outcome>> {
        let lane = match self.lanes.len() {
            1 => 0,
            _ => self.lane_of(shard_of(&op)),
        };
        self.lanes[lane].submit(deadline, |state, sender| state.enqueue(op, deadline, sender))
    }

    /// What it is doing now.
    pub fn stats(&self) -> Stats {
        self.lanes.iter().map(Lane::stats).fold(Stats { open: true, ..Stats::default() }, |sum, lane| Stats {
            open: sum.open && lane.open,
            in_flight: sum.in_flight + lane.in_flight,
            queued: sum.queued + lane.queued,
            waiting: sum.waiting + lane.waiting,
            window: sum.window + lane.window,
            sent: sum.sent + lane.sent,
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).field("stats", &self.stats()).finish()
    }
}

/// The peer's typed error as one of ours.
fn typed(outcome: Result<proto::reply::Result>) -> Result<proto::reply::Result> {
    match outcome {
        Ok(proto::reply::Result::Error(error)) => Err(error.into()),
        other => other,
    }
}

/// The reply to any request, decoded.
fn understood(outcome: Outcome, writes: bool) -> Result<proto::reply::Result> {
    outcome?.into_proto().ok_or_else(|| {
        let code = if writes { ErrorCode::OutcomeUnknown } else { ErrorCode::Corrupt };
        Error::new(code, "the node's reply has no result that this version understands")
    })
}

/// The shard that a request is about, or 0.
fn shard_of(op: &proto::request::Op) -> ShardId {
    use proto::read_request::Op as Read;
    use proto::write_op::Op as Write;
    let id = match op {
        proto::request::Op::Read(read) => match &read.op {
            Some(Read::ObjectGet(get)) => get.id,
            Some(Read::AssocGet(get)) => get.id1,
            Some(Read::AssocCount(count)) => count.id1,
            Some(Read::AssocRange(range)) => range.id1,
            Some(Read::AssocTimeRange(range)) => range.id1,
            None => 0,
        },
        proto::request::Op::Write(write) => match write.op.first().and_then(|op| op.op.as_ref()) {
            Some(Write::ObjectAdd(add)) if add.id == 0 => return ShardId(add.shard as u16),
            Some(Write::ObjectAdd(add)) => add.id,
            Some(Write::ObjectUpdate(update)) => update.id,
            Some(Write::ObjectDelete(delete)) => delete.id,
            Some(Write::AssocAdd(add)) => add.id1,
            Some(Write::AssocDelete(delete)) => delete.id1,
            Some(Write::AssocChangeType(change)) => change.id1,
            None => 0,
        },
        proto::request::Op::Fill(fill) => match &fill.key {
            Some(proto::fill_request::Key::Object(id)) => *id,
            Some(proto::fill_request::Key::List(list)) => list.id1,
            None => 0,
        },
        proto::request::Op::ApplyInverse(apply) => apply.inverse.first().map_or(0, |inverse| inverse.id1),
    };
    tao_schema::ids::ObjectId(id).shard()
}
