//! What may pass into the tier: every request is checked here once, before anything is done about it.

use super::canonical::{NO_OPS, edge_of};
use super::{AssocTypeDef, FieldDefs, GraphSchema, ObjectTypeDef};
use crate::error::{Error, Result};
use crate::fields::EncodedFields;
use crate::ids::{AssocType, EdgeKey, FieldId, ListKey, ObjectId, ObjectType, Seq};
use crate::limits::{MAX_ATOMIC_OPS, MAX_FIELDS, MAX_ID2_SET};
use crate::ops::{ReadOp, WriteOp, WriteRequest};

impl GraphSchema {
    /// Whether the tier can answer this read: its type is known and it asks for no more than its limits.
    ///
    /// # Errors
    /// [`crate::ErrorCode::InvalidArgument`]; the message names the thing, the limit and the next step.
    pub fn check_read(&self, op: &ReadOp) -> Result<()> {
        match op {
            ReadOp::ObjectGet(_) => Ok(()),
            ReadOp::AssocCount(list) => self.check_list(*list).map(drop),
            ReadOp::AssocGet { list, id2s, .. } => {
                self.check_list(*list)?;
                if id2s.len() > MAX_ID2_SET {
                    let message = format!(
                        "assoc_get asks for {} id2s; at most {MAX_ID2_SET}: split the set",
                        id2s.len()
                    );
                    return Err(Error::invalid(message));
                }
                Ok(())
            }
            ReadOp::AssocRange { list, pos, limit } => {
                check_limit(op, self.check_list(*list)?, *limit)?;
                if pos.checked_add(*limit).is_none() {
                    let message =
                        format!("assoc_range ends beyond position {}: lower pos, which is {pos}", u32::MAX);
                    return Err(Error::invalid(message));
                }
                Ok(())
            }
            ReadOp::AssocTimeRange { list, limit, .. } => check_limit(op, self.check_list(*list)?, *limit),
        }
    }

    /// Whether the tier can do this write: types, fields and sizes fit the schema, and one shard can order it (R22).
    ///
    /// # Errors
    /// [`crate::ErrorCode::InvalidArgument`]; the message names the operation, the thing, the limit and the next step.
    pub fn check_write(&self, request: &WriteRequest) -> Result<()> {
        if request.ops.is_empty() {
            return Err(Error::invalid(NO_OPS));
        }
        if request.ops.len() > MAX_ATOMIC_OPS {
            let message = format!(
                "the atomic write has {} operations; at most {MAX_ATOMIC_OPS}: split it, or batch single writes",
                request.ops.len()
            );
            return Err(Error::invalid(message));
        }
        for (at, op) in request.ops.iter().enumerate() {
            self.check_op(op).map_err(|error| {
                let place =
                    if request.ops.len() == 1 { String::new() } else { format!("operation {}: ", at + 1) };
                Error::invalid(format!("{place}{}: {}", op.name(), error.message))
            })?;
        }
        if request.ops.len() > 1 { self.check_atomic(&request.ops) } else { Ok(()) }
    }

    fn check_op(&self, op: &WriteOp) -> Result<()> {
        match op {
            WriteOp::ObjectAdd { id, otype, fields, .. } => {
                let def = self.known_object(*otype)?;
                id.map_or(Ok(()), |id| check_chosen_id(id, def))?;
                check_fields(&def.name, &def.fields, def.max_bytes, fields)
            }
            WriteOp::ObjectUpdate { otype, set, clear, .. } => {
                let def = self.known_object(*otype)?;
                check_fields(&def.name, &def.fields, def.max_bytes, set)?;
                check_clear(def, set, clear)
            }
            WriteOp::ObjectDelete { .. } => Ok(()),
            WriteOp::AssocAdd { edge, fields, expected, .. } => {
                let def = self.known_assoc(edge.atype)?;
                check_fields(&def.name, &def.fields, def.max_bytes, fields)?;
                self.check_expected(*edge, def, *expected)
            }
            WriteOp::AssocDelete { edge, expected } => {
                self.check_expected(*edge, self.known_assoc(edge.atype)?, *expected)
            }
            WriteOp::AssocChangeType { edge, new_atype, expected } => {
                let def = self.known_assoc(edge.atype)?;
                check_change(def, self.known_assoc(*new_atype)?)?;
                self.check_expected(*edge, def, *expected)
            }
        }
    }

