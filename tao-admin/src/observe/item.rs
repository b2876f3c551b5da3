//! What is observed: objects and lists, as the log tells of them and as answers show them.
//!
//! Contents are kept as digests, so that a watched item costs the same however large it is, and no report can show
//! anybody's data.

use std::collections::BTreeMap;
use std::fmt;

use tao_schema::ids::{ListKey, ObjectId, ObjectType, Position, Seq, ShardId, Time};
use tao_schema::ops::{Answer, ReadOp, ReadReply, Source};
use tao_schema::rows::{ChangeItem, ListChange};
use xxhash_rust::xxh3::Xxh3;

/// Edges of one change that are looked at; a larger change is looked at in part.
pub const MAX_EDGES: usize = 16;

/// Fingerprint of contents.
pub type Digest = u128;

/// What a reader asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ItemKey {
    /// An object.
    Object(ObjectId),
    /// A list: some of its edges, and its count.
    List(ListKey),
}

/// An item as one change left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// `None`: it does not exist.
    Object(Option<Digest>),
    /// A list.
    List {
        /// Number of its edges.
        count: u64,
        /// The edges that are looked at; `None`: not there.
        edges: BTreeMap<ObjectId, Option<Digest>>,
    },
}

/// What an answer shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The object with its version, or that there is none.
    Object(Option<(Seq, Digest)>),
    /// Which of the edges asked for there are.
    Edges {
        /// Those that are there.
        edges: BTreeMap<ObjectId, Digest>,
        /// The list's version.
        version: Seq,
    },
    /// A list's count.
    Count {
        /// Number of edges.
        count: u64,
        /// The list's version.
        version: Seq,
    },
}

/// An answer: what it shows, and where in the shard's log it claims to be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// What it is right at.
    pub position: Position,
    /// What it shows.
    pub content: Content,
    /// Who had it, if that was told.
    pub source: Option<Source>,
    /// The rule by which it was found fresh enough.
    pub rule: String,
}

impl ItemKey {
    /// The item that a change is about.
    pub const fn of(item: &ChangeItem) -> Self {
        match item {
            ChangeItem::Object { id, .. } => Self::Object(*id),
            ChangeItem::List(list) => Self::List(list.key),
        }
    }

    /// The shard in whose log its changes are.
    pub const fn shard(self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::List(list) => list.id1.shard(),
        }
    }

    /// What a client asks to see it.
    pub fn reads(self, edges: &[ObjectId]) -> Vec<ReadOp> {
        match self {
            Self::Object(id) => vec![ReadOp::ObjectGet(id)],
            Self::List(list) => {
                let get = ReadOp::AssocGet { list, id2s: edges.to_vec(), high: None, low: None };
                // A change may be of bookkeeping only and name no edge.
                let get = (!edges.is_empty()).then_some(get);
                get.into_iter().chain([ReadOp::AssocCount(list)]).collect()
            }
        }
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => write!(f, "object {id}"),
            Self::List(list) => write!(f, "list ({}, {})", list.id1, list.atype),
        }
    }
}

impl State {
    /// What a change leaves of its item; of a list, as far as its edges are in `edges`.
    pub fn of(item: &ChangeItem, edges: &[ObjectId]) -> Self {
        match item {
            ChangeItem::Object { row, .. } => {
                Self::Object(row.as_ref().map(|row| object_digest(row.otype, &row.fields.0)))
            }
            ChangeItem::List(change) => {
                Self::List { count: change.count, edges: changed_edges(change, edges).collect() }
            }
        }
    }

    /// What a later change leaves: edges that it does not name stay as they are.
    pub fn after(&self, item: &ChangeItem, watched: &[ObjectId]) -> Self {
        match (self, item) {
            (Self::List { edges, .. }, ChangeItem::List(change)) => {
                let mut edges = edges.clone();
                edges.extend(changed_edges(change, watched));
                Self::List { count: change.count, edges }
            }
            _ => Self::of(item, watched),
        }
    }
}

/// The edges of a change that are to be looked at.
pub fn edges_of(item: &ChangeItem) -> Vec<ObjectId> {
    match item {
        ChangeItem::Object { .. } => Vec::new(),
        ChangeItem::List(change) => change.edges.iter().take(MAX_EDGES).map(|(id2, _)| *id2).collect(),
    }
}

