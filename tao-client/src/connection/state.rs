//! What one stream knows of its requests: who waits, what is queued, what is under way. Pure: no I/O, time is passed in.
//!
//! A request is *queued* until [`State::take_frame`] hands it to the transport, and *sent* from then on. The difference
//! is what a lost stream means for a write (PROTOCOL R4): queued, it certainly did not happen; sent, nobody knows.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use tao_schema::limits::{MAX_FRAME_OPS, MAX_MESSAGE_BYTES};
use tao_schema::wire::frames::{ReadRequestRef, Replies, ReplyRef, put_read, put_request};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::slots::{Caller, Deliveries, MAX_GROUP, Outcome, SLOT_BITS, Slots, Waiter, id_at};
use super::window::Window;
use super::{ConnectionOptions, Stats};

/// Bytes of one frame, and so of one request or group.
pub(super) const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// Room for encoded reads that is made at a time: frames share it until it is full.
const ENCODED_BYTES: usize = 16 << 10;
/// Less than this of it is not worth keeping.
const ENCODED_REST: usize = 512;

/// A sweeper without work stays this long, so that calls one after another do not start one each.
const SWEEPER_LINGERS: Duration = Duration::from_secs(1);

/// Of one stream to one peer. Everything in it is bounded by [`ConnectionOptions`].
pub(super) struct State {
    slots: Slots,
    queue: VecDeque<Queued>,
    /// The queued reads, in the order of the queue.
    encoded: BytesMut,
    /// Requests in the queue.
    queued: usize,
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
    /// Callers let in at the last sweep.
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

/// What one caller wants to have sent.
struct Queued {
    /// Of the first request.
    id: u64,
    requests: usize,
    bytes: usize,
    /// `None`: reads, which are in [`State::encoded`]. Others are encoded when they are sent, with the time left then.
    request: Option<Box<proto::Request>>,
}

impl State {
    pub(super) fn new(options: &ConnectionOptions) -> Self {
        // Slots are 16 bits: a window and a queue together stay below that.
        let max = options.window_max.clamp(1, 1 << (SLOT_BITS - 1));
        Self {
            slots: Slots::new(),
            queue: VecDeque::new(),
            encoded: BytesMut::new(),
            queued: 0,
            queued_bytes: 0,
            max_queued: max_queued(options),
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
        let id = self.slots.next_id()?;
        let writes = writes(&op);
        let request = proto::Request { id, deadline_ms: 0, op: Some(op) };
        // The deadline is set later; with the entry's own head it takes at most 12 bytes.
        let bytes = request.encoded_len() + 24;
        self.admit(1, bytes)?;
        self.slots.occupy(Waiter::new(id, deadline, writes, Caller::One(sender)));
        self.queue.push_back(Queued { id, requests: 1, bytes, request: Some(Box::new(request)) });
        Ok(id)
    }

    /// Queues reads of one caller, from one to [`MAX_GROUP`], with one slot for all. `caller` makes it, told their number.
    ///
    /// They are encoded here, with the time that is left now: what they wait in the queue makes the node try a little
    /// longer than somebody waits, which for a read costs nothing but its work.
    ///
    /// # Errors
    /// `Overloaded` if the queue has no room for all, `InvalidArgument` if they fit in no frame.
    pub(super) fn enqueue_reads<'r>(
        &mut self,
        reads: impl Iterator<Item = ReadRequestRef<'r>>,
        deadline: Instant,
        now: Instant,
        caller: impl FnOnce(usize) -> Caller,
    ) -> Result<u64> {
        let id = self.slots.next_id()?;
        let before = self.encoded.len();
        if self.encoded.capacity() - before < ENCODED_REST {
            match before {
                // Not the old room again: after a long queue it would stay large.
                0 => self.encoded = BytesMut::with_capacity(ENCODED_BYTES),
                _ => self.encoded.reserve(ENCODED_BYTES),
            }
        }
        // Past its deadline it is not sent at all.
        let deadline_ms = remote_budget(deadline, now).unwrap_or(1);
        let mut requests = 0;
        for read in reads {
            if requests < MAX_GROUP {
                put_read(&mut self.encoded, id_at(id, requests), deadline_ms, read);
            }
            requests += 1;
        }
        let bytes = self.encoded.len() - before;
        let admitted = match requests {
            1..=MAX_GROUP => self.admit(requests, bytes),
            _ => Err(Error::internal(format!("a group of {requests} reads"))),
        };
        if let Err(error) = admitted {
            self.encoded.truncate(before);
            return Err(error);
        }
        self.slots.occupy(Waiter::new(id, deadline, false, caller(requests)));
        self.queue.push_back(Queued { id, requests, bytes, request: None });
        Ok(id)
    }

    /// Counts requests into the queue, if they fit.
    fn admit(&mut self, requests: usize, bytes: usize) -> Result<()> {
        if bytes > MAX_FRAME_BYTES {
            return Err(Error::invalid(format!(
                "the request takes {bytes} bytes, more than the {MAX_FRAME_BYTES} that fit in a frame; split it"
            )));
        }
        if self.queued + requests > self.max_queued || self.queued_bytes + bytes > self.max_queued_bytes {
            return Err(Error::new(
                ErrorCode::Overloaded,
                format!("{} requests wait for this node already", self.queued),
            ));
        }
        self.queued += requests;
        self.queued_bytes += bytes;
        Ok(())
    }

    /// Whether the transport would find something to send.
    pub(super) fn sendable(&self) -> bool {
        !self.queue.is_empty() && self.in_flight < self.window.size()
    }

