//! The life of one stream: connect, carry frames both ways, and tell everyone when it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::wire::frames::{FrameCodec, Replies, replies};
use tao_schema::{Error, Result};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};

use super::dial::{dial, root_cause};
use super::slots::Deliveries;
use super::state::{Link, State};
use super::{ConnectionOptions, Service};

/// What the callers, the stream and the sweeper of one connection share.
pub(super) struct Shared {
    pub(super) address: Arc<str>,
    pub(super) service: Service,
    pub(super) options: Arc<ConnectionOptions>,
    pub(super) state: Mutex<State>,
    /// Wakes the sweeper for a deadline that is earlier than the one it sleeps for.
    pub(super) earlier_deadline: Notify,
}

/// Tells every waiter when the link ends, however it ends: a waiter is always woken.
struct LinkGuard {
    shared: Arc<Shared>,
    stream: u64,
    reason: String,
    /// The peer was heard on this stream: the next attempt need not wait.
    worked: bool,
}

/// What the transport sends: polled by it, it takes from the queue whatever waits there and makes one frame of it.
struct FrameStream {
    shared: Arc<Shared>,
    stream: u64,
    yielded: bool,
}

/// Runs one stream until it ends.
pub(super) async fn run(shared: Arc<Shared>, stream: u64) {
    let mut guard = LinkGuard {
        shared: shared.clone(),
        stream,
        reason: "the connection was given up".into(),
        worked: false,
    };
    let mut frames = match open(&shared, stream).await {
        Ok(frames) => frames,
        Err(error) => {
            guard.reason = error.message;
            return;
        }
    };
    {
        let mut state = shared.state.lock();
        if state.stream == stream && state.link == Link::Connecting {
            state.link = Link::Open;
        }
    }
    let mut deliveries = Deliveries::new();
    loop {
        match frames.message().await.map(|frame| frame.map(replies)) {
            Ok(Some(Ok(replies))) => {
                guard.worked = true;
                shared.complete(replies, &mut deliveries);
            }
            Ok(Some(Err(error))) => {
                guard.reason = format!("the stream to {} broke: {}", shared.address, error.message);
                return;
            }
            Ok(None) => {
                guard.reason = format!("{} closed the stream", shared.address);
                return;
            }
            Err(status) => {
                guard.reason = format!("the stream to {} broke: {}", shared.address, root_cause(&status));
                return;
            }
        }
    }
}

async fn open(shared: &Arc<Shared>, stream: u64) -> Result<Streaming<Bytes>> {
    let options = &shared.options;
    let channel = dial(&shared.address, options).await?;
    let frames = FrameStream { shared: shared.clone(), stream, yielded: false };
    let path = match shared.service {
        Service::Tao => "/tao.v1.Tao/Pipeline",
        Service::Peer => "/tao.v1.Peer/Pipeline",
    };
    // As the generated clients do, but frames go through as bytes.
    let opening = async {
        let mut grpc = Grpc::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready().await.map_err(|error| Status::unavailable(root_cause(&error)))?;
        grpc.streaming(Request::new(frames), PathAndQuery::from_static(path), FrameCodec).await
    };
    match tokio::time::timeout(options.connect_timeout, opening).await {
        Ok(Ok(replies)) => Ok(replies.into_inner()),
        Ok(Err(status)) => {
            Err(Error::unavailable(format!("{} refused the stream: {}", shared.address, root_cause(&status))))
        }
        Err(_) => Err(Error::unavailable(format!("{} did not open the stream in time", shared.address))),
    }
}

/// Ends the waits whose deadlines pass. One sweeper for all callers of a connection, and one timer for all of them: a
/// timer for each call would cost more than the call's own work. It ends when nobody waits.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let mut deliveries = Deliveries::new();
    loop {
        let Some(next) = shared.state.lock().next_sweep else { return };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                shared.wake_writer_after(|state| state.sweep(Instant::now(), &mut deliveries));
                deliver(&mut deliveries);
            }
            // A call with an earlier deadline has set `next_sweep`.
            () = shared.earlier_deadline.notified() => {}
        }
    }
}

fn deliver(deliveries: &mut Deliveries) {
    for delivery in deliveries.drain(..) {
        delivery.deliver();
    }
}

impl Shared {
    /// Delivers one frame: one lock for all its replies.
    fn complete(&self, replies: Replies, deliveries: &mut Deliveries) {
        self.wake_writer_after(|state| state.complete(replies, deliveries));
        deliver(deliveries);
    }

    /// Does something that may make room in the window, and has the transport use it.
    pub(super) fn wake_writer_after(&self, change: impl FnOnce(&mut State)) {
        let writer = {
            let mut state = self.state.lock();
            change(&mut state);
            if state.sendable() { state.writer.take() } else { None }
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// When to try again after `failures` failed attempts in a row: doubled each time, bounded, half of it random so
    /// that clients of a restarted node do not come back as one.
    fn backoff(&self, failures: u32) -> Duration {
        let options = &self.options;
        let full = options
            .backoff_start
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(options.backoff_max);
        full / 2 + full.mul_f64(rand::rng().random_range(0.0..0.5))
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        let mut deliveries = Deliveries::new();
        let writer = {
            let mut state = self.shared.state.lock();
            if state.stream != self.stream {
                return;
            }
            if state.link != Link::Closed {
                state.link = if self.worked {
                    Link::Idle
                } else {
                    state.failures = state.failures.saturating_add(1);
                    Link::Down(Instant::now() + self.shared.backoff(state.failures))
                };
            }
            // The transport may still hold the frame stream of this number: it must send nothing any more.
            state.stream += 1;
            state.fail_all(&self.reason, &mut deliveries);
            state.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        tracing::debug!(address = %self.shared.address, waiters = deliveries.len(), reason = %self.reason, "link ended");
        deliver(&mut deliveries);
    }
}

impl Stream for FrameStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        let mut state = this.shared.state.lock();
        if state.stream != this.stream {
            return Poll::Ready(None);
        }
        if !state.sendable() {
            this.yielded = false;
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !this.yielded {
            // Let the tasks that are ready to run queue their requests first: when many callers were woken by one
            // frame of replies, their next requests then share a frame. Costs one turn of the scheduler; when no
            // task is ready, that is nothing: no timer is involved.
            this.yielded = true;
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match state.take_frame(Instant::now()) {
            Some(frame) => Poll::Ready(Some(frame)),
            None => {
                this.yielded = false;
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
