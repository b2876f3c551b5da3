//! Lists of edges as a cache holds them: packed, or *plain* where no edge has data.
//!
//! A plain edge takes 12 bytes of memory for 16 on the wire, and where the one at a place begins is known without a walk:
//!
//! ```text
//! id2(8, LE)  time(4, LE)
//! ```

use bytes::BytesMut;

use crate::edges::{EdgeIter, EdgeRef, PackedEdges, plain_run};
use crate::ids::{ObjectId, Time};

/// Bytes of a plain edge.
const PLAIN: usize = 12;
/// Bytes of the same edge in packed form.
const PACKED: usize = 16;
/// What stands before, between and behind id2 and time in packed form.
const KEY_EDGE: [u8; 3] = [0x0a, 14, 0x09];
const KEY_TIME: u8 = 0x15;

/// Edges of a list that somebody else holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum HeldEdges<'a> {
    /// In the form of the wire ([`PackedEdges`]).
    Packed(&'a [u8]),
    /// Without data, 12 bytes each.
    Plain(&'a [u8]),
}

/// The plain form of a list; `None` if one of its edges has data.
pub fn plain(edges: &PackedEdges) -> Option<Vec<u8>> {
    let bytes = edges.as_bytes();
    if plain_run(bytes) * PACKED < bytes.len() {
        return None;
    }
    let records = bytes.as_chunks::<PACKED>().0;
    let mut plain = Vec::with_capacity(records.len() * PLAIN);
    for record in records {
        plain.extend_from_slice(&record[3..11]);
        plain.extend_from_slice(&record[12..]);
    }
    Some(plain)
}

impl<'a> HeldEdges<'a> {
    /// No edges.
    pub const NONE: Self = Self::Plain(&[]);

    /// Edges, newest first. Their bounds are those of the packed form.
    #[inline]
    pub fn iter(self) -> HeldIter<'a> {
        match self {
            Self::Packed(bytes) => HeldIter::Packed(EdgeIter::over(bytes)),
            Self::Plain(bytes) => HeldIter::Plain(bytes.as_chunks().0.iter().enumerate()),
        }
    }

    /// The edges `[pos, pos + limit)`, and how many of them there are.
    pub fn part(self, pos: usize, limit: usize) -> (Self, usize) {
        match self {
            Self::Packed(bytes) => {
                let mut edges = self.iter().skip(pos).take(limit);
                let Some(first) = edges.next() else { return (Self::NONE, 0) };
                let (end, count) = edges.fold((first.end, 1), |(_, count), edge| (edge.end, count + 1));
                (Self::Packed(&bytes[first.start..end]), count)
            }
            Self::Plain(bytes) => {
                let held = bytes.len() / PLAIN;
                let start = pos.min(held);
                let count = limit.min(held - start);
                (Self::Plain(&bytes[start * PLAIN..(start + count) * PLAIN]), count)
            }
        }
    }

    /// Bytes of the packed form.
    #[inline]
    pub const fn packed_len(self) -> usize {
        match self {
            Self::Packed(bytes) => bytes.len(),
            Self::Plain(bytes) => bytes.len() / PLAIN * PACKED,
        }
    }

    /// Appends the packed form.
    #[inline]
    pub fn put(self, into: &mut BytesMut) {
        match self {
            Self::Packed(bytes) => into.extend_from_slice(bytes),
            Self::Plain(bytes) => {
                let start = into.len();
                into.resize(start + self.packed_len(), 0);
                let records = into[start..].as_chunks_mut::<PACKED>().0;
                for (record, edge) in records.iter_mut().zip(bytes.as_chunks::<PLAIN>().0) {
                    record[..3].copy_from_slice(&KEY_EDGE);
                    record[3..11].copy_from_slice(&edge[..8]);
                    record[11] = KEY_TIME;
                    record[12..].copy_from_slice(&edge[8..]);
                }
            }
        }
    }

    /// As a list of its own.
    pub fn to_packed(self) -> PackedEdges {
        let mut bytes = BytesMut::with_capacity(self.packed_len());
        self.put(&mut bytes);
        PackedEdges::trusted(bytes.freeze())
    }
}

impl<'a> From<&'a PackedEdges> for HeldEdges<'a> {
    fn from(edges: &'a PackedEdges) -> Self {
        Self::Packed(edges.as_bytes())
    }
}

/// Iterator over [`HeldEdges`].
#[derive(Clone)]
pub enum HeldIter<'a> {
    /// Packed.
    Packed(EdgeIter<'a>),
    /// Plain.
    Plain(std::iter::Enumerate<std::slice::Iter<'a, [u8; PLAIN]>>),
}

impl<'a> Iterator for HeldIter<'a> {
    type Item = EdgeRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<EdgeRef<'a>> {
        match self {
            Self::Packed(edges) => edges.next(),
            Self::Plain(edges) => {
                let (place, edge) = edges.next()?;
                let (id2, time) = edge.split_first_chunk()?;
                Some(EdgeRef {
                    id2: ObjectId(u64::from_le_bytes(*id2)),
                    time: Time(u32::from_le_bytes(time.try_into().ok()?)),
                    fields: &[],
                    start: place * PACKED,
                    end: (place + 1) * PACKED,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::edges::Edge;
    use crate::fields::EncodedFields;

    proptest! {
        /// Whatever form edges are held in, they are the same edges, parts and bytes.
        #[test]
        fn held_edges_are_the_packed_ones(
            all in vec((any::<u64>(), any::<u32>(), vec(any::<u8>(), 0..3)), 0..30),
            data in any::<bool>(), pos in 0usize..35, limit in 0usize..35,
        ) {
            let edges: Vec<Edge> = all
                .into_iter()
                .map(|(id2, time, fields)| Edge {
                    id2: ObjectId(id2),
                    time: Time(time),
                    fields: EncodedFields(if data { fields.into() } else { Bytes::new() }),
                })
                .collect();
            let packed: PackedEdges = edges.iter().collect();
            let small = plain(&packed);
            let without_data = edges.iter().all(|edge| edge.fields.0.is_empty());
            prop_assert_eq!(small.as_ref().map(Vec::len), without_data.then_some(edges.len() * PLAIN));
            prop_assert_eq!(&PackedEdges::from_bytes(packed.as_bytes().clone()).unwrap(), &packed);
            let forms = [Some(HeldEdges::from(&packed)), small.as_deref().map(HeldEdges::Plain)];
            for held in forms.into_iter().flatten() {
                prop_assert!(held.iter().eq(packed.iter()));
                prop_assert_eq!(held.packed_len(), packed.as_bytes().len());
                prop_assert_eq!(&held.to_packed(), &packed);
                let (part, count) = held.part(pos, limit);
                prop_assert_eq!(count, packed.range(pos, limit).count());
                prop_assert_eq!(part.to_packed(), packed.range(pos, limit));
            }
        }
    }
}
