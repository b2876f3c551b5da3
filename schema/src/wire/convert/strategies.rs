//! Any value of each domain type, for the round trips.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::edges::Edge;
use crate::fields::{EncodedFields, Fields, Value};
use crate::ids::{HostGroupId, PrimaryTime, RequestId, Time};
use crate::ops::*;
use crate::rows::*;
use crate::stream::*;
use crate::wire::envelope::*;

pub(super) fn object_id() -> impl Strategy<Value = ObjectId> {
    prop_oneof![(1u64..20).prop_map(ObjectId), (1..=u64::MAX).prop_map(ObjectId)]
}

pub(super) fn list_key() -> impl Strategy<Value = ListKey> {
    (object_id(), any::<u16>()).prop_map(|(id1, atype)| ListKey { id1, atype: AssocType(atype) })
}

pub(super) fn edge_key() -> impl Strategy<Value = EdgeKey> {
    (list_key(), object_id()).prop_map(|(list, id2)| EdgeKey { id1: list.id1, atype: list.atype, id2 })
}

pub(super) fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

pub(super) fn time() -> impl Strategy<Value = Time> {
    prop_oneof![Just(Time(0)), any::<u32>().prop_map(Time)]
}

pub(super) fn some_position() -> impl Strategy<Value = Position> {
    (any::<u16>(), 1..=u32::MAX, seq()).prop_map(|(shard, epoch, seq)| Position {
        shard: ShardId(shard),
        epoch: Epoch(epoch),
        seq,
    })
}

pub(super) fn some_fields() -> impl Strategy<Value = EncodedFields> {
    let value = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        ".{0,12}".prop_map(Value::Text),
        vec(any::<u8>(), 0..12).prop_map(|blob| Value::Blob(blob.into())),
    ];
    vec((1..=u16::MAX, value), 0..4)
        .prop_map(|all| all.into_iter().map(|(id, value)| (FieldId(id), value)).collect::<Fields>().encode())
}

pub(super) fn some_edges() -> impl Strategy<Value = PackedEdges> {
    vec((object_id(), time(), some_fields()), 0..6).prop_map(|all| {
        let edges: Vec<Edge> =
            all.into_iter().map(|(id2, time, fields)| Edge { id2, time, fields }).collect();
        edges.iter().collect()
    })
}

pub(super) fn object_row() -> impl Strategy<Value = ObjectRow> {
    (any::<u16>(), seq(), some_fields()).prop_map(|(otype, version, fields)| ObjectRow {
        otype: ObjectType(otype),
        version,
        fields,
    })
}

pub(super) fn edge_value() -> impl Strategy<Value = EdgeValue> {
    (time(), some_fields()).prop_map(|(time, fields)| EdgeValue { time, fields })
}

pub(in crate::wire) fn read_request() -> impl Strategy<Value = ReadRequest> {
    let op = prop_oneof![
        object_id().prop_map(ReadOp::ObjectGet),
        (list_key(), vec(object_id(), 0..5), option::of(time()), option::of(time()))
            .prop_map(|(list, id2s, high, low)| ReadOp::AssocGet { list, id2s, high, low }),
        list_key().prop_map(ReadOp::AssocCount),
        (list_key(), any::<u32>(), any::<u32>()).prop_map(|(list, pos, limit)| ReadOp::AssocRange {
            list,
            pos,
            limit
        }),
        (list_key(), time(), time(), any::<u32>())
            .prop_map(|(list, high, low, limit)| ReadOp::AssocTimeRange { list, high, low, limit }),
    ];
    let freshness = prop_oneof![
        Just(Freshness::Any),
        any::<u32>().prop_map(|ms| Freshness::Within(Duration::from_millis(ms.into()))),
        Just(Freshness::Master),
        Just(Freshness::Critical),
    ];
    let demand = (
        option::of(some_position()),
        vec(some_position(), 0..3),
        option::of(any::<u64>().prop_map(PrimaryTime)),
        freshness,
    )
        .prop_map(|(at_least, lineage, not_before, freshness)| Demand {
            at_least,
            lineage,
            not_before,
            freshness,
        });
    (op, demand, any::<bool>(), any::<bool>()).prop_map(|(op, demand, explain, forwarded)| ReadRequest {
        op,
        demand,
        explain,
        forwarded,
    })
}

