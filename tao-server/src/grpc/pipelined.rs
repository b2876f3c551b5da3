//! [`Pipelined`]: a service whose pipelined streams are read and written as bytes.
//!
//! Replies are the messages of the response's body as they were put together: through tonic's encoder each was copied once more,
//! which took a sixth of a follower's time when it answered lists.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::Empty;
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame;
use prost::Message;
use tao_schema::wire::frames::FrameCodec;
use tao_schema::wire::proto;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::{Replies, RequestHandler, StreamOptions, run};
use super::reply_frames::frames_of;

/// Serves `Pipeline` with [`FrameCodec`] in place of the generated messages, and leaves everything else to `inner`. The
/// bytes on the wire are the same.
#[derive(Clone)]
pub struct Pipelined<S, H> {
    inner: S,
    handler: H,
    options: StreamOptions,
    max_bytes: usize,
}

/// What the generated service's own `Pipeline` returns.
pub type ReplyMessages = Pin<Box<dyn Stream<Item = Result<proto::ReplyFrame, Status>> + Send>>;

impl<S, H: RequestHandler> Pipelined<S, H> {
    /// In front of `inner`, for frames of at most `max_bytes`.
    pub(super) const fn new(inner: S, handler: H, options: StreamOptions, max_bytes: usize) -> Self {
        Self { inner, handler, options, max_bytes }
    }
}

impl<S: NamedService, H> NamedService for Pipelined<S, H> {
    const NAME: &'static str = S::NAME;
}

impl<S, H> Service<http::Request<Body>> for Pipelined<S, H>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + NamedService,
    S::Future: Send + 'static,
    H: RequestHandler,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(S::NAME));
        if method != Some("/Pipeline") {
            return Box::pin(self.inner.call(request));
        }
        let (handler, options) = (self.handler.clone(), self.options.clone());
        let mut grpc = Grpc::new(FrameCodec).max_decoding_message_size(self.max_bytes);
        Box::pin(async move {
            let mut accepted = None;
            let response = grpc.streaming(Accept { stream: &mut accepted }, request).await;
            let Some(inbound) = accepted else { return Ok(response) };
            let replies = run(handler, inbound, options);
            Ok(response.map(|_| Body::new(Messages { replies, ended: false })))
        })
    }
}

/// Takes the stream of a request that tonic found to be in order, and leaves the replies to [`Messages`].
struct Accept<'a> {
    stream: &'a mut Option<Streaming<Bytes>>,
}

impl StreamingService<Bytes> for Accept<'_> {
    type Response = Bytes;
    type ResponseStream = Empty<Result<Bytes, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        *self.stream = Some(request.into_inner());
        std::future::ready(Ok(Response::new(stream::empty())))
    }
}

/// The body of a response: reply frames as they are, then the status.
struct Messages<H, S> {
    replies: Replies<H, S>,
    ended: bool,
}

impl<H: RequestHandler, S> http_body::Body for Messages<H, S>
where
    S: Stream<Item = Result<Bytes, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match ready!(self.replies.poll_next_unpin(cx)) {
            Some(Ok(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The same over generated messages, which the generated trait wants: for whoever serves it without [`Pipelined`].
pub(super) fn over_messages<H: RequestHandler>(
    handler: H,
    inbound: Streaming<proto::Frame>,
    options: StreamOptions,
) -> ReplyMessages {
    let frames = inbound.map(|frame| frame.map(|frame| frame.encode_to_vec().into()));
    let decoded =
        |frame: Bytes| proto::ReplyFrame::decode(frame).map_err(|error| Status::internal(error.to_string()));
    let messages = move |chunk: Result<Bytes, Status>| match chunk {
        Ok(chunk) => stream::iter(frames_of(chunk).map(decoded).collect::<Vec<_>>()),
        Err(status) => stream::iter(vec![Err(status)]),
    };
    Box::pin(run(handler, frames, options).flat_map(messages))
}
