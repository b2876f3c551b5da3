//! What a write says it did, as facts that the log must show.

use std::collections::HashMap;

use tao_schema::fields::{EncodedFields, Fields};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{EdgeKey, FieldId, ObjectId, ObjectType, Position, Seq, ShardId, Time};
use tao_schema::ops::{Effect, Outcome, WriteOp};
use tao_schema::rows::{EdgeValue, ObjectRow};

use crate::history::operation::{Call, Operation, Reply};

/// A row that a write touches on its ordering shard. Edges by their canonical side (R22).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Touch {
    Object(ObjectId),
    Edge(EdgeKey),
}

/// What the row must be afterwards.
#[derive(Clone, Debug)]
pub(super) enum Want {
    /// An object with these fields and no others.
    NewObject(ObjectType, EncodedFields),
    /// An object of before with fields set and unset.
    Changed(ObjectType, EncodedFields, Vec<FieldId>),
    /// The edge with this value.
    Edge(Time, EncodedFields),
    /// The edge with the value that this one had.
    EdgeFrom(EdgeKey),
    /// Nothing.
    Gone,
}

/// A row as one of the two kinds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Row<'t> {
    Object(Option<&'t ObjectRow>),
    Edge(Option<&'t EdgeValue>),
}

impl Row<'_> {
    pub(super) const fn exists(self) -> bool {
        matches!(self, Self::Object(Some(_)) | Self::Edge(Some(_)))
    }
}

/// A fact about one row.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) touch: Touch,
    pub(super) want: Want,
    /// Whether the row was there before.
    pub(super) existed: Option<bool>,
    /// The version that the object or list had before, if the write depended on it.
    pub(super) expected: Option<Seq>,
    /// The op changed nothing.
    pub(super) nothing: bool,
}

impl Touch {
    pub(super) const fn shard(self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::Edge(edge) => edge.id1.shard(),
        }
    }
}

/// The facts of one op with its outcome; without an outcome, what it would do. An `object_add` whose id nobody knows has none.
/// `None`: the schema does not know the type.
pub(super) fn facts(op: &WriteOp, outcome: Option<&Outcome>, schema: &GraphSchema) -> Option<Vec<Fact>> {
    let canonical = |edge: EdgeKey| schema.canonical(edge).ok().map(|canonical| canonical.edge);
    let nothing = outcome.is_some_and(|outcome| outcome.effect == Effect::Nothing);
    let existed = outcome.map(|outcome| matches!(outcome.effect, Effect::Updated | Effect::Deleted));
    let fact = |touch, want, expected| Fact { touch, want, existed, expected, nothing };
    Some(match op {
        WriteOp::ObjectAdd { id, otype, fields, .. } => {
            let id = id.or_else(|| outcome.and_then(|outcome| outcome.id));
            let added = |id| fact(Touch::Object(id), Want::NewObject(*otype, fields.clone()), None);
            id.map(added).into_iter().collect()
        }
        WriteOp::ObjectUpdate { id, otype, set, clear, expected } => {
            vec![fact(Touch::Object(*id), Want::Changed(*otype, set.clone(), clear.clone()), *expected)]
        }
        WriteOp::ObjectDelete { id, expected } => vec![fact(Touch::Object(*id), Want::Gone, *expected)],
        WriteOp::AssocAdd { edge, time, fields, expected, .. } => {
            vec![fact(Touch::Edge(canonical(*edge)?), Want::Edge(*time, fields.clone()), *expected)]
        }
        WriteOp::AssocDelete { edge, expected } => {
            vec![fact(Touch::Edge(canonical(*edge)?), Want::Gone, *expected)]
        }
        WriteOp::AssocChangeType { edge, new_atype, expected } => {
            let old = canonical(*edge)?;
            let new = canonical(EdgeKey { atype: *new_atype, ..*edge })?;
            let mut all = vec![fact(Touch::Edge(old), Want::Gone, *expected)];
            if !nothing {
                let comes = Fact {
                    existed: None,
                    expected: None,
                    ..fact(Touch::Edge(new), Want::EdgeFrom(old), None)
                };
                all.push(comes);
            }
            all
        }
    })
}

impl Want {
    /// Whether `now` is what one wants who found `before`. `None` as `before`: it is not known, and only what does not
    /// depend on it is compared. `source`: of [`Want::EdgeFrom`], what the edge had that was moved.
    pub(super) fn is_met(&self, before: Option<Row<'_>>, now: Row<'_>, source: Option<&EdgeValue>) -> bool {
        match (self, now) {
            (Self::Gone, now) => !now.exists(),
            (Self::NewObject(otype, fields), Row::Object(Some(row))) => {
                row.otype == *otype && same_fields(&row.fields, fields)
            }
            (Self::Changed(otype, set, clear), Row::Object(Some(row))) => {
                row.otype == *otype && is_changed(before, row, set, clear)
            }
            (Self::Edge(time, fields), Row::Edge(Some(value))) => {
                value.time == *time && same_fields(&value.fields, fields)
            }
            (Self::EdgeFrom(_), Row::Edge(Some(value))) => source.is_none_or(|source| source == value),
            _ => false,
        }
    }
}

