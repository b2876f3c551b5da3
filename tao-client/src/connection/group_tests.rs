//! Groups of reads: one slot, one wake-up, and what is said of each when something goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::poll;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::ids::{AssocType, Epoch, ListKey, ObjectId, Position, Seq, ShardId};
use tao_schema::limits::MAX_FRAME_OPS;
use tao_schema::ops::{Answer, ReadOp, ReadReply, ReadRequest};
use tao_schema::wire::envelope::{Incoming, RequestOp, encode_reply};
use tao_schema::wire::frames::{ReplyRef, put_read_reply, put_reply, replies, requests};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::slots::{Answers, Deliveries, Delivery, Outcome};
use super::state::State;
use super::{Connection, ConnectionOptions, MAX_GROUP, Service, slots};
use crate::testing::{FakeNode, Network, Reaction};

const ADDRESS: &str = "node-1:1";

fn count(id1: u64) -> ReadRequest {
    ReadRequest::local(ReadOp::AssocCount(ListKey { id1: ObjectId(id1), atype: AssocType(1) }))
}

/// The list that a read asks for is told back as its count.
fn asked(request: &proto::Request) -> Option<u64> {
    match &request.op {
        Some(proto::request::Op::Read(proto::ReadRequest {
            op: Some(proto::read_request::Op::AssocCount(count)),
            ..
        })) => Some(count.id1),
        _ => None,
    }
}

fn counted(count: u64) -> proto::reply::Result {
    match Reaction::count(count, 1) {
        Reaction::Reply(result) => result,
        Reaction::Hold => unreachable!("a count is a reply"),
    }
}

/// The counts of a group, or the codes of its errors.
fn told(replies: impl Iterator<Item = tao_schema::Result<ReadReply>>) -> Vec<Result<u64, ErrorCode>> {
    let read = replies.map(|reply| match reply {
        Ok(ReadReply { answer: Answer::Count { count, .. }, .. }) => Ok(count),
        Ok(other) => panic!("not a count: {other:?}"),
        Err(error) => Err(error.code),
    });
    read.collect()
}

fn held(options: ConnectionOptions) -> (Network, FakeNode, Connection) {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    let options = ConnectionOptions { dialer: network.dialer(), ..options };
    (network, node, Connection::new(ADDRESS, Service::Tao, Arc::new(options)))
}

