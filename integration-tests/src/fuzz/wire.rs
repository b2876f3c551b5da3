//! Messages of the wire: what is understood of them is said the same way again.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tao_schema::edges::PackedEdges;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{
    AssocType, EdgeKey, Epoch, FieldId, HostGroupId, ObjectId, ObjectType, Position, PrimaryTime, RequestId,
    Seq, ShardId, Time,
};
use tao_schema::limits::{MAX_ATOMIC_OPS, MAX_DEADLINE, MAX_FRAME_OPS};
use tao_schema::ops::{
    Answer, Demand, Effect, Explain, FillKey, FillReply, FillRequest, FillRow, Freshness, InverseState,
    Outcome, ReadOp, ReadReply, ReadRequest, Source, WriteOp, WriteReply, WriteRequest,
};
use tao_schema::rows::{
    ChangeItem, EdgeValue, EpochStart, ListChange, ListRow, ObjectRow, ShardChange, ShardState,
};
use tao_schema::stream::{GroupAge, StreamMessage};
use tao_schema::wire::envelope::{
    ReplyBody, RequestOp, check_frame, decode_reply, decode_request, encode_reply, encode_request,
};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode};

use super::Target;
use super::{edges, fields as field_targets};

/// See [`request_frames`].
pub const REQUESTS: Target =
    Target { name: "request_frames", body: request_frames, corpus: requests, words: &[] };
/// See [`reply_frames`].
pub const REPLIES: Target = Target { name: "reply_frames", body: reply_frames, corpus: replies, words: &[] };
/// See [`stream_frames`].
pub const STREAM: Target = Target { name: "stream_frames", body: stream_frames, corpus: stream, words: &[] };

/// A frame takes no more memory than its bytes allow. Unset numbers in a packed list grow a little.
fn is_bounded(message: &impl Message, bytes: &[u8]) {
    assert!(
        message.encoded_len() <= 2 * bytes.len() + 64,
        "{} bytes became {}",
        bytes.len(),
        message.encoded_len()
    );
}

/// Requests of a frame: each has its id and a deadline within the limit, and is understood the same after it was said again.
pub fn request_frames(bytes: &[u8]) {
    let Ok(frame) = proto::Frame::decode(bytes) else { return };
    is_bounded(&frame, bytes);
    assert_eq!(check_frame(&frame).is_ok(), frame.request.len() <= MAX_FRAME_OPS);
    for request in frame.request {
        let id = request.id;
        let incoming = decode_request(request);
        assert_eq!(incoming.id, id);
        assert!(incoming.deadline.is_none_or(|wait| wait <= MAX_DEADLINE && !wait.is_zero()));
        let Ok(op) = &incoming.op else { continue };
        if let RequestOp::Write(write) = op {
            assert!(write.ops.len() <= MAX_ATOMIC_OPS);
        }
        let again = encode_request(id, incoming.deadline, op.clone()).encode_to_vec();
        let again = proto::Request::decode(&again[..]).expect("what was encoded a moment ago");
        assert_eq!(decode_request(again), incoming);
    }
}

/// Replies of a frame, likewise; one that can't be understood is never taken for a refusal.
pub fn reply_frames(bytes: &[u8]) {
    let Ok(frame) = proto::ReplyFrame::decode(bytes) else { return };
    is_bounded(&frame, bytes);
    for reply in frame.reply {
        let is_error = matches!(reply.result, Some(proto::reply::Result::Error(_)));
        let is_write = matches!(reply.result, Some(proto::reply::Result::Write(_)));
        let (id, body) = decode_reply(reply);
        let again = encode_reply(id, body.clone()).encode_to_vec();
        let again = decode_reply(proto::Reply::decode(&again[..]).expect("what was encoded a moment ago"));
        match body {
            // Its message may have been cut on the way.
            Err(error) => {
                assert!(
                    is_error || matches!(error.code, ErrorCode::Corrupt | ErrorCode::OutcomeUnknown),
                    "{error}"
                );
                assert!(
                    is_error || !is_write || !error.code.outcome_certain(),
                    "a write may have happened: {error}"
                );
                assert_eq!(again.1.map_err(|error| error.code).err(), Some(error.code));
            }
            Ok(body) => assert_eq!(again, (id, Ok(body))),
        }
    }
}

