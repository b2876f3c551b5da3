//! Reads: what each demands, and what is noted of its answer.

use std::time::Duration;

use futures_util::future::join_all;
use tao_schema::limits::MAX_DEADLINE;
use tao_schema::ops::{ReadOp, ReadReply, ReadRequest};
use tao_schema::wire::frames::ReplyRef;
use tao_schema::{Error, Result};
use tokio::time::Instant;

use super::{Client, Sent};
use crate::calls::{BatchReply, CallOptions, Context, Reply, mismatch};
use crate::flight::{Departures, Member, More, ReadGroup, Times};
use crate::record::Recorded;

impl Client {
    /// Sends a read and sees it through.
    pub(crate) async fn run_read(
        &self,
        context: &Context,
        op: &ReadOp,
        options: &CallOptions,
    ) -> Result<ReadReply> {
        let now = Instant::now();
        context.schema.check_read(op)?;
        let times = self.times(options.timeout, now);
        let mut read = Member { place: 0, op, more: None };
        if self.takes_note() || options.is_some() {
            read.more = Some(Box::new(self.more(op, options)));
        }
        let reply = self.core.fly_read(&read, times, now).await;
        let reply = reply.and_then(|reply| reply.read());
        if read.more.is_none() && reply.is_ok() { reply } else { self.noted_read(&mut read, reply) }
    }

    /// Sends independent reads, those for one node together. `options`: what a call asks for; `None`: nothing. Outcomes are
    /// in the order of the reads.
    pub(crate) async fn run_reads<'r>(
        &self,
        context: &Context,
        reads: impl Iterator<Item = (&'r ReadOp, Option<&'r CallOptions>)>,
        number: usize,
        timeout: Option<Duration>,
    ) -> Vec<Result<BatchReply>> {
        let now = Instant::now();
        let (mut groups, refused) = self.groups(context, reads, number, timeout, now);
        if let [group] = &mut groups[..]
            && group.members.len() == number
        {
            return self.fly_group(context, group, now).await;
        }
        let mut answers: Vec<Option<Result<BatchReply>>> = (0..number).map(|_| None).collect();
        for (place, error) in refused {
            answers[place] = Some(Err(error));
        }
        let flying = groups.iter_mut().map(|group| self.fly_group(context, group, now));
        let landed = join_all(flying).await;
        for (group, landed) in groups.iter().zip(landed) {
            for (member, answer) in group.members.iter().zip(landed) {
                answers[member.place] = Some(answer);
            }
        }
        let lost = || Err(Error::internal("a read of the batch was lost"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// The groups that reads depart in, and those that can't.
    fn groups<'r>(
        &self,
        context: &Context,
        reads: impl Iterator<Item = (&'r ReadOp, Option<&'r CallOptions>)>,
        number: usize,
        timeout: Option<Duration>,
        now: Instant,
    ) -> (Vec<ReadGroup<'r, Sent>>, Vec<(usize, Error)>) {
        let routes = self.core.cluster.routes();
        let times = self.times(timeout, now);
        let noted = self.takes_note();
        let (mut departures, mut refused) = (Departures::new(number, now), Vec::new());
        for (place, (op, options)) in reads.enumerate() {
            if let Err(error) = context.schema.check_read(op) {
                refused.push((place, error));
                continue;
            }
            let mut member = Member { place, op, more: None };
            let mut own = times;
            if noted || options.is_some() {
                let options = options.copied().unwrap_or_default();
                member.more = Some(Box::new(self.more(op, &options)));
                own = options.timeout.map_or(times, |timeout| self.times(Some(timeout), now));
            }
            if let Err((mut member, error)) = departures.add(member, &self.core, &routes, &own) {
                // Only an error can come of an error.
                let told = self.settle_read(context, &mut member, Err(error));
                refused.extend(told.err().map(|error| (place, error)));
            }
        }
        (departures.groups, refused)
    }

    /// Whether something is demanded or noted of every read.
    fn takes_note(&self) -> bool {
        self.session.is_some() || self.core.cluster.options().recorder.is_some()
    }

    fn times(&self, timeout: Option<Duration>, now: Instant) -> Times {
        let options = self.core.cluster.options();
        let timeout = timeout.unwrap_or(options.timeout).min(MAX_DEADLINE);
        Times::new(now, timeout, options.attempt_within(timeout))
    }

    /// Of a read that demands something or is noted.
    fn more(&self, op: &ReadOp, options: &CallOptions) -> More<Sent> {
        let shard = op.shard();
        // Before anything is looked up in the session: what ends after this may be missing in what is demanded.
        let mut recording = self.record().map(Box::new);
        let demand = self.demand(shard, options);
        if let Some(recording) = &mut recording {
            let (op, demand) = (op.clone(), demand.clone());
            recording.asked(Recorded::Read(ReadRequest {
                demand,
                explain: options.explain,
                ..ReadRequest::local(op)
            }));
        }
        let in_session = self.session.as_ref().map(|_| demand.clone());
        More { demand, explain: options.explain, noted: Sent { shard, demand: in_session, recording } }
    }

    async fn fly_group(
        &self,
        context: &Context,
        group: &mut ReadGroup<'_, Sent>,
        now: Instant,
    ) -> Vec<Result<BatchReply>> {
        let settle = |member: &mut Member<'_, Sent>, reply: Result<ReplyRef<'_>>| {
            self.settle_read(context, member, reply)
        };
        self.core.fly_reads(group, now, settle).await
    }

    /// What a batch answers.
    #[inline]
    fn settle_read(
        &self,
        context: &Context,
        member: &mut Member<'_, Sent>,
        reply: Result<ReplyRef<'_>>,
    ) -> Result<BatchReply> {
        let answer = match (reply, &member.more) {
            (Ok(reply), None) => {
                reply.answer().map_err(|error| self.explain_loss(error, member.op.shard()))?
            }
            (reply, _) => self.noted_read(member, reply.and_then(ReplyRef::read))?.answer,
        };
        BatchReply::of_read(member.op, answer, &context.schema)
    }

    /// As [`Client::settle`], of a read.
    fn noted_read(&self, member: &mut Member<'_, Sent>, reply: Result<ReadReply>) -> Result<ReadReply> {
        let reply = reply.map_err(|error| self.explain_loss(error, member.op.shard()));
        let Some(more) = &mut member.more else { return reply };
        match self.noted(reply.map(Reply::Read), &mut more.noted)? {
            Reply::Read(reply) => Ok(reply),
            Reply::Write(..) => Err(mismatch(member.op.name())),
        }
    }
}
