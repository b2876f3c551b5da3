//! Every answer's content must be the truth's state at the position that the answer names.

use std::collections::HashMap;

use tao_schema::edges::Edge;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ListKey, ObjectId, Position, ShardId, Time};
use tao_schema::ops::{Answer, Demand, Freshness, ReadOp, ReadReply, ReadRequest};

use super::Court;
use super::slice::{Subject, answer_text};
use super::standing::Standing;
use crate::history::operation::{Call, Invariant, Operation, Reply};
use crate::history::truth::{ListState, ObjectState, Version};

/// An answered read.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) operation: &'a Operation,
    pub(super) request: &'a ReadRequest,
    pub(super) reply: &'a ReadReply,
}

impl Read<'_> {
    fn at(&self) -> Version {
        (self.reply.position.epoch, self.reply.position.seq)
    }

    /// What a wrong answer breaks.
    fn invariant(&self) -> Invariant {
        match self.reply.answer {
            Answer::Count { .. } => Invariant::I6,
            _ if demands(&self.request.demand) => Invariant::I2,
            _ => Invariant::I4,
        }
    }
}

/// Whether anything is demanded.
fn demands(demand: &Demand) -> bool {
    *demand != Demand::local() && demand.freshness != Freshness::Master
        || demand.at_least.is_some()
        || demand.not_before.is_some()
}

impl<'a> Court<'a> {
    /// Answered reads of this part's shards.
    pub(super) fn answered_reads(&self) -> impl Iterator<Item = Read<'a>> + use<'a> {
        let part = self.part;
        self.operations.iter().filter_map(move |operation| match (&operation.call, &operation.result) {
            (Call::Read(request), Ok(Reply::Read(reply))) if part.has(request.op.shard()) => {
                Some(Read { operation, request, reply })
            }
            _ => None,
        })
    }

    pub(super) fn reads(&mut self) {
        let mut lists: HashMap<ListKey, Vec<Read<'a>>> = HashMap::new();
        for read in self.answered_reads() {
            if !self.position_stands(read.operation, read.reply.position, read.request.op.shard()) {
                continue;
            }
            match (Subject::of_read(&read.request.op), &read.reply.answer) {
                (Subject::Object(_), Answer::Object(_)) => self.object_read(read),
                (Subject::List(key), Answer::Edges { .. } | Answer::Count { .. }) => {
                    lists.entry(key).or_default().push(read);
                }
                (subject, answer) => {
                    let message = format!("{subject:?} was answered with {}", answer_text(answer));
                    self.wrong(read, Invariant::I2, message);
                }
            }
        }
        for (key, mut reads) in lists {
            reads.sort_by_key(Read::at);
            self.list_reads(key, &reads);
        }
    }

    /// Whether the truth can say anything about an answer at `position`; a position that never was is a violation.
    pub(super) fn position_stands(
        &mut self,
        operation: &'a Operation,
        position: Position,
        shard: ShardId,
    ) -> bool {
        let standing = if position.shard == shard { self.standing(position) } else { Standing::Nowhere };
        match standing {
            Standing::Present | Standing::Lost => return true,
            Standing::LostUnread | Standing::Unknown => self.found.unjudged += 1,
            Standing::Nowhere => {
                let message = format!(
                    "operation #{} was answered at {position} for shard {shard}; no log has such a position",
                    operation.id
                );
                self.violation(Invariant::I1, message, |court| court.explain(operation, &[], position));
            }
        }
        false
    }

    fn object_read(&mut self, read: Read<'a>) {
        let ReadOp::ObjectGet(id) = read.request.op else { return };
        let state = self.replays[&id.shard()].object_at(id, read.at());
        let ObjectState::Known(expected) = state else {
            self.found.unjudged += 1;
            return;
        };
        let right = match &read.reply.answer {
            Answer::Object(shown) => {
                shown.as_ref().map(|(of, row)| (*of, row)) == expected.map(|row| (id, row))
            }
            _ => false,
        };
        let expected = Answer::Object(expected.map(|row| (id, row.clone())));
        self.compare(read, right, &expected);
    }

    fn list_reads(&mut self, key: ListKey, reads: &[Read<'a>]) {
        // Judged first, told afterwards: the walk borrows the replay.
        let mut verdicts = Vec::with_capacity(reads.len());
        {
            let limit = self.rules.schema.assoc_type(key.atype).map_or(u32::MAX, |def| def.query_limit);
            let mut walk = self.replays[&key.id1.shard()].list(key);
            for read in reads {
                verdicts.push(walk.at(read.at()).map(|state| {
                    let expected = answer(state, &read.request.op, limit);
                    (expected == read.reply.answer, expected)
                }));
            }
        }
        for (read, verdict) in reads.iter().zip(verdicts) {
            match verdict {
                Some((right, expected)) => self.compare(*read, right, &expected),
                None => self.found.unjudged += 1,
            }
        }
    }

    fn compare(&mut self, read: Read<'a>, right: bool, expected: &Answer) {
        let invariant = read.invariant();
        self.checked(invariant);
        if !right {
            let message = format!(
                "operation #{} shows {} at {}; the log says {}",
                read.operation.id,
                answer_text(&read.reply.answer),
                read.reply.position,
                answer_text(expected)
            );
            self.wrong(read, invariant, message);
        }
    }

    pub(super) fn wrong(&mut self, read: Read<'a>, invariant: Invariant, message: String) {
        let subject = Subject::of_read(&read.request.op);
        self.violation(invariant, message, |court| {
            court.explain(read.operation, &[subject], read.reply.position)
        });
    }
}

/// What a list in this state answers.
fn answer(state: &ListState, op: &ReadOp, query_limit: u32) -> Answer {
    let edge = |id2: ObjectId, time: Time, fields: &EncodedFields| Edge { id2, time, fields: fields.clone() };
    let edges: Vec<Edge> = match op {
        // Counted, not copied from the log: the log's own count is compared with the same number elsewhere.
        ReadOp::AssocCount(_) | ReadOp::ObjectGet(_) => {
            return Answer::Count { count: state.order.len() as u64, version: state.version };
        }
        ReadOp::AssocRange { pos, limit, .. } => state
            .newest_first()
            .skip(*pos as usize)
            .take((*limit).min(query_limit) as usize)
            .map(|(id2, time, fields)| edge(id2, time, fields))
            .collect(),
        ReadOp::AssocTimeRange { high, low, .. } if high < low => Vec::new(),
        ReadOp::AssocTimeRange { high, low, limit, .. } => state
            .order
            .range((*low, ObjectId(0))..=(*high, ObjectId(u64::MAX)))
            .rev()
            .take((*limit).min(query_limit) as usize)
            .map(|((time, id2), fields)| edge(*id2, *time, fields))
            .collect(),
        ReadOp::AssocGet { id2s, high, low, .. } => {
            let mut found: Vec<_> = id2s
                .iter()
                .filter_map(|id2| Some((state.time_of(*id2)?, *id2)))
                .filter(|(time, _)| {
                    high.is_none_or(|high| *time <= high) && low.is_none_or(|low| *time >= low)
                })
                .collect();
            found.sort_unstable_by(|a, b| b.cmp(a));
            found.dedup();
            found
                .into_iter()
                .filter_map(|(time, id2)| Some(edge(id2, time, state.order.get(&(time, id2))?)))
                .collect()
        }
    };
    Answer::Edges { edges: edges.iter().collect(), version: state.version }
}