/// Messages of the change stream, likewise.
pub fn stream_frames(bytes: &[u8]) {
    let Ok(frame) = proto::StreamFrame::decode(bytes) else { return };
    is_bounded(&frame, bytes);
    for message in frame.message {
        let understood = match StreamMessage::try_from(message) {
            Ok(understood) => understood,
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Corrupt, "{error}");
                continue;
            }
        };
        let again = proto::StreamMessage::from(understood.clone()).encode_to_vec();
        let again = proto::StreamMessage::decode(&again[..]).expect("what was encoded a moment ago");
        let again = StreamMessage::try_from(again);
        // The message of an error may have been cut on the way.
        if !matches!(understood, StreamMessage::Refused { .. }) {
            assert_eq!(again, Ok(understood));
        }
    }
}

const ID: ObjectId = ObjectId(0x0007_0000_0000_0005);
const EDGE: EdgeKey = EdgeKey { id1: ID, atype: AssocType(3), id2: ObjectId(0x0009_0000_0000_0011) };
const AT: Position = Position { shard: ShardId(7), epoch: Epoch(2), seq: Seq(300) };

fn fields() -> EncodedFields {
    EncodedFields(field_targets::corpus().swap_remove(8).into())
}

fn value() -> EdgeValue {
    EdgeValue { time: Time(1_700_000_000), fields: fields() }
}

fn writes() -> Vec<WriteOp> {
    let (set, expected) = (fields(), Some(Seq(41)));
    vec![
        WriteOp::ObjectAdd { id: Some(ID), shard: ShardId(7), otype: ObjectType(1), fields: fields() },
        WriteOp::ObjectAdd {
            id: None,
            shard: ShardId(7),
            otype: ObjectType(1),
            fields: EncodedFields::new(),
        },
        WriteOp::ObjectUpdate {
            id: ID,
            otype: ObjectType(1),
            set,
            clear: vec![FieldId(2), FieldId(300)],
            expected,
        },
        WriteOp::ObjectDelete { id: ID, expected: None },
        WriteOp::AssocAdd { edge: EDGE, time: Time(9), fields: fields(), create_only: true, expected },
        WriteOp::AssocDelete { edge: EDGE, expected: Some(Seq(0)) },
        WriteOp::AssocChangeType { edge: EDGE, new_atype: AssocType(5), expected: None },
    ]
}

fn reads() -> Vec<ReadOp> {
    let list = EDGE.list();
    vec![
        ReadOp::ObjectGet(ID),
        ReadOp::AssocGet { list, id2s: vec![ID, EDGE.id2], high: Some(Time(9)), low: None },
        ReadOp::AssocCount(list),
        ReadOp::AssocRange { list, pos: 3, limit: 100 },
        ReadOp::AssocTimeRange { list, high: Time(u32::MAX), low: Time(0), limit: 1 },
    ]
}

fn frame(requests: Vec<RequestOp>) -> Vec<u8> {
    let request = (1..).zip(requests).map(|(id, op)| encode_request(id, Some(Duration::from_millis(id)), op));
    proto::Frame { request: request.collect() }.encode_to_vec()
}

fn requests() -> Vec<Vec<u8>> {
    let write = |ops| {
        let (id, age) = (RequestId(77 << 64 | 5), Duration::from_millis(12));
        RequestOp::Write(WriteRequest { id, age, ops, forwarded: false })
    };
    let demand = Demand {
        at_least: Some(AT),
        lineage: vec![Position { epoch: Epoch(1), ..AT }],
        not_before: Some(PrimaryTime(1_700_000_000_000)),
        freshness: Freshness::Within(Duration::from_millis(50)),
    };
    let read =
        |op| RequestOp::Read(ReadRequest { demand: demand.clone(), explain: true, ..ReadRequest::local(op) });
    let fill = |key| RequestOp::Fill(FillRequest { key, at_least: Some(AT), forwarded: true });
    let fills = vec![fill(FillKey::Object(ID)), fill(FillKey::List { key: EDGE.list(), edges: 30 })];
    let inverse = |value| InverseState { edge: EDGE, value, origin: AT };
    let mut corpus: Vec<_> = writes().into_iter().map(|op| frame(vec![write(vec![op])])).collect();
    corpus.extend(reads().into_iter().map(|op| frame(vec![read(op)])));
    corpus.push(frame(vec![write(writes())]));
    corpus.push(frame(reads().into_iter().map(|op| RequestOp::Read(ReadRequest::local(op))).collect()));
    corpus.push(frame(fills));
    corpus.push(frame(vec![RequestOp::ApplyInverse(vec![inverse(Some(value())), inverse(None)])]));
    corpus
}

