//! Reads. Those of a batch for one node are sent, awaited and answered as a group: what they have in common is worked out
//! once. A read that is answered at once never becomes a [`Flight`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tao_schema::ops::{Demand, ReadOp};
use tao_schema::wire::frames::{RawReply, ReadRequestRef, ReplyRef};
use tao_schema::{Error, Result};
use tokio::time::Instant;

use super::{Answer, Core, Flight, Landed, Outgoing};
use crate::cluster::{Node, Routes};
use crate::connection::MAX_GROUP;
use crate::retry::{Attempts, Verdict};

/// A read, alone or of a batch. `X`: what whoever waits for it has to note of it.
pub(crate) struct Member<'a, X> {
    /// Its place among the reads of the batch.
    pub(crate) place: usize,
    pub(crate) op: &'a ReadOp,
    /// `None`: demands nothing, and nothing is noted.
    pub(crate) more: Option<Box<More<X>>>,
}

/// What few reads have.
pub(crate) struct More<X> {
    pub(crate) demand: Demand,
    pub(crate) explain: bool,
    pub(crate) noted: X,
}

/// How long a call may take.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Times {
    deadline: Instant,
    /// Longest wait for one attempt.
    patience: Duration,
    /// When the first attempt ends.
    until: Instant,
}

/// Reads of a batch that are about to depart at `now`, in their groups.
pub(crate) struct Departures<'a, X> {
    pub(crate) groups: Vec<ReadGroup<'a, X>>,
    expected: usize,
    now: Instant,
}

/// First attempts of reads to one node.
pub(crate) struct ReadGroup<'a, X> {
    node: Arc<Node>,
    /// The stream that they take.
    lane: usize,
    times: Times,
    pub(crate) members: Vec<Member<'a, X>>,
}

impl Times {
    /// Of a call that begins at `now`.
    pub(crate) fn new(now: Instant, timeout: Duration, patience: Duration) -> Self {
        let deadline = now + timeout;
        Self { deadline, patience, until: deadline.min(now + patience) }
    }
}

impl<'a, X> Member<'a, X> {
    fn request(&self) -> ReadRequestRef<'_> {
        match &self.more {
            None => ReadRequestRef::local(self.op),
            Some(more) => {
                ReadRequestRef { op: self.op, demand: &more.demand, explain: more.explain, forwarded: false }
            }
        }
    }
}

impl<'a, X> Departures<'a, X> {
    /// Of so many reads.
    pub(crate) const fn new(expected: usize, now: Instant) -> Self {
        Self { groups: Vec::new(), expected, now }
    }

    /// Puts a read into the group that it departs with.
    ///
    /// # Errors
    /// No node is there for it; then it is given back.
    #[inline]
    pub(crate) fn add(
        &mut self,
        member: Member<'a, X>,
        core: &Core,
        routes: &Routes,
        times: &Times,
    ) -> std::result::Result<(), (Member<'a, X>, Error)> {
        core.budget.pay_in();
        let shard = member.op.shard();
        let node = match routes.choose(shard, &[], self.now) {
            Ok(node) => node,
            Err(error) => return Err((member, error)),
        };
        let lane = node.connection.lane_of(shard);
        // The newest of a kind is the one that has room.
        let mut open = self.groups.iter_mut().rev();
        let alike = |group: &&mut ReadGroup<'a, X>| {
            group.lane == lane && Arc::ptr_eq(&group.node, node) && group.times == *times
        };
        match open.find(alike) {
            Some(group) if group.members.len() < node.connection.group_limit() => group.members.push(member),
            _ => {
                let mut members = Vec::with_capacity(self.expected.min(MAX_GROUP));
                members.push(member);
                self.groups.push(ReadGroup { node: node.clone(), lane, times: *times, members });
            }
        }
        Ok(())
    }
}

impl Core {
    /// Makes attempts until the read is settled. The reply is no error.
    pub(crate) async fn fly_read<X>(
        &self,
        read: &Member<'_, X>,
        times: Times,
        now: Instant,
    ) -> Result<RawReply> {
        self.budget.pay_in();
        let node = self.cluster.routes().choose(read.op.shard(), &[], now)?.clone();
        let outcome = node.connection.read_raw(read.request(), now, times.until).await;
        let outcome = match outcome {
            Ok(reply) if reply.error_code().is_none() => {
                node.answered();
                return Ok(reply);
            }
            Ok(reply) => self.judge_read(&node, times, read, Ok(reply.as_ref())),
            Err(error) => self.judge_read(&node, times, read, Err(error)),
        };
        match outcome {
            Ok(answer) => read_of(answer),
            // Rare and large.
            Err((flight, pause)) => Box::pin(self.try_again(flight, pause)).await,
        }
    }

