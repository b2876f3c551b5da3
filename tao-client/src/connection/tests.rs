//! The connection against a node in memory, under paused time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, poll};
use tao_schema::ErrorCode;
use tao_schema::ids::{ObjectId, ShardId};
use tao_schema::wire::proto;
use tokio::time::Instant;

use super::{Connection, ConnectionOptions, Service};
use crate::testing::{FakeNode, Network, Reaction};

const ADDRESS: &str = "node-1:1";

fn options(network: &Network) -> ConnectionOptions {
    ConnectionOptions { dialer: network.dialer(), ..ConnectionOptions::default() }
}

fn connect(options: ConnectionOptions) -> Connection {
    Connection::new(ADDRESS, Service::Tao, Arc::new(options))
}

fn read(id1: u64) -> proto::request::Op {
    let op = proto::read_request::Op::AssocCount(proto::AssocCount { id1, atype: 1 });
    proto::request::Op::Read(proto::ReadRequest { op: Some(op), ..Default::default() })
}

fn write(blob: usize) -> proto::request::Op {
    let fields = tao_schema::fields::Fields::from_iter([(
        tao_schema::ids::FieldId(1),
        tao_schema::fields::Value::Blob(vec![7; blob].into()),
    )]);
    let add = proto::ObjectAdd { id: 0, shard: 0, otype: 1, fields: Some(fields.encode()) };
    let op = proto::WriteOp { op: Some(proto::write_op::Op::ObjectAdd(add)) };
    proto::request::Op::Write(proto::WriteRequest {
        request_id: vec![1; 16],
        op: vec![op],
        ..Default::default()
    })
}

