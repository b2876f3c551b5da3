//! Which side of an association pair orders it (PROTOCOL R22).

use super::{AssocTypeDef, GraphSchema};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AssocType, EdgeKey, ShardId};
use crate::ops::{WriteOp, WriteRequest};

/// An association as its ordering side sees it.
///
/// Both ends of a pair may be written by anyone at any time. They converge because one side decides: the forward
/// type's `id1`, or the smaller id of a symmetric pair. Its shard's log orders all writes to the pair; the other side
/// follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Canonical {
    /// The edge on the ordering side.
    pub edge: EdgeKey,
    /// Type of the edge on the other side, `edge.reversed(inverse)`; `None`: the edge has no other side.
    pub inverse: Option<AssocType>,
    /// Whether the application named the other side: `edge` is not the edge that was asked about.
    pub swapped: bool,
}

impl GraphSchema {
    /// The ordering side of the pair that `edge` is one side of.
    ///
    /// A symmetric edge from an object to itself is one row: it has no other side (R22).
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`] if the type is unknown.
    pub fn canonical(&self, edge: EdgeKey) -> Result<Canonical> {
        let def = self.known_assoc(edge.atype)?;
        let asked = Canonical { edge, inverse: def.inverse, swapped: false };
        Ok(match def.inverse {
            None => asked,
            Some(_) if def.symmetric && edge.id1 == edge.id2 => Canonical { inverse: None, ..asked },
            Some(inverse) => {
                let swapped = if def.symmetric { edge.id2 < edge.id1 } else { !def.forward };
                if swapped {
                    Canonical { edge: edge.reversed(inverse), inverse: Some(edge.atype), swapped }
                } else {
                    asked
                }
            }
        })
    }

    /// The shard whose log orders the write: where the request must be sent. Meaningful for a request that passes
    /// [`GraphSchema::check_write`]: then it is the same for all its operations.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`] if there is no operation, or the type of its edge is unknown.
    pub fn ordering_shard(&self, request: &WriteRequest) -> Result<ShardId> {
        let op = request.ops.first().ok_or_else(|| Error::new(ErrorCode::InvalidArgument, NO_OPS))?;
        Ok(match edge_of(op) {
            Some(edge) => self.canonical(edge)?.edge.id1.shard(),
            None => op.shard(),
        })
    }

    pub(super) fn known_assoc(&self, atype: AssocType) -> Result<&AssocTypeDef> {
        self.assoc_type(atype).ok_or_else(|| {
            Error::invalid(format!(
                "association type {atype} is not in the graph schema of this cluster; GetSchema shows it"
            ))
        })
    }
}

pub(super) const NO_OPS: &str = "the write has no operation; give at least one";

/// The association that an operation writes.
pub(super) const fn edge_of(op: &WriteOp) -> Option<EdgeKey> {
    match op {
        WriteOp::AssocAdd { edge, .. }
        | WriteOp::AssocDelete { edge, .. }
        | WriteOp::AssocChangeType { edge, .. } => Some(*edge),
        WriteOp::ObjectAdd { .. } | WriteOp::ObjectUpdate { .. } | WriteOp::ObjectDelete { .. } => None,
    }
}