    async fn try_again(&self, mut flight: Flight, pause: Duration) -> Result<RawReply> {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        read_of(self.go_on(&mut flight, Instant::now()).await)
    }

    /// Makes the first attempts of a group together; what must be tried again goes on alone. `settle` makes of each reply,
    /// which is no error, what is returned for it, in the order of the members.
    pub(crate) async fn fly_reads<X, R>(
        &self,
        group: &mut ReadGroup<'_, X>,
        now: Instant,
        settle: impl Fn(&mut Member<'_, X>, Result<ReplyRef<'_>>) -> Result<R>,
    ) -> Vec<Result<R>> {
        let ReadGroup { node, lane, times, members } = group;
        let outcome = {
            let requests = members.iter().map(Member::request);
            node.connection.read_group(*lane, requests, now, times.until).await
        };
        let mut answers = Vec::with_capacity(members.len());
        let mut again = Vec::new();
        for_each_outcome(&outcome, members, |place, member, outcome| {
            answers.push(match outcome {
                Ok(reply) if reply.error_code().is_none() => {
                    node.answered();
                    settle(member, Ok(reply))
                }
                outcome => match self.judge_read(node, *times, member, outcome) {
                    Ok(answer) => {
                        settle(member, read_of(answer).as_ref().map(RawReply::as_ref).map_err(Error::clone))
                    }
                    Err((flight, pause)) => {
                        again.push((place, flight, pause));
                        Err(Error::internal("a read that is tried again has no answer yet"))
                    }
                },
            });
        });
        drop(outcome);
        let again = again
            .into_iter()
            .map(|(place, flight, pause)| async move { (place, self.try_again(flight, pause).await) });
        if again.len() > 0 {
            for (place, answer) in join_all(again).await {
                let answer = answer.as_ref().map(RawReply::as_ref).map_err(Error::clone);
                answers[place] = settle(&mut members[place], answer);
            }
        }
        answers
    }

    /// Judges a first attempt that was not answered well. `Err`: it goes on as a flight, after a pause.
    #[cold]
    fn judge_read<X>(
        &self,
        node: &Arc<Node>,
        times: Times,
        member: &Member<'_, X>,
        outcome: Result<ReplyRef<'_>>,
    ) -> std::result::Result<Answer, (Flight, Duration)> {
        let attempts = Attempts::new(self.cluster.options(), times.deadline);
        let what = Outgoing::Read(member.request().into_owned());
        let mut flight = Flight::new(member.op.shard(), what, attempts, times.patience, times.deadline);
        let verdict = match outcome.map(ReplyRef::read) {
            Ok(Err(refusal)) => self.judge_refusal(&mut flight, node, times.until, refusal),
            Ok(Ok(_)) => {
                let error = Error::internal("a reply is an error and an answer");
                self.judge_refusal(&mut flight, node, times.until, error)
            }
            Err(error) => self.judge_failure(&mut flight, node, times.until, error),
        };
        match verdict {
            Verdict::Done(answer) => Ok(answer),
            Verdict::Again(pause) => Err((flight, pause)),
        }
    }
}

/// Shows each member with what came of it: its own, or that of the group.
#[inline]
fn for_each_outcome<'m, X>(
    outcome: &Result<crate::connection::Answers>,
    members: &mut [Member<'m, X>],
    mut show: impl FnMut(usize, &mut Member<'m, X>, Result<ReplyRef<'_>>),
) {
    match outcome {
        Ok(answers) => {
            for (place, (member, outcome)) in members.iter_mut().zip(answers.outcomes()).enumerate() {
                show(place, member, outcome);
            }
        }
        Err(error) => {
            for (place, member) in members.iter_mut().enumerate() {
                show(place, member, Err(error.clone()));
            }
        }
    }
}

/// The reply that a flight has brought.
fn read_of(answer: Answer) -> Result<RawReply> {
    match answer? {
        Landed::Read(reply) => Ok(reply),
        Landed::Other(_) => Err(Error::internal("a read has brought home what is none")),
    }
}
