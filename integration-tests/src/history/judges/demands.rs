//! I2: an answer is not older than what the read demanded, and "lost" is said only of what is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use tao_schema::ErrorCode;
use tao_schema::ids::{Epoch, Position, PrimaryTime, Seq, ShardId};
use tao_schema::ops::{Freshness, ReadRequest};

use super::Court;
use super::reads::Read;
use super::slice::Subject;
use super::standing::Standing;
use crate::history::operation::{Call, Invariant, Operation, Reply};

/// A heartbeat takes its time before it commits: what is before it in the log was committed by so much later at most.
const BEAT_SLACK: PrimaryTime = PrimaryTime(1_000);

/// What was known to be committed, as time goes by: the newest position of each epoch that any answer named, and whose.
#[derive(Default)]
struct Committed<'a>(BTreeMap<(ShardId, Epoch), (Seq, Option<&'a Operation>)>);

impl<'a> Court<'a> {
    pub(super) fn demands(&mut self) {
        for read in self.answered_reads() {
            self.tokens(read);
            self.floor(read);
        }
        self.ages();
        for operation in self.operations {
            if let (Call::Read(request), Err(ErrorCode::LostEpoch)) = (&operation.call, &operation.result)
                && self.part.has(request.op.shard())
            {
                self.lost_epoch(operation, request);
            }
        }
    }

    /// Every position that was demanded is in the history of the answer's.
    fn tokens(&mut self, read: Read<'a>) {
        let answered = read.reply.position;
        for demanded in read.request.demand.at_least.iter().chain(&read.request.demand.lineage) {
            self.checked(Invariant::I2);
            if !self.includes(answered, *demanded) {
                let message = format!(
                    "operation #{} demanded {demanded} and was answered at {answered}, which does not include it",
                    read.operation.id
                );
                self.wrong(read, Invariant::I2, message);
            }
        }
    }

    /// Whether an answer at `whole` has what was written at `part`. Seq 0 asks for the epoch alone.
    pub(super) fn includes(&self, whole: Position, part: Position) -> bool {
        if part.seq == Seq::ZERO {
            return whole.epoch >= part.epoch;
        }
        let Some(truth) = self.truth.shard(whole.shard) else { return true };
        whole.shard == part.shard && truth.contains((whole.epoch, whole.seq), (part.epoch, part.seq))
    }

    /// A folded session: everything that was before a heartbeat of that time. Only heartbeats of the answer's own epoch say
    /// something: another primary's clock is another one (R19).
    fn floor(&mut self, read: Read<'a>) {
        let Some(floor) = read.request.demand.not_before else { return };
        let answered = read.reply.position;
        let Some(truth) = self.truth.shard(answered.shard) else { return };
        let limit = PrimaryTime(floor.0.saturating_sub(BEAT_SLACK.0));
        let marks = truth.times();
        let upto = marks.partition_point(|mark| (mark.position.epoch, mark.time) <= (answered.epoch, limit));
        let mark = marks[..upto].iter().rev().find(|mark| mark.seen <= read.operation.start);
        let Some(mark) = mark.filter(|mark| mark.position.epoch == answered.epoch) else { return };
        self.checked(Invariant::I2);
        if answered.seq < mark.position.seq {
            let message = format!(
                "operation #{} demanded all up to {floor} of the primary's clock, when the shard was at {}; it was answered \
                 at {answered}",
                read.operation.id, mark.position
            );
            self.wrong(read, Invariant::I2, message);
        }
    }

