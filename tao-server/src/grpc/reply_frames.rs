//! Replies on their way into frames, as bytes.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tao_schema::Result;
use tao_schema::ops::ReadReplyRef;
use tao_schema::wire::envelope::{ReplyBody, encode_reply};
use tao_schema::wire::frames::{put_read_reply, put_reply};

use super::size::{LARGEST, TARGET, fitting, too_large};

/// Room for a usual frame of replies: sixty-four of a hundred bytes, with their heads.
const USUAL: usize = 16 << 10;

/// Bytes in front of each message of a gRPC stream: not compressed, and how long it is.
const PREFIX: usize = 5;

/// A chunk of so many bytes is sent without looking for more.
const ENOUGH: usize = 16 << 10;

/// Frames that are being filled: each up to a size that its reader takes in any case. They come with gRPC's prefix, so that
/// nobody copies them to put it there, and in chunks of one or more, so that frames that are ready together are sent together.
#[derive(Default)]
pub struct ReplyFrames {
    /// Whole frames, then the one that is being filled.
    open: BytesMut,
    /// Where that one begins.
    frame: Option<usize>,
    closed: VecDeque<Bytes>,
}

impl ReplyFrames {
    /// Adds a reply.
    #[inline]
    pub(super) fn put(&mut self, id: u64, result: Result<ReplyBody>) {
        let start = self.begin();
        put(&mut self.open, id, result);
        self.end(start);
    }

    /// Adds the reply to a read, from where it lies.
    #[inline]
    pub(super) fn show(&mut self, id: u64, reply: ReadReplyRef<'_>) {
        let start = self.begin();
        put_read(&mut self.open, id, reply);
        self.end(start);
    }

    /// Adds a reply that is encoded, as [`encoded`] does.
    pub(super) fn put_encoded(&mut self, reply: &[u8]) {
        let start = self.begin();
        self.open.extend_from_slice(reply);
        self.end(start);
    }

    /// A chunk that takes no more.
    pub(super) fn full(&mut self) -> Option<Bytes> {
        self.closed.pop_front()
    }

    /// Whether there is one.
    pub(super) fn has_full(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The next frame takes what comes from now on.
    pub(super) fn close(&mut self) {
        if let Some(frame) = self.frame.take() {
            // No frame is longer: `LARGEST`.
            let bytes = u32::try_from(self.open.len() - frame - PREFIX).unwrap_or(u32::MAX);
            self.open[frame + 1..frame + PREFIX].copy_from_slice(&bytes.to_be_bytes());
        }
        if self.open.len() >= ENOUGH {
            self.closed.push_back(self.open.split().freeze());
        }
    }

    /// Whatever there is to send.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        self.close();
        if !self.open.is_empty() {
            self.closed.push_back(self.open.split().freeze());
        }
        self.full()
    }

    /// Where the next reply begins.
    #[inline]
    fn begin(&mut self) -> usize {
        if self.frame.is_none() {
            if self.open.is_empty() {
                self.open.reserve(USUAL);
            }
            self.frame = Some(self.open.len());
            self.open.put_bytes(0, PREFIX);
        }
        self.open.len()
    }

    /// What no longer fits begins the next frame; so a large reply goes alone.
    #[inline]
    fn end(&mut self, start: usize) {
        let first = self.frame.unwrap_or_default() + PREFIX;
        if start > first && self.open.len() - first > TARGET {
            let reply = self.open.split_off(start);
            self.close();
            self.begin();
            self.open.unsplit(reply);
        }
    }
}

/// The frames of a chunk, without their prefixes.
pub(super) fn frames_of(mut chunk: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let prefix = chunk.first_chunk::<PREFIX>()?;
        let bytes = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        chunk.advance(PREFIX);
        // They were put together here.
        Some(chunk.split_to((bytes as usize).min(chunk.len())))
    })
}

/// One reply, as it stands in a frame.
pub(super) fn encoded(id: u64, result: Result<ReplyBody>) -> Bytes {
    let mut bytes = BytesMut::new();
    put(&mut bytes, id, result);
    bytes.freeze()
}

