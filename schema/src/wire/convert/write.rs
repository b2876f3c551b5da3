//! Writes.

use std::borrow::Borrow;
use std::time::Duration;

use super::{atype, edge, fields_to_clear, otype, positions, present, shard, unknown};
use crate::error::{Error, ErrorCode, Result};
use crate::fields::EncodedFields;
use crate::ids::{ObjectId, PrimaryTime, RequestId, Seq, Time};
use crate::limits::{MAX_ATOMIC_OPS, MAX_FIELDS, MAX_OBJECT_BYTES};
use crate::ops::{Effect, Outcome, WriteOp, WriteReply, WriteRequest};
use crate::planted::{Bug, planted};
use crate::rows::ShardChange;
use crate::wire::proto::{self, write_op::Op};

impl From<WriteRequest> for proto::WriteRequest {
    fn from(request: WriteRequest) -> Self {
        Self {
            request_id: request.id.0.to_be_bytes().to_vec(),
            age_ms: u64::try_from(request.age.as_millis()).unwrap_or(u64::MAX),
            op: request.ops.into_iter().map(Into::into).collect(),
            forwarded: request.forwarded,
        }
    }
}

impl TryFrom<proto::WriteRequest> for WriteRequest {
    type Error = Error;

    fn try_from(request: proto::WriteRequest) -> Result<Self> {
        // Before anything is built from it. `check_write` says the same of requests from this process.
        if request.op.len() > MAX_ATOMIC_OPS {
            let message =
                format!("op has {} entries; at most {MAX_ATOMIC_OPS}: split the write", request.op.len());
            return Err(Error::invalid(message));
        }
        let id: [u8; 16] = request.request_id.as_slice().try_into().map_err(|_| {
            let length = request.request_id.len();
            Error::invalid(format!("request_id has {length} bytes; it takes 16 random ones"))
        })?;
        Ok(Self {
            id: RequestId(u128::from_be_bytes(id)),
            age: Duration::from_millis(if planted(Bug::RetryAgeLostOnWire) { 0 } else { request.age_ms }),
            ops: request.op.into_iter().map(WriteOp::try_from).collect::<Result<_>>()?,
            forwarded: request.forwarded,
        })
    }
}

impl From<WriteOp> for proto::WriteOp {
    fn from(op: WriteOp) -> Self {
        let op = match op {
            WriteOp::ObjectAdd { id, shard, otype, fields } => Op::ObjectAdd(proto::ObjectAdd {
                id: id.map_or(0, |id| id.0),
                shard: shard.0.into(),
                otype: otype.0.into(),
                fields: Some(fields),
            }),
            WriteOp::ObjectUpdate { id, otype, set, clear, expected } => {
                Op::ObjectUpdate(proto::ObjectUpdate {
                    id: id.0,
                    otype: otype.0.into(),
                    set: Some(set),
                    clear: clear.into_iter().map(|id| id.0.into()).collect(),
                    expected_version: expected.map(|seq| seq.0),
                })
            }
            WriteOp::ObjectDelete { id, expected } => Op::ObjectDelete(proto::ObjectDelete {
                id: id.0,
                expected_version: expected.map(|seq| seq.0),
            }),
            WriteOp::AssocAdd { edge, time, fields, create_only, expected } => {
                Op::AssocAdd(proto::AssocAdd {
                    id1: edge.id1.0,
                    atype: edge.atype.0.into(),
                    id2: edge.id2.0,
                    time: time.0,
                    fields: Some(fields),
                    create_only,
                    expected_version: expected.map(|seq| seq.0),
                })
            }
            WriteOp::AssocDelete { edge, expected } => Op::AssocDelete(proto::AssocDelete {
                id1: edge.id1.0,
                atype: edge.atype.0.into(),
                id2: edge.id2.0,
                expected_version: expected.map(|seq| seq.0),
            }),
            WriteOp::AssocChangeType { edge, new_atype, expected } => {
                Op::AssocChangeType(proto::AssocChangeType {
                    id1: edge.id1.0,
                    atype: edge.atype.0.into(),
                    id2: edge.id2.0,
                    new_atype: new_atype.0.into(),
                    expected_version: expected.map(|seq| seq.0),
                })
            }
        };
        Self { op: Some(op) }
    }
}

impl TryFrom<proto::WriteOp> for WriteOp {
    type Error = Error;

    fn try_from(op: proto::WriteOp) -> Result<Self> {
        Ok(match present(op.op, "op of WriteOp")? {
            Op::ObjectAdd(add) => Self::ObjectAdd {
                id: (add.id != 0).then_some(ObjectId(add.id)),
                shard: shard(add.shard)?,
                otype: otype(add.otype)?,
                fields: stored_layout(add.fields)?,
            },
            Op::ObjectUpdate(update) => Self::ObjectUpdate {
                id: ObjectId(update.id),
                otype: otype(update.otype)?,
                set: stored_layout(update.set)?,
                clear: fields_to_clear(&update.clear)?,
                expected: update.expected_version.map(Seq),
            },
            Op::ObjectDelete(delete) => {
                Self::ObjectDelete { id: ObjectId(delete.id), expected: delete.expected_version.map(Seq) }
            }
            Op::AssocAdd(add) => Self::AssocAdd {
                edge: edge(add.id1, add.atype, add.id2)?,
                time: Time(add.time),
                fields: stored_layout(add.fields)?,
                create_only: add.create_only,
                expected: add.expected_version.map(Seq),
            },
            Op::AssocDelete(delete) => Self::AssocDelete {
                edge: edge(delete.id1, delete.atype, delete.id2)?,
                expected: delete.expected_version.map(Seq),
            },
            Op::AssocChangeType(change) => Self::AssocChangeType {
                edge: edge(change.id1, change.atype, change.id2)?,
                new_atype: atype(change.new_atype)?,
                expected: change.expected_version.map(Seq),
            },
        })
    }
}