impl Seen {
    /// Out of a node's reply.
    pub fn of(reply: &ReadReply) -> Self {
        let content = match &reply.answer {
            Answer::Object(found) => Content::Object(
                found.as_ref().map(|(_, row)| (row.version, object_digest(row.otype, &row.fields.0))),
            ),
            Answer::Edges { edges, version } => Content::Edges {
                edges: edges.iter().map(|edge| (edge.id2, edge_digest(edge.time, edge.fields))).collect(),
                version: *version,
            },
            Answer::Count { count, version } => Content::Count { count: *count, version: *version },
        };
        let explain = reply.explain.as_ref();
        Self {
            position: reply.position,
            content,
            source: explain.map(|explain| explain.source),
            rule: explain.map(|explain| explain.rule.clone()).unwrap_or_default(),
        }
    }
}

fn changed_edges<'a>(
    change: &'a ListChange,
    watched: &'a [ObjectId],
) -> impl Iterator<Item = (ObjectId, Option<Digest>)> + 'a {
    let of_interest = change.edges.iter().filter(|(id2, _)| watched.contains(id2));
    of_interest
        .map(|(id2, value)| (*id2, value.as_ref().map(|value| edge_digest(value.time, &value.fields.0))))
}

/// Of an object's type and fields.
pub fn object_digest(otype: ObjectType, fields: &[u8]) -> Digest {
    digest(&otype.0.to_le_bytes(), fields)
}

fn edge_digest(time: Time, fields: &[u8]) -> Digest {
    digest(&time.0.to_le_bytes(), fields)
}

fn digest(head: &[u8], fields: &[u8]) -> Digest {
    let mut hasher = Xxh3::new();
    hasher.update(head);
    hasher.update(fields);
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use tao_schema::fields::EncodedFields;
    use tao_schema::ids::{AssocType, Epoch};
    use tao_schema::rows::{EdgeValue, ObjectRow};

    use super::*;

    const KEY: ListKey = ListKey { id1: ObjectId(1), atype: AssocType(2) };

    fn list(count: u64, edges: &[(u64, Option<u32>)]) -> ChangeItem {
        let value = |time: &u32| EdgeValue { time: Time(*time), fields: EncodedFields::new() };
        let edges = edges.iter().map(|(id2, time)| (ObjectId(*id2), time.as_ref().map(value))).collect();
        ChangeItem::List(ListChange { key: KEY, prev_version: Seq(0), count, edges })
    }

    #[test]
    fn an_object_in_the_log_and_in_an_answer_have_one_digest() {
        let row = ObjectRow {
            otype: ObjectType(3),
            version: Seq(9),
            fields: EncodedFields(b"\x0a\x00"[..].into()),
        };
        let item = ChangeItem::Object { id: ObjectId(1), row: Some(row.clone()) };
        let position = Position { shard: ShardId(0), epoch: Epoch(1), seq: Seq(9) };
        let answer = Answer::Object(Some((ObjectId(1), row)));
        let seen = Seen::of(&ReadReply { position, answer, explain: None, time: None });
        let State::Object(Some(of_log)) = State::of(&item, &[]) else { unreachable!("an object") };
        assert_eq!(seen.content, Content::Object(Some((Seq(9), of_log))));
        assert_ne!(of_log, object_digest(ObjectType(4), b"\x0a\x00"), "the type counts");
    }

    #[test]
    fn a_list_keeps_what_a_later_change_does_not_name() {
        let first = list(2, &[(10, Some(5)), (11, None)]);
        let watched = edges_of(&first);
        let state = State::of(&first, &watched);
        let then = state.after(&list(7, &[(11, Some(6)), (12, Some(7))]), &watched);
        let State::List { count, edges } = &then else { unreachable!("a list") };
        assert_eq!(*count, 7);
        assert_eq!(edges.keys().copied().collect::<Vec<_>>(), [ObjectId(10), ObjectId(11)]);
        assert!(edges[&ObjectId(10)].is_some() && edges[&ObjectId(11)].is_some());
    }
}
