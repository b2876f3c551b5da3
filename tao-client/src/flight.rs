//! The way of a request: choose a node, ask, judge the answer, try again.

mod reads;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tao_schema::ids::ShardId;
use tao_schema::ops::ReadRequest;
use tao_schema::planted::{Bug, planted};
use tao_schema::wire::frames::RawReply;
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::budget::RetryBudget;
use crate::cluster::{Cluster, Node};
use crate::retry::{Attempts, Verdict};

pub(crate) use self::reads::{Departures, Member, More, ReadGroup, Times};

/// What a flight brings home.
pub(crate) type Answer = Result<Landed>;

/// What all handles of one client share.
pub(crate) struct Core {
    pub(crate) cluster: Arc<Cluster>,
    budget: RetryBudget,
    watcher: AbortHandle,
}

/// One request on its way, over all its attempts.
pub(crate) struct Flight {
    shard: ShardId,
    what: Outgoing,
    attempts: Attempts,
    /// Longest wait for one attempt.
    patience: Duration,
    deadline: Instant,
    tried: Vec<Arc<Node>>,
}

/// What a flight carries, the same in every attempt.
pub(crate) enum Outgoing {
    Read(ReadRequest),
    Write(Box<OutgoingWrite>),
}

/// A write with when it began.
pub(crate) struct OutgoingWrite {
    pub(crate) request: proto::WriteRequest,
    pub(crate) began: Instant,
    pub(crate) began_wall: SystemTime,
}

/// What a node has said: no error.
pub(crate) enum Landed {
    /// Of a read, not decoded yet.
    Read(RawReply),
    Other(Box<proto::reply::Result>),
}

/// First attempts of writes to one node.
struct Group {
    node: Arc<Node>,
    members: Vec<(usize, Flight)>,
}

/// One attempt: whom to ask, and until when.
struct Attempt {
    node: Arc<Node>,
    until: Instant,
}

impl Core {
    /// Starts to follow the cluster.
    pub(crate) fn start(cluster: Cluster) -> Self {
        let options = cluster.options();
        let budget = RetryBudget::new(options.retry_ratio, options.retry_burst);
        let cluster = Arc::new(cluster);
        let watcher = tokio::spawn(cluster.clone().watch()).abort_handle();
        Self { cluster, budget, watcher }
    }

    /// Makes attempts until the call is settled.
    pub(crate) async fn fly(&self, flight: &mut Flight, now: Instant) -> Answer {
        self.budget.pay_in();
        self.go_on(flight, now).await
    }

