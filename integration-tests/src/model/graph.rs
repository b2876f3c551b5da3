//! The plain graph in memory that answers are judged by: maps, and the sentences of the API's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use tao_client::{BatchReply, Error, Written};
use tao_schema::ids::{ListKey, ObjectId, ObjectType, Seq, ShardId, Time};
use tao_schema::ops::{ReadOp, WriteOp};

use super::draft::Draft;
use super::rules::{Checked, Data, Rules, data};

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    /// One operation, or several as one.
    Write(Vec<WriteOp>),
    /// A read.
    Read(ReadOp),
}

/// What came back.
pub(super) type Reply = Result<BatchReply, Error>;

/// Why the model can't have answered so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrong(pub(super) String);

/// All versions that a thing may have, both ends included: one, unless the other side of a pair has not told its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub(super) low: Seq,
    pub(super) high: Seq,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Object {
    pub(super) otype: ObjectType,
    pub(super) data: Data,
    pub(super) version: Version,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct List {
    pub(super) edges: BTreeMap<ObjectId, (Time, Data)>,
    pub(super) version: Version,
}

/// The graph.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Graph {
    pub(super) objects: BTreeMap<ObjectId, Object>,
    pub(super) lists: BTreeMap<ListKey, List>,
    /// Ids that shards allocated: never again.
    pub(super) given: BTreeSet<ObjectId>,
    /// The last change of each shard that was acknowledged.
    pub(super) seqs: BTreeMap<ShardId, Seq>,
    /// Lists that a pair's ordering side in another shard has changed since [`Graph::begin`], with the lowest version
    /// that each may have had before. Several such states of a pair may come over as one, in one version, or as none.
    pub(super) brought: BTreeMap<ListKey, Seq>,
}

impl Version {
    pub(super) const NEVER: Self = Self::exactly(Seq::ZERO);

    pub(super) const fn exactly(seq: Seq) -> Self {
        Self { low: seq, high: seq }
    }

    pub(super) fn may_be(self, seq: Seq) -> bool {
        self.low <= seq && seq <= self.high
    }
}

impl List {
    pub(super) const fn new() -> Self {
        Self { edges: BTreeMap::new(), version: Version::NEVER }
    }
}

pub(super) fn expect<T: PartialEq + Debug>(what: &str, found: &T, wanted: &T) -> Result<(), Wrong> {
    if found == wanted {
        return Ok(());
    }
    Err(Wrong(format!("{what}: found {found:?}, the model has {wanted:?}")))
}

impl Graph {
    /// All that was sent before has been answered, and has come to both sides.
    pub(super) fn begin(&mut self) {
        self.brought.clear();
    }

    /// Applies a request and holds its reply against what the model says.
    pub(super) fn step(&mut self, rules: &Rules, sent: &Sent, reply: &Reply) -> Result<(), Wrong> {
        match sent {
            Sent::Write(ops) => self.write(rules, ops, reply),
            Sent::Read(op) => match (rules.read(op), reply) {
                (Ok(()), Ok(reply)) => self.read(op, reply),
                (Err(wanted), Err(found)) => expect("refusal", &found.code, &wanted),
                (Ok(()), Err(error)) => Err(Wrong(format!("refused: {error}; the model answers"))),
                (Err(wanted), Ok(reply)) => {
                    Err(Wrong(format!("answered {reply:?}; the model refuses: {wanted}")))
                }
            },
        }
    }

    /// The version of an object or a list, if it is known.
    pub(super) fn version(&self, object: Option<ObjectId>, list: ListKey) -> Option<Seq> {
        let version = match object {
            Some(id) => self.objects.get(&id)?.version,
            None => self.lists.get(&list).map_or(Version::NEVER, |list| list.version),
        };
        (version.low == version.high).then_some(version.low)
    }

    /// Every list that was ever written.
    pub(super) fn lists(&self) -> impl Iterator<Item = ListKey> {
        self.lists.keys().copied()
    }

    fn write(&mut self, rules: &Rules, ops: &[WriteOp], reply: &Reply) -> Result<(), Wrong> {
        let mut draft = Draft::new(self, rules, reply);
        let wanted = rules.write(ops).and_then(|()| {
            ops.iter().enumerate().map(|(at, op)| draft.op(at, op)).collect::<Checked<Vec<_>>>()
        });
        let written = match (&wanted, reply) {
            (Ok(outcomes), Ok(reply)) => {
                let written = written(reply)?;
                expect("outcomes", &written.outcomes, outcomes)?;
                written
            }
            (Err(wanted), Err(found)) => return expect("refusal", &found.code, wanted),
            (Ok(outcomes), Err(error)) => {
                return Err(Wrong(format!("refused: {error}; the model does it: {outcomes:?}")));
            }
            (Err(code), Ok(reply)) => {
                return Err(Wrong(format!("done: {reply:?}; the model refuses: {code}")));
            }
        };
        let ordering = ops.first().and_then(|op| rules.orders(op).ok());
        draft.stamp(ordering, written)?;
        *self = draft.graph;
        Ok(())
    }

