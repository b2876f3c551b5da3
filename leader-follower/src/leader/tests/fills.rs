use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::ops::{FillRow, Source};

use super::*;

fn edges(fill: &FillReply) -> usize {
    match &fill.row {
        FillRow::List(list) => list.edges.count(),
        FillRow::Object(_) => panic!("a list was asked for"),
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_key_share_a_read_and_are_woken_when_its_caller_goes_away() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    node.write(add(a, FOLLOWS, a, 1)).await.unwrap();
    let store = &node.stores[0];
    let before = node.keys_read();
    let closed = store.open.acquire_many(1_000).await.unwrap();
    let key = FillKey::List { key: list(a, FOLLOWS), edges: 10 };
    let gone = tokio::time::timeout(Duration::from_millis(5), node.fill(key, None));
    let waiter = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        node.fill(key, None).await
    };
    let opens = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(closed);
    };
    let (gone, waited, ()) = tokio::join!(gone, waiter, opens);
    assert!(gone.is_err(), "the one who led the fill gave up");
    assert_eq!(edges(&waited.unwrap()), 1, "the other led the next (H33)");
    assert_eq!(node.keys_read() - before, 2);

    // And shared when nobody goes away.
    let b = object(shard, 2);
    let (before, key) = (node.keys_read(), FillKey::Object(b));
    let (one, two) = tokio::join!(node.fill(key, None), node.fill(key, None));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(node.keys_read() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shared_fill_that_is_too_old_for_a_token_is_not_taken() {
    let world = World::new().await;
    let (node, other) = (world.start("leader-1").await, world.start("leader-2").await);
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    let key = FillKey::List { key: list(a, FOLLOWS), edges: 10 };
    node.fill(FillKey::Object(a), None).await.unwrap();
    // A fill that was read at seq 0 and is not finished yet.
    let reader = node.handle.clone();
    let slow = node.handle.inner.fills.join(FillKey::List { key: list(a, FOLLOWS), edges: 64 });
    let crate::fills::Join::Lead(guard) = slow else { panic!("nobody else fills") };
    let old = {
        let slot = node.handle.inner.slot(shard).unwrap();
        let (key, position) = (crate::core::Key::List(list(a, FOLLOWS)), slot.core.position());
        let body = crate::core::Body::List(Default::default());
        let entries = node.handle.inner.shards.entries();
        let filled = slot.core.with(|core| core.on_fill(key, position, ShardState::Serving, body, entries));
        let crate::core::Filled::Stored(entry) = filled else { panic!("stored: {filled:?}") };
        entries.remove(&key);
        Fetched { entry, as_of: position, state: ShardState::Serving, source: Source::Database }
    };
    // Meanwhile another leader writes, and its writer reads here with the token.
    let token = other.write(add(a, FOLLOWS, a, 1)).await.unwrap().reply.positions[0];
    let request = FillRequest { key, at_least: Some(token), forwarded: false };
    let waiting = tokio::spawn(async move { reader.fill(request, soon()).await });
    until("the reader waits", async || node.handle.inner.fills.waiting() == 1).await;
    guard.complete(old.as_of.seq, old);
    let answer = waiting.await.unwrap().unwrap();
    assert!(answer.position.seq >= token.seq, "{:?} for token {token}", answer.position);
    assert_eq!(edges(&answer), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_beyond_the_database_is_lost_only_with_its_epoch() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    let beyond = Position { shard, epoch: Epoch(1), seq: Seq(77) };
    assert_code(node.fill(FillKey::Object(a), Some(beyond)).await, ErrorCode::Unavailable);
    assert_code(node.read(ReadOp::ObjectGet(a), Some(beyond)).await, ErrorCode::Unavailable);
    let newer = Position { epoch: Epoch(2), seq: Seq(0), ..beyond };
    assert_code(node.read(ReadOp::ObjectGet(a), Some(newer)).await, ErrorCode::NotOwner);
    node.read(ReadOp::ObjectGet(a), None).await.unwrap();
    // Without trust in memory, too: the database's seq says nothing about another epoch's.
    node.write(add(a, FOLLOWS, a, 1)).await.unwrap();
    node.handle.inner.slot(shard).unwrap().core.with(|core| core.on_lost());
    assert_code(node.read(ReadOp::ObjectGet(a), Some(newer)).await, ErrorCode::NotOwner);
    assert_code(node.fill(FillKey::Object(a), Some(newer)).await, ErrorCode::NotOwner);
    let older = Position { epoch: Epoch(0), seq: Seq(1), ..beyond };
    assert_code(node.fill(FillKey::Object(a), Some(older)).await, ErrorCode::LostEpoch);
    node.fill(FillKey::Object(a), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fill_brings_a_prefix_that_others_can_use() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    for at in 0..80 {
        node.write(add(a, FOLLOWS, object(shard, at), at as u32)).await.unwrap();
    }
    let fill = async |edges| node.fill(FillKey::List { key: list(a, FOLLOWS), edges }, None).await.unwrap();
    let counted = fill(0).await;
    assert_eq!((edges(&counted), counted.source), (64, Source::Database));
    assert_eq!(fill(50).await.source, Source::LeaderCache);
    let deeper = fill(70).await;
    assert_eq!((edges(&deeper), deeper.source), (80, Source::Database));
    assert_eq!(edges(&fill(10).await), 64, "not all that memory has");
}

#[tokio::test(start_paused = true)]
async fn deep_reads_go_to_the_index() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    for at in 0..90 {
        node.write(add(a, SHORT, object(shard, at), at as u32)).await.unwrap();
    }
    let times = |reply: &ReadReply| match &reply.answer {
        Answer::Edges { edges, .. } => edges.iter().map(|edge| edge.time.0).collect::<Vec<_>>(),
        other => panic!("edges were asked for, got {other:?}"),
    };
    let deep = node.read(ReadOp::AssocRange { list: list(a, SHORT), pos: 80, limit: 5 }, None).await.unwrap();
    assert_eq!(times(&deep), [9, 8, 7, 6, 5]);
    assert_eq!(deep.explain.unwrap().reason, "too deep for a cached list");
    let old = ReadOp::AssocTimeRange { list: list(a, SHORT), high: Time(3), low: Time(1), limit: 5 };
    assert_eq!(times(&node.read(old, None).await.unwrap()), [3, 2, 1]);
    let id2s = vec![object(shard, 2), object(shard, 88), object(shard, 500)];
    let get = ReadOp::AssocGet { list: list(a, SHORT), id2s, high: None, low: None };
    let got = node.read(get, None).await.unwrap();
    assert_eq!((times(&got), got.position.seq), (vec![88, 2], Seq(90)));
}
