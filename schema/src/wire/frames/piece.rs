//! [`Piece`]: the short fields of a message, put together where the processor has them at hand, and appended at once: a call
//! for each of them costs more than the fields.

use crate::ids::Position;

/// The longest are an object's reply up to its fields, 88 bytes, and a read, 75.
const ROOM: usize = 96;

/// Bytes that are appended to a frame in one piece.
pub(super) struct Piece {
    bytes: [u8; ROOM],
    at: usize,
}

impl Piece {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { bytes: [0; ROOM], at: 0 }
    }

    /// What was put in.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// Key of a length-delimited field of at most 127 bytes, and room for its length.
    #[inline]
    pub(super) fn open(&mut self, key: u8) -> usize {
        self.byte(key);
        self.at += 1;
        self.at
    }

    /// Ends the field that [`Piece::open`] began.
    #[inline]
    pub(super) fn close(&mut self, start: usize) {
        self.bytes[start - 1] = (self.at - start) as u8;
    }

    /// A varint field; left out if it is zero.
    #[inline]
    pub(super) fn varint(&mut self, key: u8, value: u64) {
        if value == 0 {
            return;
        }
        self.byte(key);
        self.number(value);
    }

    /// A varint alone.
    #[inline]
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Key and length of a length-delimited field.
    #[inline]
    pub(super) fn head(&mut self, key: u8, length: usize) {
        self.byte(key);
        self.number(length as u64);
    }

    /// A field of fixed length; left out if it is zero.
    #[inline]
    pub(super) fn fixed<const BYTES: usize>(&mut self, key: u8, value: [u8; BYTES]) {
        if value != [0; BYTES] {
            self.byte(key);
            self.bytes[self.at..self.at + BYTES].copy_from_slice(&value);
            self.at += BYTES;
        }
    }

    /// A position; its body takes at most 21 bytes.
    #[inline]
    pub(super) fn position(&mut self, key: u8, position: Position) {
        let start = self.open(key);
        self.varint(0x08, position.shard.0.into());
        self.varint(0x10, position.epoch.0.into());
        self.varint(0x18, position.seq.0);
        self.close(start);
    }
}