    /// One shard's log must hold all of an atomic write, so every operation must name that shard and be ordered
    /// there: an edge whose canonical side is elsewhere would be ordered by another shard's transaction (R22).
    fn check_atomic(&self, ops: &[WriteOp]) -> Result<()> {
        let shard = ops[0].shard();
        for (at, op) in ops.iter().enumerate() {
            let (number, name) = (at + 1, op.name());
            if op.shard() != shard {
                let message = format!(
                    "operation {number}: {name}: is on shard {}, but operation 1 is on shard {shard}; an atomic \
                     write has one shard: split it",
                    op.shard()
                );
                return Err(Error::invalid(message));
            }
            let Some(edge) = edge_of(op) else { continue };
            let canonical = self.canonical(edge)?.edge.id1;
            if canonical.shard() != shard {
                let message = format!(
                    "operation {number}: {name}: object {canonical} on shard {} orders this association, so it \
                     can't be part of an atomic write on shard {shard}: send it as a write of its own",
                    canonical.shard()
                );
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }

    /// The version of a list is known on the list's own shard only, so it can't guard a write that the other end
    /// orders (R22).
    fn check_expected(&self, edge: EdgeKey, def: &AssocTypeDef, expected: Option<Seq>) -> Result<()> {
        if expected.is_none() {
            return Ok(());
        }
        let canonical = self.canonical(edge)?;
        if !canonical.swapped {
            return Ok(());
        }
        let list = canonical.edge.list();
        Err(Error::invalid(format!(
            "an expected version of list ({}, {}) can't be checked: the other end orders this association; expect a \
             version of list ({}, {}) and write from there",
            edge.id1,
            def.name,
            list.id1,
            self.assoc_name(list.atype)
        )))
    }

    fn check_list(&self, list: ListKey) -> Result<&AssocTypeDef> {
        self.known_assoc(list.atype)
    }

    fn known_object(&self, otype: ObjectType) -> Result<&ObjectTypeDef> {
        self.object_type(otype).ok_or_else(|| {
            Error::invalid(format!(
                "object type {otype} is not in the graph schema of this cluster; GetSchema shows it"
            ))
        })
    }

    fn assoc_name(&self, atype: AssocType) -> &str {
        self.assoc_type(atype).map_or("?", |def| &def.name)
    }
}

fn check_limit(op: &ReadOp, def: &AssocTypeDef, limit: u32) -> Result<()> {
    if (1..=def.query_limit).contains(&limit) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} of {} with limit {limit}; the limit must be from 1 to {}: ask for pages",
        op.name(),
        def.name,
        def.query_limit
    )))
}

/// An id that the application chose must look so, or the shard would hand it out once more; and it must be of the
/// type that it is named for, or two things could have one id.
fn check_chosen_id(id: ObjectId, def: &ObjectTypeDef) -> Result<()> {
    if !id.is_named() {
        return Err(Error::invalid(format!(
            "id {id} is of the kind that shards allocate; leave the id out, or make one with `ObjectId::named`"
        )));
    }
    let named_for = (id.local() >> 32) as u16 & crate::ids::MAX_TYPE;
    if named_for != def.id.0 {
        return Err(Error::invalid(format!(
            "id {id} is named for object type {named_for}, but the object is of type {} ({})",
            def.id, def.name
        )));
    }
    Ok(())
}

/// Checks size first, so that the rest is bounded, then every field. Allocates nothing.
fn check_fields(type_name: &str, defs: &FieldDefs, max_bytes: usize, fields: &EncodedFields) -> Result<()> {
    if fields.len() > max_bytes {
        return Err(Error::invalid(format!(
            "fields of {type_name} take {} bytes; at most {max_bytes}: store less",
            fields.len()
        )));
    }
    for seen in fields.walk() {
        let seen = seen.map_err(|error| Error::invalid(format!("fields of {type_name}: {error}")))?;
        let def = known_field(type_name, defs, seen.id)?;
        if def.kind != seen.kind {
            return Err(Error::invalid(format!(
                "field {} ({:?}) of {type_name} is of kind {}, not {}",
                def.id,
                def.name,
                def.kind.name(),
                seen.kind.name()
            )));
        }
    }
    Ok(())
}

fn known_field<'a>(type_name: &str, defs: &'a FieldDefs, id: FieldId) -> Result<&'a super::FieldDef> {
    defs.get(id).ok_or_else(|| {
        let known: Vec<String> = defs.iter().map(|def| format!("{} {}", def.id, def.name)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::invalid(format!("{type_name} has no field {id}; it has: {known}"))
    })
}

fn check_clear(def: &ObjectTypeDef, set: &EncodedFields, clear: &[FieldId]) -> Result<()> {
    if clear.len() > MAX_FIELDS {
        let message = format!("{} fields to clear; a type has at most {MAX_FIELDS}", clear.len());
        return Err(Error::invalid(message));
    }
    for id in clear {
        let field = known_field(&def.name, &def.fields, *id)?;
        // `set` has passed `check_fields`: its walk has no errors.
        if set.walk().flatten().any(|seen| seen.id == *id) {
            let message = format!("field {id} ({:?}) of {} is both set and cleared", field.name, def.name);
            return Err(Error::invalid(message));
        }
    }
    Ok(())
}

/// Time and data stay, so the new type must hold what the old one may; and both must be ordered by the same end,
/// whatever the ids are: one transaction takes the edge out of one list and puts it into the other (R22).
fn check_change(old: &AssocTypeDef, new: &AssocTypeDef) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::invalid(format!("{} can't become {}: {why}; delete and add instead", old.name, new.name)))
    };
    if old.id == new.id {
        return Err(Error::invalid(format!("the association is of type {} already", old.name)));
    }
    if (old.symmetric, old.forward) != (new.symmetric, new.forward) {
        return refuse("different ends order the two types".to_owned());
    }
    if old.max_bytes > new.max_bytes {
        return refuse(format!("its data may take {} bytes, the other's {}", old.max_bytes, new.max_bytes));
    }
    match old
        .fields
        .iter()
        .find(|field| new.fields.get(field.id).is_none_or(|other| other.kind != field.kind))
    {
        Some(field) => refuse(format!("its field {} ({:?}) has no equal there", field.id, field.name)),
        None => Ok(()),
    }
}
