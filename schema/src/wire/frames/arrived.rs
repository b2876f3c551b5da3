//! Reply frames as they arrive: replies are found in their frame, and read where they lie.

use std::num::NonZeroU32;

use bytes::Bytes;
use prost::Message;

use super::cursor::Cursor;
use super::replies::{COUNT, FILL, ID, LIST, OBJECT, POSITION, READ, TIME, WRITE};
use super::requests::{entries, position};
use crate::edges::PackedEdges;
use crate::error::{Error, ErrorCode, Result};
use crate::fields::EncodedFields;
use crate::ids::{ObjectId, ObjectType, Position, PrimaryTime, Seq};
use crate::ops::{Answer, ReadReply};
use crate::rows::ObjectRow;
use crate::wire::envelope::{ReplyBody, decode_reply};
use crate::wire::proto;

/// Answers that together are smaller than this share of their frame are copied out of it: a user who keeps them must not
/// keep the frame.
const KEEPS_FRAME: usize = 4;

/// What a reply to a read of the usual layout says. Less to move than a [`ReadReply`].
type Told = (Position, Answer, Option<PrimaryTime>);

/// The replies of a frame, one after the other.
pub struct Replies {
    frame: Bytes,
    at: usize,
    number: usize,
}

/// Where a reply stands in its frame.
#[derive(Clone, Copy, Debug)]
pub struct ReplyAt {
    start: u32,
    /// What follows the id, if that comes first.
    result: u32,
    end: NonZeroU32,
}

/// A reply in its frame, not decoded.
#[derive(Clone, Copy, Debug)]
pub struct ReplyRef<'a> {
    frame: &'a Bytes,
    at: ReplyAt,
    share: usize,
}

/// A reply with its frame, not decoded.
#[derive(Clone, Debug)]
pub struct RawReply {
    /// The id of its request.
    pub id: u64,
    frame: Bytes,
    at: ReplyAt,
}

/// The replies of a frame.
///
/// # Errors
/// `Corrupt` if the bytes are no frame.
pub fn replies(frame: Bytes) -> Result<Replies> {
    let number = entries(&frame)
        .filter(|_| u32::try_from(frame.len()).is_ok())
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

    /// The frame that they stand in.
    pub const fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The id of the next one's request, and where it stands.
    #[inline]
    pub fn next_at(&mut self) -> Option<(u64, ReplyAt)> {
        self.number = self.number.checked_sub(1)?;
        let mut cursor = Cursor::new(self.frame.get(self.at..)?);
        cursor.key()?;
        let length = cursor.body()?.len();
        let end = self.at + cursor.at();
        self.at = end;
        let start = end - length;
        let (id, behind) = id_of(&self.frame, start, end);
        // A frame is shorter than 2^32, and an entry's key stands before its end.
        let at = ReplyAt { start: start as u32, result: behind as u32, end: NonZeroU32::new(end as u32)? };
        Some((id, at))
    }
}

impl Iterator for Replies {
    type Item = RawReply;

    #[inline]
    fn next(&mut self) -> Option<RawReply> {
        let (id, at) = self.next_at()?;
        Some(RawReply::new(id, &self.frame, at))
    }
}

/// The id of a reply, and where it ends. Our encoder writes it first; another's is looked for, and has no place. A reply
/// that can't be read has none: nobody waits for it.
#[inline]
fn id_of(frame: &Bytes, start: usize, end: usize) -> (u64, usize) {
    let mut cursor = Cursor::new(&frame[start..end]);
    if cursor.key() == Some(ID) {
        return cursor.varint().map_or((0, start), |id| (id, start + cursor.at()));
    }
    let reply = proto::Reply::decode(frame.slice(start..end)).ok();
    (reply.map_or(0, |reply| reply.id), start)
}

impl ReplyAt {
    /// Bytes that it takes in its frame.
    pub const fn size(self) -> usize {
        self.end.get().saturating_sub(self.start) as usize
    }
}

impl RawReply {
    /// A reply that stands at `at` in `frame`.
    #[inline]
    pub fn new(id: u64, frame: &Bytes, at: ReplyAt) -> Self {
        Self { id, frame: frame.clone(), at }
    }

    /// Where it lies.
    #[inline]
    pub const fn as_ref(&self) -> ReplyRef<'_> {
        ReplyRef::new(&self.frame, self.at, 0)
    }

    /// See [`ReplyRef::error_code`].
    #[inline]
    pub fn error_code(&self) -> Option<u32> {
        self.as_ref().error_code()
    }

    /// See [`ReplyRef::read`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn read(&self) -> Result<ReadReply> {
        self.as_ref().read()
    }

    /// The generated message's result; `None` if this version does not understand it.
    pub fn into_proto(self) -> Option<proto::reply::Result> {
        proto::Reply::decode(self.as_ref().body()?).ok()?.result
    }
}

