//! Rows and changes.

use super::{corrupt, edges, list, otype, present, shard};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, ListKey, ObjectId, Seq, Time};
use crate::planted::{Bug, planted};
use crate::rows::{ChangeItem, EdgeValue, ListChange, ListRow, ObjectRow, ShardChange, ShardState};
use crate::wire::proto::{self, change_item::Item};

impl From<(ObjectId, ObjectRow)> for proto::Object {
    fn from((id, row): (ObjectId, ObjectRow)) -> Self {
        Self { id: id.0, otype: row.otype.0.into(), version: row.version.0, fields: Some(row.fields) }
    }
}

impl TryFrom<proto::Object> for (ObjectId, ObjectRow) {
    type Error = Error;

    fn try_from(object: proto::Object) -> Result<Self> {
        let row = ObjectRow {
            otype: otype(object.otype)?,
            version: Seq(object.version),
            fields: object.fields.unwrap_or_default(),
        };
        Ok((ObjectId(object.id), row))
    }
}

impl From<ListRow> for proto::ListRow {
    fn from(row: ListRow) -> Self {
        Self { count: row.count, version: row.version.0, edges: Some(row.edges) }
    }
}

impl TryFrom<proto::ListRow> for ListRow {
    type Error = Error;

    fn try_from(row: proto::ListRow) -> Result<Self> {
        let edges = edges(row.edges)?;
        // A cache takes "as many edges as the count" for "the whole list" (R14), so more than that must not get in.
        if edges.iter().zip(0u64..).any(|(_, index)| index >= row.count) {
            return Err(Error::invalid(format!("a list of count {} has more edges", row.count)));
        }
        Ok(Self { count: row.count, version: Seq(row.version), edges })
    }
}

impl From<EdgeValue> for proto::AssocValue {
    fn from(value: EdgeValue) -> Self {
        Self { time: value.time.0, fields: Some(value.fields) }
    }
}

impl From<proto::AssocValue> for EdgeValue {
    fn from(value: proto::AssocValue) -> Self {
        Self { time: Time(value.time), fields: value.fields.unwrap_or_default() }
    }
}

impl From<ListKey> for proto::AssocCount {
    fn from(key: ListKey) -> Self {
        Self { id1: key.id1.0, atype: key.atype.0.into() }
    }
}

impl TryFrom<proto::AssocCount> for ListKey {
    type Error = Error;

    fn try_from(key: proto::AssocCount) -> Result<Self> {
        list(key.id1, key.atype)
    }
}

impl From<ShardState> for proto::ShardState {
    fn from(state: ShardState) -> Self {
        match state {
            ShardState::Serving => Self::Serving,
            ShardState::Fenced => Self::Fenced,
            ShardState::Importing => Self::Importing,
            ShardState::Aborted => Self::Aborted,
            ShardState::Gone => Self::Gone,
        }
    }
}

/// The state of a number on the wire.
pub(super) fn shard_state(number: i32) -> Result<ShardState> {
    u8::try_from(number)
        .ok()
        .and_then(ShardState::from_number)
        .ok_or_else(|| Error::new(ErrorCode::Corrupt, format!("shard state {number} is unknown")))
}

impl From<&ShardChange> for proto::ShardChange {
    fn from(change: &ShardChange) -> Self {
        Self {
            shard: change.shard.0.into(),
            epoch: change.epoch.0,
            seq: change.seq.0,
            item: change.items.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::ShardChange> for ShardChange {
    type Error = Error;

    fn try_from(change: proto::ShardChange) -> Result<Self> {
        let seq = Seq(change.seq);
        let understood = || {
            Ok(Self {
                shard: shard(change.shard)?,
                epoch: Epoch(change.epoch),
                seq,
                items: change.item.into_iter().map(|item| change_item(item, seq)).collect::<Result<_>>()?,
            })
        };
        understood().map_err(corrupt)
    }
}

impl From<&ChangeItem> for proto::ChangeItem {
    fn from(item: &ChangeItem) -> Self {
        let item = match item {
            ChangeItem::Object { id, row } => Item::Object(proto::ObjectChange {
                id: id.0,
                object: row.clone().map(|row| (*id, row).into()),
            }),
            ChangeItem::List(change) => Item::List(change.into()),
        };
        Self { item: Some(item) }
    }
}

fn change_item(item: proto::ChangeItem, seq: Seq) -> Result<ChangeItem> {
    Ok(match present(item.item, "item of ChangeItem")? {
        Item::Object(change) => {
            let id = ObjectId(change.id);
            let object = change.object.map(<(ObjectId, ObjectRow)>::try_from).transpose()?;
            // A change names the object twice and its version twice; a message that disagrees with itself is damaged.
            if object.as_ref().is_some_and(|(other, row)| *other != id || row.version != seq) {
                return Err(Error::invalid(format!("object change of {id} holds another object or version")));
            }
            ChangeItem::Object { id, row: object.map(|(_, row)| row) }
        }
        Item::List(change) => ChangeItem::List(change.try_into()?),
    })
}

impl From<&ListChange> for proto::ListChange {
    fn from(change: &ListChange) -> Self {
        let edge = change
            .edges
            .iter()
            .map(|(id2, value)| proto::EdgeChange { id2: id2.0, value: value.clone().map(Into::into) });
        Self {
            id1: change.key.id1.0,
            atype: change.key.atype.0.into(),
            prev_version: change.prev_version.0,
            count: change.count,
            edge: edge.collect(),
        }
    }
}

impl TryFrom<proto::ListChange> for ListChange {
    type Error = Error;

    fn try_from(change: proto::ListChange) -> Result<Self> {
        let lost = |edge: &proto::EdgeChange| planted(Bug::DeletionLostOnWire) && edge.value.is_none();
        let edges = change
            .edge
            .into_iter()
            .filter(|edge| !lost(edge))
            .map(|edge| (ObjectId(edge.id2), edge.value.map(Into::into)));
        Ok(Self {
            key: list(change.id1, change.atype)?,
            prev_version: Seq(change.prev_version),
            count: change.count,
            edges: edges.collect(),
        })
    }
}
