//! `tao.v1.Peer`: what a leader offers to followers and to other leaders.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use tao_leader_follower::leader::LeaderHandle;
use tao_leader_follower::ports::{ChangeStream, LeaderPeer, SubscriptionControl, WriteAnswer};
use tao_schema::Result;
use tao_schema::stream::{StreamMessage, Subscribe};
use tao_schema::wire::envelope::{ReplyBody, RequestOp};
use tao_schema::wire::proto;
use tao_schema::wire::proto::peer_server::PeerServer;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::{ReplyFrames, RequestHandler};
use super::pipelined::{Pipelined, ReplyMessages, over_messages};
use super::size::{split, streamable};
use super::{Metadata, ServiceLimits};

/// Messages of a change stream that may share a frame.
const STREAM_FRAME_MESSAGES: usize = 256;

/// The peers' service of a leader.
#[derive(Clone)]
pub struct LeaderService {
    leader: LeaderHandle,
    metadata: Metadata,
    limits: ServiceLimits,
}

impl LeaderService {
    /// Serves `leader`.
    pub fn new(leader: LeaderHandle, metadata: Metadata, limits: ServiceLimits) -> Self {
        Self { leader, metadata, limits }
    }

    /// The gRPC service, for messages of at most `max_bytes`.
    pub fn into_service(self, max_bytes: usize) -> Pipelined<PeerServer<Self>, Self> {
        let (handler, options) = (self.clone(), self.limits.stream());
        Pipelined::new(
            PeerServer::new(self).max_decoding_message_size(max_bytes),
            handler,
            options,
            max_bytes,
        )
    }
}

impl RequestHandler for LeaderService {
    fn answer_now(&self, _id: u64, _op: &RequestOp, _replies: &mut ReplyFrames) -> bool {
        false
    }

    async fn answer(&self, op: RequestOp, deadline: Instant) -> Result<ReplyBody> {
        let write = |WriteAnswer { reply, changes }| ReplyBody::Write { reply, changes };
        Ok(match op {
            RequestOp::Read(read) => ReplyBody::Read(self.leader.read(read, deadline).await?),
            RequestOp::Write(request) => write(self.leader.write(request, deadline).await?),
            RequestOp::Fill(fill) => ReplyBody::Fill(self.leader.fill(fill, deadline).await?),
            RequestOp::ApplyInverse(states) => write(self.leader.apply_inverse(states, deadline).await?),
        })
    }
}

#[tonic::async_trait]
impl proto::peer_server::Peer for LeaderService {
    type PipelineStream = ReplyMessages;
    type ChangesStream = Pin<Box<dyn Stream<Item = std::result::Result<proto::StreamFrame, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> std::result::Result<Response<Self::PipelineStream>, Status> {
        Ok(Response::new(over_messages(self.clone(), request.into_inner(), self.limits.stream())))
    }

    async fn changes(
        &self,
        request: Request<Streaming<proto::Subscribe>>,
    ) -> std::result::Result<Response<Self::ChangesStream>, Status> {
        let mut inbound = request.into_inner();
        let first = inbound
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the first message must name the follower"))?;
        let ChangeStream { control, messages } = self.leader.changes(&first.follower).await?;
        apply(&*control, first).await?;
        tokio::spawn(read_subscriptions(control, inbound));
        // Whatever is ready shares frames; an idle stream sends at once.
        let frames =
            messages.ready_chunks(STREAM_FRAME_MESSAGES).flat_map(|chunk| stream::iter(framed(chunk)));
        Ok(Response::new(Box::pin(frames)))
    }

    async fn get_topology(
        &self,
        request: Request<proto::GetTopologyRequest>,
    ) -> std::result::Result<Response<proto::GetTopologyReply>, Status> {
        Ok(Response::new(self.metadata.topology(request.into_inner().newer_than).await))
    }
}

/// Frames of messages that were ready together. With an error the stream ends: what was before it goes with it.
fn framed(messages: Vec<Result<StreamMessage>>) -> Vec<std::result::Result<proto::StreamFrame, Status>> {
    let messages: Result<Vec<_>> =
        messages.into_iter().map(|message| message.map(|message| streamable(message.into()))).collect();
    match messages {
        Ok(messages) => {
            split(messages).into_iter().map(|message| Ok(proto::StreamFrame { message })).collect()
        }
        Err(error) => vec![Err(error.into())],
    }
}

/// Follows the subscriber's wishes until it goes. Ending this also drops `control`, with which the stream ends.
async fn read_subscriptions(control: Arc<dyn SubscriptionControl>, mut inbound: Streaming<proto::Subscribe>) {
    while let Ok(Some(wish)) = inbound.message().await {
        if let Err(error) = apply(&*control, wish).await {
            tracing::warn!(%error, "subscription refused");
            return;
        }
    }
}

async fn apply(control: &dyn SubscriptionControl, wish: proto::Subscribe) -> Result<()> {
    let wish = Subscribe::try_from(wish)?;
    if !wish.remove.is_empty() {
        control.unsubscribe(wish.remove).await?;
    }
    if !wish.add.is_empty() {
        control.subscribe(wish.add).await?;
    }
    if wish.probe != 0 {
        control.probe(wish.probe).await?;
    }
    Ok(())
}