impl<'a> ReplyRef<'a> {
    /// A reply that stands at `at` in `frame`. `share`: bytes of the frame that are for the same user, it among them; 0: it
    /// is for him alone.
    #[inline]
    pub const fn new(frame: &'a Bytes, at: ReplyAt, share: usize) -> Self {
        Self { frame, at, share }
    }

    /// The reply's bytes. `None`: it is not from this frame.
    fn body(self) -> Option<Bytes> {
        let (start, end) = (self.at.start as usize, self.at.end.get() as usize);
        (start <= end && end <= self.frame.len()).then(|| self.frame.slice(start..end))
    }

    /// Its bytes from behind the id.
    #[inline]
    fn result(self) -> Option<&'a [u8]> {
        self.frame.get(self.at.result as usize..self.at.end.get() as usize)
    }

    /// The number of the typed error that it is; `None`: it is none.
    #[inline]
    pub fn error_code(self) -> Option<u32> {
        // A large fill is not decoded to learn that it is one.
        match self.result()?.first() {
            Some(&(READ | WRITE | FILL)) => None,
            _ => self.slow_error_code(),
        }
    }

    #[cold]
    fn slow_error_code(self) -> Option<u32> {
        match proto::Reply::decode(self.body()?).ok()?.result? {
            proto::reply::Result::Error(error) => Some(error.code),
            _ => None,
        }
    }

    /// The answer to a read.
    ///
    /// # Errors
    /// What the node says; `Corrupt` if it is no answer to a read.
    #[inline]
    pub fn read(self) -> Result<ReadReply> {
        match self.fast() {
            Some(Ok((position, answer, time))) => Ok(ReadReply { position, answer, explain: None, time }),
            Some(Err(error)) => Err(error),
            None => self.slow(),
        }
    }

    /// As [`ReplyRef::read`], without what else the node tells.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn answer(self) -> Result<Answer> {
        match self.fast() {
            Some(told) => told.map(|(_, answer, _)| answer),
            None => self.slow().map(|reply| reply.answer),
        }
    }

    /// `None`: it does not say one thing in the usual layout.
    #[inline]
    fn fast(self) -> Option<Result<Told>> {
        let mut cursor = Cursor::new(self.result()?);
        if cursor.key()? != READ {
            return None;
        }
        let body = cursor.body()?;
        if !cursor.at_end() {
            return None;
        }
        self.told(body)
    }

    #[cold]
    fn slow(self) -> Result<ReadReply> {
        let corrupt = |what: &str| Error::new(ErrorCode::Corrupt, format!("the node's reply {what}"));
        let body = self.body().ok_or_else(|| corrupt("is not in its frame"))?;
        let reply =
            proto::Reply::decode(body).map_err(|error| corrupt(&format!("can't be read: {error}")))?;
        if reply.result.is_none() {
            return Err(corrupt("has no result that this version understands"));
        }
        match decode_reply(reply).1? {
            ReplyBody::Read(reply) => Ok(reply),
            ReplyBody::Write { .. } | ReplyBody::Fill(_) => Err(corrupt("is none to a read")),
        }
    }

    /// `None`: not in the usual layout.
    #[inline]
    fn told(self, body: &[u8]) -> Option<Result<Told>> {
        let mut cursor = Cursor::new(body);
        let (mut at, mut answer, mut time) = (None::<Position>, None, None);
        while !cursor.at_end() {
            match cursor.key()? {
                POSITION if at.is_none() => at = Some(position(cursor.body()?)?),
                key @ (OBJECT | LIST | COUNT) if answer.is_none() => {
                    answer = Some(match self.answer_of(key, cursor.body()?)? {
                        Ok(answer) => answer,
                        Err(error) => return Some(Err(error)),
                    });
                }
                TIME => time = Some(PrimaryTime(cursor.varint()?)),
                _ => return None,
            }
        }
        Some(Ok((at?, answer?, time)))
    }

    #[inline]
    fn answer_of(self, key: u8, body: &[u8]) -> Option<Result<Answer>> {
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
    fn object(self, body: &[u8]) -> Option<(ObjectId, ObjectRow)> {
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
        let fields = fields.unwrap_or_default();
        // Another encoder's bytes are brought into shape by prost.
        entries(fields)?;
        let fields = EncodedFields(self.kept(fields));
        Some((ObjectId(id), ObjectRow { otype: ObjectType(otype), version, fields }))
    }

    /// Bytes of the frame for a user: a piece of it, or a copy.
    #[inline]
    fn kept(self, part: &[u8]) -> Bytes {
        if part.is_empty() {
            Bytes::new()
        } else if self.share.max(part.len()) < self.frame.len() / KEEPS_FRAME {
            Bytes::copy_from_slice(part)
        } else {
            self.frame.slice_ref(part)
        }
    }
}
