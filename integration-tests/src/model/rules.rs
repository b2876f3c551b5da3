//! What the tier refuses whatever the graph holds, said once more and independently: types, fields, sizes, limits, and
//! what one shard can't order (R22). Only the *declarations* of the graph schema are taken from the product.

use std::collections::BTreeMap;
use std::sync::Arc;

use tao_schema::ErrorCode;
use tao_schema::fields::{EncodedFields, Value};
use tao_schema::graph_schema::{AssocTypeDef, FieldDefs, GraphSchema};
use tao_schema::ids::{AssocType, EdgeKey, FieldId, ListKey, ObjectId, ShardId};
use tao_schema::ops::{ReadOp, WriteOp};

/// Field values of an object or an association.
pub(super) type Data = BTreeMap<FieldId, Value>;
/// A refusal by its code.
pub(super) type Checked<T = ()> = Result<T, ErrorCode>;

const REFUSED: ErrorCode = ErrorCode::InvalidArgument;
/// Of the specification: operations of an atomic write, and `id2`s of a query.
const MOST_OPS: usize = 256;
const MOST_ID2S: usize = 1_000;
/// Bit of a local id that says that the application chose it.
const CHOSEN: u64 = 1 << 47;

/// The declarations, and how many shards there are.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) schema: Arc<GraphSchema>,
    pub(super) shards: u32,
}

/// An association and its other side, the one that orders the pair first.
pub(super) struct Pair {
    pub(super) first: EdgeKey,
    pub(super) other: Option<EdgeKey>,
}

impl Rules {
    pub(super) fn assoc(&self, atype: AssocType) -> Checked<&AssocTypeDef> {
        self.schema.assoc_type(atype).ok_or(REFUSED)
    }

    /// Both sides of an edge.
    pub(super) fn pair(&self, edge: EdgeKey) -> Checked<Pair> {
        let def = self.assoc(edge.atype)?;
        let turned = |atype| EdgeKey { id1: edge.id2, atype, id2: edge.id1 };
        Ok(match def.inverse {
            None => Pair { first: edge, other: None },
            Some(_) if def.symmetric && edge.id1 == edge.id2 => Pair { first: edge, other: None },
            Some(inverse) if def.symmetric && edge.id2 < edge.id1 || !def.symmetric && !def.forward => {
                Pair { first: turned(inverse), other: Some(edge) }
            }
            Some(inverse) => Pair { first: edge, other: Some(turned(inverse)) },
        })
    }

    /// The shard whose log orders an operation.
    pub(super) fn orders(&self, op: &WriteOp) -> Checked<ShardId> {
        match edge_of(op) {
            Some(edge) => Ok(self.pair(edge)?.first.id1.shard()),
            None => Ok(named_shard(op)),
        }
    }

    pub(super) fn write(&self, ops: &[WriteOp]) -> Checked {
        if ops.is_empty() || ops.len() > MOST_OPS {
            return Err(REFUSED);
        }
        ops.iter().try_for_each(|op| self.op(op))?;
        if ops.len() > 1 {
            let shard = named_shard(&ops[0]);
            for op in ops {
                if named_shard(op) != shard || self.orders(op)? != shard {
                    return Err(REFUSED);
                }
            }
        }
        for op in ops {
            self.exists(self.orders(op)?)?;
            for other in self.other_sides(op) {
                self.exists(other.id1.shard())?;
            }
        }
        Ok(())
    }

    /// The other sides of the pairs that an operation writes.
    pub(super) fn other_sides(&self, op: &WriteOp) -> Vec<EdgeKey> {
        let edge = edge_of(op);
        let new = match op {
            WriteOp::AssocChangeType { edge, new_atype, .. } => Some(EdgeKey { atype: *new_atype, ..*edge }),
            _ => None,
        };
        edge.into_iter().chain(new).filter_map(|edge| self.pair(edge).ok()?.other).collect()
    }

    fn exists(&self, shard: ShardId) -> Checked {
        if u32::from(shard.0) < self.shards { Ok(()) } else { Err(ErrorCode::NoSuchShard) }
    }

    fn op(&self, op: &WriteOp) -> Checked {
        match op {
            WriteOp::ObjectAdd { id, otype, fields, .. } => {
                let def = self.schema.object_type(*otype).ok_or(REFUSED)?;
                let wrong_id = id.is_some_and(|ObjectId(id)| {
                    id & CHOSEN == 0 || (id >> 32) & 0x7fff != u64::from(otype.0)
                });
                if wrong_id {
                    return Err(REFUSED);
                }
                fits(&def.fields, def.max_bytes, fields)
            }
            WriteOp::ObjectUpdate { otype, set, clear, .. } => {
                let def = self.schema.object_type(*otype).ok_or(REFUSED)?;
                fits(&def.fields, def.max_bytes, set)?;
                let set = data(set);
                let wrong = |id: &FieldId| def.fields.get(*id).is_none() || set.contains_key(id);
                if clear.iter().any(wrong) { Err(REFUSED) } else { Ok(()) }
            }
            WriteOp::ObjectDelete { .. } => Ok(()),
            WriteOp::AssocAdd { edge, fields, expected, .. } => {
                let def = self.assoc(edge.atype)?;
                fits(&def.fields, def.max_bytes, fields)?;
                self.version_is_known_there(*edge, expected.is_some())
            }
            WriteOp::AssocDelete { edge, expected } => {
                self.assoc(edge.atype)?;
                self.version_is_known_there(*edge, expected.is_some())
            }
            WriteOp::AssocChangeType { edge, new_atype, expected } => {
                may_become(self.assoc(edge.atype)?, self.assoc(*new_atype)?)?;
                self.version_is_known_there(*edge, expected.is_some())
            }
        }
    }

