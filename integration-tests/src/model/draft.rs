//! A write in the model: what its operations do one after the other, and which versions its answer gives to what they
//! changed.

use std::collections::{BTreeMap, BTreeSet};

use tao_client::{ErrorCode, Written};
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, ObjectType, Seq, ShardId, Time};
use tao_schema::ops::{Effect, Outcome, WriteOp};

use super::graph::{Graph, List, Object, Reply, Version, Wrong, expect, written};
use super::rules::{Checked, Data, Rules, data, size};

/// What a write is about to do, until it is known whether it did.
pub(super) struct Draft<'a> {
    pub(super) graph: Graph,
    before: &'a Graph,
    rules: &'a Rules,
    reply: &'a Reply,
    objects: BTreeSet<ObjectId>,
    lists: BTreeMap<ListKey, BTreeSet<ObjectId>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(before: &'a Graph, rules: &'a Rules, reply: &'a Reply) -> Self {
        Self { graph: before.clone(), before, rules, reply, objects: BTreeSet::new(), lists: BTreeMap::new() }
    }

    /// What the operation at `at` of the write does.
    pub(super) fn op(&mut self, at: usize, op: &WriteOp) -> Checked<Outcome> {
        let of_object = |effect, id| Ok(Outcome { effect, id: Some(id) });
        let effect = match op {
            WriteOp::ObjectAdd { id, shard, otype, fields } => {
                let id = match id {
                    Some(id) if self.graph.objects.contains_key(id) => {
                        return Err(ErrorCode::PreconditionFailed);
                    }
                    Some(id) => *id,
                    None => self.allocated(at, *shard),
                };
                self.put_object(id, *otype, data(fields));
                return of_object(Effect::Created, id);
            }
            WriteOp::ObjectUpdate { id, otype, set, clear, expected } => {
                let held = self.graph.objects.get(id).ok_or(ErrorCode::NotFound)?;
                if held.otype != *otype {
                    return Err(ErrorCode::InvalidArgument);
                }
                self.guard(*expected, held.version, self.objects.contains(id))?;
                let mut fields = held.data.clone();
                clear.iter().for_each(|id| drop(fields.remove(id)));
                fields.extend(data(set));
                let most = self.rules.schema.object_type(*otype).map_or(0, |def| def.max_bytes);
                if size(&fields) > most {
                    return Err(ErrorCode::InvalidArgument);
                }
                self.put_object(*id, *otype, fields);
                return of_object(Effect::Updated, *id);
            }
            WriteOp::ObjectDelete { id, expected } => {
                let Some(held) = self.graph.objects.get(id) else {
                    return if expected.is_some() {
                        Err(ErrorCode::NotFound)
                    } else {
                        of_object(Effect::Nothing, *id)
                    };
                };
                self.guard(*expected, held.version, self.objects.contains(id))?;
                self.graph.objects.remove(id);
                self.objects.insert(*id);
                return of_object(Effect::Deleted, *id);
            }
            edges => self.edge_op(edges)?,
        };
        Ok(Outcome { effect, id: None })
    }

    fn edge_op(&mut self, op: &WriteOp) -> Checked<Effect> {
        Ok(match op {
            WriteOp::AssocAdd { edge, time, fields, create_only, expected } => {
                self.guard_list(*edge, *expected)?;
                let exists = self.edge(*edge).is_some();
                if *create_only && exists {
                    return Err(ErrorCode::PreconditionFailed);
                }
                self.put(*edge, Some((*time, data(fields))))?;
                if exists { Effect::Updated } else { Effect::Created }
            }
            WriteOp::AssocDelete { edge, expected } => {
                self.guard_list(*edge, *expected)?;
                if self.edge(*edge).is_some() {
                    self.put(*edge, None)?;
                    Effect::Deleted
                } else {
                    Effect::Nothing
                }
            }
            WriteOp::AssocChangeType { edge, new_atype, expected } => {
                self.guard_list(*edge, *expected)?;
                match self.edge(*edge).cloned() {
                    Some(value) => {
                        self.put(*edge, None)?;
                        self.put(EdgeKey { atype: *new_atype, ..*edge }, Some(value))?;
                        Effect::Updated
                    }
                    None => Effect::Nothing,
                }
            }
            _ => return Err(ErrorCode::Internal),
        })
    }

    /// The id that the shard says it allocated, if it is one that it may give; else one that it never gives, so that the
    /// outcomes differ.
    fn allocated(&mut self, at: usize, shard: ShardId) -> ObjectId {
        let said = self.reply.as_ref().ok().and_then(|reply| written(reply).ok());
        let said = said.and_then(|written| written.outcomes.get(at)?.id);
        let may =
            |id: &ObjectId| id.shard() == shard && id.0 & (1 << 47) == 0 && !self.graph.given.contains(id);
        let id = said.filter(may).unwrap_or(ObjectId::new(shard, 0));
        self.graph.given.insert(id);
        id
    }

    fn put_object(&mut self, id: ObjectId, otype: ObjectType, data: Data) {
        let version = self.graph.objects.get(&id).map_or(Version::NEVER, |held| held.version);
        self.graph.objects.insert(id, Object { otype, data, version });
        self.objects.insert(id);
    }

    fn edge(&self, edge: EdgeKey) -> Option<&(Time, Data)> {
        self.graph.lists.get(&edge.list())?.edges.get(&edge.id2)
    }

    /// Both sides of a pair.
    fn put(&mut self, edge: EdgeKey, value: Option<(Time, Data)>) -> Checked {
        let pair = self.rules.pair(edge)?;
        for side in [Some(pair.first), pair.other].into_iter().flatten() {
            let list = self.graph.lists.entry(side.list()).or_insert_with(List::new);
            match value.clone() {
                Some(value) => list.edges.insert(side.id2, value),
                None => list.edges.remove(&side.id2),
            };
            self.lists.entry(side.list()).or_default().insert(side.id2);
        }
        Ok(())
    }

    fn guard_list(&self, edge: EdgeKey, expected: Option<Seq>) -> Checked {
        let key = edge.list();
        let version = self.graph.lists.get(&key).map_or(Version::NEVER, |list| list.version);
        self.guard(expected, version, self.lists.contains_key(&key))
    }

    /// `changed`: by an operation before in the same write, whose version nobody can know.
    fn guard(&self, expected: Option<Seq>, held: Version, changed: bool) -> Checked {
        let Some(expected) = expected else { return Ok(()) };
        // The other side of a pair may have come in between or not: what was answered is right then.
        let either = held.low != held.high && held.may_be(expected) && !changed;
        let fits = if either { self.reply.is_ok() } else { !changed && held.may_be(expected) };
        if fits { Ok(()) } else { Err(ErrorCode::PreconditionFailed) }
    }

    /// What was changed has the version of the write: in the ordering shard exactly, on the other side perhaps another
    /// one's that brought the same state before.
    pub(super) fn stamp(&mut self, ordering: Option<ShardId>, written: &Written) -> Result<(), Wrong> {
        let first = written.positions.first().ok_or_else(|| Wrong("a write without a position".into()))?;
        expect("shard of the first position", &Some(first.shard), &ordering)?;
        let changed_something = !self.objects.is_empty() || !self.lists.is_empty();
        let before = self.graph.seqs.get(&first.shard).copied().unwrap_or_default();
        if changed_something && first.seq < before {
            return Err(Wrong(format!("a change at {first}, after one at {before}")));
        }
        if changed_something {
            self.graph.seqs.insert(first.shard, first.seq);
        }
        let of = |shard: ShardId, held: Version, low: Seq| -> Result<Version, Wrong> {
            let at = written.positions.iter().find(|position| position.shard == shard);
            let version = match at {
                Some(at) if at.shard == first.shard => Version::exactly(at.seq),
                // Others that overlap may have come to the other side in another order than their own, or have
                // brought nothing there.
                Some(at) if low <= held.low => Version { low, high: held.high.max(at.seq) },
                Some(at) => Version { low, high: at.seq },
                None if written.inverse_pending => Version { low, high: Seq(u64::MAX) },
                None => return Err(Wrong(format!("shard {shard} was changed, and no position says so"))),
            };
            if version.low > version.high || version.high < held.low {
                return Err(Wrong(format!("version {} after {} on shard {shard}", version.high, held.low)));
            }
            Ok(version)
        };
        for id in &self.objects {
            if let Some(object) = self.graph.objects.get_mut(id) {
                object.version = of(id.shard(), object.version, object.version.low.next())?;
            }
        }
        for (key, touched) in &self.lists {
            let there_before = self.before.lists.get(key);
            if let Some(list) = self.graph.lists.get_mut(key) {
                let held = list.version;
                let low = if key.id1.shard() == first.shard {
                    held.low.next()
                } else if let Some(low) = self.graph.brought.get(key) {
                    *low
                } else {
                    self.graph.brought.insert(*key, held.low);
                    let was = |id2| there_before.is_some_and(|list| list.edges.contains_key(id2));
                    // What was not there and is gone again may come over as "deleted" alone, which changes no list.
                    let surely = touched.iter().any(|id2| was(id2) || list.edges.contains_key(id2));
                    if surely { held.low.next() } else { held.low }
                };
                list.version = of(key.id1.shard(), held, low)?;
            }
        }
        Ok(())
    }
}
