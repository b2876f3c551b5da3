//! Walking over a protobuf message in place, and the lengths of what is written.

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

/// Place in a message. Every step answers `None` if the bytes are not what was expected: then prost has the word.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Where it stands.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The key of the next field, if it has one byte: fields up to 15.
    #[inline]
    pub(super) fn key(&mut self) -> Option<u8> {
        let key = *self.bytes.get(self.at)?;
        self.at += 1;
        (key < 0x80).then_some(key)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            // The tenth byte has one bit to give.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A `uint32`. Protobuf cuts longer numbers off, and so does prost: not decided here.
    #[inline]
    pub(super) fn uint32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    #[inline]
    pub(super) fn uint16(&mut self) -> Option<u16> {
        u16::try_from(self.varint()?).ok()
    }

    #[inline]
    pub(super) fn fixed32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Option<u64> {
        let bytes = self.take(8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// A length-delimited field's body.
    #[inline]
    pub(super) fn body(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

/// Bytes of a varint field that is left out when it is zero.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

/// Key and length of a length-delimited field.
#[inline]
pub(super) fn put_head(frame: &mut BytesMut, key: u8, length: usize) {
    frame.put_u8(key);
    encode_varint(length as u64, frame);
}

/// Bytes of a length-delimited field with its key and length.
#[inline]
pub(super) fn delimited_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Bytes of a `fixed64` field that is left out when it is zero.
#[inline]
pub(super) const fn fixed64_len(value: u64) -> usize {
    if value == 0 { 0 } else { 9 }
}
