//! Edges, and the packed form in which lists are cached and sent.
//!
//! A packed list is the body of a `tao.v1.AssocList` message: each edge stands there as the bytes of the reply, so an
//! answer is a copy of a slice, in any language. An edge without data takes 16 bytes:
//!
//! ```text
//! 0a LEN  09 id2(8, LE)  15 time(4, LE)  [1a LEN fields]
//! ```

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, encode_varint, encoded_len_varint};

use crate::error::{Error, ErrorCode, Result};
use crate::fields::{EncodedFields, append_raw_field};
use crate::ids::{ObjectId, Time};

/// Bytes of an edge's fixed part: key and id2, key and time.
const FIXED: usize = 9 + 5;
const KEY_EDGE: u8 = 0x0a;
const KEY_ID2: u8 = 0x09;
const KEY_TIME: u8 = 0x15;
const KEY_FIELDS: u8 = 0x1a;
/// Bytes of an edge without data.
const PLAIN: usize = 2 + FIXED;

/// One association of a list: `id1` and type are those of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Where it ends.
    pub id2: ObjectId,
    /// The application's time.
    pub time: Time,
    /// Its data.
    pub fields: EncodedFields,
}

impl Edge {
    /// Where the edge stands in its list: greater is earlier (newest first).
    pub const fn order(&self) -> EdgeOrder {
        EdgeOrder { time: self.time, id2: self.id2 }
    }
}

/// Position of an edge in its list. Lists run from the greatest to the smallest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EdgeOrder {
    /// First by time,
    pub time: Time,
    /// then by the other end.
    pub id2: ObjectId,
}

/// A borrowed edge of a packed list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EdgeRef<'a> {
    /// Where it ends.
    pub id2: ObjectId,
    /// The application's time.
    pub time: Time,
    /// Its encoded fields.
    pub fields: &'a [u8],
    /// Where the edge starts in the packed bytes.
    pub start: usize,
    /// Where the next one starts.
    pub end: usize,
}

impl EdgeRef<'_> {
    /// Where the edge stands in its list.
    pub const fn order(&self) -> EdgeOrder {
        EdgeOrder { time: self.time, id2: self.id2 }
    }
}

/// A list of edges in packed form. Cheap to clone and to slice.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PackedEdges(Bytes);

impl PackedEdges {
    /// An empty list.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`ErrorCode::Corrupt`] unless the bytes are edges in the packed layout.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        let mut at = plain_run(&bytes) * PLAIN;
        while at < bytes.len() {
            at = parse(&bytes, at)
                .ok_or_else(|| Error::new(ErrorCode::Corrupt, format!("edge list damaged at byte {at}")))?
                .end;
        }
        Ok(Self(bytes))
    }

    /// Takes bytes that were written in the packed layout.
    pub(crate) const fn trusted(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The packed bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Edges, newest first as packed.
    pub fn iter(&self) -> EdgeIter<'_> {
        EdgeIter::over(&self.0)
    }

    /// Number of edges: walks the list.
    pub fn count(&self) -> usize {
        let plain = plain_run(&self.0);
        plain + EdgeIter { bytes: &self.0, at: plain * PLAIN }.count()
    }

    /// Whether there is no edge.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edges `[pos, pos + limit)` without copying.
    #[must_use]
    pub fn range(&self, pos: usize, limit: usize) -> Self {
        let mut edges = self.iter().skip(pos).take(limit);
        let Some(first) = edges.next() else { return Self::new() };
        let end = edges.last().map_or(first.end, |edge| edge.end);
        Self(self.0.slice(first.start..end))
    }

    /// Copies the edges into memory of their own, so that a cached slice does not pin the frame it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Decodes all edges.
    pub fn to_vec(&self) -> Vec<Edge> {
        self.iter()
            .map(|edge| Edge {
                id2: edge.id2,
                time: edge.time,
                fields: EncodedFields(self.0.slice(edge.end - edge.fields.len()..edge.end)),
            })
            .collect()
    }
}

impl<'a> FromIterator<&'a Edge> for PackedEdges {
    fn from_iter<T: IntoIterator<Item = &'a Edge>>(edges: T) -> Self {
        let mut builder = PackedEdgesBuilder::default();
        for edge in edges {
            builder.push(edge.id2, edge.time, &edge.fields.0);
        }
        builder.finish()
    }
}

impl fmt::Debug for PackedEdges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|edge| (edge.id2, edge.time, edge.fields.len()))).finish()
    }
}

/// Appends edges to a packed list.
#[derive(Default)]
pub struct PackedEdgesBuilder(BytesMut);

impl PackedEdgesBuilder {
    /// Room for `edges` edges without data.
    pub fn with_capacity(edges: usize) -> Self {
        Self(BytesMut::with_capacity(edges * (FIXED + 2)))
    }

    /// Appends one edge.
    pub fn push(&mut self, id2: ObjectId, time: Time, fields: &[u8]) {
        let data =
            if fields.is_empty() { 0 } else { 1 + encoded_len_varint(fields.len() as u64) + fields.len() };
        self.0.put_u8(KEY_EDGE);
        encode_varint((FIXED + data) as u64, &mut self.0);
        self.0.put_u8(KEY_ID2);
        self.0.put_u64_le(id2.0);
        self.0.put_u8(KEY_TIME);
        self.0.put_u32_le(time.0);
        if !fields.is_empty() {
            self.0.put_u8(KEY_FIELDS);
            encode_varint(fields.len() as u64, &mut self.0);
            self.0.put_slice(fields);
        }
    }