#[inline]
fn put(frame: &mut BytesMut, id: u64, result: Result<ReplyBody>) {
    match result {
        Ok(ReplyBody::Read(reply)) => put_read(frame, id, (&reply).into()),
        other => put_reply(frame, &fitting(encode_reply(id, other))),
    }
}

#[inline]
fn put_read(frame: &mut BytesMut, id: u64, reply: ReadReplyRef<'_>) {
    let start = frame.len();
    put_read_reply(frame, id, reply);
    let bytes = frame.len() - start;
    if bytes > LARGEST {
        frame.truncate(start);
        put_reply(frame, &encode_reply(id, Err(too_large(bytes))));
    }
}

#[cfg(test)]
mod tests {
    use tao_schema::edges::PackedEdgesBuilder;
    use tao_schema::ids::{Epoch, ObjectId, Position, Seq, ShardId, Time};
    use tao_schema::limits::MAX_MESSAGE_BYTES;
    use tao_schema::ops::{Answer, ReadReply};
    use tao_schema::wire::frames::replies;

    use super::*;

    /// A list whose reply takes about `bytes`.
    fn list(bytes: usize) -> Result<ReplyBody> {
        let mut edges = PackedEdgesBuilder::default();
        for id in 0..bytes as u64 / 16 {
            edges.push(ObjectId(id + 1), Time(1), &[]);
        }
        let position = Position { shard: ShardId(0), epoch: Epoch(1), seq: Seq(1) };
        let answer = Answer::Edges { edges: edges.finish(), version: Seq(1) };
        Ok(ReplyBody::Read(ReadReply { position, answer, explain: None, time: None }))
    }

    /// Each frame's bytes, and ids and error codes of its replies.
    type Frames = Vec<(usize, Vec<(u64, Option<u32>)>)>;

    fn sent(all: &[usize]) -> Frames {
        let mut frames = ReplyFrames::default();
        for (id, bytes) in (1..).zip(all) {
            frames.put(id, list(*bytes));
        }
        std::iter::from_fn(|| frames.rest())
            .flat_map(frames_of)
            .map(|frame| {
                let length = frame.len();
                (length, replies(frame).unwrap().map(|reply| (reply.id, reply.error_code())).collect())
            })
            .collect()
    }

    #[test]
    fn small_replies_share_a_frame_and_large_ones_go_alone() {
        let frames = sent(&[100, 200, 3 << 20, 300]);
        let ids: Vec<Vec<u64>> =
            frames.iter().map(|(_, replies)| replies.iter().map(|(id, _)| *id).collect()).collect();
        assert_eq!(ids, [vec![1, 2], vec![3], vec![4]]);
        assert!(frames.iter().all(|(bytes, _)| *bytes <= MAX_MESSAGE_BYTES), "{frames:?}");
    }

    #[test]
    fn frames_that_are_ready_together_share_a_chunk_of_bounded_size() {
        let mut frames = ReplyFrames::default();
        for id in 0..100 {
            frames.put(id, list(160));
            frames.put(id, list(160));
            frames.close();
        }
        let chunks: Vec<Bytes> = std::iter::from_fn(|| frames.rest()).collect();
        assert!((2..10).contains(&chunks.len()), "{} chunks", chunks.len());
        assert!(chunks.iter().all(|chunk| chunk[0] == 0 && chunk.len() < ENOUGH + 1_024));
        let ids = chunks.into_iter().flat_map(frames_of).map(|frame| {
            let replies: Vec<u64> = replies(frame).unwrap().map(|reply| reply.id).collect();
            (replies[0], replies.len())
        });
        assert!(ids.eq((0..100).map(|id| (id, 2))));
    }

    #[test]
    fn an_answer_that_no_message_holds_says_so() {
        let frames = sent(&[MAX_MESSAGE_BYTES]);
        let invalid = tao_schema::ErrorCode::InvalidArgument.number();
        assert_eq!(frames[0].1, [(1, Some(invalid))]);
        assert_eq!(encoded(7, list(64)), {
            let mut frames = ReplyFrames::default();
            frames.put(7, list(64));
            frames.rest().unwrap().slice(PREFIX..)
        });
    }
}
