//! What a case does, with names in place of ids: ids are fresh whenever a case runs.

use std::fmt;

use tao_schema::fields::{Fields, Value};
use tao_schema::ids::{AssocType, EdgeKey, FieldId, ListKey, ObjectId, ObjectType, Seq, ShardId, Time};
use tao_schema::ops::{ReadOp, WriteOp};

use super::graph::{Graph, Sent};

/// Ids that the application chooses, on three shards.
pub(super) const CHOSEN: u8 = 6;
/// Ids that shards allocate, by the place where a case keeps them.
pub(super) const ALLOCATED: u8 = 3;

/// A name for an id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Name {
    /// One of [`CHOSEN`].
    Chosen(u8),
    /// One of [`ALLOCATED`]; a chosen one until something was allocated.
    Allocated(u8),
    /// On a shard that the cluster has not.
    Nowhere,
}

/// Whose session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Door {
    A,
    B,
}

/// How a read is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// In the session: from any memory that has all it has seen.
    Session,
    /// In the session, from the master's memory.
    Master,
    /// In the session, no older than the request.
    Bounded,
    /// In the session, proved by the primary.
    Critical,
    /// By somebody who has seen nothing, proved by the primary.
    Stranger,
}

/// What version a write demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    Nothing,
    /// The one that is there.
    Right,
    /// One before it.
    Old,
    /// One that was never there.
    Far,
}

/// Where an object is added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Id(Name),
    /// On the shard of the one, kept as the other.
    Near(Name, u8),
}

pub(super) type Sets = Vec<(FieldId, Value)>;

/// One call.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Op {
    ObjectAdd { at: At, otype: ObjectType, set: Sets },
    ObjectUpdate { id: Name, otype: ObjectType, set: Sets, clear: Vec<FieldId>, expected: Expected },
    ObjectDelete { id: Name, expected: Expected },
    AssocAdd { edge: Edge, time: u32, set: Sets, create_only: bool, expected: Expected },
    AssocDelete { edge: Edge, expected: Expected },
    AssocChangeType { edge: Edge, new_atype: AssocType, expected: Expected },
    ObjectGet { id: Name },
    AssocGet { id1: Name, atype: AssocType, id2s: Vec<Name>, high: Option<u32>, low: Option<u32> },
    AssocCount { id1: Name, atype: AssocType },
    AssocRange { id1: Name, atype: AssocType, pos: u32, limit: u32 },
    AssocTimeRange { id1: Name, atype: AssocType, high: u32, low: u32, limit: u32 },
}

/// An association by names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Edge {
    pub(super) id1: Name,
    pub(super) atype: AssocType,
    pub(super) id2: Name,
}

/// One step of a case: nothing of the next one is sent before it is answered.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    /// One call.
    One(Door, How, Op),
    /// Writes that happen together or not at all.
    Atomic(Door, Vec<Op>),
    /// Independent calls sent together.
    Batch(Door, Vec<Op>),
    /// Two users at once, each with one call after the other.
    Race(Vec<Op>, Vec<Op>),
    /// The session goes on in another process: through its text.
    Resume(Door),
}

/// The ids behind the names, of one run of one case.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub(super) chosen: [ObjectId; CHOSEN as usize],
    pub(super) allocated: [Option<ObjectId>; ALLOCATED as usize],
    pub(super) nowhere: ObjectId,
}

impl Ids {
    pub(super) fn of(&self, name: Name) -> ObjectId {
        match name {
            Name::Chosen(at) => self.chosen[usize::from(at % CHOSEN)],
            Name::Allocated(at) => {
                let allocated = self.allocated[usize::from(at % ALLOCATED)];
                allocated.unwrap_or(self.chosen[usize::from(at % ALLOCATED)])
            }
            Name::Nowhere => self.nowhere,
        }
    }

    /// Every id that a case has written or may have.
    pub(super) fn all(&self) -> impl Iterator<Item = ObjectId> {
        self.chosen.into_iter().chain(self.allocated.into_iter().flatten())
    }

    fn edge(&self, edge: Edge) -> EdgeKey {
        EdgeKey { id1: self.of(edge.id1), atype: edge.atype, id2: self.of(edge.id2) }
    }
}

