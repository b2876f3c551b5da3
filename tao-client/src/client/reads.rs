//! The reads of a batch: what each demands, and what is noted of its answer.

use std::time::Duration;

use futures_util::future::join_all;
use tao_schema::limits::MAX_DEADLINE;
use tao_schema::ops::{ReadOp, ReadReply, ReadRequest};
use tao_schema::{Error, Result};
use tokio::time::Instant;

use super::{Client, Sent};
use crate::calls::{BatchReply, CallOptions, Context, Reply, mismatch};
use crate::flight::{Departures, Member, More, ReadGroup, Times};
use crate::record::Recorded;

impl Client {
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
        let noted = self.session.is_some() || self.core.cluster.options().recorder.is_some();
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
        let settle = |member: &mut Member<'_, Sent>, reply| self.settle_read(context, member, reply);
        self.core.fly_reads(group, now, settle).await
    }

    /// As [`Client::settle`], of a read.
    #[inline]
    fn settle_read(
        &self,
        context: &Context,
        member: &mut Member<'_, Sent>,
        reply: Result<ReadReply>,
    ) -> Result<BatchReply> {
        let reply = match (reply, &mut member.more) {
            (Ok(reply), None) => reply,
            (reply, more) => {
                let reply = reply.map_err(|error| self.explain_loss(error, member.op.shard()));
                match more {
                    None => reply?,
                    Some(more) => match self.noted(reply.map(Reply::Read), &mut more.noted)? {
                        Reply::Read(reply) => reply,
                        Reply::Write(..) => return Err(mismatch(member.op.name())),
                    },
                }
            }
        };
        BatchReply::of_read(member.op, reply.answer, &context.schema)
    }
}
