//! Pipelined connections: many calls share one bidirectional stream to one node.
//!
//! A call puts its request in a queue and wakes the transport, which takes whatever waits there as one frame. An idle
//! connection sends a single request at once; a busy one fills its frames by itself. Replies come in any order and are
//! matched by id. There is no task and no timer for a call.
//!
//! Applications use it through [`crate::Client`]; nodes use it for follower → leader and leader → leader.

mod dial;
mod link;
mod state;
mod window;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::wire::proto;
use tao_schema::{Error, Result};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use dial::{Dialer, Dialing, Io, dial};
use link::Shared;
use state::{Link, Outcome, State};

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

/// One stream and its task.
struct Lane {
    shared: Arc<Shared>,
    link: Mutex<Option<AbortHandle>>,
}

/// A request that was queued: gives its slot back if the caller goes away.
struct Ticket<'a> {
    lane: &'a Lane,
    id: u64,
    receiver: oneshot::Receiver<Outcome>,
    answered: bool,
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
            .map(|_| Lane {
                shared: Arc::new(Shared {
                    address: address.clone(),
                    service,
                    options: options.clone(),
                    state: Mutex::new(State::new(&options)),
                    earlier_deadline: Notify::new(),
                }),
                link: Mutex::new(None),
            })
            .collect();
        Self { address, lanes }
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

    /// Sends many independent requests, each with its deadline, in as few frames as they fit in. Outcomes are in the
    /// order of the requests.
    pub async fn call_many(&self, ops: Vec<(proto::request::Op, Instant)>) -> Vec<Outcome> {
        self.call_many_raw(ops).await.into_iter().map(typed).collect()
    }

    /// As [`Connection::call`], but what the peer says is `Ok`, its errors too: `Err` means that it was not reached.
    pub(crate) async fn call_raw(&self, op: proto::request::Op, deadline: Instant) -> Outcome {
        self.lane_of(&op).submit(op, deadline)?.outcome().await
    }

    /// As [`Connection::call_many`], in the manner of [`Connection::call_raw`].
    pub(crate) async fn call_many_raw(&self, ops: Vec<(proto::request::Op, Instant)>) -> Vec<Outcome> {
        // All are queued before the first is awaited.
        let tickets: Vec<_> =
            ops.into_iter().map(|(op, until)| self.lane_of(&op).submit(op, until)).collect();
        let mut outcomes = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            outcomes.push(match ticket {
                Ok(ticket) => ticket.outcome().await,
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// What it is doing now.
    pub fn stats(&self) -> Stats {
        self.lanes.iter().map(|lane| lane.shared.state.lock().stats()).fold(
            Stats { open: true, ..Stats::default() },
            |sum, lane| Stats {
                open: sum.open && lane.open,
                in_flight: sum.in_flight + lane.in_flight,
                queued: sum.queued + lane.queued,
                waiting: sum.waiting + lane.waiting,
                window: sum.window + lane.window,
                sent: sum.sent + lane.sent,
            },
        )
    }

    fn lane_of(&self, op: &proto::request::Op) -> &Lane {
        match &*self.lanes {
            [lane] => lane,
            // Requests of one shard share a stream, and so a frame.
            lanes => &lanes[usize::from(shard_of(op)) % lanes.len()],
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).field("stats", &self.stats()).finish()
    }
}

impl Lane {
    fn submit(&self, op: proto::request::Op, deadline: Instant) -> Result<Ticket<'_>> {
        let (sender, receiver) = oneshot::channel();
        let shared = &self.shared;
        let (id, writer, connect, sweeper) = {
            let mut state = shared.state.lock();
            let connect = match state.link {
                Link::Open | Link::Connecting => false,
                Link::Idle => true,
                Link::Down(until) if Instant::now() >= until => true,
                Link::Down(_) => {
                    return Err(Error::unavailable(format!(
                        "{} could not be reached just now",
                        shared.address
                    )));
                }
                Link::Closed => return Err(Error::unavailable("the connection is closed")),
            };
            let id = state.enqueue(op, deadline, sender)?;
            if connect {
                state.link = Link::Connecting;
            }
            let sweeper = match state.next_sweep {
                Some(next) if next <= deadline => Sweeper::Fine,
                Some(_) => Sweeper::Wake,
                None => Sweeper::Start,
            };
            if !matches!(sweeper, Sweeper::Fine) {
                state.next_sweep = Some(deadline);
            }
            let writer = if state.sendable() { state.writer.take() } else { None };
            (id, writer, connect.then_some(state.stream), sweeper)
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        if let Some(stream) = connect {
            let task = tokio::spawn(link::run(shared.clone(), stream));
            *self.link.lock() = Some(task.abort_handle());
        }
        match sweeper {
            Sweeper::Fine => {}
            Sweeper::Wake => shared.earlier_deadline.notify_one(),
            Sweeper::Start => {
                tokio::spawn(link::sweep(shared.clone()));
            }
        }
        Ok(Ticket { lane: self, id, receiver, answered: false })
    }
}

/// What a new deadline asks of the sweeper.
enum Sweeper {
    Fine,
    Wake,
    Start,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Callers borrow the handle, so none waits any more; the task would live as long as the peer does.
        self.shared.state.lock().link = Link::Closed;
        if let Some(link) = self.link.lock().take() {
            link.abort();
        }
    }
}

impl Ticket<'_> {
    async fn outcome(mut self) -> Outcome {
        let outcome = (&mut self.receiver).await;
        self.answered = true;
        outcome.unwrap_or_else(|_| Err(Error::internal("a request lost its slot without an answer")))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.lane.shared.wake_writer_after(|state| state.forget(self.id));
        }
    }
}

/// The peer's typed error as one of ours.
fn typed(outcome: Outcome) -> Outcome {
    match outcome {
        Ok(proto::reply::Result::Error(error)) => Err(error.into()),
        other => other,
    }
}

/// The shard that a request is about, or 0.
fn shard_of(op: &proto::request::Op) -> u16 {
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
            Some(Write::ObjectAdd(add)) if add.id == 0 => return add.shard as u16,
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
    tao_schema::ids::ObjectId(id).shard().0
}
