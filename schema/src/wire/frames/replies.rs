//! Reply frames.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encoded_len_varint;

use super::ENTRY;
use super::cursor::{Cursor, delimited_len, fixed64_len, put_fixed64, put_head, put_varint, varint_len};
use super::requests::{entries, position, position_len, put_position};
use crate::edges::PackedEdges;
use crate::error::{Error, ErrorCode, Result};
use crate::fields::EncodedFields;
use crate::ids::{ObjectId, ObjectType, Position, PrimaryTime, Seq};
use crate::ops::{Answer, AnswerRef, ObjectRef, ReadReply, ReadReplyRef};
use crate::rows::ObjectRow;
use crate::wire::envelope::{ReplyBody, decode_reply, encode_reply};
use crate::wire::proto;

const ID: u8 = 0x08;
const ERROR: u8 = 0x12;
const READ: u8 = 0x1a;
const WRITE: u8 = 0x22;
/// The first of its two bytes.
const FILL: u8 = 0x82;

const POSITION: u8 = 0x0a;
const OBJECT: u8 = 0x12;
const LIST: u8 = 0x1a;
const COUNT: u8 = 0x22;
const TIME: u8 = 0x28;

/// An answer that is smaller than this share of its frame is copied out of it: a user who keeps it must not keep the frame.
const KEEPS_FRAME: usize = 4;

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
    put_head(frame, ENTRY, length);
    put_varint(frame, ID, id);
    put_head(frame, READ, body);
    put_position(frame, POSITION, reply.position);
    put_head(frame, key, answer);
    put_answer(frame, &reply.answer);
    if let Some(time) = reply.time {
        frame.put_u8(TIME);
        prost::encoding::encode_varint(time.0, frame);
    }
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

#[inline]
fn put_answer(frame: &mut BytesMut, answer: &AnswerRef<'_>) {
    match answer {
        AnswerRef::Object(None) => {}
        AnswerRef::Object(Some((id, row))) => {
            put_head(frame, 0x0a, object_len(*id, *row));
            put_fixed64(frame, 0x09, id.0);
            put_varint(frame, 0x10, row.otype.0.into());
            put_varint(frame, 0x18, row.version.0);
            put_head(frame, 0x22, row.fields.len());
            frame.extend_from_slice(row.fields);
        }
        AnswerRef::Edges { edges, version } => {
            let edges = edges.held();
            put_head(frame, 0x0a, edges.packed_len());
            edges.put(frame);
            put_varint(frame, 0x10, version.0);
        }
        AnswerRef::Count { count, version } => {
            put_varint(frame, 0x08, *count);
            put_varint(frame, 0x10, version.0);
        }
    }
}

/// The replies of a frame, one after the other.
pub struct Replies {
    frame: Bytes,
    at: usize,
    number: usize,
}

/// A reply out of a frame, not decoded.
#[derive(Clone, Debug)]
pub struct RawReply {
    /// The id of its request.
    pub id: u64,
    body: Bytes,
    frame: usize,
}

/// The replies of a frame.
///
/// # Errors
/// `Corrupt` if the bytes are no frame.
pub fn replies(frame: Bytes) -> Result<Replies> {
    let number = entries(&frame)
        .ok_or_else(|| Error::new(ErrorCode::Corrupt, "the node's bytes are no frame of replies"))?;
    Ok(Replies { frame, at: 0, number })
}

impl Replies {
    /// How many are left.
    pub const fn len(&self) -> usize {
        self.number
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.number == 0
    }
}

impl Iterator for Replies {
    type Item = RawReply;

    #[inline]
    fn next(&mut self) -> Option<RawReply> {
        self.number = self.number.checked_sub(1)?;
        let mut cursor = Cursor::new(&self.frame[self.at..]);
        cursor.key()?;
        let length = cursor.body()?.len();
        let end = self.at + cursor.at();
        self.at = end;
        let body = self.frame.slice(end - length..end);
        Some(RawReply { id: id_of(&body), body, frame: self.frame.len() })
    }
}

/// Our encoder writes the id first; another's is looked for. A reply that can't be read has none: nobody waits for it.
#[inline]
fn id_of(body: &Bytes) -> u64 {
    let mut cursor = Cursor::new(body);
    match cursor.key() {
        Some(ID) => cursor.varint(),
        _ => proto::Reply::decode(body.clone()).ok().map(|reply| reply.id),
    }
    .unwrap_or(0)
}

impl RawReply {
    /// What it says, behind the id, if it says one thing in the usual layout.
    fn result(&self) -> Option<(u8, &[u8])> {
        let mut cursor = Cursor::new(&self.body);
        let mut key = cursor.key()?;
        if key == ID {
            cursor.varint()?;
            key = cursor.key()?;
        }
        let body = cursor.body()?;
        (cursor.at_end() && matches!(key, ERROR | READ)).then_some((key, body))
    }

