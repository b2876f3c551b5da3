//! One effect for each write (R3), none for a write that failed, and batches whole (I8): by what only one write says.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::ids::{EdgeKey, FieldId, ObjectId, Position, ShardId, Time};
use tao_schema::ops::{WriteOp, WriteRequest};
use tao_schema::rows::ChangeItem;

use super::Court;
use super::effects::{Touched, facts};
use super::slice::line;
use crate::history::operation::{Call, Invariant, Operation, Reply};

/// Something that a write says: who says it alone can be found in the log by it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Mark {
    /// A field of this object, or of any object of this shard: the id of an `object_add` may not be known.
    Field(ShardId, Option<ObjectId>, FieldId, Content),
    /// An edge with time and data, by its ordering side.
    Edge(EdgeKey, Time, Bytes),
}

/// A value, comparable. Truth values say too little to find anybody by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Content {
    Int(i64),
    Text(String),
    Blob(Bytes),
}

/// Where a mark was found.
type Found = HashMap<Mark, BTreeSet<Position>>;

impl<'a> Court<'a> {
    pub(super) fn once(&mut self, touched: &Touched<'a>) {
        let said = self.said();
        let found = self.found(&said);
        for operation in self.operations {
            let Call::Write(request) = &operation.call else { continue };
            if !self.rules.schema.ordering_shard(request).is_ok_and(|shard| self.part.has(shard)) {
                continue;
            }
            // For each op the places of its own mark; `None`: it has none that only it says.
            let places: Vec<Option<BTreeSet<Position>>> = request
                .ops
                .iter()
                .map(|op| {
                    let own = self.marks(op).into_iter().find(|mark| said.get(mark) == Some(&1))?;
                    Some(found.get(&own).cloned().unwrap_or_default())
                })
                .collect();
            self.applied_once(operation, &places);
            self.all_or_none(operation, request, &places, touched);
        }
    }

    fn applied_once(&mut self, operation: &'a Operation, places: &[Option<BTreeSet<Position>>]) {
        let failed = operation.result.as_ref().is_err_and(|code| code.outcome_certain());
        for places in places.iter().flatten() {
            self.checked(Invariant::I1);
            let message = match (failed, places.len()) {
                (true, 1..) => format!("operation #{} failed for certain, and is in the log", operation.id),
                (false, 2..) => format!("operation #{} is in the log twice", operation.id),
                _ => continue,
            };
            self.tell(Invariant::I1, message, operation, places);
        }
    }

    fn all_or_none(
        &mut self,
        operation: &'a Operation,
        request: &WriteRequest,
        places: &[Option<BTreeSet<Position>>],
        touched: &Touched<'a>,
    ) {
        let all: BTreeSet<Position> = places.iter().flatten().flatten().copied().collect();
        let parts: Vec<&BTreeSet<Position>> = (places.iter().enumerate())
            .filter_map(|(at, places)| Some((at, places.as_ref()?)))
            .filter(|(at, places)| {
                !places.is_empty() || !self.may_be_hidden(operation, request, *at, &all, touched)
            })
            .map(|(_, places)| places)
            .collect();
        let mut places = parts.into_iter();
        let Some(first) = places.next() else { return };
        for other in places {
            self.checked(Invariant::I8);
            if other != first {
                let message =
                    format!("the parts of operation #{} are at different places of the log", operation.id);
                let all: BTreeSet<Position> = first.union(other).copied().collect();
                self.tell(Invariant::I8, message, operation, &all);
            }
        }
    }

    /// Whether another op of a transaction at one of these places touches the row, too, be it of the same batch: who
    /// comes last is seen, and of a row that came and went nothing is.
    fn may_be_hidden(
        &self,
        operation: &Operation,
        request: &WriteRequest,
        op: usize,
        places: &BTreeSet<Position>,
        touched: &Touched<'a>,
    ) -> bool {
        let outcome = match &operation.result {
            Ok(Reply::Write(reply)) => reply.outcomes.get(op),
            _ => None,
        };
        let facts = facts(&request.ops[op], outcome, &self.rules.schema).unwrap_or_default();
        let by_another = |touch| places.iter().any(|at| touched.candidates(touch, *at).count() > 1);
        facts.iter().any(|fact| by_another(fact.touch))
    }

    fn tell(
        &mut self,
        invariant: Invariant,
        message: String,
        operation: &'a Operation,
        places: &BTreeSet<Position>,
    ) {
        self.violation(invariant, message, |court| {
            let mut lines = vec![line(operation)];
            for place in places {
                let logged = court.truth.shard(place.shard).and_then(|log| log.at(place.epoch, place.seq));
                lines.extend(logged.map(super::slice::log_line));
            }
            lines
        });
    }

