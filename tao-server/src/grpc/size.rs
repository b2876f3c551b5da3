//! What leaves a node fits into a message: a frame that its reader refuses for its size breaks the stream under every
//! request on it, and is refused again after every reconnection.

use prost::Message;
use tao_schema::Error;
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::wire::proto::{self, reply, stream_message};

/// Bytes that a frame is filled up to: what is larger goes alone.
pub(super) const TARGET: usize = MAX_MESSAGE_BYTES / 2;
/// Key and length of a reply in its frame, at most.
const FRAMING: usize = 8;
/// Of one message at most; the rest is for the frame around it.
pub(super) const LARGEST: usize = MAX_MESSAGE_BYTES - 1_024;

/// A reply that fits: a write goes without its changes, which its positions then stand in for as floors (R15); an answer
/// that is too large to be brought becomes an error that says so. Never a shorter list: it would pass for all there is.
pub(super) fn fitting(reply: proto::Reply) -> proto::Reply {
    within(reply, LARGEST).0
}

/// As [`fitting`], for replies that go together. The answers that no longer fit become errors.
pub(super) fn fitting_together(replies: Vec<proto::Reply>) -> Vec<proto::Reply> {
    // What any reply may take for itself: the error in place of an answer.
    const OWN: usize = 512;
    let is_read = |reply: &proto::Reply| matches!(reply.result, Some(reply::Result::Read(_)));
    // Outcomes of writes come first. They are a few bytes for each operation of a request that has fitted itself.
    let taken = |reply: &proto::Reply| if is_read(reply) { OWN } else { reply.encoded_len() + FRAMING };
    let mut room = LARGEST.saturating_sub(replies.iter().map(taken).sum());
    let fit = |reply| {
        if !is_read(&reply) {
            return reply;
        }
        let (reply, bytes) = within(reply, room + OWN - FRAMING);
        room = room.saturating_sub(bytes.saturating_sub(OWN - FRAMING));
        reply
    };
    replies.into_iter().map(fit).collect()
}

/// The reply of a unary read.
///
/// # Errors
/// `InvalidArgument` if it is too large.
pub(super) fn fitting_read(reply: proto::ReadReply) -> tao_schema::Result<proto::ReadReply> {
    let bytes = reply.encoded_len();
    if bytes <= LARGEST { Ok(reply) } else { Err(too_large(bytes)) }
}

/// Refuses rows that are too large together.
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn fitting_rows(rows: &impl Message) -> tao_schema::Result<()> {
    let bytes = rows.encoded_len();
    if bytes <= LARGEST { Ok(()) } else { Err(too_large(bytes)) }
}