    /// Reads that demanded an age: what was committed by then, as anybody had been told, must be in the answer. In a mode that may
    /// lose, an old primary that was cut off vouches for itself (H20): there only its own epoch is judged.
    fn ages(&mut self) {
        let mut told: Vec<(&Operation, Position)> = self
            .operations
            .iter()
            .flat_map(|operation| {
                positions(operation)
                    .iter()
                    .filter_map(|position| Some((operation, committed(operation, *position)?)))
                    .collect::<Vec<_>>()
            })
            .filter(|(_, position)| self.part.has(position.shard))
            .filter(|(_, position)| self.standing(*position) == Standing::Present)
            .collect();
        told.sort_by_key(|(operation, _)| operation.end);
        let age = |read: &Read<'_>| match read.request.demand.freshness {
            Freshness::Within(age) => Some(age),
            Freshness::Critical => Some(Duration::ZERO),
            Freshness::Any | Freshness::Master => None,
        };
        let mut asked: Vec<_> = self
            .answered_reads()
            .filter_map(|read| Some((read.operation.start.checked_sub(age(&read)?)?, read)))
            .collect();
        asked.sort_by_key(|(since, _)| *since);
        let mut told = told.into_iter().peekable();
        let mut committed = Committed::default();
        for (since, read) in asked {
            while let Some((by, position)) = told.next_if(|(by, _)| by.end < since) {
                let newest = committed.0.entry((position.shard, position.epoch)).or_insert((Seq::ZERO, None));
                if position.seq > newest.0 {
                    *newest = (position.seq, Some(by));
                }
            }
            let answered = read.reply.position;
            self.checked(Invariant::I2);
            let range = (answered.shard, Epoch(0))..=(answered.shard, Epoch(u32::MAX));
            let missed = committed.0.range(range).map(|((shard, epoch), (seq, by))| {
                (Position { shard: *shard, epoch: *epoch, seq: *seq }, *by)
            });
            let missed = missed
                .filter(|(known, _)| self.rules.lossless || known.epoch <= answered.epoch)
                .find(|(known, _)| !self.includes(answered, *known));
            if let Some((known, by)) = missed {
                let by = by.map(super::slice::line).unwrap_or_default();
                let message = format!(
                    "operation #{} demanded {:?} and was answered at {answered}; {known} was known that long before, by {by}",
                    read.operation.id, read.request.demand.freshness
                );
                self.wrong(read, Invariant::I2, message);
            }
        }
    }

    fn lost_epoch(&mut self, operation: &'a Operation, request: &'a ReadRequest) {
        self.checked(Invariant::I2);
        let demanded: Vec<Position> =
            request.demand.at_least.iter().chain(&request.demand.lineage).copied().collect();
        let lost = demanded
            .iter()
            .any(|position| !matches!(self.standing(*position), Standing::Present | Standing::Unknown));
        if !lost {
            let message = format!(
                "operation #{} was told that its token is lost; all of {demanded:?} is there",
                operation.id
            );
            let subject = Subject::of_read(&request.op);
            let at = request.demand.at_least.unwrap_or(Position {
                shard: request.op.shard(),
                epoch: Epoch(0),
                seq: Seq::ZERO,
            });
            self.violation(Invariant::I2, message, |court| court.explain(operation, &[subject], at));
        }
    }
}

/// What a reply that names `position` proves to be committed on the primary. A write's answer, and one of the master's
/// region: all of it. A replica shows a change that its primary has in the log and, for as long as it waits there, not in
/// its tables (H8): only the one before it is, for its transaction had the row's lock after that one.
fn committed(operation: &Operation, position: Position) -> Option<Position> {
    match &operation.call {
        Call::Read(request)
            if !matches!(request.demand.freshness, Freshness::Critical | Freshness::Master) =>
        {
            position.seq.0.checked_sub(1).map(|seq| Position { seq: Seq(seq), ..position })
        }
        Call::Read(_) | Call::Write(_) => Some(position),
    }
}

/// The positions that an operation's reply names.
pub(super) fn positions(operation: &Operation) -> &[Position] {
    match &operation.result {
        Ok(Reply::Read(reply)) => std::slice::from_ref(&reply.position),
        Ok(Reply::Write(reply)) => &reply.positions,
        Err(_) => &[],
    }
}
