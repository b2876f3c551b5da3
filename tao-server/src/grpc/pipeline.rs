//! The server's side of a pipelined stream: frames in, replies out as they are ready.
//!
//! What memory can answer is answered inline, one reply frame for a request frame, without a task or a wake-up.
//! The rest runs in tasks of its own, bounded for each stream, and its replies share frames, too.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::limits::MAX_FRAME_OPS;
use tao_schema::wire::envelope::{Incoming, ReplyBody, RequestOp, check_frame, decode_request, encode_reply};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use super::size::{fitting, split};

/// Answers the requests of a stream.
pub trait RequestHandler: Clone + Send + Sync + 'static {
    /// Answers at once, if that needs no waiting.
    fn answer_now(&self, op: &RequestOp) -> Option<Result<ReplyBody>>;

    /// Answers by `deadline`. Never cancelled: runs to its end even if the stream is gone.
    fn answer(&self, op: RequestOp, deadline: Instant) -> impl Future<Output = Result<ReplyBody>> + Send;
}

/// Reply frames that may wait for a slow reader before its requests are no longer read.
const REPLY_FRAMES: usize = 16;

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

/// Runs a stream until its client ends it or the node drains.
pub fn run<H: RequestHandler>(
    handler: H,
    inbound: Streaming<proto::Frame>,
    options: StreamOptions,
) -> ReceiverStream<std::result::Result<proto::ReplyFrame, Status>> {
    let (frames, outbound) = mpsc::channel(REPLY_FRAMES);
    // As many replies can wait as requests can be under way, so that a finished task never waits to hand over.
    let (slow, slow_replies) = mpsc::channel(options.max_requests);
    tokio::spawn(collect(slow_replies, frames.clone()));
    tokio::spawn(read_frames(handler, inbound, frames, slow, options));
    ReceiverStream::new(outbound)
}

type FrameSender = mpsc::Sender<std::result::Result<proto::ReplyFrame, Status>>;

async fn read_frames<H: RequestHandler>(
    handler: H,
    mut inbound: Streaming<proto::Frame>,
    frames: FrameSender,
    slow: mpsc::Sender<proto::Reply>,
    options: StreamOptions,
) {
    let room = Arc::new(Semaphore::new(options.max_requests));
    // A drain waits for this loop, too: a request that was taken is counted before the loop ends.
    let _reading = options.calls.token();
    loop {
        let message = tokio::select! {
            biased;
            () = options.drain.cancelled() => return,
            message = inbound.message() => message,
        };
        let frame = match message {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(%status, "stream ended");
                return;
            }
        };
        if let Err(error) = check_frame(&frame) {
            let _gone = frames.send(Err(error.into())).await;
            return;
        }
        let mut ready = Vec::with_capacity(frame.request.len());
        for request in frame.request {
            let Incoming { id, deadline, op } = decode_request(request);
            let now = match &op {
                Ok(op) => handler.answer_now(op),
                Err(error) => Some(Err(error.clone())),
            };
            let (None, Ok(op)) = (&now, op) else {
                ready.extend(now.map(|result| fitting(encode_reply(id, result))));
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                ready.push(encode_reply(id, Err(overloaded(options.max_requests))));
                continue;
            };
            let (handler, slow) = (handler.clone(), slow.clone());
            let deadline = Instant::now() + deadline.unwrap_or(options.default_deadline);
            options.calls.spawn(async move {
                let result = handler.answer(op, deadline).await;
                // The client may be gone: then nobody waits for the reply, and what was written stays written.
                let _gone = slow.send(fitting(encode_reply(id, result))).await;
                drop(permit);
            });
        }
        if !ready.is_empty() && !send(&frames, ready).await {
            return;
        }
    }
}

/// Sends replies; false if the client is gone.
async fn send(frames: &FrameSender, replies: Vec<proto::Reply>) -> bool {
    for reply in split(replies) {
        if frames.send(Ok(proto::ReplyFrame { reply })).await.is_err() {
            return false;
        }
    }
    true
}

/// Puts whatever is ready into one frame.
async fn collect(mut replies: mpsc::Receiver<proto::Reply>, frames: FrameSender) {
    loop {
        let mut reply = Vec::new();
        if replies.recv_many(&mut reply, MAX_FRAME_OPS).await == 0 {
            return;
        }
        if !send(&frames, reply).await {
            return;
        }
    }
}

fn overloaded(most: usize) -> Error {
    let message =
        format!("{most} requests of this stream are under way; wait for replies, or open another stream");
    Error::new(ErrorCode::Overloaded, message)
}