pub(super) fn write_op() -> impl Strategy<Value = WriteOp> {
    let expected = || option::of(seq());
    prop_oneof![
        (option::of(object_id()), any::<u16>(), any::<u16>(), some_fields()).prop_map(
            |(id, shard, otype, fields)| WriteOp::ObjectAdd {
                id,
                shard: ShardId(shard),
                otype: ObjectType(otype),
                fields
            }
        ),
        (object_id(), any::<u16>(), some_fields(), vec(any::<u16>().prop_map(FieldId), 0..3), expected())
            .prop_map(|(id, otype, set, clear, expected)| WriteOp::ObjectUpdate {
                id,
                otype: ObjectType(otype),
                set,
                clear,
                expected
            }),
        (object_id(), expected()).prop_map(|(id, expected)| WriteOp::ObjectDelete { id, expected }),
        (edge_key(), time(), some_fields(), any::<bool>(), expected()).prop_map(
            |(edge, time, fields, create_only, expected)| WriteOp::AssocAdd {
                edge,
                time,
                fields,
                create_only,
                expected
            }
        ),
        (edge_key(), expected()).prop_map(|(edge, expected)| WriteOp::AssocDelete { edge, expected }),
        (edge_key(), any::<u16>(), expected()).prop_map(|(edge, new_atype, expected)| {
            WriteOp::AssocChangeType { edge, new_atype: AssocType(new_atype), expected }
        }),
    ]
}

pub(super) fn write_request() -> impl Strategy<Value = WriteRequest> {
    (any::<u128>(), any::<u32>(), vec(write_op(), 1..5), any::<bool>()).prop_map(
        |(id, age, ops, forwarded)| WriteRequest {
            id: RequestId(id),
            age: Duration::from_millis(age.into()),
            ops,
            forwarded,
        },
    )
}

pub(super) fn inverse() -> impl Strategy<Value = InverseState> {
    (edge_key(), option::of(edge_value()), some_position()).prop_map(|(edge, value, origin)| InverseState {
        edge,
        value,
        origin,
    })
}

pub(in crate::wire) fn request_op() -> impl Strategy<Value = RequestOp> {
    let key = prop_oneof![
        object_id().prop_map(FillKey::Object),
        (list_key(), any::<u32>()).prop_map(|(key, edges)| FillKey::List { key, edges }),
    ];
    prop_oneof![
        read_request().prop_map(RequestOp::Read),
        write_request().prop_map(RequestOp::Write),
        (key, option::of(some_position()), any::<bool>()).prop_map(|(key, at_least, forwarded)| {
            RequestOp::Fill(FillRequest { key, at_least, forwarded })
        }),
        vec(inverse(), 0..4).prop_map(RequestOp::ApplyInverse),
    ]
}

pub(super) fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![Just(Source::FollowerCache), Just(Source::LeaderCache), Just(Source::Database)]
}

pub(super) fn read_reply() -> impl Strategy<Value = ReadReply> {
    let answer = prop_oneof![
        option::of((object_id(), object_row())).prop_map(Answer::Object),
        (some_edges(), seq()).prop_map(|(edges, version)| Answer::Edges { edges, version }),
        (any::<u64>(), seq()).prop_map(|(count, version)| Answer::Count { count, version }),
    ];
    let explain = (any_source(), vec("[a-z]{1,5}", 0..3), "[a-z]{0,5}", "[a-z]{0,5}")
        .prop_map(|(source, path, reason, rule)| Explain { source, path, reason, rule });
    (some_position(), answer, option::of(explain), primary_time())
        .prop_map(|(position, answer, explain, time)| ReadReply { position, answer, explain, time })
}

pub(super) fn shard_change() -> impl Strategy<Value = ShardChange> {
    let object = (object_id(), option::of(object_row())).prop_map(|(id, row)| ChangeItem::Object { id, row });
    let list = (list_key(), seq(), any::<u64>(), vec((object_id(), option::of(edge_value())), 0..4))
        .prop_map(|(key, prev_version, count, edges)| {
            ChangeItem::List(ListChange { key, prev_version, count, edges })
        });
    (some_position(), vec(prop_oneof![object, list], 0..4)).prop_map(|(at, mut items)| {
        for item in &mut items {
            if let ChangeItem::Object { row: Some(row), .. } = item {
                row.version = at.seq;
            }
        }
        ShardChange { shard: at.shard, epoch: at.epoch, seq: at.seq, items }
    })
}

