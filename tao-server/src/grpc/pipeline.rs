//! The server's side of a pipelined stream: frames in, replies out as they are ready.
//!
//! The transport polls the stream of replies, which takes a frame and answers inline whatever memory can answer: one reply
//! frame for a request frame, without a task, a queue or a wake-up in between, and no frame is read while nobody takes
//! replies. The rest runs in tasks of its own, bounded for each stream, and its replies share frames, too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tao_schema::wire::envelope::{Incoming, ReplyBody, RequestOp};
use tao_schema::wire::frames::requests;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;

pub use super::reply_frames::ReplyFrames;
use super::reply_frames::encoded;

/// Requests of a frame that are looked at together.
const TOGETHER: usize = 64;

/// Answers the requests of a stream.
pub trait RequestHandler: Clone + Send + Sync + Unpin + 'static {
    /// Looks at requests that arrived together, before [`Self::answer_now`] is asked about each.
    fn prepare(&self, _together: &[Incoming]) {}

    /// Answers request `id` into `replies`, if that needs no waiting. Answers whether it did.
    fn answer_now(&self, id: u64, op: &RequestOp, replies: &mut ReplyFrames) -> bool;

    /// Answers by `deadline`. Never cancelled: runs to its end even if the stream is gone.
    fn answer(&self, op: RequestOp, deadline: Instant) -> impl Future<Output = Result<ReplyBody>> + Send;
}

/// How a stream is run.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Requests that may be under way at once.
    pub max_requests: usize,
    /// Deadline of a request that names none.
    pub default_deadline: Duration,
    /// When the node drains, the stream takes no more frames, answers what it took, and ends.
    pub drain: CancellationToken,
    /// Requests under way on all streams: a drain waits for them.
    pub calls: TaskTracker,
}

/// The reply frames of one stream, in chunks as [`ReplyFrames`] makes them. Ends when its client ends it, or the node drains, and all that was taken is answered.
pub struct Replies<H, S> {
    handler: H,
    /// `None`: no more frames are taken.
    reading: Option<Reading<S>>,
    slow: mpsc::Receiver<Bytes>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    room: Arc<Semaphore>,
    frames: ReplyFrames,
    /// A frame could not be read: what was answered before goes out, then this.
    broken: Option<Status>,
    /// Room for the requests of the frame that is being answered.
    together: Vec<Incoming>,
    options: StreamOptions,
}

struct Reading<S> {
    inbound: S,
    /// Where tasks put their replies: as many can wait as requests can be under way, so that a finished task never waits.
    slow: mpsc::Sender<Bytes>,
    /// A drain waits for the reading, too: a request that was taken is counted before it ends.
    _counted: TaskTrackerToken,
}

/// Runs a stream of request frames.
pub fn run<H: RequestHandler, S>(handler: H, inbound: S, options: StreamOptions) -> Replies<H, S> {
    let (sender, slow) = mpsc::channel(options.max_requests);
    Replies {
        handler,
        reading: Some(Reading { inbound, slow: sender, _counted: options.calls.token() }),
        slow,
        drained: Box::pin(options.drain.clone().cancelled_owned()),
        room: Arc::new(Semaphore::new(options.max_requests)),
        frames: ReplyFrames::default(),
        broken: None,
        together: Vec::new(),
        options,
    }
}

impl<H: RequestHandler, S> Stream for Replies<H, S>
where
    S: Stream<Item = std::result::Result<Bytes, Status>> + Unpin,
{
    type Item = std::result::Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(chunk) = this.frames.full() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            // All that is ready goes together.
            let waits = loop {
                match this.slow.poll_recv(cx) {
                    Poll::Ready(Some(reply)) => this.frames.put_encoded(&reply),
                    Poll::Ready(None) => break false,
                    Poll::Pending => break true,
                }
                if this.frames.has_full() {
                    break true;
                }
            };
            match this.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Err(error) = this.take(&frame) {
                        this.reading = None;
                        this.broken = Some(error.into());
                    }
                    // One frame for one. They share a chunk with those of the frames that have arrived, and wait for no other.
                    this.frames.close();
                }
                Poll::Ready(Some(Err(status))) => {
                    tracing::debug!(%status, "stream ended");
                    this.reading = None;
                }
                Poll::Ready(None) if this.reading.is_some() => this.reading = None,
                Poll::Ready(None) | Poll::Pending => match this.frames.rest() {
                    Some(chunk) => return Poll::Ready(Some(Ok(chunk))),
                    None => match this.broken.take() {
                        Some(status) => return Poll::Ready(Some(Err(status))),
                        None if waits => return Poll::Pending,
                        None => return Poll::Ready(None),
                    },
                },
            }
        }
    }
}

impl<H: RequestHandler, S> Replies<H, S>
where
    S: Stream<Item = std::result::Result<Bytes, Status>> + Unpin,
{
    /// The next frame; `None`: there will be none.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Bytes, Status>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        if self.drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Ready(ready!(Pin::new(&mut reading.inbound).poll_next(cx)))
    }

    /// Answers a frame, or has it answered.
    ///
    /// # Errors
    /// The frame can't be read: nobody knows which requests it has, so the stream ends.
    fn take(&mut self, frame: &Bytes) -> Result<()> {
        let mut requests = requests(frame)?;
        while !requests.is_empty() {
            let mut together = std::mem::take(&mut self.together);
            for incoming in requests.by_ref().take(TOGETHER) {
                together.push(incoming?);
            }
            self.handler.prepare(&together);
            for Incoming { id, deadline, op } in together.drain(..) {
                match op {
                    Ok(op) if self.handler.answer_now(id, &op, &mut self.frames) => {}
                    Ok(op) => self.start(id, deadline, op),
                    Err(error) => self.frames.put(id, Err(error)),
                }
            }
            self.together = together;
        }
        Ok(())
    }

    /// Has a request answered by a task.
    fn start(&mut self, id: u64, deadline: Option<Duration>, op: RequestOp) {
        let Some(reading) = &self.reading else { return };
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.frames.put(id, Err(overloaded(self.options.max_requests)));
            return;
        };
        let (handler, slow) = (self.handler.clone(), reading.slow.clone());
        let deadline = Instant::now() + deadline.unwrap_or(self.options.default_deadline);
        self.options.calls.spawn(async move {
            let result = handler.answer(op, deadline).await;
            // The client may be gone: then nobody waits for the reply, and what was written stays written.
            let _gone = slow.send(encoded(id, result)).await;
            drop(permit);
        });
    }
}

fn overloaded(most: usize) -> Error {
    let message =
        format!("{most} requests of this stream are under way; wait for replies, or open another stream");
    Error::new(ErrorCode::Overloaded, message)
}
