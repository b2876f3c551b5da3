//! Commits that a leader did not publish: of others, and of its own whose outcome it did not learn.

use tao_schema::ErrorCode;
use tao_shard_store::memory::CommitFault;

use super::*;

#[tokio::test(start_paused = true)]
async fn h27_the_inverse_of_a_commit_of_unknown_outcome_is_brought_over() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let (here, there) = (world.shard_of("leader-1", 0), world.shard_of("leader-1", 1));
    let (a, b) = (object(here, 1), object(there, 1));
    assert_eq!(node.count(list(a, LIKES)).await, 0);
    node.stores[0].store.fail_next_commit(CommitFault::UncertainCommitted);
    assert_code(node.write(add(a, LIKES, b, 1)).await, ErrorCode::OutcomeUnknown);
    // Nobody tries again: without the drain that follows a stranger's seq the edge would stay half for ever.
    until("the other side", async || node.count(list(b, LIKED_BY)).await == 1).await;
    until("an empty outbox", async || node.stores[0].outbox(here, None, 1).await.unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn h27_an_outbox_row_of_a_dead_leader_is_drained_by_one_that_served_the_shard_before() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let (here, there) = (world.shard_of("leader-1", 0), world.shard_of("leader-1", 1));
    let (a, b) = (object(here, 1), object(there, 1));
    assert_eq!(one.count(list(a, LIKES)).await, 0);
    world.databases[1].set_read_only(true);
    let short = Instant::now() + Duration::from_secs(1);
    let answer = two.handle.write(request(add(a, LIKES, b, 1)), short).await.unwrap();
    assert!(answer.reply.inverse_pending);
    two.handle.kill().await;
    world.databases[1].set_read_only(false);
    until("the other side", async || one.count(list(b, LIKED_BY)).await == 1).await;
    until("an empty outbox", async || one.stores[0].outbox(here, None, 1).await.unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_came_back_elsewhere_gets_its_inverses_there() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let (a, there) = (object(world.shard_of("leader-1", 0), 1), world.shard_of("leader-2", 1));
    one.write(add(a, LIKES, object(there, 1), 1)).await.unwrap();
    two.handle.kill().await;
    let two = world.start("leader-2").await;
    assert_eq!(two.count(list(object(there, 2), LIKED_BY)).await, 0);
    one.write(add(a, LIKES, object(there, 2), 1)).await.unwrap();
    // Through the new one's lane, so that its cache knows at once; not around it.
    assert_eq!(two.count(list(object(there, 2), LIKED_BY)).await, 1);
    assert_eq!(one.handle.metrics().inverse_retries.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_what_changed_nothing_does_not_claim_the_other_side() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let (here, there) = (world.shard_of("leader-1", 0), world.shard_of("leader-1", 1));
    let (a, b) = (object(here, 1), object(there, 1));
    node.write(add(a, LIKES, b, 1)).await.unwrap();
    world.databases[1].set_read_only(true);
    let edge = EdgeKey { id1: a, atype: LIKES, id2: b };
    let delete = || request(WriteOp::AssocDelete { edge, expected: None });
    // With something that moves the log, so that the second deletion is remembered.
    let mut second = delete();
    second.ops.push(add(a, FOLLOWS, b, 1));
    for request in [delete(), second.clone()] {
        let short = Instant::now() + Duration::from_millis(200);
        assert!(node.handle.write(request, short).await.unwrap().reply.inverse_pending);
    }
    let replay = node.send(WriteRequest { age: Duration::from_millis(400), ..second }).await.unwrap();
    assert!(replay.reply.replayed && replay.reply.inverse_pending);
}

#[tokio::test(start_paused = true)]
async fn h33_old_request_rows_are_removed() {
    let mut world = World::new().await;
    let clock = Arc::new(AtomicUsize::new(1 << 40));
    let told = Arc::clone(&clock);
    let now = move || tao_shard_store::apply::UnixMillis(told.load(Ordering::SeqCst) as u64);
    let options = MemoryOptions { clock: Arc::new(now), ..MemoryOptions::default() };
    world.databases[0] = MemoryDatabase::new(options);
    let store = MemoryStore::open(&world.databases[0]);
    store.create_shards(&[0, 2, 4, 6].map(ShardId), Epoch(1)).await.unwrap();
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    node.write(add(object(shard, 1), FOLLOWS, object(shard, 2), 1)).await.unwrap();
    let rows = async || {
        MemoryStore::open(&world.databases[0]).purge(shard, Seq(u64::MAX), Duration::ZERO).await.unwrap()
    };
    // Seed 44462 of the simulation: a server's wall clock that is set forward makes nothing old.
    clock.fetch_add(3_600_000, Ordering::SeqCst);
    tokio::time::sleep(world.options.purge_every * 2).await;
    assert_eq!(rows().await, 1, "it is young");
    node.write(add(object(shard, 1), FOLLOWS, object(shard, 3), 1)).await.unwrap();
    tokio::time::sleep(world.options.purge_every * 6).await;
    node.write(add(object(shard, 1), FOLLOWS, object(shard, 4), 1)).await.unwrap();
    tokio::time::sleep(world.options.purge_every * 2).await;
    assert_eq!(rows().await, 1, "the old one is gone, what is new stays");
}