    /// Appends edges that are packed already, for example a slice of another list.
    pub fn push_packed(&mut self, packed: &[u8]) {
        self.0.put_slice(packed);
    }

    /// The list.
    pub fn finish(self) -> PackedEdges {
        PackedEdges(self.0.freeze())
    }
}

/// Iterator over a packed list.
#[derive(Clone)]
pub struct EdgeIter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> EdgeIter<'a> {
    /// Over bytes in the packed layout.
    pub(crate) const fn over(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for EdgeIter<'a> {
    type Item = EdgeRef<'a>;

    fn next(&mut self) -> Option<EdgeRef<'a>> {
        let edge = parse(self.bytes, self.at)?;
        self.at = edge.end;
        Some(edge)
    }
}

/// How many edges without data the bytes begin with. Most lists have no others: this is much less than to parse each.
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    let is_plain =
        |edge: &&[u8; PLAIN]| edge[..3] == [KEY_EDGE, FIXED as u8, KEY_ID2] && edge[11] == KEY_TIME;
    bytes.as_chunks::<PLAIN>().0.iter().take_while(is_plain).count()
}

/// Parses the edge that starts at `at`; `None` at the end or if the bytes are not in the layout.
fn parse(bytes: &[u8], at: usize) -> Option<EdgeRef<'_>> {
    if *bytes.get(at)? != KEY_EDGE {
        return None;
    }
    let (length, body) = varint(bytes, at + 1)?;
    let end = body.checked_add(length)?;
    let edge = bytes.get(body..end)?;
    if length < FIXED || edge[0] != KEY_ID2 || edge[9] != KEY_TIME {
        return None;
    }
    let id2 = u64::from_le_bytes(edge[1..9].try_into().ok()?);
    let time = u32::from_le_bytes(edge[10..14].try_into().ok()?);
    let fields = if length == FIXED {
        &edge[FIXED..]
    } else {
        let (size, start) = varint(edge, FIXED + 1)?;
        if edge[FIXED] != KEY_FIELDS || start.checked_add(size)? != length {
            return None;
        }
        &edge[start..]
    };
    Some(EdgeRef { id2: ObjectId(id2), time: Time(time), fields, start: at, end })
}

/// Reads a varint of at most four bytes at `at`: its value and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for i in 0..4 {
        let byte = *bytes.get(at + i)?;
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, at + i + 1));
        }
    }
    None
}

impl prost::Message for PackedEdges {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> std::result::Result<(), DecodeError> {
        append_raw_field(&mut self.0, tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn edge(id2: u64, time: u32, data: &[u8]) -> Edge {
        Edge { id2: ObjectId(id2), time: Time(time), fields: EncodedFields(Bytes::copy_from_slice(data)) }
    }

    #[test]
    fn packs_and_slices() {
        let edges = [edge(5, 90, b""), edge(u64::MAX, 80, &[7; 300]), edge(0, 0, b"x")];
        let packed: PackedEdges = edges.iter().collect();
        assert_eq!(packed.to_vec(), edges);
        assert_eq!(packed.range(1, 1).to_vec(), edges[1..2]);
        assert_eq!(packed.range(2, 100).to_vec(), edges[2..]);
        assert!(packed.range(3, 1).is_empty());
        assert_eq!(packed.range(0, 1).as_bytes().len(), 16);
        assert_eq!(PackedEdges::from_bytes(packed.as_bytes().clone()).unwrap(), packed);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let packed: PackedEdges = [edge(5, 90, b"abc")].iter().collect();
        let whole = packed.as_bytes();
        for cut in 1..whole.len() {
            assert!(PackedEdges::from_bytes(whole.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_edges_come_back(all in vec((any::<u64>(), any::<u32>(), vec(any::<u8>(), 0..200)), 0..30),
                               pos in 0usize..35, limit in 0usize..35) {
            let edges: Vec<Edge> = all.iter().map(|(id2, time, data)| edge(*id2, *time, data)).collect();
            let packed: PackedEdges = edges.iter().collect();
            prop_assert_eq!(packed.count(), edges.len());
            prop_assert_eq!(&packed.to_vec(), &edges);
            prop_assert_eq!(&PackedEdges::from_bytes(packed.as_bytes().clone()).unwrap(), &packed);
            let slice: Vec<Edge> = edges.into_iter().skip(pos).take(limit).collect();
            prop_assert_eq!(packed.range(pos, limit).to_vec(), slice);
        }

        /// Whatever is accepted is whole: walking it ends at its end.
        #[test]
        fn accepted_bytes_are_edges_to_the_end(bytes in vec(any::<u8>(), 0..40), cut in 0usize..64) {
            let mut mixed = [edge(1, 2, b"abc")].iter().collect::<PackedEdges>().as_bytes().to_vec();
            mixed.truncate(cut);
            mixed.extend(bytes);
            if let Ok(packed) = PackedEdges::from_bytes(mixed.clone().into()) {
                prop_assert_eq!(packed.iter().last().map_or(0, |edge| edge.end), mixed.len());
            }
        }
    }

    /// The packed bytes are the standard encoding of the published messages: any protobuf library reads them.
    #[test]
    fn packed_bytes_are_a_protobuf_message() {
        use crate::wire::proto;
        use prost::Message;
        let packed: PackedEdges = [edge(5, 90, b"")].iter().collect();
        let assoc = proto::Assoc { id2: 5, time: 90, fields: None }.encode_to_vec();
        assert_eq!(packed.as_bytes()[2..], assoc);
    }
}
