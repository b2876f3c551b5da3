//! Encoded fields, looked at without decoding: what is there, and whether it stands in the stored layout.

use std::fmt;

use crate::fields::{EncodedFields, FieldKind};
use crate::ids::FieldId;

/// Key of an entry: field 1 of `tao.v1.Fields`, length-delimited.
const ENTRY: u8 = 0x0a;

/// A field of [`EncodedFields`], seen in passing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldSeen {
    /// Which field.
    pub id: FieldId,
    /// What it holds.
    pub kind: FieldKind,
}

/// The bytes are not what [`crate::fields::Fields::encode`] makes: damaged, or another encoder's way to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotStoredLayout {
    /// Where the first field begins that is not in the layout.
    pub at: usize,
}

impl fmt::Display for NotStoredLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the field at byte {} is not in the stored layout", self.at)
    }
}

/// Walks encoded fields in the stored layout: ascending ids, each once, shortest varints. Costs no allocation, and at
/// most one step for each two bytes. Ends after the first error.
pub struct FieldWalk<'a> {
    bytes: &'a [u8],
    at: usize,
    last: Option<FieldId>,
}

impl EncodedFields {
    /// Looks at each field, in ascending order of id, without decoding it.
    pub fn walk(&self) -> FieldWalk<'_> {
        FieldWalk { bytes: &self.0, at: 0, last: None }
    }

    /// Number of entries in any protobuf encoder's layout, without decoding one; `None` if there are more than `most`
    /// or the bytes are no entries. Bounds what [`EncodedFields::decode`] of foreign bytes costs.
    pub fn entries_at_most(&self, most: usize) -> Option<usize> {
        let (mut rest, mut entries) = (&self.0[..], 0);
        while let Some((&key, after_key)) = rest.split_first() {
            let mut after = after_key;
            let length = usize::try_from(prost::encoding::decode_varint(&mut after).ok()?).ok()?;
            rest = after.get(length..).filter(|_| key == ENTRY && entries < most)?;
            entries += 1;
        }
        Some(entries)
    }
}

impl Iterator for FieldWalk<'_> {
    type Item = Result<FieldSeen, NotStoredLayout>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let start = self.at;
        let seen = field(self.bytes, start).filter(|(seen, _)| self.last.is_none_or(|last| last < seen.id));
        Some(match seen {
            Some((seen, end)) => {
                (self.at, self.last) = (end, Some(seen.id));
                Ok(seen)
            }
            None => {
                self.at = self.bytes.len();
                Err(NotStoredLayout { at: start })
            }
        })
    }
}

/// The field at `at` and where the next one starts.
fn field(bytes: &[u8], at: usize) -> Option<(FieldSeen, usize)> {
    const ID: u8 = 0x08;
    if *bytes.get(at)? != ENTRY {
        return None;
    }
    let (length, start) = varint(bytes, at + 1)?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let body = bytes.get(start..end)?;
    if *body.first()? != ID {
        return None;
    }
    let (id, key) = varint(body, 1)?;
    // Protobuf leaves a zero out: an id that is written is not zero.
    let id = FieldId(u16::try_from(id).ok().filter(|id| *id != 0)?);
    let kind = value(body, key)?;
    Some((FieldSeen { id, kind }, end))
}

/// The kind of the value at `key`, which must reach exactly to the end of `body`.
fn value(body: &[u8], key: usize) -> Option<FieldKind> {
    let at = key + 1;
    let delimited = || {
        let (length, start) = varint(body, at)?;
        let data = body.get(start..)?;
        (data.len() as u64 == length).then_some(data)
    };
    match *body.get(key)? {
        0x10 => matches!(body.get(at..)?, [0 | 1]).then_some(FieldKind::Bool),
        0x18 => (varint(body, at)?.1 == body.len()).then_some(FieldKind::Int),
        0x21 => (body.len() - at == 8).then_some(FieldKind::Float),
        0x2a => std::str::from_utf8(delimited()?).ok().map(|_| FieldKind::Text),
        0x32 => delimited().map(|_| FieldKind::Blob),
        _ => None,
    }
}

/// A varint in its shortest form at `at`: its value and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = *bytes.get(at + i)?;
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return (byte != 0 || i == 0).then_some((value, at + i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::fields::{Fields, Value};

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            ".{0,20}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Blob(bytes.into())),
        ]
    }

    proptest! {
        /// What we encode is walked whole and decodes to itself; so the walk accepts the stored layout.
        #[test]
        fn walks_what_encode_makes(pairs in proptest::collection::vec((1..=u16::MAX, any_value()), 0..12)) {
            let fields: Fields = pairs.into_iter().map(|(id, value)| (FieldId(id), value)).collect();
            let encoded = fields.encode();
            prop_assert_eq!(&encoded.decode().unwrap(), &fields);
            let walked: Vec<_> = encoded.walk().map(Result::unwrap).collect();
            let expected: Vec<_> =
                fields.iter().map(|(id, value)| FieldSeen { id, kind: value.kind() }).collect();
            prop_assert_eq!(walked, expected);
        }

        /// Whatever the walk accepts is exactly what we would have encoded: nothing else can reach the store.
        #[test]
        fn accepts_only_what_encode_makes(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(vec![0x0a, 0x08, 0x10, 0x18, 0x2a, 1, 2, 3, 4])], 0..24)) {
            let encoded = EncodedFields(Bytes::from(bytes));
            if encoded.walk().all(|seen| seen.is_ok()) {
                prop_assert_eq!(encoded.decode().unwrap().encode(), encoded);
            }
        }
    }

    #[test]
    fn other_layouts_are_refused_with_their_place() {
        let one = |id, value| Fields::from_iter([(FieldId(id), value)]).encode().0;
        let (a, b) = (one(1, Value::Bool(true)), one(2, Value::Int(-1)));
        let joined = |parts: &[&[u8]]| EncodedFields(parts.concat().into());
        assert_eq!(joined(&[&a, &b]).walk().filter(Result::is_ok).count(), 2);
        let refused = |fields: EncodedFields| fields.walk().last().unwrap().unwrap_err().at;
        assert_eq!(refused(joined(&[&b, &a])), b.len(), "descending ids");
        assert_eq!(refused(joined(&[&a, &a])), a.len(), "an id twice");
        assert_eq!(refused(joined(&[&a, &b[..3]])), a.len(), "cut off");
        assert_eq!(refused(joined(&[&[0x0a, 5, 0x08, 0x81, 0x00, 0x10, 1]])), 0, "a long varint");
        assert_eq!(refused(joined(&[&[0x0a, 2, 0x10, 1]])), 0, "no id");
    }
}
