//! Frames of the pipelined streams as bytes: the same contract as [`super::envelope`], without a message in between.
//!
//! A read costs a node a fraction of a microsecond, and the generated messages of one read and its reply cost as much
//! again. So reads, and replies to them, go straight between bytes and domain types, in both directions; all that is
//! rarer, and every layout that our own encoder would not have written, takes the way through prost. The bytes are those
//! of `proto/tao.proto` either way, which tests hold against the generated code.

mod arrived;
mod asked;
mod codec;
mod cursor;
mod piece;
mod replies;
mod requests;
#[cfg(test)]
mod tests;

pub use self::arrived::{RawReply, Replies, ReplyAt, ReplyRef, replies};
pub use self::asked::{ReadRequestRef, put_read};
pub use self::codec::FrameCodec;
pub use self::replies::{put_read_reply, put_reply};
pub use self::requests::{Requests, put_request, requests};

/// Key of a request in its frame, and of a reply in its: field 1, length-delimited.
const ENTRY: u8 = 0x0a;
