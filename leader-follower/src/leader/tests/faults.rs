//! Two leaders on one database, lost answers, databases that are away.

use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_shard_store::memory::CommitFault;

use super::*;

fn gap() -> ResetLabel {
    ResetLabel { reason: "gap" }
}

#[tokio::test(start_paused = true)]
async fn another_leaders_commit_is_found_by_the_audit() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    one.write(add(a, FOLLOWS, object(shard, 2), 1)).await.unwrap();
    assert_eq!((one.count(list(a, FOLLOWS)).await, two.count(list(a, FOLLOWS)).await), (1, 1));
    let stranger = two.write(add(a, FOLLOWS, object(shard, 3), 1)).await.unwrap();
    let token = stranger.reply.positions[0];
    let asked = one.read(ReadOp::AssocCount(list(a, FOLLOWS)), Some(token)).await.unwrap();
    assert_eq!(
        asked.answer,
        Answer::Count { count: 2, version: token.seq },
        "who has the token is never shown less"
    );
    // Another key, without a token: right again after two audits at most.
    let b = object(shard, 9);
    assert_eq!(one.count(list(b, FOLLOWS)).await, 0);
    two.write(add(b, FOLLOWS, a, 1)).await.unwrap();
    tokio::time::sleep(world.options.upkeep_every * 3).await;
    assert_eq!(one.count(list(b, FOLLOWS)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_own_commit_behind_a_strangers_does_not_hide_it() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    assert_eq!((one.count(list(a, FOLLOWS)).await, one.count(list(b, FOLLOWS)).await), (0, 0));
    two.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    let own = one.write(add(b, FOLLOWS, a, 1)).await.unwrap();
    assert_eq!(own.reply.positions[0].seq, Seq(2));
    // H7: with a jump to 2 the list of a would be stale for ever, and pass for fresh.
    let read = one.read(ReadOp::AssocCount(list(a, FOLLOWS)), None).await.unwrap();
    assert_eq!(read.answer, Answer::Count { count: 1, version: Seq(1) });
    until("both are published", async || {
        let slot = one.handle.inner.slot(shard).unwrap();
        slot.core.position().seq == Seq(2) && one.handle.metrics().resets.get_or_create(&gap()).get() == 0
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_said_and_found_out() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    assert_eq!(node.count(list(a, FOLLOWS)).await, 0);
    node.stores[0].store.fail_next_commit(CommitFault::UncertainCommitted);
    let request = request(add(a, FOLLOWS, object(shard, 2), 1));
    assert_code(node.send(request.clone()).await, ErrorCode::OutcomeUnknown);
    tokio::time::sleep(world.options.upkeep_every * 3).await;
    assert_eq!(node.count(list(a, FOLLOWS)).await, 1, "the audit found it");
    assert!(node.send(request).await.unwrap().reply.replayed);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_gives_typed_errors_and_comes_back() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    node.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    node.count(list(a, FOLLOWS)).await;
    node.stores[0].store.set_reachable(false);
    assert_code(node.write(add(a, FOLLOWS, b, 1)).await, ErrorCode::Unavailable);
    assert_code(node.read(ReadOp::ObjectGet(b), None).await, ErrorCode::Unavailable);
    assert_eq!(node.count(list(a, FOLLOWS)).await, 1, "memory still answers");
    node.stores[0].store.set_reachable(true);
    node.write(add(a, FOLLOWS, b, 2)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_changes_state_or_epoch_is_noticed() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let a = object(shard, 1);
    assert_eq!(node.count(list(a, FOLLOWS)).await, 0);
    let store = MemoryStore::open(&world.databases[0]);
    assert!(store.change_state(shard, Epoch(1), ShardState::Serving, ShardState::Fenced).await.unwrap());
    assert_code(node.write(add(a, FOLLOWS, a, 1)).await, ErrorCode::NotOwner);
    tokio::time::sleep(world.options.upkeep_every * 3).await;
    let fill = node.fill(FillKey::Object(a), None).await.unwrap();
    assert_eq!((fill.state, fill.position.seq), (ShardState::Fenced, Seq(1)), "reads go on");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_lost_acknowledgement_is_freed_by_a_later_commit() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let age = || node.handle.status().groups.iter().map(|group| group.age).collect::<Vec<_>>();
    node.stores[0].ack_lost.store(true, Ordering::SeqCst);
    until("a heartbeat waits", async || node.stores[0].waiting.lock().is_some()).await;
    let began = Instant::now();
    until("another row's has come", async || node.stores[0].waiting.lock().is_none()).await;
    let limit = world.options.tail.nudge_after + world.options.tail.beat_every;
    assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
    until("ages are known and young", async || age().iter().all(|age| age.is_some_and(|age| age < limit)))
        .await;
    assert!(began.elapsed() <= limit + world.options.tail.attempt, "{:?}", began.elapsed());
}