    /// How many ops say each mark. Edges that change their type come and go with the same data: they are left out.
    fn said(&self) -> HashMap<Mark, u32> {
        let mut said = HashMap::new();
        let mut moved: HashSet<(ObjectId, ObjectId)> = HashSet::new();
        for operation in self.operations {
            let Call::Write(request) = &operation.call else { continue };
            for op in &request.ops {
                self.marks(op).into_iter().for_each(|mark| *said.entry(mark).or_default() += 1);
                if let WriteOp::AssocChangeType { edge, .. } = op {
                    moved.extend([(edge.id1, edge.id2), (edge.id2, edge.id1)]);
                }
            }
        }
        said.retain(|mark, _| !matches!(mark, Mark::Edge(edge, ..) if moved.contains(&(edge.id1, edge.id2))));
        said
    }

    fn marks(&self, op: &WriteOp) -> Vec<Mark> {
        match op {
            WriteOp::ObjectAdd { id, shard, fields, .. } => {
                field_marks(id.map_or(*shard, ObjectId::shard), *id, fields)
            }
            WriteOp::ObjectUpdate { id, set, .. } => field_marks(id.shard(), Some(*id), set),
            WriteOp::AssocAdd { edge, time, fields, .. } => {
                let edge = self.rules.schema.canonical(*edge).map(|canonical| canonical.edge);
                edge.map(|edge| Mark::Edge(edge, *time, fields.0.clone())).into_iter().collect()
            }
            WriteOp::ObjectDelete { .. } | WriteOp::AssocDelete { .. } | WriteOp::AssocChangeType { .. } => {
                Vec::new()
            }
        }
    }

    /// Where the present lineage newly says what only one op says. A field that stays as it was is not new.
    fn found(&self, said: &HashMap<Mark, u32>) -> Found {
        let mut found = Found::new();
        for (_, log) in self.truth.shards().filter(|(shard, _)| self.part.has(*shard)) {
            let mut before: HashMap<ObjectId, Fields> = HashMap::new();
            if let Some(seed) = log.seed() {
                let rows = seed.objects.iter().filter_map(|(id, row)| Some((*id, row.fields.decode().ok()?)));
                before.extend(rows);
            }
            for logged in log.log() {
                let at = logged.change.position();
                if log.is_lost((at.epoch, at.seq)) {
                    continue;
                }
                for item in &logged.change.items {
                    for mark in new_marks(item, &mut before) {
                        if said.get(&mark) == Some(&1) {
                            found.entry(mark).or_default().insert(at);
                        }
                    }
                }
            }
        }
        found
    }
}

/// Those with the object's id first: they are known by less.
fn field_marks(shard: ShardId, id: Option<ObjectId>, fields: &EncodedFields) -> Vec<Mark> {
    let Ok(fields) = fields.decode() else { return Vec::new() };
    let marks = fields.iter().filter_map(|(field, value)| Some((field, content(value)?)));
    marks.flat_map(|(field, content)| marks_of(shard, id, field, content)).collect()
}

fn marks_of(
    shard: ShardId,
    id: Option<ObjectId>,
    field: FieldId,
    content: Content,
) -> impl Iterator<Item = Mark> {
    let own = id.map(|id| Mark::Field(shard, Some(id), field, content.clone()));
    own.into_iter().chain([Mark::Field(shard, None, field, content)])
}

fn content(value: &Value) -> Option<Content> {
    match value {
        Value::Int(value) => Some(Content::Int(*value)),
        Value::Text(value) => Some(Content::Text(value.clone())),
        Value::Blob(value) => Some(Content::Blob(value.clone())),
        Value::Bool(_) | Value::Float(_) => None,
    }
}

fn new_marks(item: &ChangeItem, before: &mut HashMap<ObjectId, Fields>) -> Vec<Mark> {
    match item {
        ChangeItem::Object { id, row: None } => {
            before.remove(id);
            Vec::new()
        }
        ChangeItem::Object { id, row: Some(row) } => {
            let Ok(now) = row.fields.decode() else { return Vec::new() };
            let was = before.insert(*id, now.clone()).unwrap_or_default();
            let new = now.iter().filter(|(field, value)| was.get(*field) != Some(value));
            let new = new.filter_map(|(field, value)| Some((field, content(value)?)));
            new.flat_map(|(field, content)| marks_of(id.shard(), Some(*id), field, content)).collect()
        }
        ChangeItem::List(change) => {
            let edge = |id2| EdgeKey { id1: change.key.id1, atype: change.key.atype, id2 };
            let there = change.edges.iter().filter_map(|(id2, value)| Some((*id2, value.as_ref()?)));
            there.map(|(id2, value)| Mark::Edge(edge(id2), value.time, value.fields.0.clone())).collect()
        }
    }
}
