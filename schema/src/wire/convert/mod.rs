//! Between domain types and generated messages.
//!
//! Two kinds of refusal: a *request* that has no meaning is the sender's fault ([`ErrorCode::InvalidArgument`]), a
//! *reply* or a stream message that has none comes from a damaged or much newer peer ([`ErrorCode::Corrupt`]; of a write:
//! [`ErrorCode::OutcomeUnknown`], because it is not certain that nothing was written).

mod fill;
mod read;
mod rows;
#[cfg(test)]
pub(super) mod strategies;
mod stream;
#[cfg(test)]
mod tests;
mod write;

pub use write::{write_reply_from_proto, write_reply_to_proto};

use super::proto;
use crate::edges::PackedEdges;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AssocType, EdgeKey, Epoch, FieldId, ListKey, ObjectId, ObjectType, Position, Seq, ShardId};

/// What stands on the wire under `field`, if it is there.
pub(super) fn present<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("{field} is missing")))
}

/// The same error, said of a message from a peer.
fn corrupt(error: Error) -> Error {
    if error.code == ErrorCode::Corrupt {
        return error;
    }
    Error::new(ErrorCode::Corrupt, format!("a peer's message can't be understood: {}", error.message))
}

/// The same error, said of a peer's answer to a write, which has happened or may have (R4).
pub(super) fn unknown(error: Error) -> Error {
    Error::new(
        ErrorCode::OutcomeUnknown,
        format!("the answer to a write can't be understood: {}", error.message),
    )
}

/// Ids have 16 bits; protobuf's smallest number has 32.
fn narrow(value: u32, field: &str) -> Result<u16> {
    u16::try_from(value).map_err(|_| Error::invalid(format!("{field} is {value}; at most {}", u16::MAX)))
}

fn shard(value: u32) -> Result<ShardId> {
    narrow(value, "shard").map(ShardId)
}

fn otype(value: u32) -> Result<ObjectType> {
    narrow(value, "otype").map(ObjectType)
}

fn atype(value: u32) -> Result<AssocType> {
    narrow(value, "atype").map(AssocType)
}

fn list(id1: u64, atype_number: u32) -> Result<ListKey> {
    Ok(ListKey { id1: ObjectId(id1), atype: atype(atype_number)? })
}

fn edge(id1: u64, atype_number: u32, id2: u64) -> Result<EdgeKey> {
    Ok(EdgeKey { id1: ObjectId(id1), atype: atype(atype_number)?, id2: ObjectId(id2) })
}

fn fields_to_clear(ids: &[u32]) -> Result<Vec<FieldId>> {
    // Bounded by the size of the message; `check_write` knows how many the type has.
    ids.iter().map(|id| narrow(*id, "clear").map(FieldId)).collect()
}

/// Edges from another process: their layout is checked, because everything later relies on it.
fn edges(edges: Option<PackedEdges>) -> Result<PackedEdges> {
    PackedEdges::from_bytes(edges.unwrap_or_default().as_bytes().clone())
}

impl From<Position> for proto::Position {
    fn from(position: Position) -> Self {
        Self { shard: position.shard.0.into(), epoch: position.epoch.0, seq: position.seq.0 }
    }
}

impl TryFrom<proto::Position> for Position {
    type Error = Error;

    fn try_from(position: proto::Position) -> Result<Self> {
        Ok(Self { shard: shard(position.shard)?, epoch: Epoch(position.epoch), seq: Seq(position.seq) })
    }
}

fn position(value: Option<proto::Position>) -> Result<Position> {
    present(value, "position")?.try_into()
}

fn positions(values: Vec<proto::Position>) -> Result<Vec<Position>> {
    values.into_iter().map(Position::try_from).collect()
}
