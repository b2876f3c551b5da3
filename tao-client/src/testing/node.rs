//! A node that answers as it is told and remembers what it was asked.

use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::wire::proto;
use tao_schema::wire::proto::reply::Result as ReplyResult;
use tao_schema::wire::proto::tao_server::Tao;
use tao_schema::{Error, ErrorCode};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// What a fake node does with one request.
pub enum Reaction {
    /// Answers in the reply frame of the request's frame.
    Reply(ReplyResult),
    /// Says nothing, until [`FakeNode::reply`].
    Hold,
}

type Handler = dyn Fn(&proto::Request) -> Reaction + Send + Sync;
type Replies = mpsc::UnboundedSender<Result<proto::ReplyFrame, Status>>;

/// A node made of a function. Clones are the same node.
#[derive(Clone)]
pub struct FakeNode(Arc<Inner>);

struct Inner {
    name: String,
    handler: Box<Handler>,
    schema: Mutex<String>,
    topology: Mutex<(u64, String)>,
    frames: watch::Sender<Vec<proto::Frame>>,
    /// Of the latest stream.
    replies: Mutex<Option<Replies>>,
}

impl Reaction {
    /// A typed error.
    pub fn error(code: ErrorCode) -> Self {
        Self::Reply(ReplyResult::Error(Error::new(code, "told to fail").into()))
    }

    /// A count as the answer of a read, at position (0, 1, `seq`).
    pub fn count(count: u64, seq: u64) -> Self {
        Self::Reply(ReplyResult::Read(proto::ReadReply {
            position: Some(proto::Position { shard: 0, epoch: 1, seq }),
            result: Some(proto::read_reply::Result::Count(proto::CountResult { count, version: seq })),
            ..Default::default()
        }))
    }
}

impl FakeNode {
    /// A node that does what `handler` says.
    pub fn new(name: &str, handler: impl Fn(&proto::Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            handler: Box::new(handler),
            schema: Mutex::default(),
            topology: Mutex::default(),
            frames: watch::Sender::default(),
            replies: Mutex::default(),
        }))
    }

    /// Sets the graph schema that it serves.
    pub fn set_schema(&self, toml: &str) {
        toml.clone_into(&mut self.0.schema.lock());
    }

    /// Sets the topology that it serves.
    pub fn set_topology(&self, version: u64, toml: &str) {
        *self.0.topology.lock() = (version, toml.to_owned());
    }

    /// Every frame received so far.
    pub fn frames(&self) -> Vec<proto::Frame> {
        self.0.frames.borrow().clone()
    }

    /// Every request received so far.
    pub fn requests(&self) -> Vec<proto::Request> {
        self.frames().into_iter().flat_map(|frame| frame.request).collect()
    }

    /// Waits until it has received `count` requests, and gives them all.
    pub async fn received(&self, count: usize) -> Vec<proto::Request> {
        let mut frames = self.0.frames.subscribe();
        let enough = |frames: &Vec<proto::Frame>| {
            frames.iter().map(|frame| frame.request.len()).sum::<usize>() >= count
        };
        // The sender lives as long as the node, which we hold.
        let _ = frames.wait_for(enough).await;
        self.requests()
    }

    /// Answers held requests on the latest stream, in one frame.
    pub fn reply(&self, replies: Vec<(u64, ReplyResult)>) {
        let reply =
            replies.into_iter().map(|(id, result)| proto::Reply { id, result: Some(result) }).collect();
        if let Some(stream) = &*self.0.replies.lock() {
            let _ = stream.send(Ok(proto::ReplyFrame { reply }));
        }
    }

    fn react(&self, frame: proto::Frame) -> proto::ReplyFrame {
        let reply = frame
            .request
            .iter()
            .filter_map(|request| match (self.0.handler)(request) {
                Reaction::Reply(result) => Some(proto::Reply { id: request.id, result: Some(result) }),
                Reaction::Hold => None,
            })
            .collect();
        self.0.frames.send_modify(|frames| frames.push(frame));
        proto::ReplyFrame { reply }
    }

    fn one(&self, op: proto::request::Op) -> Result<ReplyResult, Status> {
        let frame = proto::Frame { request: vec![proto::Request { id: 1, deadline_ms: 0, op: Some(op) }] };
        let reply = self.react(frame).reply.pop().and_then(|reply| reply.result);
        reply.ok_or_else(|| Status::internal("held requests need the pipeline"))
    }
}

#[tonic::async_trait]
impl Tao for FakeNode {
    async fn read(&self, request: Request<proto::ReadRequest>) -> Result<Response<proto::ReadReply>, Status> {
        match self.one(proto::request::Op::Read(request.into_inner()))? {
            ReplyResult::Read(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("no answer to a read")),
        }
    }

    async fn write(
        &self,
        request: Request<proto::WriteRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        match self.one(proto::request::Op::Write(request.into_inner()))? {
            ReplyResult::Write(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("no answer to a write")),
        }
    }

    async fn batch(&self, request: Request<proto::Frame>) -> Result<Response<proto::ReplyFrame>, Status> {
        Ok(Response::new(self.react(request.into_inner())))
    }

    type PipelineStream = UnboundedReceiverStream<Result<proto::ReplyFrame, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (replies, stream) = mpsc::unbounded_channel();
        *self.0.replies.lock() = Some(replies.clone());
        let node = self.clone();
        let mut frames = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let answer = node.react(frame);
                if !answer.reply.is_empty() && replies.send(Ok(answer)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }

    async fn get_schema(
        &self,
        _: Request<proto::GetSchemaRequest>,
    ) -> Result<Response<proto::GetSchemaReply>, Status> {
        Ok(Response::new(proto::GetSchemaReply { toml: self.0.schema.lock().clone() }))
    }

    async fn get_topology(
        &self,
        _: Request<proto::GetTopologyRequest>,
    ) -> Result<Response<proto::GetTopologyReply>, Status> {
        let (version, toml) = self.0.topology.lock().clone();
        Ok(Response::new(proto::GetTopologyReply { version, toml, node: self.0.name.clone() }))
    }
}
