//! Answers to reads where they lie: a reply is written from a cached entry without a copy or a count of references in between.

use crate::edges::PackedEdges;
use crate::fields::EncodedFields;
use crate::held::HeldEdges;
use crate::ids::{ObjectId, ObjectType, Position, PrimaryTime, Seq};
use crate::ops::{Answer, Explain, ReadReply};
use crate::rows::ObjectRow;

/// A [`ReadReply`] whose answer belongs to somebody else.
#[derive(Debug)]
pub struct ReadReplyRef<'a> {
    /// See [`ReadReply`].
    pub position: Position,
    /// The answer.
    pub answer: AnswerRef<'a>,
    /// See [`ReadReply`].
    pub explain: Option<Explain>,
    /// See [`ReadReply`].
    pub time: Option<PrimaryTime>,
}

/// An [`Answer`] that belongs to somebody else.
#[derive(Clone, PartialEq, Debug)]
pub enum AnswerRef<'a> {
    /// Of `object_get`.
    Object(Option<(ObjectId, ObjectRef<'a>)>),
    /// Of `assoc_get`, `assoc_range`, `assoc_time_range`.
    Edges {
        /// The edges asked for.
        edges: EdgesRef<'a>,
        /// The list's version.
        version: Seq,
    },
    /// Of `assoc_count`.
    Count {
        /// Number of edges.
        count: u64,
        /// The list's version.
        version: Seq,
    },
}

/// An [`ObjectRow`] whose data belongs to somebody else.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ObjectRef<'a> {
    /// Its type.
    pub otype: ObjectType,
    /// The seq that last changed it.
    pub version: Seq,
    /// Its encoded data.
    pub fields: &'a [u8],
}

/// Some edges of a list.
#[derive(Clone, PartialEq, Debug)]
pub enum EdgesRef<'a> {
    /// A stretch of it.
    Part(HeldEdges<'a>),
    /// Picked one by one.
    Picked(PackedEdges),
}

impl<'a> From<&'a ReadReply> for ReadReplyRef<'a> {
    fn from(reply: &'a ReadReply) -> Self {
        let ReadReply { position, answer, explain, time } = reply;
        Self { position: *position, answer: answer.into(), explain: explain.clone(), time: *time }
    }
}

impl ReadReplyRef<'_> {
    /// As a value of its own.
    pub fn into_owned(self) -> ReadReply {
        let Self { position, answer, explain, time } = self;
        ReadReply { position, answer: answer.into_owned(), explain, time }
    }
}

impl AnswerRef<'_> {
    /// As a value of its own: copies the data.
    pub fn into_owned(self) -> Answer {
        match self {
            Self::Object(object) => Answer::Object(object.map(|(id, row)| (id, row.to_row()))),
            Self::Edges { edges, version } => Answer::Edges { edges: edges.into_owned(), version },
            Self::Count { count, version } => Answer::Count { count, version },
        }
    }
}

impl<'a> From<&'a Answer> for AnswerRef<'a> {
    fn from(answer: &'a Answer) -> Self {
        match answer {
            Answer::Object(object) => Self::Object(object.as_ref().map(|(id, row)| (*id, row.into()))),
            Answer::Edges { edges, version } => {
                Self::Edges { edges: EdgesRef::Part(edges.into()), version: *version }
            }
            Answer::Count { count, version } => Self::Count { count: *count, version: *version },
        }
    }
}

impl ObjectRef<'_> {
    /// As a row of its own: copies the data.
    pub fn to_row(self) -> ObjectRow {
        let Self { otype, version, fields } = self;
        ObjectRow { otype, version, fields: EncodedFields(bytes::Bytes::copy_from_slice(fields)) }
    }
}

impl<'a> From<&'a ObjectRow> for ObjectRef<'a> {
    fn from(row: &'a ObjectRow) -> Self {
        Self { otype: row.otype, version: row.version, fields: &row.fields.0 }
    }
}

impl<'a> EdgesRef<'a> {
    /// The edges.
    #[inline]
    pub fn held(&'a self) -> HeldEdges<'a> {
        match self {
            Self::Part(edges) => *edges,
            Self::Picked(edges) => edges.into(),
        }
    }

    /// As a list of its own: copies a stretch.
    pub fn into_owned(self) -> PackedEdges {
        match self {
            Self::Part(edges) => edges.to_packed(),
            Self::Picked(edges) => edges,
        }
    }
}
