//! What nodes ask each other for: fills and inverses.

use super::read::source;
use super::rows::shard_state;
use super::{corrupt, edge, position, present};
use crate::error::{Error, Result};
use crate::ids::{ObjectId, Position};
use crate::ops::{FillKey, FillReply, FillRequest, FillRow, InverseState};
use crate::rows::ObjectRow;
use crate::wire::proto::{self, fill_reply::Row, fill_request::Key};

impl From<FillRequest> for proto::FillRequest {
    fn from(request: FillRequest) -> Self {
        let (key, edges) = match request.key {
            FillKey::Object(id) => (Key::Object(id.0), 0),
            FillKey::List { key, edges } => (Key::List(key.into()), edges),
        };
        Self {
            key: Some(key),
            edges,
            at_least: request.at_least.map(Into::into),
            forwarded: request.forwarded,
        }
    }
}

impl TryFrom<proto::FillRequest> for FillRequest {
    type Error = Error;

    fn try_from(request: proto::FillRequest) -> Result<Self> {
        let key = match present(request.key, "key of FillRequest")? {
            Key::Object(id) => FillKey::Object(ObjectId(id)),
            Key::List(key) => FillKey::List { key: key.try_into()?, edges: request.edges },
        };
        let at_least = request.at_least.map(Position::try_from).transpose()?;
        Ok(Self { key, at_least, forwarded: request.forwarded })
    }
}

/// The key is that of the request: on the wire an object carries its id, which the domain type leaves out.
fn row_to_proto(row: FillRow) -> Row {
    match row {
        FillRow::Object(row) => {
            Row::Object(proto::ObjectResult { object: row.map(|row| (ObjectId(0), row).into()) })
        }
        FillRow::List(row) => Row::List(row.into()),
    }
}

impl From<FillReply> for proto::FillReply {
    fn from(reply: FillReply) -> Self {
        Self {
            position: Some(reply.position.into()),
            state: proto::ShardState::from(reply.state).into(),
            row: Some(row_to_proto(reply.row)),
            source: proto::Source::from(reply.source).into(),
        }
    }
}

impl TryFrom<proto::FillReply> for FillReply {
    type Error = Error;

    fn try_from(reply: proto::FillReply) -> Result<Self> {
        fill_reply(reply).map_err(corrupt)
    }
}

fn fill_reply(reply: proto::FillReply) -> Result<FillReply> {
    let row = match present(reply.row, "row of FillReply")? {
        Row::Object(result) => {
            let object = result.object.map(<(ObjectId, ObjectRow)>::try_from).transpose()?;
            FillRow::Object(object.map(|(_, row)| row))
        }
        Row::List(row) => FillRow::List(row.try_into()?),
    };
    Ok(FillReply {
        position: position(reply.position)?,
        state: shard_state(reply.state)?,
        row,
        source: source(reply.source)?,
    })
}

impl From<InverseState> for proto::Inverse {
    fn from(inverse: InverseState) -> Self {
        Self {
            id1: inverse.edge.id1.0,
            atype: inverse.edge.atype.0.into(),
            id2: inverse.edge.id2.0,
            value: inverse.value.map(Into::into),
            origin: Some(inverse.origin.into()),
        }
    }
}

impl TryFrom<proto::Inverse> for InverseState {
    type Error = Error;

    fn try_from(inverse: proto::Inverse) -> Result<Self> {
        Ok(Self {
            edge: edge(inverse.id1, inverse.atype, inverse.id2)?,
            value: inverse.value.map(Into::into),
            origin: present(inverse.origin, "origin of Inverse")?.try_into()?,
        })
    }
}
