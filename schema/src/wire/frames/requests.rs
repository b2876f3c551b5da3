//! Request frames.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::encoded_len_varint;

use super::ENTRY;
use super::cursor::{Cursor, put_head, varint_len};
use crate::error::{Error, Result};
use crate::ids::{AssocType, Epoch, ListKey, ObjectId, Position, PrimaryTime, Seq, ShardId, Time};
use crate::limits::{MAX_DEADLINE, MAX_FRAME_OPS, MAX_ID2_SET};
use crate::ops::{Demand, Freshness, ReadOp, ReadRequest};
use crate::wire::envelope::{Incoming, RequestOp, decode_request};
use crate::wire::proto;

pub(super) const ID: u8 = 0x08;
pub(super) const DEADLINE: u8 = 0x10;
pub(super) const READ: u8 = 0x1a;

pub(super) const OBJECT_GET: u8 = 0x0a;
const ASSOC_GET: u8 = 0x12;
pub(super) const ASSOC_COUNT: u8 = 0x1a;
pub(super) const ASSOC_RANGE: u8 = 0x22;
pub(super) const ASSOC_TIME_RANGE: u8 = 0x2a;
const NOT_BEFORE: u8 = 0x50;
const WITHIN: u8 = 0x58;
pub(super) const AT_LEAST: u8 = 0x72;

pub(super) const ID1: u8 = 0x09;
pub(super) const ATYPE: u8 = 0x10;

/// The requests of a frame, one after the other.
pub struct Requests<'a> {
    frame: &'a Bytes,
    at: usize,
    number: usize,
}

/// The requests of a frame.
///
/// # Errors
/// `InvalidArgument` for more than [`MAX_FRAME_OPS`] requests, before any of them is looked at, and for bytes that are no
/// frame.
pub fn requests(frame: &Bytes) -> Result<Requests<'_>> {
    let number = entries(frame).ok_or_else(|| Error::invalid("the bytes are no frame of requests"))?;
    if number > MAX_FRAME_OPS {
        return Err(Error::invalid(format!(
            "the frame has {number} requests; at most {MAX_FRAME_OPS}: split it"
        )));
    }
    Ok(Requests { frame, at: 0, number })
}

/// How many entries the frame has; `None`: it has anything else.
pub(super) fn entries(frame: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(frame);
    let mut number = 0;
    while !cursor.at_end() {
        if cursor.key()? != ENTRY {
            return None;
        }
        cursor.body()?;
        number += 1;
    }
    Some(number)
}

impl Requests<'_> {
    /// How many are left.
    pub const fn len(&self) -> usize {
        self.number
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.number == 0
    }
}

impl Iterator for Requests<'_> {
    /// An error: the bytes are no request, so that not even its id is known.
    type Item = Result<Incoming>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.number = self.number.checked_sub(1)?;
        let mut cursor = Cursor::new(&self.frame[self.at..]);
        cursor.key()?;
        let body = cursor.body()?;
        let end = self.at + cursor.at();
        let start = end - body.len();
        self.at = end;
        Some(fast(body).map_or_else(|| slow(&self.frame.slice(start..end)), Ok))
    }
}

/// A read, if the request is one and in the usual layout.
#[inline]
fn fast(body: &[u8]) -> Option<Incoming> {
    let mut cursor = Cursor::new(body);
    let (mut id, mut deadline_ms, mut read) = (0, 0, None);
    while !cursor.at_end() {
        match cursor.key()? {
            ID => id = cursor.varint()?,
            DEADLINE => deadline_ms = cursor.uint32()?,
            READ if read.is_none() => read = Some(read_request(cursor.body()?)?),
            _ => return None,
        }
    }
    let deadline = Duration::from_millis(deadline_ms.into()).min(MAX_DEADLINE);
    Some(Incoming { id, deadline: (deadline_ms != 0).then_some(deadline), op: Ok(RequestOp::Read(read?)) })
}

/// Every other request.
#[cold]
fn slow(body: &Bytes) -> Result<Incoming> {
    let request = proto::Request::decode(body.clone())
        .map_err(|error| Error::invalid(format!("a request of the frame can't be read: {error}")))?;
    Ok(decode_request(request))
}

