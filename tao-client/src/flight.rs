//! The way of a request: choose a node, ask, judge the answer, try again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::budget::RetryBudget;
use crate::cluster::{Cluster, Node};
use crate::retry::{Attempts, Verdict};

type Answer = Result<proto::reply::Result>;

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
    Read(proto::ReadRequest),
    Write { request: proto::WriteRequest, began: Instant, began_wall: SystemTime },
}

/// Requests of one call to one node.
struct Group {
    node: Arc<Node>,
    members: Vec<Member>,
}

struct Member {
    at: usize,
    flight: Flight,
    op: proto::request::Op,
    until: Instant,
}

/// One attempt: whom to ask, what, and until when.
struct Attempt {
    node: Arc<Node>,
    op: proto::request::Op,
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
    pub(crate) async fn fly(&self, flight: &mut Flight) -> Answer {
        self.budget.pay_in();
        self.go_on(flight).await
    }

    /// Makes the first attempts grouped by node, so that they share frames; what must be tried again goes on alone.
    /// Answers are in the order of `flights`.
    pub(crate) async fn fly_all(&self, flights: Vec<Result<Flight>>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = flights.iter().map(|_| None).collect();
        let mut groups: Vec<Group> = Vec::new();
        for (at, flight) in flights.into_iter().enumerate() {
            let attempt = flight.and_then(|flight| {
                self.budget.pay_in();
                let attempt = flight.attempt(&self.cluster)?;
                Ok((flight, attempt))
            });
            match attempt {
                Ok((flight, Attempt { node, op, until })) => {
                    let member = Member { at, flight, op, until };
                    match groups.iter_mut().find(|group| Arc::ptr_eq(&group.node, &node)) {
                        Some(group) => group.members.push(member),
                        None => groups.push(Group { node, members: vec![member] }),
                    }
                }
                Err(error) => answers[at] = Some(Err(error)),
            }
        }
        let groups = groups.into_iter().map(|group| self.fly_group(group));
        for (at, answer) in join_all(groups).await.into_iter().flatten() {
            answers[at] = Some(answer);
        }
        let lost = || Err(Error::internal("a request of the batch was lost"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    async fn fly_group(&self, group: Group) -> Vec<(usize, Answer)> {
        let node = group.node;
        let mut ops = Vec::with_capacity(group.members.len());
        let mut waiting = Vec::with_capacity(group.members.len());
        for Member { at, flight, op, until } in group.members {
            ops.push((op, until));
            waiting.push((at, flight, until));
        }
        let outcomes = node.connection.call_many_raw(ops).await;
        let mut answers = Vec::with_capacity(waiting.len());
        let mut again = Vec::new();
        for ((at, mut flight, until), outcome) in waiting.into_iter().zip(outcomes) {
            match self.judge(&mut flight, &node, until, outcome) {
                Verdict::Done(answer) => answers.push((at, answer)),
                Verdict::Again(pause) => again.push(async move {
                    tokio::time::sleep(pause).await;
                    (at, self.go_on(&mut flight).await)
                }),
            }
        }
        answers.extend(join_all(again).await);
        answers
    }

    async fn go_on(&self, flight: &mut Flight) -> Answer {
        loop {
            let Attempt { node, op, until } = flight.attempt(&self.cluster)?;
            let outcome = node.connection.call_raw(op, until).await;
            match self.judge(flight, &node, until, outcome) {
                Verdict::Done(answer) => return answer,
                Verdict::Again(Duration::ZERO) => {}
                Verdict::Again(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Learns from an attempt and says what follows.
    fn judge(
        &self,
        flight: &mut Flight,
        node: &Arc<Node>,
        until: Instant,
        outcome: Result<proto::reply::Result>,
    ) -> Verdict<proto::reply::Result> {
        let now = Instant::now();
        let outcome = match outcome {
            Ok(proto::reply::Result::Error(error)) => {
                node.answered();
                let error = Error::from(error);
                match error.code {
                    // The ring is right about this node, but the tier has changed behind it.
                    ErrorCode::NotOwner => self.cluster.refresh(),
                    // Another node may reach what this one can't.
                    ErrorCode::Unavailable | ErrorCode::Overloaded => flight.tried.push(node.clone()),
                    _ => {}
                }
                Err(error)
            }
            Ok(answer) => {
                node.answered();
                Ok(answer)
            }
            Err(error) => {
                flight.tried.push(node.clone());
                // A full queue is our own; anything else says that the node is not to be reached.
                let unreachable = !matches!(error.code, ErrorCode::Overloaded | ErrorCode::InvalidArgument);
                if unreachable && node.failed(now) {
                    tracing::info!(node = node.name, %error, "node is passed over");
                    self.cluster.refresh();
                }
                Err(error)
            }
        };
        flight.attempts.judge(outcome, until, now, &self.budget)
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

    fn attempt(&self, cluster: &Cluster) -> Result<Attempt> {
        let now = Instant::now();
        let node = cluster.routes().choose(self.shard, &self.tried, now)?.clone();
        let until = self.deadline.min(now + self.patience);
        let op = match &self.what {
            Outgoing::Read(request) => proto::request::Op::Read(request.clone()),
            Outgoing::Write { request, began, began_wall } => {
                let mut request = request.clone();
                if self.attempts.is_retry() {
                    // R3 refuses a retry that is too old to be recognised. The wall clock goes on while the machine
                    // sleeps, the monotonic one may not; claiming too much age is safe, too little is not.
                    let wall = began_wall.elapsed().unwrap_or(Duration::ZERO);
                    let age = now.saturating_duration_since(*began).max(wall);
                    if planted(Bug::RetryWithNewId) {
                        request.request_id = rand::random::<[u8; 16]>().to_vec();
                    }
                    request.age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
                }
                proto::request::Op::Write(request)
            }
        };
        Ok(Attempt { node, op, until })
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}