/// How many messages from the front share a frame; at least one, if there is one.
pub(super) fn leading<M: Message>(messages: &[M]) -> usize {
    let mut room = TARGET;
    let fits = |message: &&M| {
        let bytes = message.encoded_len() + FRAMING;
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    messages.iter().take_while(fits).count().max(messages.len().min(1))
}

/// The reply, if it takes at most `most` bytes, else what stands in for it; and the bytes of that.
fn within(mut reply: proto::Reply, most: usize) -> (proto::Reply, usize) {
    let mut bytes = reply.encoded_len();
    if bytes <= most {
        return (reply, bytes);
    }
    match &mut reply.result {
        // What happened is never kept from the writer: without the changes it is small.
        Some(reply::Result::Write(write)) => write.change.clear(),
        result => *result = Some(reply::Result::Error(too_large(bytes).into())),
    }
    bytes = reply.encoded_len();
    (reply, bytes)
}

pub(super) fn too_large(bytes: usize) -> Error {
    Error::invalid(format!(
        "the answer takes {bytes} bytes, more than a message has room for (at most {MAX_MESSAGE_BYTES}): ask for less \
         at a time, with a smaller limit or fewer requests in one batch"
    ))
}

/// Puts messages into frames: as many as fit into one, in their order.
pub(super) fn split<M: Message>(messages: impl IntoIterator<Item = M>) -> Vec<Vec<M>> {
    let mut frames = vec![Vec::new()];
    let mut room = TARGET;
    for message in messages {
        let bytes = message.encoded_len();
        if bytes > room {
            room = TARGET;
            frames.push(Vec::new());
        }
        room = room.saturating_sub(bytes);
        if let Some(frame) = frames.last_mut() {
            frame.push(message);
        }
    }
    frames.retain(|frame| !frame.is_empty());
    frames
}

/// A message of a change stream that fits. A change that does not is a reset to its own position: the subscriber drops
/// what it holds of the shard and goes on from there, as if the change had fallen out of the ring (R16).
pub(super) fn streamable(message: proto::StreamMessage) -> proto::StreamMessage {
    if message.encoded_len() <= LARGEST {
        return message;
    }
    let Some(stream_message::Message::Change(change)) = &message.message else { return message };
    // Without a history: the subscriber keeps what it knows of the epochs.
    let (shard, epoch, watermark) = (change.shard, change.epoch, change.seq);
    let reset = proto::Reset { shard, epoch, watermark, history: Vec::new() };
    proto::StreamMessage { message: Some(stream_message::Message::Reset(reset)) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tao_schema::edges::PackedEdgesBuilder;
    use tao_schema::fields::{Fields, Value};
    use tao_schema::ids::{FieldId, ObjectId, Time};
    use tao_schema::limits::{MAX_ASSOC_BYTES, MAX_FRAME_OPS, MAX_OBJECT_BYTES, MAX_SHARDS};

    use super::*;

    fn data(bytes: usize) -> tao_schema::fields::EncodedFields {
        let mut fields = Fields::new();
        fields.set(FieldId(1), Value::Blob(Bytes::from(vec![7; bytes])));
        fields.encode()
    }

    /// A reply with so many edges of 64 KiB.
    fn list(id: u64, edges: u64) -> proto::Reply {
        let mut packed = PackedEdgesBuilder::default();
        let fields = data(MAX_ASSOC_BYTES - 16);
        (0..edges).for_each(|id2| packed.push(ObjectId(id2), Time(1), &fields.0));
        let list = proto::ListResult { list: Some(packed.finish()), version: 1 };
        let result = Some(proto::read_reply::Result::List(list));
        let read = proto::ReadReply { result, ..proto::ReadReply::default() };
        proto::Reply { id, result: Some(reply::Result::Read(read)) }
    }

    fn change(bytes: usize) -> proto::ShardChange {
        let object = proto::Object { fields: Some(data(bytes)), ..proto::Object::default() };
        let object = proto::ObjectChange { id: 1, object: Some(object) };
        let item = proto::ChangeItem { item: Some(proto::change_item::Item::Object(object)) };
        proto::ShardChange { shard: 3, epoch: 1, seq: 9, item: vec![item] }
    }

    fn streamed(message: stream_message::Message) -> proto::StreamMessage {
        proto::StreamMessage { message: Some(message) }
    }

    fn frame_bytes(replies: Vec<proto::Reply>) -> usize {
        proto::ReplyFrame { reply: replies }.encoded_len()
    }

    #[test]
    fn an_answer_too_large_is_an_error_and_a_write_keeps_its_outcome() {
        let fits = fitting(list(1, 63));
        assert!(
            matches!(fits.result, Some(reply::Result::Read(_)))
                && frame_bytes(vec![fits]) <= MAX_MESSAGE_BYTES
        );
        let refused = fitting(list(2, 64));
        let Some(reply::Result::Error(error)) = &refused.result else {
            panic!("too large: {}", refused.encoded_len())
        };
        assert!(
            (refused.id, error.retryable) == (2, false) && error.message.contains("smaller limit"),
            "{error:?}"
        );

        let position = proto::Position { shard: 3, epoch: 1, seq: 9 };
        let outcome = proto::WriteOutcome { effect: proto::Effect::Updated.into(), id: 1 };
        let write =
            proto::WriteReply { position: vec![position], outcome: vec![outcome], ..Default::default() };
        let large = proto::WriteReply { change: vec![change(MAX_OBJECT_BYTES); 4], ..write.clone() };
        let reply = fitting(proto::Reply { id: 3, result: Some(reply::Result::Write(large)) });
        assert_eq!(reply.result, Some(reply::Result::Write(write)));
    }

    #[test]
    fn a_batch_of_large_answers_fits_with_every_request_answered() {
        let replies: Vec<_> = (0..MAX_FRAME_OPS as u64).map(|id| list(id, 2)).collect();
        let fitted = fitting_together(replies);
        let read = |reply: &&proto::Reply| matches!(reply.result, Some(reply::Result::Read(_)));
        let answered = fitted.iter().filter(read).count();
        assert!((20..=32).contains(&answered), "{answered} answered, the others told why not");
        assert!(fitted.iter().enumerate().all(|(at, reply)| reply.id == at as u64));
        assert!(frame_bytes(fitted) <= MAX_MESSAGE_BYTES);
    }

    #[test]
    fn frames_are_bounded_in_bytes_and_keep_the_order() {
        let sizes = [10, MAX_OBJECT_BYTES, MAX_OBJECT_BYTES, 3 * MAX_OBJECT_BYTES, 10, 10];
        let messages = sizes.map(|bytes| streamed(stream_message::Message::Change(change(bytes))));
        let frames = split(messages.clone());
        let lengths: Vec<_> = frames.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1, 2]);
        for message in &frames {
            let frame = proto::StreamFrame { message: message.clone() };
            assert!(frame.encoded_len() <= MAX_MESSAGE_BYTES, "{}", frame.encoded_len());
        }
        assert_eq!(frames.concat(), messages);
        assert!(split(Vec::<proto::StreamMessage>::new()).is_empty());
    }

    #[test]
    fn a_change_that_fits_no_message_is_a_reset_to_its_position() {
        let whole = streamed(stream_message::Message::Change(change(3 * MAX_OBJECT_BYTES)));
        assert_eq!(streamable(whole.clone()), whole);
        let reset = streamable(streamed(stream_message::Message::Change(change(4 * MAX_OBJECT_BYTES))));
        let expected = proto::Reset { shard: 3, epoch: 1, watermark: 9, ..Default::default() };
        assert_eq!(reset, streamed(stream_message::Message::Reset(expected)));
    }

    #[test]
    fn a_heartbeat_of_every_shard_of_the_largest_cluster_fits() {
        let position = |shard| proto::Position { shard, epoch: u32::MAX, seq: u64::MAX };
        let beat = proto::Heartbeat {
            position: (0..MAX_SHARDS).map(position).collect(),
            sent_unix_ms: u64::MAX,
            probe: u64::MAX,
            age: vec![proto::GroupAge {
                host_group: u32::from(u16::MAX),
                age_us: u64::MAX,
                time_ms: u64::MAX,
                shard: (0..MAX_SHARDS).collect(),
            }],
        };
        let bytes = streamed(stream_message::Message::Heartbeat(beat)).encoded_len();
        assert!(bytes <= LARGEST, "{bytes}");
    }
}
