//! From what the application says to what the store does, and back: the canonical side of each pair (R22).

use std::iter::repeat_n;
use std::sync::Arc;

use tao_schema::graph_schema::{Canonical, GraphSchema};
use tao_schema::ids::{EdgeKey, Epoch, Seq, ShardId};
use tao_schema::limits::MAX_OBJECT_BYTES;
use tao_schema::ops::WriteOp;
use tao_schema::rows::{ChangeItem, EdgeValue, ShardChange};
use tao_schema::{Error, Result};
use tao_shard_store::write::{ExpectedList, Inverse, StoreOp};

use crate::core::Key;

/// The store's operations of one request.
pub(super) struct Translated {
    pub(super) ops: Vec<StoreOp>,
    /// Entries that they may change, on both sides; without the ids that the shard allocates.
    pub(super) keys: Vec<Key>,
    /// The shards of other sides that are not on the ordering one: each side may leave an outbox row.
    pub(super) pairs: Vec<ShardId>,
}

/// Translates a request that passed `GraphSchema::check_write`. `together` tells for a shard whether a transaction may
/// write it along, and its epoch.
pub(super) fn translate(
    schema: &GraphSchema,
    ops: Vec<WriteOp>,
    together: impl Fn(ShardId) -> Option<Epoch>,
) -> Result<Translated> {
    let translator = Translator { schema, together };
    let ops = ops.into_iter().map(|op| translator.op(op)).collect::<Result<Vec<_>>>()?;
    let keys = keys_of(&ops);
    let pairs = ops.iter().flat_map(pairs_of).collect();
    Ok(Translated { ops, keys, pairs })
}

struct Translator<'a, T> {
    schema: &'a GraphSchema,
    together: T,
}

impl<T: Fn(ShardId) -> Option<Epoch>> Translator<'_, T> {
    fn op(&self, op: WriteOp) -> Result<StoreOp> {
        Ok(match op {
            WriteOp::ObjectAdd { id, otype, fields, .. } => StoreOp::ObjectAdd { id, otype, fields },
            WriteOp::ObjectUpdate { id, otype, set, clear, expected } => {
                let max_bytes = self.schema.object_type(otype).map_or(MAX_OBJECT_BYTES, |def| def.max_bytes);
                StoreOp::ObjectUpdate { id, otype, set, clear, max_bytes, expected }
            }
            WriteOp::ObjectDelete { id, expected } => StoreOp::ObjectDelete { id, expected },
            WriteOp::AssocAdd { edge, time, fields, create_only, expected } => {
                let side = self.schema.canonical(edge)?;
                StoreOp::EdgePut {
                    edge: side.edge,
                    value: EdgeValue { time, fields },
                    create_only,
                    expected: expected_list(&side, expected)?,
                    inverse: self.inverse(&side),
                }
            }
            WriteOp::AssocDelete { edge, expected } => {
                let side = self.schema.canonical(edge)?;
                StoreOp::EdgeDelete {
                    edge: side.edge,
                    expected: expected_list(&side, expected)?,
                    inverse: self.inverse(&side),
                }
            }
            WriteOp::AssocChangeType { edge, new_atype, expected } => {
                self.change_type(edge, EdgeKey { atype: new_atype, ..edge }, expected)?
            }
        })
    }

    fn change_type(&self, edge: EdgeKey, new: EdgeKey, expected: Option<Seq>) -> Result<StoreOp> {
        let (old, new) = (self.schema.canonical(edge)?, self.schema.canonical(new)?);
        // Both states of the pair must stand in one log (H28); `check_write` refuses the others with the types' names.
        if old.edge.id1 != new.edge.id1 {
            return Err(Error::invalid(
                "the two types are ordered by different ends of the pair: delete, then add",
            ));
        }
        Ok(StoreOp::EdgeChangeType {
            edge: old.edge,
            new_atype: new.edge.atype,
            expected: expected_list(&old, expected)?,
            inverse: self.inverse(&old),
            new_inverse: self.inverse(&new),
        })
    }

    fn inverse(&self, side: &Canonical) -> Option<Inverse> {
        let atype = side.inverse?;
        Some(Inverse { atype, together: (self.together)(side.edge.id2.shard()) })
    }
}

/// An application can only expect a version of the list that it names, and only the ordering side's is in this log.
fn expected_list(side: &Canonical, expected: Option<Seq>) -> Result<Option<ExpectedList>> {
    if side.swapped && expected.is_some() {
        return Err(Error::invalid(
            "a list version can be expected only of the list whose type orders the pair; write from the other end",
        ));
    }
    Ok(expected.map(ExpectedList))
}

/// The shards of the other sides of an operation that its own shard is not.
fn pairs_of(op: &StoreOp) -> impl Iterator<Item = ShardId> {
    let (edge, count) = match op {
        StoreOp::EdgePut { edge, inverse, .. } | StoreOp::EdgeDelete { edge, inverse, .. } => {
            (Some(edge), usize::from(inverse.is_some()))
        }
        StoreOp::EdgeChangeType { edge, inverse, new_inverse, .. } => {
            (Some(edge), usize::from(inverse.is_some()) + usize::from(new_inverse.is_some()))
        }
        _ => (None, 0),
    };
    let crossing = edge.filter(|edge| edge.id1.shard() != edge.id2.shard()).map(|edge| edge.id2.shard());
    crossing.into_iter().flat_map(move |shard| repeat_n(shard, count))
}

/// The keys whose entries operations change, on both sides.
fn keys_of(ops: &[StoreOp]) -> Vec<Key> {
    let mut keys = Vec::with_capacity(ops.len() * 2);
    let pair = |keys: &mut Vec<Key>, edge: &EdgeKey, inverse: &Option<Inverse>| {
        keys.push(Key::List(edge.list()));
        keys.extend(inverse.map(|inverse| Key::List(edge.reversed(inverse.atype).list())));
    };
    for op in ops {
        match op {
            StoreOp::ObjectAdd { id, .. } => keys.extend(id.map(Key::Object)),
            StoreOp::ObjectUpdate { id, .. } | StoreOp::ObjectDelete { id, .. } => {
                keys.push(Key::Object(*id));
            }
            StoreOp::EdgePut { edge, inverse, .. } | StoreOp::EdgeDelete { edge, inverse, .. } => {
                pair(&mut keys, edge, inverse);
            }
            StoreOp::EdgeChangeType { edge, new_atype, inverse, new_inverse, .. } => {
                pair(&mut keys, edge, inverse);
                pair(&mut keys, &EdgeKey { atype: *new_atype, ..*edge }, new_inverse);
            }
            StoreOp::InverseApply { edge, .. } => keys.push(Key::List(edge.list())),
            StoreOp::OutboxDone { .. } => {}
        }
    }
    keys
}

/// Of a change that many writes share, what one of them has to do with: each item whole (R18a), the others left out,
/// so that a batch of n writes to one shard does not send n times n items.
pub(super) fn narrowed(change: &Arc<ShardChange>, keys: &[Key]) -> Arc<ShardChange> {
    let wanted = |item: &&ChangeItem| match item {
        ChangeItem::Object { id, .. } => keys.contains(&Key::Object(*id)),
        ChangeItem::List(list) => keys.contains(&Key::List(list.key)),
    };
    let count = change.items.iter().filter(wanted).count();
    if count == change.items.len() {
        return Arc::clone(change);
    }
    let items = change.items.iter().filter(wanted).cloned().collect();
    Arc::new(ShardChange { items, ..**change })
}
