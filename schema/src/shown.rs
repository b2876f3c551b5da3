//! Answers to reads where they lie: a reply is written from a cached entry without a copy or a count of references in between.

use std::ops::Range;

use crate::edges::PackedEdges;
use crate::ids::{ObjectId, Position, PrimaryTime, Seq};
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
    Object(Option<(ObjectId, &'a ObjectRow)>),
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

/// Some edges of a list.
#[derive(Clone, PartialEq, Debug)]
pub enum EdgesRef<'a> {
    /// Those that stand in these bytes of it.
    Part(&'a PackedEdges, Range<usize>),
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
    /// As a value of its own: shares the bytes.
    pub fn into_owned(self) -> Answer {
        match self {
            Self::Object(object) => Answer::Object(object.map(|(id, row)| (id, row.clone()))),
            Self::Edges { edges, version } => Answer::Edges { edges: edges.into_owned(), version },
            Self::Count { count, version } => Answer::Count { count, version },
        }
    }
}

impl<'a> From<&'a Answer> for AnswerRef<'a> {
    fn from(answer: &'a Answer) -> Self {
        match answer {
            Answer::Object(object) => Self::Object(object.as_ref().map(|(id, row)| (*id, row))),
            Answer::Edges { edges, version } => {
                Self::Edges { edges: EdgesRef::Part(edges, 0..edges.as_bytes().len()), version: *version }
            }
            Answer::Count { count, version } => Self::Count { count: *count, version: *version },
        }
    }
}

impl EdgesRef<'_> {
    /// The packed bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Part(edges, span) => &edges.as_bytes()[span.clone()],
            Self::Picked(edges) => edges.as_bytes(),
        }
    }

    /// As a list of its own: shares the bytes.
    pub fn into_owned(self) -> PackedEdges {
        match self {
            Self::Part(edges, span) => edges.part(span),
            Self::Picked(edges) => edges,
        }
    }
}