    /// Takes what may be sent now as one frame: bounded by operations and by bytes, and by the window, which the last
    /// group may exceed by its own size.
    pub(super) fn take_frame(&mut self, now: Instant) -> Option<Bytes> {
        if !self.sendable() {
            return None;
        }
        let room = (self.window.size() - self.in_flight).min(MAX_FRAME_OPS);
        let mut frame = BytesMut::new();
        // `run`: bytes of encoded reads that go, one after the other.
        let (mut requests, mut bytes, mut run) = (0, 0, 0);
        while requests < room {
            let fits = |front: &Queued| {
                bytes + front.bytes <= MAX_FRAME_BYTES && requests + front.requests <= MAX_FRAME_OPS
            };
            if !self.queue.front().is_some_and(fits) {
                break;
            }
            let Some(queued) = self.queue.pop_front() else { break };
            self.queued -= queued.requests;
            self.queued_bytes -= queued.bytes;
            // No waiter: the caller has gone. Past its deadline: the sweeper says so, and it was certainly not sent.
            let waiter = self.slots.get_mut(queued.id);
            let going =
                waiter.and_then(|waiter| Some((remote_budget(waiter.deadline, now)?, &mut waiter.sent)));
            let Some((budget, sent)) = going else {
                if queued.request.is_none() {
                    self.move_run(&mut frame, run);
                    run = 0;
                    self.encoded.advance(queued.bytes);
                }
                continue;
            };
            *sent = Some(self.sent);
            self.sent += queued.requests as u64;
            self.in_flight += queued.requests;
            requests += queued.requests;
            bytes += queued.bytes;
            match queued.request {
                None => run += queued.bytes,
                Some(mut request) => {
                    self.move_run(&mut frame, run);
                    run = 0;
                    request.deadline_ms = budget;
                    put_request(&mut frame, &request);
                }
            }
        }
        self.move_run(&mut frame, run);
        (!frame.is_empty()).then(|| frame.freeze())
    }

    /// Appends the first `run` bytes of the encoded reads to the frame; a frame of nothing else is not copied.
    fn move_run(&mut self, frame: &mut BytesMut, run: usize) {
        if run == 0 {
            return;
        }
        let reads = self.encoded.split_to(run);
        if frame.is_empty() {
            *frame = reads;
        } else {
            frame.extend_from_slice(&reads);
        }
    }

    /// Matches a frame of replies with their waiters. Replies that nobody waits for are dropped.
    pub(super) fn complete(&mut self, mut replies: Replies, deliveries: &mut Deliveries) {
        self.failures = 0;
        while let Some((id, at)) = replies.next_at() {
            let limited = !self.queue.is_empty() || self.in_flight >= self.window.size();
            let frame = replies.frame();
            let code = ReplyRef::new(frame, at, 0).error_code();
            let Some(ordinal) = self.slots.answer(id, frame, at, deliveries) else { continue };
            self.in_flight -= 1;
            match code {
                Some(code) if congested(code) => self.window.on_congestion(ordinal, self.sent),
                _ => self.window.on_success(limited),
            }
        }
    }

    /// Frees the slot of a caller that has gone away.
    pub(super) fn forget(&mut self, id: u64) {
        self.remove(id);
    }

    /// Ends the wait of everyone whose deadline has passed, and sets when to look again: never if nobody waits and
    /// nobody called since the last look.
    pub(super) fn sweep(&mut self, now: Instant, deliveries: &mut Deliveries) {
        let generation = self.slots.generation();
        let mut next = (self.swept_generation != generation).then_some(now + SWEEPER_LINGERS);
        self.swept_generation = generation;
        let mut late = Vec::new();
        for waiter in self.slots.iter() {
            if waiter.deadline > now {
                next = Some(next.map_or(waiter.deadline, |next: Instant| next.min(waiter.deadline)));
            } else {
                late.push(waiter.id);
            }
        }
        for id in late {
            let Some(waiter) = self.remove(id) else { continue };
            if let Some(sent) = waiter.sent {
                self.window.on_congestion(sent, self.sent);
            }
            let error = if waiter.writes && waiter.sent.is_some() {
                // R4: it is under way; only the peer knows.
                Error::new(ErrorCode::OutcomeUnknown, "the node did not answer before the deadline")
            } else {
                Error::new(ErrorCode::DeadlineExceeded, "the deadline passed before the node answered")
            };
            deliveries.push(waiter.fail(error));
        }
        self.next_sweep = next;
    }

    /// The stream is lost: everyone who waits is told what that means for him.
    pub(super) fn fail_all(&mut self, reason: &str, deliveries: &mut Deliveries) {
        self.queue.clear();
        self.encoded.clear();
        self.queued = 0;
        self.queued_bytes = 0;
        let ids: Vec<u64> = self.slots.iter().map(|waiter| waiter.id).collect();
        for waiter in ids.into_iter().filter_map(|id| self.remove(id)) {
            let error = if waiter.writes && waiter.sent.is_some() {
                Error::new(
                    ErrorCode::OutcomeUnknown,
                    format!("the connection was lost after sending: {reason}"),
                )
            } else {
                Error::unavailable(reason)
            };
            deliveries.push(waiter.fail(error));
        }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            open: self.link == Link::Open,
            in_flight: self.in_flight,
            queued: self.queued,
            waiting: self.slots.waiting(),
            window: self.window.size(),
            sent: self.sent,
        }
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.slots.remove(id)?;
        self.in_flight -= waiter.in_flight();
        Some(waiter)
    }
}

/// Requests that may wait for a stream.
pub(super) fn max_queued(options: &ConnectionOptions) -> usize {
    options.queue_requests.clamp(1, (1 << (SLOT_BITS - 1)) - 1)
}

/// Whether a lost answer to this leaves open what happened (R4).
pub(super) const fn writes(op: &proto::request::Op) -> bool {
    matches!(op, proto::request::Op::Write(_) | proto::request::Op::ApplyInverse(_))
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
