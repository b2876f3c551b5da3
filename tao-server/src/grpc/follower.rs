//! `tao.v1.Tao`: what applications call.

use std::time::Duration;

use futures_util::future::join_all;
use tao_leader_follower::follower::FollowerHandle;
use tao_schema::Result;
use tao_schema::ops::{ReadReply, ReadRequest, WriteRequest};
use tao_schema::wire::envelope::{Incoming, ReplyBody, RequestOp, check_frame, decode_request, encode_reply};
use tao_schema::wire::proto;
use tao_schema::wire::proto::tao_server::TaoServer;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::{ReplyFrames, RequestHandler};
use super::pipelined::{Pipelined, ReplyMessages, over_messages};
use super::size::{fitting_read, fitting_together};
use super::{Metadata, ServiceLimits, only_between_nodes};

/// The application's service of a follower.
#[derive(Clone)]
pub struct FollowerService {
    follower: FollowerHandle,
    metadata: Metadata,
    limits: ServiceLimits,
}

impl FollowerService {
    /// Serves `follower`.
    pub fn new(follower: FollowerHandle, metadata: Metadata, limits: ServiceLimits) -> Self {
        Self { follower, metadata, limits }
    }

    /// The gRPC service, for messages of at most `max_bytes`.
    pub fn into_service(self, max_bytes: usize) -> Pipelined<TaoServer<Self>, Self> {
        let (handler, options) = (self.clone(), self.limits.stream());
        Pipelined::new(TaoServer::new(self).max_decoding_message_size(max_bytes), handler, options, max_bytes)
    }

    async fn answer_read(&self, read: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        match self.follower.try_read(&read) {
            Some(answer) => answer,
            None => self.follower.read(read, deadline).await,
        }
    }
}

impl RequestHandler for FollowerService {
    fn prepare(&self, together: &[Incoming]) {
        self.follower.expect(together.iter().filter_map(|incoming| match &incoming.op {
            Ok(RequestOp::Read(read)) => Some(&read.op),
            _ => None,
        }));
    }

    fn answer_now(&self, id: u64, op: &RequestOp, replies: &mut ReplyFrames) -> bool {
        let RequestOp::Read(read) = op else { return false };
        match self.follower.try_show(read, |reply| replies.show(id, reply)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                replies.put(id, Err(error));
                true
            }
            None => false,
        }
    }

    async fn answer(&self, op: RequestOp, deadline: Instant) -> Result<ReplyBody> {
        match op {
            RequestOp::Read(read) => Ok(ReplyBody::Read(self.follower.read(read, deadline).await?)),
            RequestOp::Write(write) => {
                let reply = self.follower.write_to_its_end(write, deadline).await?;
                Ok(ReplyBody::Write { reply, changes: Vec::new() })
            }
            RequestOp::Fill(_) => Err(only_between_nodes("fill")),
            RequestOp::ApplyInverse(_) => Err(only_between_nodes("apply_inverse")),
        }
    }
}

/// Time that the caller of a unary call still waits, from gRPC's own deadline header.
fn grpc_timeout<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value = digits.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3_600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[tonic::async_trait]
impl proto::tao_server::Tao for FollowerService {
    type PipelineStream = ReplyMessages;

    async fn read(
        &self,
        request: Request<proto::ReadRequest>,
    ) -> std::result::Result<Response<proto::ReadReply>, Status> {
        let _counted = self.limits.enter()?;
        let deadline = self.limits.deadline(grpc_timeout(&request));
        let read = ReadRequest::try_from(request.into_inner())?;
        Ok(Response::new(fitting_read(self.answer_read(read, deadline).await?.into())?))
    }

    async fn write(
        &self,
        request: Request<proto::WriteRequest>,
    ) -> std::result::Result<Response<proto::WriteReply>, Status> {
        let _counted = self.limits.enter()?;
        let deadline = self.limits.deadline(grpc_timeout(&request));
        let write = WriteRequest::try_from(request.into_inner())?;
        Ok(Response::new(self.follower.write(write, deadline).await?.into()))
    }

    async fn batch(
        &self,
        request: Request<proto::Frame>,
    ) -> std::result::Result<Response<proto::ReplyFrame>, Status> {
        let _counted = self.limits.enter()?;
        let frame = request.into_inner();
        check_frame(&frame)?;
        let answers = frame.request.into_iter().map(|request| async move {
            let Incoming { id, deadline, op } = decode_request(request);
            let result = match op {
                Ok(RequestOp::Read(read)) => {
                    self.answer_read(read, self.limits.deadline(deadline)).await.map(ReplyBody::Read)
                }
                // This call may be cancelled, the write not.
                Ok(RequestOp::Write(write)) => {
                    let reply = self.follower.write(write, self.limits.deadline(deadline)).await;
                    reply.map(|reply| ReplyBody::Write { reply, changes: Vec::new() })
                }
                Ok(op) => self.answer(op, self.limits.deadline(deadline)).await,
                Err(error) => Err(error),
            };
            encode_reply(id, result)
        });
        Ok(Response::new(proto::ReplyFrame { reply: fitting_together(join_all(answers).await) }))
    }

    async fn pipeline(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> std::result::Result<Response<Self::PipelineStream>, Status> {
        Ok(Response::new(over_messages(self.clone(), request.into_inner(), self.limits.stream())))
    }

    async fn get_schema(
        &self,
        _request: Request<proto::GetSchemaRequest>,
    ) -> std::result::Result<Response<proto::GetSchemaReply>, Status> {
        Ok(Response::new(self.metadata.schema()))
    }

    async fn get_topology(
        &self,
        request: Request<proto::GetTopologyRequest>,
    ) -> std::result::Result<Response<proto::GetTopologyReply>, Status> {
        Ok(Response::new(self.metadata.topology(request.into_inner().newer_than).await))
    }
}