    /// A list's version guards only what that list's own shard orders.
    fn version_is_known_there(&self, edge: EdgeKey, asked: bool) -> Checked {
        if asked && self.pair(edge)?.first != edge { Err(REFUSED) } else { Ok(()) }
    }

    pub(super) fn read(&self, op: &ReadOp) -> Checked {
        let limited = |list: &ListKey, limit: u32| {
            let def = self.assoc(list.atype)?;
            if limit == 0 || limit > def.query_limit { Err(REFUSED) } else { Ok(()) }
        };
        match op {
            ReadOp::ObjectGet(_) => Ok(()),
            ReadOp::AssocCount(list) => self.assoc(list.atype).map(|_| ()),
            ReadOp::AssocGet { list, id2s, .. } => {
                self.assoc(list.atype)?;
                if id2s.len() > MOST_ID2S { Err(REFUSED) } else { Ok(()) }
            }
            ReadOp::AssocRange { list, pos, limit } => {
                limited(list, *limit)?;
                if u64::from(*pos) + u64::from(*limit) > u64::from(u32::MAX) { Err(REFUSED) } else { Ok(()) }
            }
            ReadOp::AssocTimeRange { list, limit, .. } => limited(list, *limit),
        }?;
        self.exists(match op {
            ReadOp::ObjectGet(id) => id.shard(),
            ReadOp::AssocCount(list)
            | ReadOp::AssocGet { list, .. }
            | ReadOp::AssocRange { list, .. }
            | ReadOp::AssocTimeRange { list, .. } => list.id1.shard(),
        })
    }
}

fn may_become(old: &AssocTypeDef, new: &AssocTypeDef) -> Checked {
    let same_order = (old.symmetric, old.forward) == (new.symmetric, new.forward);
    let holds_all =
        old.fields.iter().all(|field| new.fields.get(field.id).is_some_and(|other| other.kind == field.kind));
    if old.id != new.id && same_order && holds_all && old.max_bytes <= new.max_bytes {
        Ok(())
    } else {
        Err(REFUSED)
    }
}

fn named_shard(op: &WriteOp) -> ShardId {
    match op {
        WriteOp::ObjectAdd { id: Some(id), .. }
        | WriteOp::ObjectUpdate { id, .. }
        | WriteOp::ObjectDelete { id, .. } => id.shard(),
        WriteOp::ObjectAdd { id: None, shard, .. } => *shard,
        WriteOp::AssocAdd { edge, .. }
        | WriteOp::AssocDelete { edge, .. }
        | WriteOp::AssocChangeType { edge, .. } => edge.id1.shard(),
    }
}

/// The association that an operation writes.
fn edge_of(op: &WriteOp) -> Option<EdgeKey> {
    match op {
        WriteOp::AssocAdd { edge, .. }
        | WriteOp::AssocDelete { edge, .. }
        | WriteOp::AssocChangeType { edge, .. } => Some(*edge),
        _ => None,
    }
}

fn fits(defs: &FieldDefs, most: usize, fields: &EncodedFields) -> Checked {
    let data = data(fields);
    let known = |(id, value): (&FieldId, &Value)| defs.get(*id).is_some_and(|def| def.kind == value.kind());
    if size(&data) <= most && data.iter().all(known) { Ok(()) } else { Err(REFUSED) }
}

/// What this program itself encoded for a request.
pub(super) fn data(fields: &EncodedFields) -> Data {
    let fields = fields.decode().expect("made by `Fields::encode` a moment ago, or judged to be decodable");
    fields.iter().map(|(id, value)| (id, value.clone())).collect()
}

/// Bytes of fields as they are stored: of each field a head, its number and its value, by protobuf's rules.
pub(super) fn size(data: &Data) -> usize {
    let number = |value: u64| (64 - (value | 1).leading_zeros() as usize).div_ceil(7);
    let sized = |length: usize| number(length as u64) + length;
    let value = |value: &Value| match value {
        Value::Bool(_) => 1,
        // Small negative numbers are short, too.
        Value::Int(value) => number(((value << 1) ^ (value >> 63)).cast_unsigned()),
        Value::Float(_) => 8,
        Value::Text(text) => sized(text.len()),
        Value::Blob(bytes) => sized(bytes.len()),
    };
    data.iter().map(|(id, held)| 1 + sized(1 + number(id.0.into()) + 1 + value(held))).sum()
}