fn within(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

fn echo(request: &proto::Request) -> Reaction {
    let Some(proto::request::Op::Read(read)) = &request.op else { return Reaction::Hold };
    match read.op {
        Some(proto::read_request::Op::AssocCount(count)) => Reaction::count(count.id1, 1),
        _ => Reaction::Hold,
    }
}

fn count_of(result: &proto::reply::Result) -> u64 {
    let proto::reply::Result::Read(read) = result else { panic!("not a read: {result:?}") };
    let Some(proto::read_reply::Result::Count(count)) = &read.result else { panic!("not a count: {read:?}") };
    count.count
}

fn counted(id1: u64) -> proto::reply::Result {
    match Reaction::count(id1, 1) {
        Reaction::Reply(result) => result,
        Reaction::Hold => unreachable!("a count is a reply"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_call_is_sent_at_once_and_many_share_frames() {
    let network = Network::new();
    let node = FakeNode::new("n1", echo);
    network.serve(ADDRESS, node.clone());
    let connection = connect(options(&network));
    let start = Instant::now();
    let one = connection.call(read(77), within(1000)).await.unwrap();
    assert_eq!(count_of(&one), 77);
    assert_eq!(start.elapsed(), Duration::ZERO, "no timer stands between a call and its frame");

    let calls = join_all((0..200).map(|id| connection.call(read(id), within(1000)))).await;
    for (id, outcome) in calls.into_iter().enumerate() {
        assert_eq!(count_of(&outcome.unwrap()), id as u64, "each caller gets its own answer");
    }
    let frames = node.frames();
    assert_eq!(frames[0].request.len(), 1);
    assert!(frames.len() <= 3, "200 calls took {} frames", frames.len() - 1);
    assert_eq!((connection.stats().waiting, connection.stats().in_flight), (0, 0));

    // Callers in tasks of their own, each with its next request as soon as it is answered: they still share frames.
    let tasks = (0..50u64).map(|task| {
        let connection = connection.clone();
        tokio::spawn(async move {
            for call in 0..20 {
                let id = task * 100 + call;
                assert_eq!(count_of(&connection.call(read(id), within(1000)).await.unwrap()), id);
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let more = node.frames().len() - frames.len();
    assert!(more <= 60, "1,000 calls of 50 tasks took {more} frames");
}

#[tokio::test(start_paused = true)]
async fn replies_come_in_any_order() {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    let connection = connect(options(&network));
    let (first, second) = (connection.call(read(1), within(1000)), connection.call(read(2), within(1000)));
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    let requests = node.received(2).await;
    node.reply(vec![(requests[1].id, counted(2))]);
    assert_eq!(count_of(&second.await.unwrap()), 2);
    assert!(first.as_mut().now_or_never().is_none());
    node.reply(vec![(requests[0].id, counted(1))]);
    assert_eq!(count_of(&first.await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_says_unknown_only_of_writes_that_were_sent() {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    // Two may be under way; the others stay in the queue.
    let narrow = ConnectionOptions { window_start: 2, window_min: 2, window_max: 2, ..options(&network) };
    let connection = connect(narrow);
    let calls = [read(1), write(1), write(2), read(2)];
    let calls = join_all(calls.into_iter().map(|op| connection.call(op, within(5000))));
    let mut calls = std::pin::pin!(calls);
    assert!(poll!(&mut calls).is_pending());
    assert_eq!(node.received(2).await.len(), 2);
    network.cut(ADDRESS);
    let codes: Vec<_> = calls.await.into_iter().map(|outcome| outcome.unwrap_err().code).collect();
    let (unavailable, unknown) = (ErrorCode::Unavailable, ErrorCode::OutcomeUnknown);
    assert_eq!(codes, [unavailable, unknown, unavailable, unavailable]);
    assert_eq!(connection.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_refuses_at_once_and_is_found_again() {
    let network = Network::new();
    let connection = connect(options(&network));
    let error = connection.call(write(1), within(5000)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "never sent: certainly not done");
    let start = Instant::now();
    assert_eq!(connection.call(read(1), within(5000)).await.unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(start.elapsed(), Duration::ZERO, "within the pause nothing is tried");
    let node = FakeNode::new("n1", echo);
    network.serve(ADDRESS, node.clone());
    tokio::time::advance(Duration::from_millis(25)).await;
    assert_eq!(count_of(&connection.call(read(5), within(5000)).await.unwrap()), 5);
    // A stream that worked is made again without a pause.
    network.cut(ADDRESS);
    while connection.stats().open {
        tokio::task::yield_now().await;
    }
    assert_eq!(count_of(&connection.call(read(6), within(5000)).await.unwrap()), 6);
}

#[tokio::test(start_paused = true)]
async fn deadlines_travel_and_end_the_wait() {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    let connection = connect(options(&network));
    let start = Instant::now();
    let (slow_read, slow_write, quick) = tokio::join!(
        connection.call(read(1), within(300)),
        connection.call(write(1), within(400)),
        connection.call(read(2), within(40)),
    );
    assert_eq!(slow_read.unwrap_err().code, ErrorCode::DeadlineExceeded);
    assert_eq!(slow_write.unwrap_err().code, ErrorCode::OutcomeUnknown, "R4");
    assert_eq!(quick.unwrap_err().code, ErrorCode::DeadlineExceeded);
    assert!(start.elapsed() <= Duration::from_millis(402), "{:?}", start.elapsed());
    let budgets: Vec<_> = node.requests().iter().map(|request| request.deadline_ms).collect();
    assert_eq!(budgets, [290, 390, 37], "a little less than the caller's, so that the peer answers first");
    // A late reply finds nobody and harms nobody.
    let late = node.requests()[0].id;
    node.reply(vec![(late, counted(9))]);
    let next = connection.call(read(3), within(50));
    assert_eq!(next.await.unwrap_err().code, ErrorCode::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_frees_its_slot() {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    let connection = connect(options(&network));
    {
        let mut calls = std::pin::pin!(join_all((0..10).map(|id| connection.call(read(id), within(9000)))));
        assert!(poll!(&mut calls).is_pending());
        assert_eq!(connection.stats().waiting, 10);
        node.received(10).await;
    }
    let stats = connection.stats();
    assert_eq!((stats.waiting, stats.in_flight, stats.queued), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn room_that_timeouts_and_leavers_make_is_used() {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    let narrow = ConnectionOptions { window_start: 2, window_min: 2, window_max: 2, ..options(&network) };
    let connection = connect(narrow);
    let mut leaver = Box::pin(connection.call(read(1), within(9000)));
    let stays = async {
        let late = connection.call(read(2), within(50));
        let queued = connection.call_many(vec![(read(3), within(9000)), (read(4), within(9000))]);
        tokio::join!(late, queued)
    };
    let mut stays = Box::pin(stays);
    assert!(poll!(&mut leaver).is_pending() && poll!(&mut stays).is_pending());
    assert_eq!(node.received(2).await.len(), 2);
    drop(leaver);
    let after_leaving = tokio::select! {
        requests = node.received(3) => requests,
        _ = &mut stays => panic!("nobody answers"),
    };
    assert_eq!(after_leaving.len(), 3);
    let start = Instant::now();
    let after_timeout = tokio::select! {
        requests = node.received(4) => requests,
        _ = &mut stays => panic!("nobody answers"),
    };
    assert_eq!(after_timeout.len(), 4);
    assert!((49..=52).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn refusals_halve_the_window_and_success_opens_it_again() {
    let network = Network::new();
    let overloaded = |request: &proto::Request| match &request.op {
        Some(proto::request::Op::Write(_)) => Reaction::error(ErrorCode::Overloaded),
        _ => echo(request),
    };
    let node = FakeNode::new("n1", overloaded);
    network.serve(ADDRESS, node.clone());
    let narrow = ConnectionOptions {
        window_start: 16,
        window_min: 2,
        window_max: 32,
        window_step: 4,
        ..options(&network)
    };
    let connection = connect(narrow);
    let refused = join_all((0..16).map(|_| connection.call(write(1), within(1000)))).await;
    assert!(refused.iter().all(|outcome| outcome.as_ref().unwrap_err().code == ErrorCode::Overloaded));
    assert_eq!(connection.stats().window, 8, "one round of refusals halves once");
    assert!(connection.call(write(1), within(1000)).await.is_err());
    assert_eq!(connection.stats().window, 4);
    let before = node.frames().len();
    join_all((0..100).map(|id| connection.call(read(id), within(1000)))).await;
    let sizes: Vec<_> = node.frames()[before..].iter().map(|frame| frame.request.len()).collect();
    assert_eq!(sizes[0], 4, "frames respect the window: {sizes:?}");
    assert!(connection.stats().window > 8, "{:?}", connection.stats());
}

#[tokio::test(start_paused = true)]
async fn queues_and_frames_are_bounded() {
    let network = Network::new();
    let node = FakeNode::new("n1", |_| Reaction::Hold);
    network.serve(ADDRESS, node.clone());
    let small = ConnectionOptions { queue_requests: 1500, window_start: 4096, ..options(&network) };
    let connection = connect(small);
    let ops = (0..2000).map(|_| (read(1), within(1000))).collect();
    let outcomes = connection.call_many(ops).await;
    let refused =
        outcomes.iter().filter(|outcome| outcome.as_ref().unwrap_err().code == ErrorCode::Overloaded);
    assert_eq!(refused.count(), 500, "what does not fit in the queue is refused");
    let sizes: Vec<_> = node.frames().iter().map(|frame| frame.request.len()).collect();
    assert_eq!(sizes, [1024, 476]);

    let too_big = connection.call(write(3 << 20), within(1000)).await.unwrap_err();
    assert_eq!(too_big.code, ErrorCode::InvalidArgument);
    let big = (0..4).map(|_| (write(1 << 20), within(1000))).collect();
    let before = node.frames().len();
    connection.call_many(big).await;
    let sizes: Vec<_> = node.frames()[before..].iter().map(|frame| frame.request.len()).collect();
    assert_eq!(sizes, [1, 1, 1, 1], "two of a megabyte do not fit in half a message with their envelopes");
}

#[tokio::test(start_paused = true)]
async fn shards_are_spread_over_the_connections_of_a_node() {
    let network = Network::new();
    let node = FakeNode::new("n1", echo);
    network.serve(ADDRESS, node.clone());
    let connection = connect(ConnectionOptions { connections_per_node: 2, ..options(&network) });
    let ops = (0..8).map(|shard| (read(ObjectId::new(ShardId(shard), 1).0), within(1000))).collect();
    assert!(connection.call_many(ops).await.iter().all(Result::is_ok));
    let mut sizes: Vec<_> = node.frames().iter().map(|frame| frame.request.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [4, 4]);
}
