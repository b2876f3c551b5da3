//! Requests as calls of the SDK.

use std::time::Duration;

use tao_client::{Batch, BatchReply, Client, Consistency, Error};
use tao_schema::ops::{ReadOp, WriteOp};

use super::graph::Reply;
use super::rules::data;
use super::steps::How;

/// Binds `$call` to the SDK's call for a write and evaluates `$then` with it, whatever its type is.
macro_rules! with_write {
    ($client:expr, $op:expr, |$call:ident| $then:expr) => {
        match $op {
            WriteOp::ObjectAdd { id, shard, otype, fields } => {
                let call = $client.object_add(*otype);
                let call = match id {
                    Some(id) => call.id(*id),
                    None => call.on_shard(*shard),
                };
                let $call = with_fields!(call, fields);
                $then
            }
            WriteOp::ObjectUpdate { id, otype, set, clear, expected } => {
                let call = with_fields!($client.object_update(*id, *otype), set);
                let call = clear.iter().fold(call, |call, field| call.clear(*field));
                let $call = with_expected!(call, expected);
                $then
            }
            WriteOp::ObjectDelete { id, expected } => {
                let $call = with_expected!($client.object_delete(*id), expected);
                $then
            }
            WriteOp::AssocAdd { edge, time, fields, create_only, expected } => {
                let call = $client.assoc_add(edge.id1, edge.atype, edge.id2).time(time.0);
                let call = with_fields!(call, fields);
                let call = if *create_only { call.create_only() } else { call };
                let $call = with_expected!(call, expected);
                $then
            }
            WriteOp::AssocDelete { edge, expected } => {
                let $call = with_expected!($client.assoc_delete(edge.id1, edge.atype, edge.id2), expected);
                $then
            }
            WriteOp::AssocChangeType { edge, new_atype, expected } => {
                let call = $client.assoc_change_type(edge.id1, edge.atype, edge.id2, *new_atype);
                let $call = with_expected!(call, expected);
                $then
            }
        }
    };
}

macro_rules! with_fields {
    ($call:expr, $fields:expr) => {
        data($fields).into_iter().fold($call, |call, (field, value)| call.set(field, value))
    };
}

macro_rules! with_expected {
    ($call:expr, $expected:expr) => {{
        let call = $call;
        match $expected {
            Some(version) => call.expected_version(*version),
            None => call,
        }
    }};
}

/// As `with_write`, for a read.
macro_rules! with_read {
    ($client:expr, $op:expr, |$call:ident| $then:expr) => {
        match $op {
            ReadOp::ObjectGet(id) => {
                let $call = $client.object_get(*id);
                $then
            }
            ReadOp::AssocGet { list, id2s, high, low } => {
                let call = $client.assoc_get(list.id1, list.atype, id2s.iter().copied());
                let call = high.iter().fold(call, |call, high| call.high(high.0));
                let $call = low.iter().fold(call, |call, low| call.low(low.0));
                $then
            }
            ReadOp::AssocCount(list) => {
                let $call = $client.assoc_count(list.id1, list.atype);
                $then
            }
            ReadOp::AssocRange { list, pos, limit } => {
                let $call = $client.assoc_range(list.id1, list.atype).pos(*pos).limit(*limit);
                $then
            }
            ReadOp::AssocTimeRange { list, high, low, limit } => {
                let call = $client.assoc_time_range(list.id1, list.atype);
                let $call = call.high(high.0).low(low.0).limit(*limit);
                $then
            }
        }
    };
}

const fn consistency(how: How) -> Consistency {
    match how {
        How::Session => Consistency::Local,
        How::Master => Consistency::Master,
        How::Bounded => Consistency::Bounded(Duration::ZERO),
        How::Critical | How::Stranger => Consistency::Critical,
    }
}

/// One write on its own; or, if there are several, or it is to be so, as one atomic write.
pub(super) async fn write(client: &Client, ops: &[WriteOp], atomic: bool) -> Reply {
    match ops {
        [op] if !atomic => with_write!(client, op, |call| call.send().await.map(BatchReply::from)),
        ops => {
            let mut write = client.atomic();
            for op in ops {
                with_write!(client, op, |call| write.add(call));
            }
            write.send().await.map(BatchReply::from)
        }
    }
}

/// A read.
pub(super) async fn read(client: &Client, op: &ReadOp, how: How) -> Reply {
    with_read!(client, op, |call| call.consistency(consistency(how)).send().await.map(BatchReply::from))
}

/// Adds a call to a batch.
pub(super) fn add(client: &Client, batch: &mut Batch<'_>, op: &Result<WriteOp, ReadOp>, how: How) {
    match op {
        Ok(op) => with_write!(client, op, |call| batch.add(call)),
        Err(op) => with_read!(client, op, |call| batch.add(call.consistency(consistency(how)))),
    }
}

/// A refusal by the answer of a node or of the SDK that says: perhaps later, or nobody knows. Not the model's business.
pub(super) fn undecided(error: &Error) -> bool {
    error.retryable() || !error.code.outcome_certain()
}