async fn group(
    connection: &Connection,
    lists: std::ops::Range<u64>,
    millis: u64,
) -> Vec<Result<u64, ErrorCode>> {
    let reads: Vec<_> = lists.map(count).collect();
    let now = Instant::now();
    let answers = connection
        .read_group(0, reads.iter().map(Into::into), now, now + Duration::from_millis(millis))
        .await;
    told(answers.unwrap().outcomes().map(|reply| reply.and_then(ReplyRef::read)))
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_places_in_any_order_and_twice_counts_once() {
    let (_network, node, connection) = held(ConnectionOptions::default());
    let mut waiting = Box::pin(group(&connection, 0..5, 1000));
    assert!(poll!(&mut waiting).is_pending());
    let requests = tokio::select! {
        requests = node.received(5) => requests,
        _ = &mut waiting => panic!("nobody answers"),
    };
    assert_eq!(node.frames().len(), 1);
    let stats = connection.stats();
    assert_eq!((stats.waiting, stats.in_flight, stats.queued, stats.sent), (1, 5, 0, 5));
    let answer = |at: usize| (requests[at].id, counted(asked(&requests[at]).unwrap() + 10));
    // Out of order; the same one again, with another answer; one of an index that the group does not have.
    node.reply(vec![
        answer(3),
        answer(0),
        (requests[3].id, counted(99)),
        (requests[4].id + (9 << 16), counted(98)),
    ]);
    assert!(poll!(&mut waiting).is_pending());
    while connection.stats().in_flight > 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.stats().waiting, 1, "three are missing");
    node.reply(vec![answer(4), answer(1), answer(2)]);
    assert_eq!(waiting.await, [Ok(10), Ok(11), Ok(12), Ok(13), Ok(14)]);
    let stats = connection.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_lost_stream_leave_what_was_answered() {
    let (network, node, connection) = held(ConnectionOptions::default());
    let late = Err(ErrorCode::DeadlineExceeded);
    let (lost, timed) = (0..3, 10..13);
    let first = async {
        let requests = node.received(6).await;
        let answered: Vec<_> =
            requests.iter().filter(|request| [1, 11].contains(&asked(request).unwrap())).collect();
        node.reply(answered.iter().map(|request| (request.id, counted(asked(request).unwrap()))).collect());
        tokio::time::sleep(Duration::from_millis(100)).await;
        network.cut(ADDRESS);
    };
    let (lost, timed, ()) =
        tokio::join!(group(&connection, lost, 5000), group(&connection, timed, 50), first);
    let unavailable = Err(ErrorCode::Unavailable);
    assert_eq!(timed, [late, Ok(11), late]);
    assert_eq!(lost, [unavailable, Ok(1), unavailable]);
    let stats = connection.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_group_may_exceed_the_window_and_one_that_goes_away_frees_it() {
    let narrow = ConnectionOptions { window_start: 2, window_min: 2, window_max: 2, ..Default::default() };
    let (_network, node, connection) = held(narrow);
    let mut leaves = Box::pin(group(&connection, 0..40, 9000));
    let mut gone = Box::pin(group(&connection, 100..140, 9000));
    let mut stays = Box::pin(group(&connection, 200..240, 9000));
    assert!(
        poll!(&mut leaves).is_pending() && poll!(&mut gone).is_pending() && poll!(&mut stays).is_pending()
    );
    assert_eq!(node.received(40).await.len(), 40, "the first, whole");
    let stats = connection.stats();
    assert_eq!((stats.in_flight, stats.queued, stats.waiting), (40, 80, 3));
    drop(gone);
    drop(leaves);
    let requests = node.received(80).await;
    let lists: Vec<_> = requests[40..].iter().map(|request| asked(request).unwrap()).collect();
    assert_eq!(lists, (200..240).collect::<Vec<_>>(), "who has gone while queued is not sent");
    node.reply(requests.iter().map(|request| (request.id, counted(asked(request).unwrap()))).collect());
    assert_eq!(stays.await, (200..240).map(Ok).collect::<Vec<_>>());
    let stats = connection.stats();
    assert_eq!((stats.in_flight, stats.queued, stats.waiting), (0, 0, 0));
}

/// A random walk over a stream's state, with a model of who waits.
struct Walker {
    state: State,
    now: Instant,
    random: StdRng,
    /// Who waits, by the first list that he asks for. No two ask for the same.
    waiting: BTreeMap<u64, Caller>,
    lists: u64,
    /// Ids on the wire, the lists that they ask for, and whether they were answered.
    sent: Vec<(u64, u64, bool)>,
}

struct Caller {
    id: u64,
    deadline: Instant,
    reads: usize,
    told: Told,
}

enum Told {
    One(oneshot::Receiver<Outcome>),
    Group(oneshot::Receiver<Answers>),
}

impl Told {
    fn now(&mut self) -> Option<Vec<Result<u64, ErrorCode>>> {
        match self {
            Self::One(receiver) => received(receiver.try_recv())
                .map(|outcome| told(std::iter::once(outcome.and_then(|reply| reply.read())))),
            Self::Group(receiver) => received(receiver.try_recv())
                .map(|answers| told(answers.outcomes().map(|reply| reply.and_then(ReplyRef::read)))),
        }
    }
}

fn received<T>(outcome: Result<T, TryRecvError>) -> Option<T> {
    assert_ne!(outcome.as_ref().err(), Some(&TryRecvError::Closed), "a caller was told nothing");
    outcome.ok()
}

impl Walker {
    fn new(seed: u64, options: &ConnectionOptions) -> Self {
        let (state, random) = (State::new(options), StdRng::seed_from_u64(seed));
        Self { state, now: Instant::now(), random, waiting: BTreeMap::new(), lists: 0, sent: Vec::new() }
    }

    fn ask(&mut self) {
        let reads = if self.random.random_bool(0.3) { 1 } else { self.random.random_range(1..=MAX_GROUP) };
        let deadline = self.now + Duration::from_millis(self.random.random_range(1..200));
        let asked: Vec<_> = (self.lists..).take(reads).map(count).collect();
        let (id, told) = if reads == 1 {
            let (sender, receiver) = oneshot::channel();
            let id = if self.random.random_bool(0.5) {
                self.state.enqueue(proto::request::Op::Read(asked[0].clone().into()), deadline, sender)
            } else {
                let caller = |_| slots::Caller::One(sender);
                self.state.enqueue_reads(asked.iter().map(Into::into), deadline, self.now, caller)
            };
            (id, Told::One(receiver))
        } else {
            let (sender, receiver) = oneshot::channel();
            let caller = |number| slots::Caller::group(sender, number);
            (
                self.state.enqueue_reads(asked.iter().map(Into::into), deadline, self.now, caller),
                Told::Group(receiver),
            )
        };
        match id {
            Ok(id) => {
                self.waiting.insert(self.lists, Caller { id, deadline, reads, told });
                self.lists += reads as u64;
            }
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Overloaded, "{error}");
                assert!(self.state.stats().queued + reads > 500, "there was room");
            }
        }
    }

    fn send(&mut self) {
        let before = self.state.stats();
        let Some(frame) = self.state.take_frame(self.now) else { return };
        let asked: Vec<_> = requests(&frame).unwrap().map(Result::unwrap).collect();
        let most = before.window - before.in_flight + MAX_GROUP - 1;
        assert!(asked.len() <= most.min(MAX_FRAME_OPS), "{} with {before:?}", asked.len());
        for Incoming { id, deadline, op } in asked {
            let Ok(RequestOp::Read(ReadRequest { op: ReadOp::AssocCount(list), .. })) = op else {
                panic!("not asked: {op:?}")
            };
            assert!(deadline.unwrap() <= Duration::from_millis(200));
            let caller = self.caller_of(list.id1.0).expect("only what somebody waits for is sent");
            assert!(caller.deadline > self.now);
            self.sent.push((id, list.id1.0, false));
        }
    }

    fn caller_of(&self, list: u64) -> Option<&Caller> {
        let (first, caller) = self.waiting.range(..=list).next_back()?;
        (list - first < caller.reads as u64).then_some(caller)
    }

    /// Some of what was sent is answered: in any order, some again, some refused.
    fn answer(&mut self, deliveries: &mut Deliveries) {
        let mut frame = BytesMut::new();
        for _ in 0..self.random.random_range(0..80).min(self.sent.len()) {
            let at = self.random.random_range(0..self.sent.len());
            let (id, list, answered) = &mut self.sent[at];
            if self.random.random_bool(0.02) {
                let refused = Error::new(ErrorCode::Overloaded, "told to");
                put_reply(&mut frame, &encode_reply(*id, Err(refused)));
            } else {
                let position = Position { shard: ShardId(0), epoch: Epoch(1), seq: Seq(1) };
                // Whoever believes a second answer has a wrong one.
                let answer = Answer::Count { count: *list + u64::from(*answered), version: Seq(1) };
                let reply = ReadReply { position, answer, explain: None, time: None };
                put_read_reply(&mut frame, *id, (&reply).into());
            }
            *answered = true;
        }
        self.state.complete(replies(frame.freeze()).unwrap(), deliveries);
    }

    fn forget(&mut self) {
        let at = self.random.random_range(0..self.lists.max(1));
        if let Some((first, caller)) = self.waiting.range(at..).next() {
            let (first, id) = (*first, caller.id);
            self.state.forget(id);
            self.waiting.remove(&first);
        }
    }

    fn step(&mut self) {
        let mut deliveries = Deliveries::new();
        match self.random.random_range(0..200) {
            0..80 => self.ask(),
            80..120 => self.send(),
            120..180 => self.answer(&mut deliveries),
            180..190 => self.later(Duration::from_millis(30), &mut deliveries),
            190..199 => self.forget(),
            _ => self.state.fail_all("told to", &mut deliveries),
        }
        deliveries.into_iter().for_each(Delivery::deliver);
        self.check();
    }

    fn later(&mut self, time: Duration, deliveries: &mut Deliveries) {
        self.now += time;
        self.state.sweep(self.now, deliveries);
    }

    /// Every caller is told once, of his own reads; what has no answer is late only if it is. The figures are right.
    fn check(&mut self) {
        let now = self.now;
        self.waiting.retain(|first, caller| {
            let Some(told) = caller.told.now() else { return true };
            assert_eq!(told.len(), caller.reads);
            for (told, list) in told.iter().zip(*first..) {
                match told {
                    Ok(count) => assert_eq!(*count, list),
                    Err(ErrorCode::DeadlineExceeded) => {
                        assert!(caller.deadline <= now, "{first} is not late");
                    }
                    Err(code) => assert!(matches!(code, ErrorCode::Overloaded | ErrorCode::Unavailable)),
                }
            }
            false
        });
        let under_way =
            self.sent.iter().filter(|(_, list, answered)| !answered && self.caller_of(*list).is_some());
        let (under_way, stats) = (under_way.count(), self.state.stats());
        assert_eq!((stats.in_flight, stats.waiting), (under_way, self.waiting.len()));
        assert!(stats.queued <= 500);
    }
}

#[test]
fn whatever_happens_everyone_is_told_of_his_own_and_the_figures_are_right() {
    let options = ConnectionOptions {
        queue_requests: 500,
        window_start: 100,
        window_min: 10,
        window_max: 400,
        ..ConnectionOptions::default()
    };
    for _ in 0..20 {
        let seed = rand::random();
        println!("seed {seed}");
        let mut walker = Walker::new(seed, &options);
        (0..1_000).for_each(|_| walker.step());
        assert!(walker.state.stats().sent > 1_000, "{:?}", walker.state.stats());
        let mut deliveries = Deliveries::new();
        walker.later(Duration::from_secs(1), &mut deliveries);
        deliveries.into_iter().for_each(Delivery::deliver);
        walker.check();
        assert!(walker.waiting.is_empty());
        while walker.state.sendable() {
            assert!(walker.state.take_frame(walker.now).is_none(), "nobody waits for it");
        }
        assert_eq!(walker.state.stats().queued, 0);
    }
}
