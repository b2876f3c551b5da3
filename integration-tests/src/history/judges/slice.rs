//! The shortest explaining part of history and log, as lines for people.

use std::fmt::Write as _;

use tao_schema::ids::{ListKey, ObjectId, Position, ShardId};
use tao_schema::ops::{Answer, Demand, Freshness, ReadOp, WriteOp};
use tao_schema::rows::ChangeItem;

use super::Court;
use crate::history::operation::{Call, Operation, Reply, SessionId};
use crate::history::truth::Logged;

/// Lines of operations and of log on each side of what is explained.
const AROUND: usize = 4;

/// What a slice is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Subject {
    Object(ObjectId),
    List(ListKey),
}

impl Subject {
    pub(super) const fn of_read(op: &ReadOp) -> Self {
        match op {
            ReadOp::ObjectGet(id) => Self::Object(*id),
            ReadOp::AssocGet { list, .. }
            | ReadOp::AssocCount(list)
            | ReadOp::AssocRange { list, .. }
            | ReadOp::AssocTimeRange { list, .. } => Self::List(*list),
        }
    }

    const fn shard(self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::List(key) => key.id1.shard(),
        }
    }

    fn is_in(self, logged: &Logged) -> bool {
        logged.change.items.iter().any(|item| match item {
            ChangeItem::Object { id, .. } => self == Self::Object(*id),
            ChangeItem::List(change) => self == Self::List(change.key),
        })
    }
}

impl Court<'_> {
    /// The operation, the session's operations just before it, and the log of its subject around `at`.
    pub(super) fn explain(&self, operation: &Operation, subjects: &[Subject], at: Position) -> Vec<String> {
        let mut lines = Vec::new();
        if operation.session != SessionId::NONE {
            let shard = at.shard;
            let before = self.operations.iter().filter(|other| {
                other.session == operation.session && other.end <= operation.start && touches(other, shard)
            });
            let mut before: Vec<_> = before.collect();
            before.sort_by_key(|other| other.end);
            let skip = before.len().saturating_sub(AROUND);
            lines.extend(before.into_iter().skip(skip).map(line));
        }
        lines.push(format!("> {}", line(operation)));
        lines.extend(self.log_slice(at, subjects));
        lines
    }

    /// The log around a position: of the subjects only, if there are any.
    pub(super) fn log_slice(&self, at: Position, subjects: &[Subject]) -> Vec<String> {
        let Some(truth) = self.truth.shard(at.shard) else {
            return vec![format!("no log of shard {}", at.shard)];
        };
        let mut lines: Vec<String> = truth
            .epochs()
            .iter()
            .map(|start| {
                format!("log: shard {} epoch {} begins at seq {}", at.shard, start.epoch, start.first_seq)
            })
            .collect();
        let here = (at.epoch, at.seq);
        let fits = |logged: &&Logged| {
            subjects.is_empty()
                || subjects.iter().any(|subject| subject.shard() == at.shard && subject.is_in(logged))
        };
        let position = |logged: &Logged| (logged.change.epoch, logged.change.seq);
        let mut before: Vec<_> =
            truth.log().rev().filter(|logged| position(logged) <= here).filter(fits).take(AROUND).collect();
        before.reverse();
        let after = truth.log().filter(|logged| position(logged) > here).filter(fits).take(AROUND);
        for logged in before.into_iter().chain(after) {
            let lost = if truth.is_lost(position(logged)) { " LOST" } else { "" };
            lines.push(format!("log:{lost} {}", log_line(logged)));
        }
        lines
    }
}

fn touches(operation: &Operation, shard: ShardId) -> bool {
    match &operation.call {
        Call::Read(request) => request.op.shard() == shard,
        Call::Write(request) => {
            request.ops.iter().any(|op| op.shard() == shard)
                || matches!(&operation.result, Ok(Reply::Write(reply))
                    if reply.positions.iter().any(|position| position.shard == shard))
        }
    }
}

/// An operation as one line.
pub fn line(operation: &Operation) -> String {
    let Operation { id, session, place, start, end, call, result } = operation;
    let mut text = format!(
        "#{id} session {} at {place}, {:.6}..{:.6} s: ",
        session.0,
        start.as_secs_f64(),
        end.as_secs_f64()
    );
    match call {
        Call::Read(request) => {
            push(
                &mut text,
                format_args!("{} demanding {}", read_text(&request.op), demand_text(&request.demand)),
            );
        }
        Call::Write(request) => {
            let ops: Vec<String> = request.ops.iter().map(write_text).collect();
            push(&mut text, format_args!("write {} of [{}]", request.id, ops.join(", ")));
        }
    }
    match result {
        Ok(Reply::Read(reply)) => {
            push(&mut text, format_args!(" -> at {}: {}", reply.position, answer_text(&reply.answer)));
            if let Some(explain) = &reply.explain {
                push(
                    &mut text,
                    format_args!(" ({:?} via {}; {})", explain.source, explain.path.join(","), explain.rule),
                );
            }
        }
        Ok(Reply::Write(reply)) => {
            let positions: Vec<String> = reply.positions.iter().map(ToString::to_string).collect();
            let effects: Vec<_> = reply.outcomes.iter().map(|outcome| outcome.effect).collect();
            push(&mut text, format_args!(" -> at {}: {effects:?}", positions.join(" and ")));
            if reply.replayed {
                text.push_str(" replayed");
            }
            if reply.inverse_pending {
                text.push_str(" inverse pending");
            }
        }
        Err(code) => push(&mut text, format_args!(" -> {code}")),
    }
    text
}

