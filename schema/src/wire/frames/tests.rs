//! Held against the generated code: what is written is what prost writes, what is read is what prost reads.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::limits::MAX_FRAME_OPS;
use crate::wire::convert::strategies::{read_request, reply_body, request_op};
use crate::wire::envelope::{
    Incoming, ReplyBody, decode_reply, decode_request, encode_reply, encode_request,
};
use crate::wire::proto;

proptest! {
    #[test]
    fn reads_are_written_as_prost_writes_them(id in any::<u64>(), wait in 0u32..60_000, read in read_request()) {
        let mut frame = BytesMut::new();
        put_read(&mut frame, id, wait, (&read).into());
        let mut expected = encode_request(id, None, crate::wire::envelope::RequestOp::Read(read));
        expected.deadline_ms = wait;
        let expected = proto::Frame { request: vec![expected] }.encode_to_vec();
        prop_assert_eq!(&frame[..], &expected[..]);
    }

    #[test]
    fn requests_are_read_as_prost_reads_them(
        all in vec((any::<u64>(), option::of(1u64..60_000), request_op()), 0..6)
    ) {
        let request = all.iter().cloned();
        let request = request.map(|(id, wait, op)| encode_request(id, wait.map(Duration::from_millis), op)).collect();
        let frame = Bytes::from(proto::Frame { request }.encode_to_vec());
        let read: Vec<_> = requests(&frame).unwrap().map(Result::unwrap).collect();
        let expected: Vec<_> = all
            .into_iter()
            .map(|(id, wait, op)| Incoming { id, deadline: wait.map(Duration::from_millis), op: Ok(op) })
            .collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn replies_are_written_and_read_as_prost_does(all in vec((1..u64::MAX, reply_body()), 0..6)) {
        let mut frame = BytesMut::new();
        for (id, body) in &all {
            match body {
                Ok(ReplyBody::Read(reply)) => put_read_reply(&mut frame, *id, reply.into()),
                other => put_reply(&mut frame, &encode_reply(*id, other.clone())),
            }
        }
        let reply: Vec<_> = all.iter().map(|(id, body)| encode_reply(*id, body.clone())).collect();
        prop_assert_eq!(&frame[..], &proto::ReplyFrame { reply: reply.clone() }.encode_to_vec()[..]);
        let read: Vec<_> = replies(frame.freeze()).unwrap().collect();
        prop_assert_eq!(read.len(), all.len());
        for ((raw, (id, body)), reply) in read.into_iter().zip(all).zip(reply) {
            prop_assert_eq!(raw.id, id);
            let code = body.as_ref().err().map(|error| error.code.number());
            prop_assert_eq!(raw.error_code(), code);
            prop_assert_eq!(raw.clone().into_proto(), reply.result);
            match body {
                Ok(ReplyBody::Read(expected)) => prop_assert_eq!(raw.read(), Ok(expected)),
                Err(error) => prop_assert_eq!(raw.read(), Err(error)),
                Ok(_) => prop_assert_eq!(raw.read().unwrap_err().code, crate::ErrorCode::Corrupt),
            }
        }
    }

    /// Fields in any order, twice, unknown: as prost reads them, or refused.
    #[test]
    fn any_bytes_are_read_as_prost_reads_them_or_refused(bytes in vec(
        prop_oneof![any::<u8>(), prop::sample::select(vec![0x0a, 0x08, 0x09, 0x10, 0x12, 0x1a, 0x22, 0x28, 0x72, 1, 2, 4])],
        0..60,
    )) {
        let frame = Bytes::from(bytes);
        if let Ok(all) = requests(&frame) {
            let expected = proto::Frame::decode(frame.clone());
            let read: crate::Result<Vec<_>> = all.collect();
            match (read, expected) {
                (Ok(read), Ok(expected)) => {
                    let expected: Vec<_> = expected.request.into_iter().map(decode_request).collect();
                    prop_assert_eq!(read, expected);
                }
                (read, expected) => prop_assert_eq!(read.is_ok(), expected.is_ok()),
            }
        }
        if let Ok(all) = replies(frame.clone()) {
            for (raw, body) in all.zip(bodies(&frame)) {
                let Ok(reply) = proto::Reply::decode(body) else { continue };
                prop_assert_eq!(raw.id, reply.id);
                if let (_, Ok(ReplyBody::Read(expected))) = decode_reply(reply) {
                    prop_assert_eq!(raw.read(), Ok(expected));
                }
            }
        }
    }
}

/// The entries of a frame that has only such.
fn bodies(frame: &Bytes) -> Vec<Bytes> {
    let mut cursor = cursor::Cursor::new(frame);
    let mut bodies = Vec::new();
    while cursor.key().is_some() {
        bodies.push(Bytes::copy_from_slice(cursor.body().unwrap()));
    }
    bodies
}

#[test]
fn a_frame_is_bounded_before_it_is_read() {
    let frame = |number| proto::Frame { request: vec![proto::Request::default(); number] }.encode_to_vec();
    assert_eq!(requests(&frame(MAX_FRAME_OPS).into()).unwrap().len(), MAX_FRAME_OPS);
    let error = requests(&frame(MAX_FRAME_OPS + 1).into()).err().unwrap();
    assert_eq!(error, crate::Error::invalid("the frame has 1025 requests; at most 1024: split it"));
}

#[test]
fn a_small_answer_does_not_keep_its_frame() {
    let mut frame = BytesMut::new();
    let row = |bytes: usize| crate::rows::ObjectRow {
        otype: crate::ids::ObjectType(1),
        version: crate::ids::Seq(1),
        fields: crate::fields::Fields::from_iter([(
            crate::ids::FieldId(1),
            crate::fields::Value::Text("x".repeat(bytes)),
        )])
        .encode(),
    };
    for bytes in [10, 4_000] {
        let answer = crate::ops::Answer::Object(Some((crate::ids::ObjectId(1), row(bytes))));
        let position = crate::ids::Position {
            shard: crate::ids::ShardId(0),
            epoch: crate::ids::Epoch(1),
            seq: crate::ids::Seq(1),
        };
        let reply = crate::ops::ReadReply { position, answer, explain: None, time: None };
        put_read_reply(&mut frame, 1, (&reply).into());
    }
    let frame = frame.freeze();
    let range = frame.as_ptr_range();
    let kept: Vec<bool> = replies(frame.clone())
        .unwrap()
        .map(|raw| match raw.read().unwrap().answer {
            crate::ops::Answer::Object(Some((_, row))) => range.contains(&row.fields.0.as_ptr()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, [false, true]);
}
