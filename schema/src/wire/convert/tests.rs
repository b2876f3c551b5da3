//! Round trips through the bytes of the wire, and what is refused there.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::strategies::{reply_body, request_op, stream_message, subscribe};
use super::*;
use crate::edges::Edge;
use crate::fields::{EncodedFields, Fields, Value};
use crate::ids::Time;
use crate::ops::{ReadRequest, WriteOp, WriteRequest};
use crate::stream::{StreamMessage, Subscribe};
use crate::wire::envelope::{
    Incoming, check_frame, decode_reply, decode_request, encode_reply, encode_request,
};

/// Over the wire and back.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #[test]
    fn requests_come_back(id in any::<u64>(), wait in option::of(1u64..60_000), op in request_op()) {
        let deadline = wait.map(Duration::from_millis);
        let wire = sent(&encode_request(id, deadline, op.clone()));
        prop_assert_eq!(decode_request(wire), Incoming { id, deadline, op: Ok(op) });
    }

    #[test]
    fn replies_come_back(id in any::<u64>(), body in reply_body()) {
        let wire = sent(&encode_reply(id, body.clone()));
        prop_assert_eq!(decode_reply(wire), (id, body));
    }

    #[test]
    fn stream_messages_come_back(message in stream_message(), subscription in subscribe()) {
        let wire = sent(&proto::StreamMessage::from(message.clone()));
        prop_assert_eq!(StreamMessage::try_from(wire).unwrap(), message);
        let wire = sent(&proto::Subscribe::from(subscription.clone()));
        prop_assert_eq!(Subscribe::try_from(wire).unwrap(), subscription);
    }

    /// Any bytes at all: understood or refused, never a panic.
    #[test]
    fn any_bytes_are_understood_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = proto::Frame::decode(bytes.as_slice()) {
            for request in frame.request {
                let id = request.id;
                prop_assert_eq!(decode_request(request).id, id);
            }
        }
        if let Ok(frame) = proto::ReplyFrame::decode(bytes.as_slice()) {
            for reply in frame.reply {
                let id = reply.id;
                prop_assert_eq!(decode_reply(reply).0, id);
            }
        }
    }
}

fn refused<D: TryFrom<P, Error = Error> + std::fmt::Debug, P>(message: P) -> Error {
    D::try_from(message).unwrap_err()
}

#[test]
fn requests_without_meaning_are_the_senders_fault() {
    use proto::read_request::Op;
    let read = |op| proto::ReadRequest { op, ..Default::default() };
    let write = |request_id, op| proto::WriteRequest { request_id, op, ..Default::default() };
    let wide = Op::AssocCount(proto::AssocCount { id1: 1, atype: 65_536 });
    let many = Op::AssocGet(proto::AssocGet { id2: vec![1; 1_001], ..Default::default() });
    let table = [
        (refused::<ReadRequest, _>(read(None)), "op of ReadRequest is missing"),
        (refused::<ReadRequest, _>(read(Some(wide))), "atype is 65536; at most 65535"),
        (refused::<ReadRequest, _>(read(Some(many))), "id2 has 1001 entries; at most 1000: split the set"),
        (
            refused::<WriteRequest, _>(write(vec![7; 15], vec![])),
            "request_id has 15 bytes; it takes 16 random ones",
        ),
        (
            refused::<WriteRequest, _>(write(vec![7; 16], vec![proto::WriteOp { op: None }])),
            "op of WriteOp is missing",
        ),
        (
            refused::<WriteRequest, _>(write(vec![7; 16], vec![proto::WriteOp { op: None }; 257])),
            "op has 257 entries; at most 256: split the write",
        ),
        (
            refused::<Position, _>(proto::Position { shard: 65_536, epoch: 1, seq: 1 }),
            "shard is 65536; at most 65535",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error, Error::invalid(expected));
    }
    let frame = proto::Frame { request: vec![proto::Request::default(); 1_025] };
    assert_eq!(
        check_frame(&frame),
        Err(Error::invalid("the frame has 1025 requests; at most 1024: split it"))
    );
    let empty = decode_request(proto::Request { id: 5, deadline_ms: u32::MAX, op: None });
    assert_eq!((empty.id, empty.deadline), (5, Some(crate::limits::MAX_DEADLINE)));
    assert_eq!(empty.op, Err(Error::invalid("op of Request is missing")));
}

