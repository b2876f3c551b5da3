//! Frames of many requests and replies, each with its own id and its own outcome.

use std::sync::Arc;
use std::time::Duration;

use super::convert::{present, unknown, write_reply_from_proto, write_reply_to_proto};
use super::proto::{self, reply, request};
use crate::error::{Error, Result};
use crate::limits::{MAX_DEADLINE, MAX_FRAME_OPS};
use crate::ops::{FillReply, FillRequest, InverseState, ReadReply, ReadRequest, WriteReply, WriteRequest};
use crate::rows::ShardChange;

/// What one request of a frame asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum RequestOp {
    /// A read.
    Read(ReadRequest),
    /// A write.
    Write(WriteRequest),
    /// Between nodes: rows for a cache.
    Fill(FillRequest),
    /// Between leaders: the other sides of association pairs; answered like a write.
    ApplyInverse(Vec<InverseState>),
}

impl RequestOp {
    /// Whether only nodes of the cluster may ask this: the public service refuses it.
    pub const fn internal(&self) -> bool {
        matches!(self, Self::Fill(_) | Self::ApplyInverse(_))
    }

    /// Whether a lost answer leaves open what happened (R4).
    pub const fn writes(&self) -> bool {
        matches!(self, Self::Write(_) | Self::ApplyInverse(_))
    }
}

/// What one reply of a frame says if all went well.
#[derive(Clone, PartialEq, Debug)]
pub enum ReplyBody {
    /// Of a read.
    Read(ReadReply),
    /// Of a write or of applied inverses.
    Write {
        /// What happened.
        reply: WriteReply,
        /// What changed, for the caches on the way back (R18a); leave it out in replies to clients.
        changes: Vec<Arc<ShardChange>>,
    },
    /// Of a fill.
    Fill(FillReply),
}

/// A request out of a frame. The id is known even if the rest has no meaning, so that every request gets its reply.
#[derive(Clone, PartialEq, Debug)]
pub struct Incoming {
    /// The caller's id: the reply carries it.
    pub id: u64,
    /// How long the caller still waits; `None`: the server's default. At most [`MAX_DEADLINE`].
    pub deadline: Option<Duration>,
    /// What it asks for, or why that can't be understood.
    pub op: Result<RequestOp>,
}

/// Refuses a frame with too many requests, before any of them is looked at.
///
/// # Errors
/// [`crate::ErrorCode::InvalidArgument`] above [`MAX_FRAME_OPS`].
pub fn check_frame(frame: &proto::Frame) -> Result<()> {
    let requests = frame.request.len();
    if requests <= MAX_FRAME_OPS {
        return Ok(());
    }
    Err(Error::invalid(format!("the frame has {requests} requests; at most {MAX_FRAME_OPS}: split it")))
}

/// A request for a frame. A deadline below a millisecond counts as one, because 0 means the server's default.
pub fn encode_request(id: u64, deadline: Option<Duration>, op: RequestOp) -> proto::Request {
    let op = match op {
        RequestOp::Read(read) => request::Op::Read(read.into()),
        RequestOp::Write(write) => request::Op::Write(write.into()),
        RequestOp::Fill(fill) => request::Op::Fill(fill.into()),
        RequestOp::ApplyInverse(inverses) => request::Op::ApplyInverse(proto::ApplyInverseRequest {
            inverse: inverses.into_iter().map(Into::into).collect(),
        }),
    };
    let deadline_ms = deadline.map_or(0, |wait| wait.min(MAX_DEADLINE).as_millis().max(1) as u32);
    proto::Request { id, deadline_ms, op: Some(op) }
}

/// A request out of a frame.
pub fn decode_request(request: proto::Request) -> Incoming {
    let deadline = Duration::from_millis(request.deadline_ms.into()).min(MAX_DEADLINE);
    Incoming {
        id: request.id,
        deadline: (request.deadline_ms != 0).then_some(deadline),
        op: present(request.op, "op of Request").and_then(decode_op),
    }
}

fn decode_op(op: request::Op) -> Result<RequestOp> {
    Ok(match op {
        request::Op::Read(read) => RequestOp::Read(read.try_into()?),
        request::Op::Write(write) => RequestOp::Write(write.try_into()?),
        request::Op::Fill(fill) => RequestOp::Fill(fill.try_into()?),
        request::Op::ApplyInverse(apply) => {
            let number = apply.inverse.len();
            if number > MAX_FRAME_OPS {
                return Err(Error::invalid(format!(
                    "{number} inverses in one request; at most {MAX_FRAME_OPS}"
                )));
            }
            RequestOp::ApplyInverse(
                apply.inverse.into_iter().map(InverseState::try_from).collect::<Result<_>>()?,
            )
        }
    })
}

/// A reply for a frame.
pub fn encode_reply(id: u64, result: Result<ReplyBody>) -> proto::Reply {
    let result = match result {
        Ok(ReplyBody::Read(read)) => reply::Result::Read(read.into()),
        Ok(ReplyBody::Write { reply, changes }) => reply::Result::Write(write_reply_to_proto(reply, changes)),
        Ok(ReplyBody::Fill(fill)) => reply::Result::Fill(fill.into()),
        Err(error) => reply::Result::Error(error.into()),
    };
    proto::Reply { id, result: Some(result) }
}

/// A reply out of a frame: the id of its request, and what the other side says, or why that can't be understood.
///
/// A reply without a known result may be that of a write, which may have happened: its error is
/// [`crate::ErrorCode::OutcomeUnknown`] (R4).
pub fn decode_reply(reply: proto::Reply) -> (u64, Result<ReplyBody>) {
    let body = present(reply.result, "result of Reply").map_err(unknown).and_then(|result| match result {
        reply::Result::Error(error) => Err(error.into()),
        reply::Result::Read(read) => Ok(ReplyBody::Read(read.try_into()?)),
        reply::Result::Write(write) => {
            let (reply, changes) = write_reply_from_proto(write)?;
            Ok(ReplyBody::Write { reply, changes: changes.into_iter().map(Arc::new).collect() })
        }
        reply::Result::Fill(fill) => Ok(ReplyBody::Fill(fill.try_into()?)),
    });
    (reply.id, body)
}