    fn read(&mut self, op: &ReadOp, reply: &BatchReply) -> Result<(), Wrong> {
        match (op, reply) {
            (ReadOp::ObjectGet(id), BatchReply::Object(found)) => self.object(*id, found.as_ref()),
            (ReadOp::AssocCount(list), BatchReply::Count(found)) => {
                let count = self.lists.get(list).map_or(0, |list| list.edges.len() as u64);
                expect("count", &found.count, &count)?;
                self.saw_list(*list, found.version)
            }
            (ReadOp::AssocGet { list, id2s, high, low }, BatchReply::List(found)) => {
                let within = |time| high.is_none_or(|high| time <= high) && low.is_none_or(|low| time >= low);
                self.edges(*list, found, |edges| {
                    edges.retain(|(time, id2, _)| id2s.contains(id2) && within(*time));
                })
            }
            (ReadOp::AssocRange { list, pos, limit }, BatchReply::List(found)) => {
                self.edges(*list, found, |edges| {
                    edges.drain(..(*pos as usize).min(edges.len()));
                    edges.truncate(*limit as usize);
                })
            }
            (ReadOp::AssocTimeRange { list, high, low, limit }, BatchReply::List(found)) => {
                self.edges(*list, found, |edges| {
                    edges.retain(|(time, _, _)| time <= high && time >= low);
                    edges.truncate(*limit as usize);
                })
            }
            _ => Err(Wrong(format!("an answer of another kind: {reply:?}"))),
        }
    }

    fn object(&mut self, id: ObjectId, found: Option<&tao_client::Object>) -> Result<(), Wrong> {
        let held = self.objects.get_mut(&id);
        expect("existence", &found.is_some(), &held.is_some())?;
        let (Some(found), Some(held)) = (found, held) else { return Ok(()) };
        expect("id", &found.id, &id)?;
        expect("type", &found.otype, &held.otype)?;
        expect("fields", &decoded(found.fields().encoded())?, &held.data)?;
        saw(&mut held.version, found.version)
    }

    /// The edges of a list newest first, cut to what was asked, against what was answered.
    fn edges(
        &mut self,
        key: ListKey,
        found: &tao_client::AssocList,
        cut: impl FnOnce(&mut Vec<(Time, ObjectId, Data)>),
    ) -> Result<(), Wrong> {
        let all = self.lists.get(&key).map(|list| &list.edges).into_iter().flatten();
        let mut wanted: Vec<_> = all.map(|(id2, (time, data))| (*time, *id2, data.clone())).collect();
        wanted.sort_by_key(|(time, id2, _)| std::cmp::Reverse((*time, *id2)));
        cut(&mut wanted);
        let edges = found.iter().map(|edge| Ok((edge.time, edge.id2, decoded(edge.fields().encoded())?)));
        expect("edges", &edges.collect::<Result<Vec<_>, Wrong>>()?, &wanted)?;
        self.saw_list(key, found.version)
    }

    fn saw_list(&mut self, key: ListKey, found: Seq) -> Result<(), Wrong> {
        match self.lists.get_mut(&key) {
            Some(list) => saw(&mut list.version, found),
            None => expect("version", &found, &Seq::ZERO),
        }
    }
}

/// A version that was read: from now on it is known.
fn saw(held: &mut Version, found: Seq) -> Result<(), Wrong> {
    if !held.may_be(found) {
        return Err(Wrong(format!("version: found {found}, the model has {} to {}", held.low, held.high)));
    }
    *held = Version::exactly(found);
    Ok(())
}

fn decoded(fields: &tao_schema::fields::EncodedFields) -> Result<Data, Wrong> {
    fields.decode().map_err(|error| Wrong(error.to_string()))?;
    Ok(data(fields))
}

pub(super) fn written(reply: &BatchReply) -> Result<&Written, Wrong> {
    match reply {
        BatchReply::Written(written) => Ok(written),
        BatchReply::Added(added) => Ok(&added.written),
        _ => Err(Wrong(format!("an answer of another kind: {reply:?}"))),
    }
}