fn change() -> ShardChange {
    let row = ObjectRow { otype: ObjectType(1), version: AT.seq, fields: fields() };
    let edges = vec![(EDGE.id2, Some(value())), (ID, None)];
    let list = ListChange { key: EDGE.list(), prev_version: Seq(299), count: 4, edges };
    let items = vec![
        ChangeItem::Object { id: ID, row: Some(row) },
        ChangeItem::Object { id: ID, row: None },
        ChangeItem::List(list),
    ];
    ShardChange { shard: AT.shard, epoch: AT.epoch, seq: AT.seq, items }
}

fn packed() -> PackedEdges {
    edges::packed(5)
}

fn bodies() -> Vec<ReplyBody> {
    let row = ObjectRow { otype: ObjectType(1), version: Seq(12), fields: fields() };
    let explain = Explain {
        source: Source::FollowerCache,
        path: vec!["follower-1".to_owned(), "leader-1".to_owned()],
        reason: "miss".to_owned(),
        rule: "R21".to_owned(),
    };
    let read = |answer| {
        let (explain, time) = (Some(explain.clone()), Some(PrimaryTime(1_700_000_000_123)));
        ReplyBody::Read(ReadReply { position: AT, answer, explain, time })
    };
    let fill = |row| {
        ReplyBody::Fill(FillReply { position: AT, state: ShardState::Serving, row, source: Source::Database })
    };
    let list = ListRow { count: 9, version: Seq(88), edges: packed() };
    let outcomes = [Effect::Created, Effect::Updated, Effect::Deleted, Effect::Nothing]
        .map(|effect| Outcome { effect, id: (effect == Effect::Created).then_some(ID) });
    let reply = WriteReply {
        positions: vec![AT, Position { shard: ShardId(9), ..AT }],
        outcomes: outcomes.to_vec(),
        inverse_pending: true,
        replayed: true,
        time: Some(PrimaryTime(5)),
    };
    vec![
        read(Answer::Object(Some((ID, row.clone())))),
        read(Answer::Object(None)),
        read(Answer::Edges { edges: packed(), version: Seq(88) }),
        read(Answer::Count { count: 3, version: Seq(0) }),
        ReplyBody::Write { reply, changes: vec![Arc::new(change())] },
        fill(FillRow::Object(Some(row))),
        fill(FillRow::Object(None)),
        fill(FillRow::List(list)),
    ]
}

fn replies() -> Vec<Vec<u8>> {
    let one = |result| proto::ReplyFrame { reply: vec![encode_reply(3, result)] }.encode_to_vec();
    let errors = ErrorCode::ALL.into_iter().map(|code| Err(Error::new(code, "why")));
    bodies().into_iter().map(Ok).chain(errors).map(one).collect()
}

fn stream() -> Vec<Vec<u8>> {
    let history = vec![
        EpochStart { epoch: Epoch(1), first_seq: Seq(1) },
        EpochStart { epoch: Epoch(2), first_seq: Seq(90) },
    ];
    let ages = GroupAge {
        host_group: HostGroupId(4),
        age: Duration::from_micros(1_234),
        time: PrimaryTime(1_700_000_000_000),
        shards: vec![ShardId(7), ShardId(9)],
    };
    let messages = vec![
        StreamMessage::Subscribed { position: AT, history: history.clone() },
        StreamMessage::Epoch { shard: ShardId(7), start: history[1] },
        StreamMessage::Change(Arc::new(change())),
        StreamMessage::Reset { position: AT, history },
        StreamMessage::Heartbeat { positions: vec![AT], sent_unix_ms: 17, probe: 5, ages: vec![ages] },
        StreamMessage::Refused { shard: ShardId(1), error: Error::unavailable("not here") },
    ];
    let whole = proto::StreamFrame { message: messages.iter().cloned().map(Into::into).collect() };
    let one = |message: StreamMessage| proto::StreamFrame { message: vec![message.into()] }.encode_to_vec();
    messages.into_iter().map(one).chain([whole.encode_to_vec()]).collect()
}