/// Other encoders may order fields differently, or name one twice: brings them into the one layout that is stored, so
/// that equal fields are equal bytes. Ours come in it, and pass without a copy.
fn stored_layout(fields: Option<EncodedFields>) -> Result<EncodedFields> {
    let fields = fields.unwrap_or_default();
    // Before a step is made for each field: no type takes more.
    if fields.len() > MAX_OBJECT_BYTES {
        let message = format!("fields take {} bytes; at most {MAX_OBJECT_BYTES}: store less", fields.len());
        return Err(Error::invalid(message));
    }
    if fields.walk().all(|seen| seen.is_ok()) {
        return Ok(fields);
    }
    if fields.entries_at_most(MAX_FIELDS).is_none() {
        return Err(Error::invalid(format!("fields are damaged, or more than {MAX_FIELDS}")));
    }
    let decoded = fields.decode().map_err(|error| Error::invalid(error.message))?;
    Ok(decoded.encode())
}

impl From<Effect> for proto::Effect {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Created => Self::Created,
            Effect::Updated => Self::Updated,
            Effect::Deleted => Self::Deleted,
            Effect::Nothing => Self::Nothing,
        }
    }
}

impl TryFrom<proto::Effect> for Effect {
    type Error = Error;

    fn try_from(effect: proto::Effect) -> Result<Self> {
        match effect {
            proto::Effect::Created => Ok(Self::Created),
            proto::Effect::Updated => Ok(Self::Updated),
            proto::Effect::Deleted => Ok(Self::Deleted),
            proto::Effect::Nothing => Ok(Self::Nothing),
            proto::Effect::Unspecified => Err(Error::new(ErrorCode::Corrupt, "effect is unspecified")),
        }
    }
}

impl From<Outcome> for proto::WriteOutcome {
    fn from(outcome: Outcome) -> Self {
        Self { effect: proto::Effect::from(outcome.effect).into(), id: outcome.id.map_or(0, |id| id.0) }
    }
}

impl TryFrom<proto::WriteOutcome> for Outcome {
    type Error = Error;

    fn try_from(outcome: proto::WriteOutcome) -> Result<Self> {
        let effect = proto::Effect::try_from(outcome.effect)
            .map_err(|_| Error::new(ErrorCode::Corrupt, format!("effect {} is unknown", outcome.effect)))?;
        Ok(Self { effect: effect.try_into()?, id: (outcome.id != 0).then_some(ObjectId(outcome.id)) })
    }
}

/// A reply for a peer: with what changed, for the caches on the way back (R18a). For a client, give no changes.
pub fn write_reply_to_proto<C: Borrow<ShardChange>>(
    reply: WriteReply,
    changes: impl IntoIterator<Item = C>,
) -> proto::WriteReply {
    proto::WriteReply {
        position: reply.positions.into_iter().map(Into::into).collect(),
        outcome: reply.outcomes.into_iter().map(Into::into).collect(),
        inverse_pending: reply.inverse_pending,
        replayed: reply.replayed,
        time_ms: reply.time.map(|time| time.0),
        explain: None,
        change: changes.into_iter().map(|change| change.borrow().into()).collect(),
    }
}

/// A reply with the changes that came along (none in what a client gets).
///
/// # Errors
/// [`ErrorCode::OutcomeUnknown`] if it can't be understood: the write may have happened nevertheless (R4).
pub fn write_reply_from_proto(reply: proto::WriteReply) -> Result<(WriteReply, Vec<ShardChange>)> {
    let understood = || {
        let changes = reply.change.into_iter().map(ShardChange::try_from).collect::<Result<_>>()?;
        let outcomes = reply.outcome.into_iter().map(Outcome::try_from).collect::<Result<_>>()?;
        let reply = WriteReply {
            positions: positions(reply.position)?,
            outcomes,
            inverse_pending: reply.inverse_pending,
            replayed: reply.replayed,
            time: reply.time_ms.map(PrimaryTime),
        };
        Ok((reply, changes))
    };
    understood().map_err(unknown)
}

impl From<WriteReply> for proto::WriteReply {
    fn from(reply: WriteReply) -> Self {
        write_reply_to_proto(reply, std::iter::empty::<ShardChange>())
    }
}

impl TryFrom<proto::WriteReply> for WriteReply {
    type Error = Error;

    fn try_from(reply: proto::WriteReply) -> Result<Self> {
        write_reply_from_proto(reply).map(|(reply, _)| reply)
    }
}
