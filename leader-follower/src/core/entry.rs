//! What a cache holds.

use std::fmt;

use tao_schema::held::{HeldEdges, plain};
use tao_schema::ids::{ListKey, ObjectId, ObjectType, Seq, ShardId};
use tao_schema::ops::ObjectRef;
use tao_schema::rows::{ListRow, ObjectRow};
use triomphe::ThinArc;

/// Key of a cached entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// An object, or its absence.
    Object(ObjectId),
    /// A list: its count and a newest-first prefix.
    List(ListKey),
}

impl Key {
    /// The shard that the key lives on.
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::List(key) => key.id1.shard(),
        }
    }
}

/// A cached entry. Immutable: a change makes a new one. Cheap to clone.
///
/// One piece of memory, with a counter of those who have it in front: a hit that finds the piece has the whole answer at
/// hand, and a list of ten edges costs no more for its bookkeeping than for four of its edges.
#[derive(Clone, PartialEq)]
pub struct Entry(ThinArc<Head, u8>);

/// What stands before an entry's bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Head {
    as_of: Seq,
    version: Seq,
    /// An object's type, a list's count.
    number: u64,
    generation: u32,
    form: Form,
}

/// What an entry's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// None: there is no object.
    Absent,
    /// The fields of an object.
    Object,
    /// Edges as on the wire.
    Packed,
    /// Edges without data, in the smaller form of a cache.
    Plain,
}

/// Content of an entry, by itself.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// The object, or that there is none.
    Object(Option<ObjectRow>),
    /// Count, version and the newest edges, contiguous; all of them if their number equals the count (R14).
    List(ListRow),
}

/// Content of an entry, where it lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum BodyRef<'a> {
    /// See [`Body::Object`].
    Object(Option<ObjectRef<'a>>),
    /// See [`Body::List`].
    List(ListRef<'a>),
}

/// A [`ListRow`], where it lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ListRef<'a> {
    /// Number of edges in the list.
    pub count: u64,
    /// The seq that last changed it.
    pub version: Seq,
    /// Its newest edges.
    pub edges: HeldEdges<'a>,
}

impl Entry {
    /// Bytes of an entry beside its content: the counter, the length, the head.
    pub const OVERHEAD: usize = 2 * size_of::<usize>() + size_of::<Head>();

    /// A copy of `body` as a cache keeps it.
    pub fn new(generation: u32, as_of: Seq, body: &Body) -> Self {
        let version = body.version();
        let head = |number, form| Head { as_of, version, number, generation, form };
        Self(match body {
            Body::Object(None) => ThinArc::from_header_and_slice(head(0, Form::Absent), &[]),
            Body::Object(Some(row)) => {
                ThinArc::from_header_and_slice(head(row.otype.0.into(), Form::Object), &row.fields.0)
            }
            Body::List(list) => match plain(&list.edges) {
                Some(edges) => ThinArc::from_header_and_slice(head(list.count, Form::Plain), &edges),
                None => ThinArc::from_header_and_slice(head(list.count, Form::Packed), list.edges.as_bytes()),
            },
        })
    }

    /// Entries of an earlier generation of their shard's cache are void: that is how a reset drops them all at once.
    pub fn generation(&self) -> u32 {
        self.head().generation
    }

    /// The content is right at this seq by itself; it is also right at the shard's watermark if that is further (R11).
    pub fn as_of(&self) -> Seq {
        self.head().as_of
    }

    /// The seq that last changed the content; zero for absence, which counts by `as_of` instead (R13).
    pub fn version(&self) -> Seq {
        self.head().version
    }

    /// The content.
    #[inline]
    pub fn view(&self) -> BodyRef<'_> {
        let Head { version, number, form, .. } = *self.head();
        let bytes = &self.0.slice;
        let list = |edges| BodyRef::List(ListRef { count: number, version, edges });
        match form {
            Form::Absent => BodyRef::Object(None),
            // It was a type's number when it came in.
            Form::Object => {
                BodyRef::Object(Some(ObjectRef { otype: ObjectType(number as u16), version, fields: bytes }))
            }
            Form::Packed => list(HeldEdges::Packed(bytes)),
            Form::Plain => list(HeldEdges::Plain(bytes)),
        }
    }

    /// A copy of the content.
    pub fn body(&self) -> Body {
        match self.view() {
            BodyRef::Object(row) => Body::Object(row.map(ObjectRef::to_row)),
            BodyRef::List(ListRef { count, version, edges }) => {
                Body::List(ListRow { count, version, edges: edges.to_packed() })
            }
        }
    }

    /// Bytes of the content.
    pub fn len(&self) -> usize {
        self.0.slice.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (generation, as_of) = (self.generation(), self.as_of());
        write!(f, "Entry {{ generation: {generation}, as_of: {as_of:?}, body: {:?} }}", self.body())
    }
}

impl Body {
    /// The seq that last changed the content; zero for absence and for a list that was never written.
    pub fn version(&self) -> Seq {
        match self {
            Self::Object(row) => row.as_ref().map_or(Seq::ZERO, |row| row.version),
            Self::List(list) => list.version,
        }
    }

    /// How much of the content is here, to compare two of one version: packed bytes of a list's prefix.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Object(_) => 0,
            Self::List(list) => list.edges.as_bytes().len(),
        }
    }
}

impl BodyRef<'_> {
    /// See [`Body::depth`].
    pub(super) const fn depth(&self) -> usize {
        match self {
            Self::Object(_) => 0,
            Self::List(list) => list.edges.packed_len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tao_schema::edges::PackedEdgesBuilder;
    use tao_schema::fields::EncodedFields;
    use tao_schema::ids::Time;

    use super::*;

    fn list(edges: u64, data: &[u8]) -> Body {
        let mut packed = PackedEdgesBuilder::default();
        for id in 0..edges {
            packed.push(ObjectId(id), Time(7), data);
        }
        Body::List(ListRow { count: edges + 1, version: Seq(5), edges: packed.finish() })
    }

    #[test]
    fn an_entry_gives_back_what_it_was_made_of() {
        let row = |fields: &'static [u8]| ObjectRow {
            otype: ObjectType(u16::MAX),
            version: Seq(u64::MAX),
            fields: EncodedFields(Bytes::from_static(fields)),
        };
        let bodies = [
            Body::Object(None),
            Body::Object(Some(row(b""))),
            Body::Object(Some(row(b"some"))),
            list(0, b""),
            list(3, b""),
            list(3, b"\x0a\x01x"),
        ];
        for (at, body) in (1..).zip(bodies) {
            let entry = Entry::new(at, Seq(9), &body);
            assert_eq!((entry.generation(), entry.as_of()), (at, Seq(9)));
            assert_eq!((entry.version(), entry.view().depth()), (body.version(), body.depth()));
            assert_eq!(entry.body(), body);
        }
    }

    /// What the bounds of a cache reckon with.
    #[test]
    fn an_entry_takes_what_its_content_and_its_head_take() {
        assert_eq!(Entry::OVERHEAD, 48);
        assert_eq!(size_of::<Entry>(), size_of::<usize>());
        let entry = |body: &Body| Entry::new(0, Seq(9), body).len();
        assert_eq!(
            [entry(&Body::Object(None)), entry(&list(10, b"")), entry(&list(1, b"abc"))],
            [0, 120, 21]
        );
    }
}