    /// The number of the typed error that it is; `None`: it is none.
    #[inline]
    pub fn error_code(&self) -> Option<u32> {
        // A large fill is not decoded to learn that it is one.
        if self.key_behind_id().is_some_and(|key| matches!(key, READ | WRITE | FILL)) {
            return None;
        }
        match proto::Reply::decode(self.body.clone()).ok()?.result? {
            proto::reply::Result::Error(error) => Some(error.code),
            _ => None,
        }
    }

    /// The first byte of the key of what follows the id; `None`: not in the usual layout.
    #[inline]
    fn key_behind_id(&self) -> Option<u8> {
        let mut cursor = Cursor::new(&self.body);
        if cursor.key()? == ID {
            cursor.varint()?;
        } else {
            cursor = Cursor::new(&self.body);
        }
        self.body.get(cursor.at()).copied()
    }

    /// The answer to a read.
    ///
    /// # Errors
    /// What the node says; `Corrupt` if it is no answer to a read.
    pub fn read(self) -> Result<ReadReply> {
        if let Some((READ, body)) = self.result()
            && let Some(reply) = self.read_reply(body)
        {
            return reply;
        }
        let corrupt = |what: &str| Error::new(ErrorCode::Corrupt, format!("the node's reply {what}"));
        let reply =
            proto::Reply::decode(self.body).map_err(|error| corrupt(&format!("can't be read: {error}")))?;
        if reply.result.is_none() {
            return Err(corrupt("has no result that this version understands"));
        }
        match decode_reply(reply).1? {
            ReplyBody::Read(reply) => Ok(reply),
            ReplyBody::Write { .. } | ReplyBody::Fill(_) => Err(corrupt("is none to a read")),
        }
    }

    /// The generated message's result; `None` if this version does not understand it.
    pub fn into_proto(self) -> Option<proto::reply::Result> {
        proto::Reply::decode(self.body).ok()?.result
    }

    /// `None`: not in the usual layout.
    #[inline]
    fn read_reply(&self, body: &[u8]) -> Option<Result<ReadReply>> {
        let mut cursor = Cursor::new(body);
        let (mut at, mut answer, mut time) = (None::<Position>, None, None);
        while !cursor.at_end() {
            match cursor.key()? {
                POSITION if at.is_none() => at = Some(position(cursor.body()?)?),
                key @ (OBJECT | LIST | COUNT) if answer.is_none() => {
                    answer = Some(match self.answer(key, cursor.body()?)? {
                        Ok(answer) => answer,
                        Err(error) => return Some(Err(error)),
                    });
                }
                TIME => time = Some(PrimaryTime(cursor.varint()?)),
                _ => return None,
            }
        }
        Some(Ok(ReadReply { position: at?, answer: answer?, explain: None, time }))
    }

    #[inline]
    fn answer(&self, key: u8, body: &[u8]) -> Option<Result<Answer>> {
        let mut cursor = Cursor::new(body);
        if key == OBJECT {
            if cursor.at_end() {
                return Some(Ok(Answer::Object(None)));
            }
            let object = (cursor.key()? == 0x0a).then(|| cursor.body())??;
            return cursor
                .at_end()
                .then(|| self.object(object))?
                .map(|object| Ok(Answer::Object(Some(object))));
        }
        let (mut list, mut count, mut version) = (None, 0, Seq(0));
        while !cursor.at_end() {
            match cursor.key()? {
                0x0a if key == LIST && list.is_none() => list = Some(cursor.body()?),
                0x08 if key == COUNT => count = cursor.varint()?,
                0x10 => version = Seq(cursor.varint()?),
                _ => return None,
            }
        }
        if key == COUNT {
            return Some(Ok(Answer::Count { count, version }));
        }
        // Their layout is checked, because everything later relies on it.
        let edges = PackedEdges::from_bytes(self.kept(list.unwrap_or_default()));
        Some(edges.map(|edges| Answer::Edges { edges, version }))
    }

    #[inline]
    fn object(&self, body: &[u8]) -> Option<(ObjectId, ObjectRow)> {
        let mut cursor = Cursor::new(body);
        let (mut id, mut otype, mut version, mut fields) = (0, 0, Seq(0), None);
        while !cursor.at_end() {
            match cursor.key()? {
                0x09 => id = cursor.fixed64()?,
                0x10 => otype = cursor.uint16()?,
                0x18 => version = Seq(cursor.varint()?),
                0x22 if fields.is_none() => fields = Some(cursor.body()?),
                _ => return None,
            }
        }
        let fields = EncodedFields(self.kept(fields.unwrap_or_default()));
        // Another encoder's bytes are brought into shape by prost.
        fields.entries_at_most(usize::MAX)?;
        Some((ObjectId(id), ObjectRow { otype: ObjectType(otype), version, fields }))
    }

    /// Bytes of the frame for a user: a piece of it, or a copy.
    #[inline]
    fn kept(&self, part: &[u8]) -> Bytes {
        if part.len() < self.frame / KEEPS_FRAME {
            Bytes::copy_from_slice(part)
        } else {
            self.body.slice_ref(part)
        }
    }
}
