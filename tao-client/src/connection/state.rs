//! What one stream knows of its requests: who waits, what is queued, what is under way. Pure: no I/O, time is passed in.
//!
//! A request is *queued* until [`State::take_frame`] hands it to the transport, and *sent* from then on. The difference
//! is what a lost stream means for a write (PROTOCOL R4): queued, it certainly did not happen; sent, nobody knows.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use prost::Message;
use tao_schema::limits::{MAX_FRAME_OPS, MAX_MESSAGE_BYTES};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::window::Window;
use super::{ConnectionOptions, Stats};

/// Bytes of one frame, and so of one request.
pub(super) const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// Low bits of a request id that hold its slot; the others make it unique for the life of the connection.
const SLOT_BITS: u32 = 16;

/// A sweeper without work stays this long, so that calls one after another do not start one each.
const SWEEPER_LINGERS: Duration = Duration::from_secs(1);

/// What a caller gets.
pub(super) type Outcome = Result<proto::reply::Result>;
/// Waiters and what they are to be told, gathered under the lock and delivered after it.
pub(super) type Deliveries = Vec<(oneshot::Sender<Outcome>, Outcome)>;

/// Of one stream to one peer. Everything in it is bounded by [`ConnectionOptions`].
pub(super) struct State {
    slots: Vec<Option<Waiter>>,
    free: Vec<u16>,
    generation: u64,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    max_queued: usize,
    max_queued_bytes: usize,
    in_flight: usize,
    sent: u64,
    window: Window,
    /// The state of the stream itself.
    pub(super) link: Link,
    /// Number of the stream in use; a stream with another number has been given up.
    pub(super) stream: u64,
    /// Connection attempts that failed since the last reply.
    pub(super) failures: u32,
    /// The transport, when it has found nothing to send.
    pub(super) writer: Option<Waker>,
    /// `generation` at the last sweep.
    swept_generation: u64,
    /// When the sweeper will look for passed deadlines; `None`: there is no sweeper.
    pub(super) next_sweep: Option<Instant>,
}

/// State of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    /// Not connected; the next call connects.
    Idle,
    /// Being made.
    Connecting,
    /// Up.
    Open,
    /// The last attempt failed; until then calls are refused at once, so that callers go elsewhere.
    Down(Instant),
    /// The handle is gone.
    Closed,
}

struct Waiter {
    id: u64,
    deadline: Instant,
    is_write: bool,
    /// Ordinal of its sending; `None`: still queued.
    sent: Option<u64>,
    sender: oneshot::Sender<Outcome>,
}

struct Queued {
    bytes: usize,
    request: proto::Request,
}

