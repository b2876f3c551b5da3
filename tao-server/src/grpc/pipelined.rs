//! [`Pipelined`]: a service whose pipelined streams are read and written as bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use prost::Message;
use tao_schema::wire::frames::FrameCodec;
use tao_schema::wire::proto;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::{Replies, RequestHandler, StreamOptions, run};

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
        let streams = Streams { handler: self.handler.clone(), options: self.options.clone() };
        let mut grpc = Grpc::new(FrameCodec).max_decoding_message_size(self.max_bytes);
        Box::pin(async move { Ok(grpc.streaming(streams, request).await) })
    }
}

struct Streams<H> {
    handler: H,
    options: StreamOptions,
}

impl<H: RequestHandler> StreamingService<Bytes> for Streams<H> {
    type Response = Bytes;
    type ResponseStream = Replies<H, Streaming<Bytes>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let replies = run(self.handler.clone(), request.into_inner(), self.options.clone());
        std::future::ready(Ok(Response::new(replies)))
    }
}

/// The same over generated messages, which the generated trait wants: for whoever serves it without [`Pipelined`].
pub(super) fn over_messages<H: RequestHandler>(
    handler: H,
    inbound: Streaming<proto::Frame>,
    options: StreamOptions,
) -> ReplyMessages {
    let frames = inbound.map(|frame| frame.map(|frame| frame.encode_to_vec().into()));
    let decoded = |reply: Result<Bytes, Status>| {
        proto::ReplyFrame::decode(reply?).map_err(|error| Status::internal(error.to_string()))
    };
    Box::pin(run(handler, frames, options).map(decoded))
}