#[inline]
fn read_request(body: &[u8]) -> Option<ReadRequest> {
    let mut cursor = Cursor::new(body);
    let (mut op, mut demand) = (None, Demand::local());
    while !cursor.at_end() {
        match cursor.key()? {
            key @ (OBJECT_GET | ASSOC_GET | ASSOC_COUNT | ASSOC_RANGE | ASSOC_TIME_RANGE) if op.is_none() => {
                op = Some(read_op(key, cursor.body()?)?);
            }
            AT_LEAST if demand.at_least.is_none() => demand.at_least = Some(position(cursor.body()?)?),
            NOT_BEFORE => demand.not_before = Some(PrimaryTime(cursor.varint()?)),
            WITHIN => {
                demand.freshness = Freshness::Within(Duration::from_millis(cursor.uint32()?.into()));
            }
            _ => return None,
        }
    }
    Some(ReadRequest { op: op?, demand, explain: false, forwarded: false })
}

#[inline]
fn read_op(key: u8, body: &[u8]) -> Option<ReadOp> {
    if key == ASSOC_GET {
        return assoc_get(body);
    }
    let mut cursor = Cursor::new(body);
    let (mut id1, mut atype, mut third, mut fourth, mut fifth) = (0, 0, 0, 0, 0);
    let timed = key == ASSOC_TIME_RANGE;
    while !cursor.at_end() {
        match cursor.key()? {
            ID1 => id1 = cursor.fixed64()?,
            ATYPE if key != OBJECT_GET => atype = cursor.uint16()?,
            0x18 if key == ASSOC_RANGE => third = cursor.uint32()?,
            0x20 if key == ASSOC_RANGE => fourth = cursor.uint32()?,
            0x1d if timed => third = cursor.fixed32()?,
            0x25 if timed => fourth = cursor.fixed32()?,
            0x28 if timed => fifth = cursor.uint32()?,
            _ => return None,
        }
    }
    let list = ListKey { id1: ObjectId(id1), atype: AssocType(atype) };
    Some(match key {
        OBJECT_GET => ReadOp::ObjectGet(ObjectId(id1)),
        ASSOC_COUNT => ReadOp::AssocCount(list),
        ASSOC_RANGE => ReadOp::AssocRange { list, pos: third, limit: fourth },
        _ => ReadOp::AssocTimeRange { list, high: Time(third), low: Time(fourth), limit: fifth },
    })
}

fn assoc_get(body: &[u8]) -> Option<ReadOp> {
    let mut cursor = Cursor::new(body);
    let (mut id1, mut atype, mut id2s, mut high, mut low) = (0, 0, Vec::new(), None, None);
    while !cursor.at_end() {
        match cursor.key()? {
            ID1 => id1 = cursor.fixed64()?,
            ATYPE => atype = cursor.uint16()?,
            0x1a if id2s.is_empty() => {
                let packed = cursor.body()?;
                // Bounded before anything is built; prost's way says what is wrong.
                if packed.len() > MAX_ID2_SET * 8 || packed.len() % 8 != 0 {
                    return None;
                }
                let ids = packed.chunks_exact(8).filter_map(|id| id.try_into().ok());
                id2s = ids.map(|id| ObjectId(u64::from_le_bytes(id))).collect();
            }
            0x25 => high = Some(Time(cursor.fixed32()?)),
            0x2d => low = Some(Time(cursor.fixed32()?)),
            _ => return None,
        }
    }
    Some(ReadOp::AssocGet { list: ListKey { id1: ObjectId(id1), atype: AssocType(atype) }, id2s, high, low })
}

/// A position.
#[inline]
pub(super) fn position(body: &[u8]) -> Option<Position> {
    let mut cursor = Cursor::new(body);
    let (mut shard, mut epoch, mut seq) = (0, 0, 0);
    while !cursor.at_end() {
        match cursor.key()? {
            0x08 => shard = cursor.uint16()?,
            0x10 => epoch = cursor.uint32()?,
            0x18 => seq = cursor.varint()?,
            _ => return None,
        }
    }
    Some(Position { shard: ShardId(shard), epoch: Epoch(epoch), seq: Seq(seq) })
}

/// Bytes of a position's body.
#[inline]
pub(super) fn position_len(position: Position) -> usize {
    varint_len(position.shard.0.into()) + varint_len(position.epoch.0.into()) + varint_len(position.seq.0)
}

/// Appends any request to a frame.
pub fn put_request(frame: &mut BytesMut, request: &proto::Request) {
    let length = request.encoded_len();
    frame.reserve(1 + encoded_len_varint(length as u64) + length);
    put_head(frame, ENTRY, length);
    request.encode_raw(frame);
}