impl State {
    pub(super) fn new(options: &ConnectionOptions) -> Self {
        // Slots are 16 bits: a window and a queue together stay below that.
        let max = options.window_max.clamp(1, 1 << (SLOT_BITS - 1));
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            max_queued: options.queue_requests.clamp(1, (1 << (SLOT_BITS - 1)) - 1),
            max_queued_bytes: options.queue_bytes.max(MAX_FRAME_BYTES),
            in_flight: 0,
            sent: 0,
            window: Window::new(options.window_start, options.window_min, max, options.window_step),
            link: Link::Idle,
            stream: 0,
            failures: 0,
            writer: None,
            swept_generation: 0,
            next_sweep: None,
        }
    }

    /// Queues a request and gives it a slot.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full, `InvalidArgument` if the request fits in no frame.
    pub(super) fn enqueue(
        &mut self,
        op: proto::request::Op,
        deadline: Instant,
        sender: oneshot::Sender<Outcome>,
    ) -> Result<u64> {
        // The id and the deadline are set later; their largest encodings take 17 bytes.
        let is_write = matches!(op, proto::request::Op::Write(_) | proto::request::Op::ApplyInverse(_));
        let mut request = proto::Request { id: 0, deadline_ms: 0, op: Some(op) };
        let bytes = request.encoded_len() + 24;
        if bytes > MAX_FRAME_BYTES {
            return Err(Error::invalid(format!(
                "the request takes {bytes} bytes, more than the {MAX_FRAME_BYTES} that fit in a frame; split it"
            )));
        }
        if self.queue.len() >= self.max_queued || self.queued_bytes + bytes > self.max_queued_bytes {
            return Err(Error::new(
                ErrorCode::Overloaded,
                format!("{} requests wait for this node already", self.queue.len()),
            ));
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                // Slots = under way + queued <= 2^15 + 2^15 - 1.
                let slot = u16::try_from(self.slots.len()).map_err(|_| {
                    Error::new(ErrorCode::Overloaded, "too many requests under way to this node")
                })?;
                self.slots.push(None);
                slot
            }
        };
        self.generation += 1;
        let id = self.generation << SLOT_BITS | u64::from(slot);
        request.id = id;
        self.slots[usize::from(slot)] = Some(Waiter { id, deadline, is_write, sent: None, sender });
        self.queue.push_back(Queued { bytes, request });
        self.queued_bytes += bytes;
        Ok(id)
    }

    /// Whether the transport would find something to send.
    pub(super) fn sendable(&self) -> bool {
        !self.queue.is_empty() && self.in_flight < self.window.size()
    }

    /// Takes what may be sent now as one frame: bounded by the window, by operations and by bytes.
    pub(super) fn take_frame(&mut self, now: Instant) -> Option<proto::Frame> {
        if !self.sendable() {
            return None;
        }
        let room = (self.window.size() - self.in_flight).min(MAX_FRAME_OPS);
        let mut frame = Vec::with_capacity(room.min(self.queue.len()));
        let mut bytes = 0;
        while frame.len() < room {
            let Some(front) = self.queue.front() else { break };
            if bytes + front.bytes > MAX_FRAME_BYTES {
                break;
            }
            let Some(mut queued) = self.queue.pop_front() else { break };
            self.queued_bytes -= queued.bytes;
            // No waiter: the caller has gone. Past its deadline: the sweeper says so, and it was certainly not sent.
            let Some(waiter) = waiter_mut(&mut self.slots, queued.request.id) else { continue };
            let Some(budget) = remote_budget(waiter.deadline, now) else { continue };
            waiter.sent = Some(self.sent);
            self.sent += 1;
            self.in_flight += 1;
            bytes += queued.bytes;
            queued.request.deadline_ms = budget;
            frame.push(queued.request);
        }
        (!frame.is_empty()).then_some(proto::Frame { request: frame })
    }

    /// Matches a frame of replies with their waiters. Replies that nobody waits for are dropped.
    pub(super) fn complete(&mut self, frame: proto::ReplyFrame, deliveries: &mut Deliveries) {
        self.failures = 0;
        for reply in frame.reply {
            let limited = !self.queue.is_empty() || self.in_flight >= self.window.size();
            let Some(waiter) = self.remove(reply.id) else { continue };
            match (&reply.result, waiter.sent) {
                (Some(proto::reply::Result::Error(error)), Some(sent)) if congested(error.code) => {
                    self.window.on_congestion(sent, self.sent);
                }
                _ => self.window.on_success(limited),
            }
            let outcome = reply.result.ok_or_else(|| nothing_understood(waiter.is_write));
            deliveries.push((waiter.sender, outcome));
        }
    }

    /// Frees the slot of a caller that has gone away.
    pub(super) fn forget(&mut self, id: u64) {
        self.remove(id);
    }

    /// Ends the wait of everyone whose deadline has passed, and sets when to look again: never if nobody waits and
    /// nobody called since the last look.
    pub(super) fn sweep(&mut self, now: Instant, deliveries: &mut Deliveries) {
        let mut next = (self.swept_generation != self.generation).then_some(now + SWEEPER_LINGERS);
        self.swept_generation = self.generation;
        for at in 0..self.slots.len() {
            let Some(waiter) = &self.slots[at] else { continue };
            if waiter.deadline > now {
                next = Some(next.map_or(waiter.deadline, |next: Instant| next.min(waiter.deadline)));
                continue;
            }
            let id = waiter.id;
            let Some(waiter) = self.remove(id) else { continue };
            if let Some(sent) = waiter.sent {
                self.window.on_congestion(sent, self.sent);
            }
            let error = if waiter.is_write && waiter.sent.is_some() {
                // R4: it is under way; only the peer knows.
                Error::new(ErrorCode::OutcomeUnknown, "the node did not answer before the deadline")
            } else {
                Error::new(ErrorCode::DeadlineExceeded, "the deadline passed before the node answered")
            };
            deliveries.push((waiter.sender, Err(error)));
        }
        self.next_sweep = next;
    }

    /// The stream is lost: everyone who waits is told what that means for him.
    pub(super) fn fail_all(&mut self, reason: &str, deliveries: &mut Deliveries) {
        self.queue.clear();
        self.queued_bytes = 0;
        for at in 0..self.slots.len() {
            let Some(id) = self.slots[at].as_ref().map(|waiter| waiter.id) else { continue };
            let Some(waiter) = self.remove(id) else { continue };
            let error = if waiter.is_write && waiter.sent.is_some() {
                Error::new(
                    ErrorCode::OutcomeUnknown,
                    format!("the connection was lost after sending: {reason}"),
                )
            } else {
                Error::unavailable(reason)
            };
            deliveries.push((waiter.sender, Err(error)));
        }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            open: self.link == Link::Open,
            in_flight: self.in_flight,
            queued: self.queue.len(),
            waiting: self.slots.len() - self.free.len(),
            window: self.window.size(),
            sent: self.sent,
        }
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let slot = slot_of(id);
        let holder = self.slots.get_mut(usize::from(slot))?;
        let waiter = holder.take_if(|waiter| waiter.id == id)?;
        self.free.push(slot);
        self.in_flight -= usize::from(waiter.sent.is_some());
        Some(waiter)
    }
}

const fn slot_of(id: u64) -> u16 {
    (id & ((1 << SLOT_BITS) - 1)) as u16
}

fn waiter_mut(slots: &mut [Option<Waiter>], id: u64) -> Option<&mut Waiter> {
    slots.get_mut(usize::from(slot_of(id)))?.as_mut().filter(|waiter| waiter.id == id)
}

/// Milliseconds that the peer gets: a little less than what is left (a sixteenth, at most 10 ms), so that its certain
/// "deadline exceeded" arrives before we must say "unknown". `None`: nothing is left.
fn remote_budget(deadline: Instant, now: Instant) -> Option<u32> {
    let left = deadline.checked_duration_since(now).filter(|left| !left.is_zero())?;
    let budget = left - (left / 16).min(Duration::from_millis(10));
    // 0 on the wire means the peer's default.
    Some(u32::try_from(budget.as_millis()).unwrap_or(u32::MAX).max(1))
}

/// Whether a peer's error says that it has too much to do.
fn congested(code: u32) -> bool {
    [ErrorCode::Overloaded, ErrorCode::DeadlineExceeded].iter().any(|congested| congested.number() == code)
}

fn nothing_understood(is_write: bool) -> Error {
    let code = if is_write { ErrorCode::OutcomeUnknown } else { ErrorCode::Corrupt };
    Error::new(code, "the node's reply has no result that this version understands")
}