pub(super) fn write_reply() -> impl Strategy<Value = WriteReply> {
    let effect = prop_oneof![
        Just(Effect::Created),
        Just(Effect::Updated),
        Just(Effect::Deleted),
        Just(Effect::Nothing)
    ];
    let outcome = (effect, option::of(object_id())).prop_map(|(effect, id)| Outcome { effect, id });
    (vec(some_position(), 0..3), vec(outcome, 0..4), any::<bool>(), any::<bool>(), primary_time()).prop_map(
        |(positions, outcomes, inverse_pending, replayed, time)| WriteReply {
            positions,
            outcomes,
            inverse_pending,
            replayed,
            time,
        },
    )
}

pub(super) fn fill_reply() -> impl Strategy<Value = FillReply> {
    let list = (some_edges(), any::<u32>(), seq()).prop_map(|(edges, more, version)| {
        FillRow::List(ListRow { count: edges.count() as u64 + u64::from(more), version, edges })
    });
    let row = prop_oneof![option::of(object_row()).prop_map(FillRow::Object), list];
    let state = (1u8..=5).prop_map(|number| ShardState::from_number(number).unwrap());
    (some_position(), state, row, any_source()).prop_map(|(position, state, row, source)| FillReply {
        position,
        state,
        row,
        source,
    })
}

pub(in crate::wire) fn reply_body() -> impl Strategy<Value = Result<ReplyBody>> {
    prop_oneof![
        read_reply().prop_map(|reply| Ok(ReplyBody::Read(reply))),
        (write_reply(), vec(shard_change().prop_map(Arc::new), 0..3))
            .prop_map(|(reply, changes)| Ok(ReplyBody::Write { reply, changes })),
        fill_reply().prop_map(|reply| Ok(ReplyBody::Fill(reply))),
        (0..ErrorCode::ALL.len(), ".{0,20}")
            .prop_map(|(code, message)| Err(Error::new(ErrorCode::ALL[code], message))),
    ]
}

fn primary_time() -> impl Strategy<Value = Option<PrimaryTime>> {
    option::of(any::<u64>().prop_map(PrimaryTime))
}

fn epoch_start() -> impl Strategy<Value = EpochStart> {
    (any::<u32>(), seq()).prop_map(|(epoch, first_seq)| EpochStart { epoch: Epoch(epoch), first_seq })
}

fn group_age() -> impl Strategy<Value = GroupAge> {
    let shards = vec(any::<u16>().prop_map(ShardId), 0..4);
    (any::<u16>(), any::<u32>(), any::<u64>(), shards).prop_map(|(group, age, time, shards)| GroupAge {
        host_group: HostGroupId(group),
        age: Duration::from_micros(age.into()),
        time: PrimaryTime(time),
        shards,
    })
}

pub(super) fn stream_message() -> impl Strategy<Value = StreamMessage> {
    let history = || vec(epoch_start(), 0..3);
    prop_oneof![
        (some_position(), history())
            .prop_map(|(position, history)| StreamMessage::Subscribed { position, history }),
        (any::<u16>(), epoch_start())
            .prop_map(|(shard, start)| StreamMessage::Epoch { shard: ShardId(shard), start }),
        shard_change().prop_map(|change| StreamMessage::Change(Arc::new(change))),
        (some_position(), history())
            .prop_map(|(position, history)| StreamMessage::Reset { position, history }),
        (vec(some_position(), 0..4), any::<u64>(), any::<u64>(), vec(group_age(), 0..3)).prop_map(
            |(positions, sent_unix_ms, probe, ages)| StreamMessage::Heartbeat {
                positions,
                sent_unix_ms,
                probe,
                ages,
            }
        ),
        (any::<u16>(), ".{0,9}").prop_map(|(shard, why)| StreamMessage::Refused {
            shard: ShardId(shard),
            error: Error::new(ErrorCode::NotOwner, why),
        }),
    ]
}

pub(super) fn subscribe() -> impl Strategy<Value = Subscribe> {
    let wish = prop_oneof![
        any::<u16>().prop_map(|shard| SubscribeShard { shard: ShardId(shard), from: None }),
        some_position().prop_map(|from| SubscribeShard { shard: from.shard, from: Some(from) }),
    ];
    ("[a-z0-9-]{0,8}", vec(wish, 0..4), vec(any::<u16>().prop_map(ShardId), 0..4), any::<u64>())
        .prop_map(|(follower, add, remove, probe)| Subscribe { follower, add, remove, probe })
}