#[test]
fn damaged_replies_are_corrupt_and_those_of_writes_leave_the_outcome_open() {
    use proto::reply::Result as Body;
    let outcome = |result| decode_reply(proto::Reply { id: 1, result }).1.unwrap_err();
    let position = Some(proto::Position { shard: 1, epoch: 1, seq: 1 });
    assert_eq!(outcome(Some(Body::Read(proto::ReadReply::default()))).code, ErrorCode::Corrupt);
    assert_eq!(outcome(None).code, ErrorCode::OutcomeUnknown);
    let effect =
        proto::WriteReply { outcome: vec![proto::WriteOutcome { effect: 9, id: 0 }], ..Default::default() };
    assert_eq!(outcome(Some(Body::Write(effect))).code, ErrorCode::OutcomeUnknown);
    let fill = |state, count, edges| {
        let row = proto::ListRow { count, version: 1, edges };
        let row = Some(proto::fill_reply::Row::List(row));
        outcome(Some(Body::Fill(proto::FillReply { position, state, row, source: 3 })))
    };
    insta::assert_snapshot!(fill(6, 0, None), @"shard state 6 is unknown [corrupt]");
    let edge = Edge { id2: ObjectId(1), time: Time(1), fields: EncodedFields::new() };
    insta::assert_snapshot!(fill(1, 0, Some([edge].iter().collect())), @"a peer's message can't be understood: a list of count 0 has more edges [corrupt]");
    // An edge without a time: fine for protobuf, not in the packed layout.
    let loose = sent(&proto::Assoc { id2: 1, time: 0, fields: None }).encode_to_vec();
    let loose = [&[0x0a, loose.len() as u8], loose.as_slice()].concat();
    insta::assert_snapshot!(fill(1, 1, Some(PackedEdges::decode(loose.as_slice()).unwrap())), @"edge list damaged at byte 0 [corrupt]");
}

/// What another language's encoder sends: any order, a field twice. It is stored in one layout.
#[test]
fn foreign_fields_are_brought_into_the_stored_layout() {
    let one = |id, value| Fields::from_iter([(FieldId(id), value)]).encode().0;
    let foreign = [one(7, Value::Int(1)), one(2, Value::Bool(true)), one(7, Value::Int(2))].concat();
    let add = |fields: Vec<u8>| {
        let add = proto::ObjectAdd { fields: Some(EncodedFields(fields.into())), ..Default::default() };
        WriteOp::try_from(proto::WriteOp { op: Some(proto::write_op::Op::ObjectAdd(add)) })
    };
    let Ok(WriteOp::ObjectAdd { fields, .. }) = add(foreign) else { panic!("refused") };
    let expected: Fields =
        [(FieldId(2), Value::Bool(true)), (FieldId(7), Value::Int(2))].into_iter().collect();
    assert_eq!(fields, expected.encode());
    let empty_entries = [0x0a, 0].repeat(257);
    insta::assert_snapshot!(add(empty_entries).unwrap_err(), @"fields are damaged, or more than 256 [invalid_argument]");
    insta::assert_snapshot!(add([0x0a, 0].to_vec()).unwrap_err(), @"fields can't be decoded: a field has no value [invalid_argument]");
    insta::assert_snapshot!(add(vec![0; 2 << 20]).unwrap_err(), @"fields take 2097152 bytes; at most 1048576: store less [invalid_argument]");
}

/// A list of the largest query decodes to the bytes it was encoded from, and shares nothing with others.
#[test]
fn long_lists_decode_in_place() {
    let edges: Vec<Edge> = (0..6_000)
        .map(|n| Edge {
            id2: ObjectId(n),
            time: Time(9),
            fields: EncodedFields(Bytes::from(vec![1; (n % 300) as usize])),
        })
        .collect();
    let packed: PackedEdges = edges.iter().collect();
    let result = proto::ListResult { list: Some(packed.clone()), version: 1 };
    let back = sent(&result).list.unwrap();
    assert_eq!(back, packed);
    let mut longer = back.clone();
    longer.merge(packed.as_bytes().clone()).unwrap();
    assert_eq!((back.count(), longer.count()), (6_000, 12_000));
}