fn same_fields(a: &EncodedFields, b: &EncodedFields) -> bool {
    a == b || matches!((a.decode(), b.decode()), (Ok(a), Ok(b)) if a == b)
}

fn is_changed(before: Option<Row<'_>>, row: &ObjectRow, set: &EncodedFields, clear: &[FieldId]) -> bool {
    let (Ok(now), Ok(set)) = (row.fields.decode(), set.decode()) else { return false };
    match before {
        Some(Row::Object(Some(before))) => {
            let Ok(before) = before.fields.decode() else { return false };
            now == changed(&before, &set, clear)
        }
        _ => {
            let unset = |id: &FieldId| now.get(*id).is_none() || set.get(*id).is_some();
            set.iter().all(|(id, value)| now.get(id) == Some(value)) && clear.iter().all(unset)
        }
    }
}

/// Fields with some set and some unset; what is both is set.
fn changed(before: &Fields, set: &Fields, clear: &[FieldId]) -> Fields {
    let kept = before.iter().filter(|(id, _)| !clear.contains(id) && set.get(*id).is_none());
    kept.chain(set.iter()).map(|(id, value)| (id, value.clone())).collect()
}

/// Who touched what, by position; and who may have, without anybody knowing.
#[derive(Default)]
pub(super) struct Touched<'a> {
    at: HashMap<(Touch, Position), Vec<(&'a Operation, Fact)>>,
    maybe: HashMap<Touch, Vec<(&'a Operation, Fact)>>,
    /// Of unknown outcome and without an id: any object of the shard may be one of these.
    adds: HashMap<ShardId, Vec<(ObjectType, EncodedFields)>>,
}

impl<'a> Touched<'a> {
    /// `is_lost`: whether a promotion has cut off what was written at a position.
    pub(super) fn of(
        operations: &'a [Operation],
        schema: &GraphSchema,
        is_lost: impl Fn(&Position) -> bool,
    ) -> Self {
        let mut touched = Self::default();
        for operation in operations {
            let Call::Write(request) = &operation.call else { continue };
            match &operation.result {
                Ok(Reply::Write(reply)) => {
                    // Two primaries took an attempt each: the one that answered was deposed, the other's stands.
                    if reply.positions.iter().any(&is_lost) {
                        touched.maybe(operation, &request.ops, schema);
                    }
                    for (op, outcome) in request.ops.iter().zip(&reply.outcomes) {
                        let facts = facts(op, Some(outcome), schema).into_iter().flatten();
                        for fact in facts.filter(|fact| !fact.nothing) {
                            for position in reply.positions.iter().filter(|at| at.shard == fact.touch.shard())
                            {
                                let all = touched.at.entry((fact.touch, *position)).or_default();
                                all.push((operation, fact.clone()));
                            }
                        }
                    }
                }
                Err(code) if !code.outcome_certain() => touched.maybe(operation, &request.ops, schema),
                _ => {}
            }
        }
        touched
    }

    fn maybe(&mut self, operation: &'a Operation, ops: &[WriteOp], schema: &GraphSchema) {
        for op in ops {
            if let WriteOp::ObjectAdd { id: None, shard, otype, fields } = op {
                self.adds.entry(*shard).or_default().push((*otype, fields.clone()));
            }
            for fact in facts(op, None, schema).into_iter().flatten() {
                self.maybe.entry(fact.touch).or_default().push((operation, fact));
            }
        }
    }

    /// Whose writes the row at this position may show: all that named the position, and all of unknown outcome.
    pub(super) fn candidates(
        &self,
        touch: Touch,
        at: Position,
    ) -> impl Iterator<Item = &(&'a Operation, Fact)> {
        let sure = self.at.get(&(touch, at)).into_iter().flatten();
        sure.chain(self.maybe.get(&touch).into_iter().flatten())
    }

    /// Whether somebody may have added this object without learning its id.
    pub(super) fn maybe_added(&self, shard: ShardId, row: Row<'_>) -> bool {
        let Row::Object(Some(row)) = row else { return false };
        let adds = self.adds.get(&shard).into_iter().flatten();
        adds.into_iter().any(|(otype, fields)| *otype == row.otype && same_fields(fields, &row.fields))
    }
}