    /// Makes the first attempts of writes grouped by node, so that they share frames; what must be tried again goes on alone.
    /// Answers are in the order of `flights`.
    pub(crate) async fn fly_all(
        &self,
        flights: impl ExactSizeIterator<Item = Result<Flight>>,
        now: Instant,
    ) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(flights.len());
        let groups = self.grouped(flights, now, &mut answers);
        let groups = groups.into_iter().map(|group| self.fly_group(group, now));
        for (at, answer) in join_all(groups).await.into_iter().flatten() {
            answers[at] = Some(answer);
        }
        let lost = || Err(Error::internal("a request of the batch was lost"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// The groups that flights depart in. Leaves a place in `answers` for each, filled if it can't depart.
    fn grouped(
        &self,
        flights: impl ExactSizeIterator<Item = Result<Flight>>,
        now: Instant,
        answers: &mut Vec<Option<Answer>>,
    ) -> Vec<Group> {
        let routes = self.cluster.routes();
        let mut groups: Vec<Group> = Vec::new();
        for (at, flight) in flights.enumerate() {
            let chosen = flight.and_then(|flight| {
                if matches!(flight.what, Outgoing::Read(_)) {
                    return Err(Error::internal("a read among writes"));
                }
                self.budget.pay_in();
                Ok((routes.choose(flight.shard, &[], now)?, flight))
            });
            answers.push(None);
            let (node, flight) = match chosen {
                Ok(chosen) => chosen,
                Err(error) => {
                    answers[at] = Some(Err(error));
                    continue;
                }
            };
            match groups.iter_mut().rev().find(|group| Arc::ptr_eq(&group.node, node)) {
                Some(group) => group.members.push((at, flight)),
                None => groups.push(Group { node: node.clone(), members: vec![(at, flight)] }),
            }
        }
        groups
    }

    async fn fly_group(&self, group: Group, now: Instant) -> Vec<(usize, Answer)> {
        let Group { node, members } = group;
        let writes = members.iter().filter_map(|(_, flight)| Some((flight.write(now)?, flight.until(now))));
        let outcomes = node.connection.call_many_raw(writes.collect()).await.into_iter();
        let outcomes = outcomes.map(|outcome| outcome.map(|reply| Landed::Other(Box::new(reply))));
        self.judge_all(&node, members, outcomes, now).await
    }

    /// Judges first attempts that began at `began`, and goes on with those that need it.
    async fn judge_all(
        &self,
        node: &Arc<Node>,
        members: Vec<(usize, Flight)>,
        outcomes: impl Iterator<Item = Answer>,
        began: Instant,
    ) -> Vec<(usize, Answer)> {
        let mut answers = Vec::with_capacity(members.len());
        let mut again = Vec::new();
        for ((at, mut flight), outcome) in members.into_iter().zip(outcomes) {
            let until = flight.until(began);
            match self.judge(&mut flight, node, until, outcome) {
                Verdict::Done(answer) => answers.push((at, answer)),
                Verdict::Again(pause) => again.push(async move {
                    tokio::time::sleep(pause).await;
                    (at, self.go_on(&mut flight, Instant::now()).await)
                }),
            }
        }
        if !again.is_empty() {
            answers.extend(join_all(again).await);
        }
        answers
    }

    async fn go_on(&self, flight: &mut Flight, mut now: Instant) -> Answer {
        loop {
            let Attempt { node, until } = flight.attempt(&self.cluster, now)?;
            let outcome = match &flight.what {
                Outgoing::Read(request) => {
                    node.connection.read_raw(request.into(), now, until).await.map(Landed::Read)
                }
                Outgoing::Write(write) => {
                    let op = write.op(&flight.attempts, now);
                    node.connection.call_raw(op, until).await.map(|reply| Landed::Other(Box::new(reply)))
                }
            };
            match self.judge(flight, &node, until, outcome) {
                Verdict::Done(answer) => return answer,
                Verdict::Again(Duration::ZERO) => {}
                Verdict::Again(pause) => tokio::time::sleep(pause).await,
            }
            now = Instant::now();
        }
    }

    /// Learns from an attempt and says what follows. `Err` of `outcome`: the node was not reached.
    #[inline]
    fn judge(
        &self,
        flight: &mut Flight,
        node: &Arc<Node>,
        until: Instant,
        outcome: Answer,
    ) -> Verdict<Landed> {
        match outcome.map(Landed::or_error) {
            Ok(Ok(landed)) => {
                node.answered();
                Verdict::Done(Ok(landed))
            }
            Ok(Err(refusal)) => self.judge_refusal(flight, node, until, refusal),
            Err(error) => self.judge_failure(flight, node, until, error),
        }
    }

    /// The node has said an error.
    #[cold]
    fn judge_refusal(
        &self,
        flight: &mut Flight,
        node: &Arc<Node>,
        until: Instant,
        error: Error,
    ) -> Verdict<Landed> {
        node.answered();
        match error.code {
            // The ring is right about this node, but the tier has changed behind it.
            ErrorCode::NotOwner => self.cluster.refresh(),
            // Another node may reach what this one can't.
            ErrorCode::Unavailable | ErrorCode::Overloaded => flight.tried.push(node.clone()),
            _ => {}
        }
        flight.attempts.judge(Err(error), until, Instant::now(), &self.budget)
    }

    /// The node has said nothing.
    #[cold]
    fn judge_failure(
        &self,
        flight: &mut Flight,
        node: &Arc<Node>,
        until: Instant,
        error: Error,
    ) -> Verdict<Landed> {
        let now = Instant::now();
        flight.tried.push(node.clone());
        // A full queue is our own; anything else says that the node is not to be reached.
        let unreachable = !matches!(error.code, ErrorCode::Overloaded | ErrorCode::InvalidArgument);
        if unreachable && node.failed(now) {
            tracing::info!(node = node.name, %error, "node is passed over");
            self.cluster.refresh();
        }
        flight.attempts.judge(Err(error), until, now, &self.budget)
    }
}

impl Landed {
    /// The error that a node has said is one.
    #[inline]
    fn or_error(self) -> Result<Self> {
        match self {
            Self::Read(reply) => match reply.error_code() {
                None => Ok(Self::Read(reply)),
                Some(_) => match reply.read() {
                    Err(error) => Err(error),
                    Ok(_) => Err(Error::internal("a reply is an error and an answer")),
                },
            },
            Self::Other(reply) => match *reply {
                proto::reply::Result::Error(error) => Err(error.into()),
                _ => Ok(Self::Other(reply)),
            },
        }
    }
}

impl Flight {
    pub(crate) const fn new(
        shard: ShardId,
        what: Outgoing,
        attempts: Attempts,
        patience: Duration,
        deadline: Instant,
    ) -> Self {
        Self { shard, what, attempts, patience, deadline, tried: Vec::new() }
    }

    fn attempt(&self, cluster: &Cluster, now: Instant) -> Result<Attempt> {
        let node = cluster.routes().choose(self.shard, &self.tried, now)?.clone();
        Ok(Attempt { node, until: self.until(now) })
    }

    /// Until when an attempt that begins now may take.
    fn until(&self, now: Instant) -> Instant {
        self.deadline.min(now + self.patience)
    }

    fn write(&self, now: Instant) -> Option<proto::request::Op> {
        match &self.what {
            Outgoing::Read(_) => None,
            Outgoing::Write(write) => Some(write.op(&self.attempts, now)),
        }
    }
}

impl OutgoingWrite {
    /// The request of the next attempt.
    fn op(&self, attempts: &Attempts, now: Instant) -> proto::request::Op {
        let mut request = self.request.clone();
        if attempts.is_retry() {
            // R3 refuses a retry that is too old to be recognised. The wall clock goes on while the machine sleeps, the
            // monotonic one may not; claiming too much age is safe, too little is not.
            let wall = self.began_wall.elapsed().unwrap_or(Duration::ZERO);
            let age = now.saturating_duration_since(self.began).max(wall);
            if planted(Bug::RetryWithNewId) {
                request.request_id = rand::random::<[u8; 16]>().to_vec();
            }
            request.age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
        }
        proto::request::Op::Write(request)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}
