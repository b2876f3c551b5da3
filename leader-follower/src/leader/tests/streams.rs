use futures_util::StreamExt as _;
use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::rows::EpochStart;
use tao_schema::stream::{StreamMessage, SubscribeShard};

use super::*;
use crate::ports::ChangeStream;

pub(super) async fn subscribe(node: &Node, shard: ShardId, from: Option<Position>) -> ChangeStream {
    let stream = node.handle.changes("follower-1").await.unwrap();
    stream.control.subscribe(vec![SubscribeShard { shard, from }]).await.unwrap();
    stream
}

async fn next(stream: &mut ChangeStream) -> StreamMessage {
    let soon = tokio::time::timeout(Duration::from_secs(5), stream.messages.next());
    soon.await.expect("a message is due").expect("the stream is open").unwrap()
}

/// The next message that is no heartbeat.
pub(super) async fn news(stream: &mut ChangeStream) -> StreamMessage {
    loop {
        match next(stream).await {
            StreamMessage::Heartbeat { .. } => {}
            other => return other,
        }
    }
}

/// All shards of these tests began in epoch 1.
fn first_epoch() -> Vec<EpochStart> {
    vec![EpochStart { epoch: Epoch(1), first_seq: Seq(1) }]
}

fn seq(message: &StreamMessage) -> u64 {
    match message {
        StreamMessage::Change(change) => change.seq.0,
        other => panic!("a change was expected, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn changes_follow_the_subscription_without_a_gap_and_heartbeats_name_the_last() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, at) = (object(shard, 1), |seq| Position { shard, epoch: Epoch(1), seq: Seq(seq) });
    let mut fresh = subscribe(&node, shard, None).await;
    assert_eq!(
        news(&mut fresh).await,
        StreamMessage::Reset { position: at(0), history: first_epoch() },
        "it had nothing"
    );
    for id2 in 1..=3 {
        node.write(add(a, FOLLOWS, object(shard, id2), 1)).await.unwrap();
    }
    for expected in 1..=3 {
        assert_eq!(seq(&news(&mut fresh).await), expected);
    }
    let mut resumed = subscribe(&node, shard, Some(at(1))).await;
    assert_eq!(
        news(&mut resumed).await,
        StreamMessage::Subscribed { position: at(3), history: first_epoch() }
    );
    assert_eq!((seq(&news(&mut resumed).await), seq(&news(&mut resumed).await)), (2, 3));
    let beat = next(&mut resumed).await;
    let StreamMessage::Heartbeat { positions, .. } = beat else {
        panic!("a heartbeat was due, got {beat:?}")
    };
    assert_eq!(positions, [at(3)]);
    assert_eq!(node.handle.metrics().streams.get(), 2);
    drop((fresh, resumed));
    until("the tasks have ended", async || node.handle.metrics().streams.get() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_falls_out_of_the_ring_is_reset_and_blocks_nobody() {
    let options = StreamOptions::default();
    slow_reader(StreamOptions { buffer: 2, ..options }).await;
    // The same by bytes: two changes of an edge each.
    slow_reader(StreamOptions { buffer_bytes: 600, ..options }).await;
}

async fn slow_reader(options: StreamOptions) {
    let mut world = World::new().await;
    world.options.core.ring_changes = 4;
    world.options.stream = options;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    let mut slow = subscribe(&node, shard, None).await;
    assert!(matches!(news(&mut slow).await, StreamMessage::Reset { .. }));
    for id2 in 0..50 {
        node.write(add(a, FOLLOWS, object(shard, id2), 1)).await.unwrap();
    }
    let mut last = 0;
    let reset = loop {
        match news(&mut slow).await {
            StreamMessage::Change(change) => {
                assert_eq!(change.seq.0, last + 1, "in order, without a gap");
                last = change.seq.0;
            }
            StreamMessage::Reset { position, .. } => break position.seq.0,
            other => panic!("{other:?}"),
        }
    };
    assert!(reset == 50 && last < 10, "reset to {reset} after {last}");
    node.write(add(a, FOLLOWS, object(shard, 99), 1)).await.unwrap();
    assert_eq!(seq(&news(&mut slow).await), 51);
}

#[tokio::test(start_paused = true)]
async fn who_is_ahead_keeps_what_it_has_until_the_leader_is_there() {
    let world = World::new().await;
    let (node, other) = (world.start("leader-1").await, world.start("leader-2").await);
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    assert_eq!(node.count(list(a, FOLLOWS)).await, 0);
    let ahead = other.write(add(a, FOLLOWS, a, 1)).await.unwrap().reply.positions[0];
    let mut stream = subscribe(&node, shard, Some(ahead)).await;
    // Not a Reset to 0, which would take it back in time (H15): the audit brings the leader to 1 first.
    let first = news(&mut stream).await;
    assert_eq!(first, StreamMessage::Subscribed { position: ahead, history: first_epoch() });
    node.write(add(a, FOLLOWS, object(shard, 2), 1)).await.unwrap();
    assert_eq!(seq(&news(&mut stream).await), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_be_opened_is_refused_and_a_stop_is_said() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let mut stream = subscribe(&node, ShardId(800), None).await;
    let refused = news(&mut stream).await;
    let StreamMessage::Refused { shard, error } = refused else { panic!("{refused:?}") };
    assert_eq!((shard, error.code), (ShardId(800), ErrorCode::NoSuchShard));
    node.handle.shutdown().await;
    let mut last = None;
    while let Some(message) = stream.messages.next().await {
        last = Some(message);
    }
    assert_code(last.unwrap(), ErrorCode::Unavailable);
}
