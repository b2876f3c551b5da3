//! Reply frames.

use bytes::BytesMut;
use prost::Message;
use prost::encoding::encoded_len_varint;

use super::ENTRY;
use super::cursor::{delimited_len, fixed64_len, put_head, varint_len};
use super::piece::Piece;
use super::requests::position_len;
use crate::ids::ObjectId;
use crate::ops::{AnswerRef, ObjectRef, ReadReplyRef};
use crate::wire::envelope::{ReplyBody, encode_reply};
use crate::wire::proto;

pub(super) const ID: u8 = 0x08;
pub(super) const READ: u8 = 0x1a;
pub(super) const WRITE: u8 = 0x22;
/// The first of its two bytes.
pub(super) const FILL: u8 = 0x82;

pub(super) const POSITION: u8 = 0x0a;
pub(super) const OBJECT: u8 = 0x12;
pub(super) const LIST: u8 = 0x1a;
pub(super) const COUNT: u8 = 0x22;
pub(super) const TIME: u8 = 0x28;

/// Appends the reply to a read.
#[inline]
pub fn put_read_reply(frame: &mut BytesMut, id: u64, reply: ReadReplyRef<'_>) {
    if reply.explain.is_some() {
        put_reply(frame, &encode_reply(id, Ok(ReplyBody::Read(reply.into_owned()))));
        return;
    }
    let (key, answer) = answer_len(&reply.answer);
    let time = reply.time.map_or(0, |time| 1 + encoded_len_varint(time.0));
    let body = delimited_len(position_len(reply.position)) + delimited_len(answer) + time;
    let length = varint_len(id) + delimited_len(body);
    frame.reserve(delimited_len(length));
    let mut piece = Piece::new();
    piece.head(ENTRY, length);
    piece.varint(ID, id);
    piece.head(READ, body);
    piece.position(POSITION, reply.position);
    piece.head(key, answer);
    piece = put_answer(frame, piece, &reply.answer);
    if let Some(time) = reply.time {
        piece.byte(TIME);
        piece.number(time.0);
    }
    frame.extend_from_slice(piece.bytes());
}

/// Appends any reply.
pub fn put_reply(frame: &mut BytesMut, reply: &proto::Reply) {
    let length = reply.encoded_len();
    frame.reserve(delimited_len(length));
    put_head(frame, ENTRY, length);
    reply.encode_raw(frame);
}

/// Key and bytes of an answer's body.
#[inline]
fn answer_len(answer: &AnswerRef<'_>) -> (u8, usize) {
    match answer {
        AnswerRef::Object(None) => (OBJECT, 0),
        AnswerRef::Object(Some((id, row))) => (OBJECT, delimited_len(object_len(*id, *row))),
        AnswerRef::Edges { edges, version } => {
            (LIST, delimited_len(edges.held().packed_len()) + varint_len(version.0))
        }
        AnswerRef::Count { count, version } => (COUNT, varint_len(*count) + varint_len(version.0)),
    }
}

#[inline]
fn object_len(id: ObjectId, row: ObjectRef<'_>) -> usize {
    let head = fixed64_len(id.0) + varint_len(row.otype.0.into()) + varint_len(row.version.0);
    head + delimited_len(row.fields.len())
}

/// Appends what comes before it, in `piece`, and the answer, but for what is given back.
#[inline]
fn put_answer(frame: &mut BytesMut, mut piece: Piece, answer: &AnswerRef<'_>) -> Piece {
    match answer {
        AnswerRef::Object(None) => piece,
        AnswerRef::Object(Some((id, row))) => {
            piece.head(0x0a, object_len(*id, *row));
            piece.fixed(0x09, id.0.to_le_bytes());
            piece.varint(0x10, row.otype.0.into());
            piece.varint(0x18, row.version.0);
            piece.head(0x22, row.fields.len());
            frame.extend_from_slice(piece.bytes());
            frame.extend_from_slice(row.fields);
            Piece::new()
        }
        AnswerRef::Edges { edges, version } => {
            let edges = edges.held();
            piece.head(0x0a, edges.packed_len());
            frame.extend_from_slice(piece.bytes());
            edges.put(frame);
            let mut piece = Piece::new();
            piece.varint(0x10, version.0);
            piece
        }
        AnswerRef::Count { count, version } => {
            piece.varint(0x08, *count);
            piece.varint(0x10, version.0);
            piece
        }
    }
}
