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

/// Bytes that a processor's cache fetches at a time.
const LINE: usize = 64;
/// Of a large entry so many are fetched early.
const TOUCHED_LINES: usize = 4;

/// What stands before an entry's bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Head {
    as_of: Seq,
    version: Seq,
    generation: u32,
    content: Content,
}

/// What an entry's bytes are (lowest bits), and a number (the others). In one word: a head of three words lets a list of ten
/// edges take 160 bytes in all, a size that allocators have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Content(u32);

/// See [`Content`].
#[repr(u32)]
enum Form {
    /// None: there is no object.
    Absent,
    /// The fields of an object. The number is its type.
    Object,
    /// Edges as on the wire. The number is the list's count.
    Packed,
    /// Edges without data, in the smaller form of a cache. The number is the list's count.
    Plain,
    /// The list's count, which the number can't hold (8 bytes, LE), and edges as on the wire.
    Counted,
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
        let entry = |content, bytes: &[u8]| {
            Self(ThinArc::from_header_and_slice(Head { as_of, version, generation, content }, bytes))
        };
        let list = match body {
            Body::Object(None) => return entry(Content::new(Form::Absent, 0), &[]),
            Body::Object(Some(row)) => {
                return entry(Content::new(Form::Object, row.otype.0.into()), &row.fields.0);
            }
            Body::List(list) => list,
        };
        match (u32::try_from(list.count), plain(&list.edges)) {
            (Ok(count), Some(edges)) if count <= Content::MOST => {
                entry(Content::new(Form::Plain, count), &edges)
            }
            (Ok(count), None) if count <= Content::MOST => {
                entry(Content::new(Form::Packed, count), list.edges.as_bytes())
            }
            _ => {
                let counted = [&list.count.to_le_bytes()[..], list.edges.as_bytes()].concat();
                entry(Content::new(Form::Counted, 0), &counted)
            }
        }
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
        let Head { version, content, .. } = *self.head();
        let (bytes, number) = (&self.0.slice, content.number());
        let list = |count, edges| BodyRef::List(ListRef { count, version, edges });
        match content.form() {
            Form::Absent => BodyRef::Object(None),
            // It was a type's number when it came in.
            Form::Object => {
                BodyRef::Object(Some(ObjectRef { otype: ObjectType(number as u16), version, fields: bytes }))
            }
            Form::Packed => list(number.into(), HeldEdges::Packed(bytes)),
            Form::Plain => list(number.into(), HeldEdges::Plain(bytes)),
            Form::Counted => {
                let (count, edges) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
                list(u64::from_le_bytes(*count), HeldEdges::Packed(edges))
            }
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

    /// Reads a byte of each of the entry's first lines of the processor's cache, that of the counter too, and its last one, to have
    /// them fetched; what lies between is found by the processor itself.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        let bytes = &self.0.slice;
        let lines = bytes.iter().step_by(LINE).take(TOUCHED_LINES).chain(bytes.last());
        // Beside the counter, and at the head's end.
        let head = self.head().as_of.0 as u32 ^ self.head().generation;
        lines.fold(head, |all, byte| all ^ u32::from(*byte))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }
}

impl Content {
    const FORM_BITS: u32 = 3;
    /// The greatest number.
    const MOST: u32 = u32::MAX >> Self::FORM_BITS;

    const fn new(form: Form, number: u32) -> Self {
        Self(number << Self::FORM_BITS | form as u32)
    }

    const fn number(self) -> u32 {
        self.0 >> Self::FORM_BITS
    }

    const fn form(self) -> Form {
        match self.0 & ((1 << Self::FORM_BITS) - 1) {
            0 => Form::Absent,
            1 => Form::Object,
            2 => Form::Packed,
            3 => Form::Plain,
            _ => Form::Counted,
        }
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

    fn counted(list: Body, count: u64) -> Body {
        let Body::List(list) = list else { return list };
        Body::List(ListRow { count, ..list })
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
            counted(list(3, b""), u64::from(Content::MOST)),
            counted(list(3, b""), u64::from(Content::MOST) + 1),
            counted(list(3, b"\x0a\x01x"), u64::MAX),
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
        assert_eq!(Entry::OVERHEAD, 40);
        assert_eq!(size_of::<Entry>(), size_of::<usize>());
        let entry = |body: &Body| Entry::new(0, Seq(9), body).len();
        assert_eq!(
            [entry(&Body::Object(None)), entry(&list(10, b"")), entry(&list(1, b"abc"))],
            [0, 120, 21]
        );
    }
}