/// A change as one line.
pub fn log_line(logged: &Logged) -> String {
    let change = &logged.change;
    let mut text = format!("{} seen {:.6} s:", change.position(), logged.seen.as_secs_f64());
    for item in &change.items {
        match item {
            ChangeItem::Object { id, row: None } => push(&mut text, format_args!(" object {id} deleted;")),
            ChangeItem::Object { id, row: Some(row) } => {
                push(&mut text, format_args!(" object {id} = type {} {:?};", row.otype, row.fields));
            }
            ChangeItem::List(list) => {
                push(
                    &mut text,
                    format_args!(
                        " list {} of type {} (version {} before) count {}",
                        list.key.id1, list.key.atype, list.prev_version, list.count
                    ),
                );
                for (id2, value) in &list.edges {
                    match value {
                        Some(value) => {
                            push(&mut text, format_args!(" +{id2}@{}{:?}", value.time, value.fields));
                        }
                        None => push(&mut text, format_args!(" -{id2}")),
                    }
                }
                text.push(';');
            }
        }
    }
    if change.items.is_empty() {
        push(&mut text, format_args!(" nothing but the shard row, {:?}", logged.state));
    }
    text
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _infallible = text.write_fmt(what);
}

fn read_text(op: &ReadOp) -> String {
    match op {
        ReadOp::ObjectGet(id) => format!("object_get {id}"),
        ReadOp::AssocGet { list, id2s, high, low } => {
            format!("assoc_get {} type {} to {id2s:?} high {high:?} low {low:?}", list.id1, list.atype)
        }
        ReadOp::AssocCount(list) => format!("assoc_count {} type {}", list.id1, list.atype),
        ReadOp::AssocRange { list, pos, limit } => {
            format!("assoc_range {} type {} [{pos}, +{limit})", list.id1, list.atype)
        }
        ReadOp::AssocTimeRange { list, high, low, limit } => {
            format!("assoc_time_range {} type {} {high}..{low} limit {limit}", list.id1, list.atype)
        }
    }
}

fn demand_text(demand: &Demand) -> String {
    let mut text = String::new();
    for position in demand.at_least.iter().chain(&demand.lineage) {
        push(&mut text, format_args!("{position} "));
    }
    if let Some(time) = demand.not_before {
        push(&mut text, format_args!("not before {time} "));
    }
    if demand.freshness != Freshness::Any {
        push(&mut text, format_args!("{:?} ", demand.freshness));
    }
    if text.is_empty() { "nothing".to_owned() } else { text.trim_end().to_owned() }
}

fn write_text(op: &WriteOp) -> String {
    match op {
        WriteOp::ObjectAdd { id, shard, fields, .. } => match id {
            Some(id) => format!("object_add {id} {fields:?}"),
            None => format!("object_add on shard {shard} {fields:?}"),
        },
        WriteOp::ObjectUpdate { id, set, clear, expected, .. } => {
            format!("object_update {id} {set:?} clear {clear:?} expected {expected:?}")
        }
        WriteOp::ObjectDelete { id, expected } => format!("object_delete {id} expected {expected:?}"),
        WriteOp::AssocAdd { edge, time, fields, create_only, expected } => format!(
            "assoc_add {} type {} {}@{time}{fields:?} create_only {create_only} expected {expected:?}",
            edge.id1, edge.atype, edge.id2
        ),
        WriteOp::AssocDelete { edge, expected } => {
            format!("assoc_delete {} type {} {} expected {expected:?}", edge.id1, edge.atype, edge.id2)
        }
        WriteOp::AssocChangeType { edge, new_atype, expected } => format!(
            "assoc_change_type {} type {} {} to type {new_atype} expected {expected:?}",
            edge.id1, edge.atype, edge.id2
        ),
    }
}

/// An answer as part of a line.
pub(super) fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Object(None) => "no object".to_owned(),
        Answer::Object(Some((id, row))) => {
            format!("object {id} type {} version {} {:?}", row.otype, row.version, row.fields)
        }
        Answer::Edges { edges, version } => {
            let mut text = format!("version {version} [");
            for edge in edges.to_vec() {
                push(&mut text, format_args!("{}@{}{:?} ", edge.id2, edge.time, edge.fields));
            }
            format!("{}]", text.trim_end())
        }
        Answer::Count { count, version } => format!("count {count} version {version}"),
    }
}