fn version(graph: &Graph, expected: Expected, object: Option<ObjectId>, list: ListKey) -> Option<Seq> {
    match expected {
        Expected::Nothing => None,
        Expected::Right => graph.version(object, list),
        Expected::Old => graph.version(object, list).and_then(|Seq(seq)| Some(Seq(seq.checked_sub(1)?))),
        // Beyond every version that a case can come to, also in this very write.
        Expected::Far => Some(Seq(u64::MAX >> 1)),
    }
}

fn fields(set: &Sets) -> tao_schema::fields::EncodedFields {
    set.iter().cloned().collect::<Fields>().encode()
}

impl Op {
    /// The request that this is for these ids. `graph` tells versions to expect.
    pub(super) fn resolve(&self, ids: &Ids, graph: &Graph) -> Result<WriteOp, ReadOp> {
        let nothing = ListKey { id1: ObjectId(0), atype: AssocType(0) };
        let list = |id1: Name, atype: AssocType| ListKey { id1: ids.of(id1), atype };
        match self {
            Self::ObjectAdd { at, otype, set } => {
                let (id, shard) = match at {
                    At::Id(name) => (Some(ids.of(*name)), ShardId(0)),
                    At::Near(name, _) => (None, ids.of(*name).shard()),
                };
                Ok(WriteOp::ObjectAdd { id, shard, otype: *otype, fields: fields(set) })
            }
            Self::ObjectUpdate { id, otype, set, clear, expected } => {
                let id = ids.of(*id);
                let expected = version(graph, *expected, Some(id), nothing);
                Ok(WriteOp::ObjectUpdate {
                    id,
                    otype: *otype,
                    set: fields(set),
                    clear: clear.clone(),
                    expected,
                })
            }
            Self::ObjectDelete { id, expected } => {
                let id = ids.of(*id);
                Ok(WriteOp::ObjectDelete { id, expected: version(graph, *expected, Some(id), nothing) })
            }
            Self::AssocAdd { edge, time, set, create_only, expected } => {
                let edge = ids.edge(*edge);
                let expected = version(graph, *expected, None, edge.list());
                let (time, fields, create_only) = (Time(*time), fields(set), *create_only);
                Ok(WriteOp::AssocAdd { edge, time, fields, create_only, expected })
            }
            Self::AssocDelete { edge, expected } => {
                let edge = ids.edge(*edge);
                Ok(WriteOp::AssocDelete { edge, expected: version(graph, *expected, None, edge.list()) })
            }
            Self::AssocChangeType { edge, new_atype, expected } => {
                let edge = ids.edge(*edge);
                let expected = version(graph, *expected, None, edge.list());
                Ok(WriteOp::AssocChangeType { edge, new_atype: *new_atype, expected })
            }
            Self::ObjectGet { id } => Err(ReadOp::ObjectGet(ids.of(*id))),
            Self::AssocGet { id1, atype, id2s, high, low } => Err(ReadOp::AssocGet {
                list: list(*id1, *atype),
                id2s: id2s.iter().map(|name| ids.of(*name)).collect(),
                high: high.map(Time),
                low: low.map(Time),
            }),
            Self::AssocCount { id1, atype } => Err(ReadOp::AssocCount(list(*id1, *atype))),
            Self::AssocRange { id1, atype, pos, limit } => {
                Err(ReadOp::AssocRange { list: list(*id1, *atype), pos: *pos, limit: *limit })
            }
            Self::AssocTimeRange { id1, atype, high, low, limit } => Err(ReadOp::AssocTimeRange {
                list: list(*id1, *atype),
                high: Time(*high),
                low: Time(*low),
                limit: *limit,
            }),
        }
    }

    /// As [`Op::resolve`], as what is sent.
    pub(super) fn sent(&self, ids: &Ids, graph: &Graph) -> Sent {
        self.resolve(ids, graph).map_or_else(Sent::Read, |op| Sent::Write(vec![op]))
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(
            self,
            Self::ObjectGet { .. }
                | Self::AssocGet { .. }
                | Self::AssocCount { .. }
                | Self::AssocRange { .. }
                | Self::AssocTimeRange { .. }
        )
    }

    /// Where the id that it allocates is kept.
    pub(super) const fn keeps(&self) -> Option<u8> {
        match self {
            Self::ObjectAdd { at: At::Near(_, place), .. } => Some(*place),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(at) => write!(f, "id{at}"),
            Self::Allocated(at) => write!(f, "new{at}"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}
