use tao_schema::ErrorCode;
use tao_schema::ops::Effect;

use super::*;

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_pair_are_acknowledged() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let here = world.shard_of("leader-1", 0);
    // On the same server: one transaction. On another server, and at another leader: through the outbox.
    let others =
        [world.shard_of("leader-1", 1), world.shard_of("leader-2", 0), world.shard_of("leader-2", 1)];
    for (at, other) in others.into_iter().enumerate() {
        let (a, b) = (object(here, 1 + at as u64), object(other, 2));
        let answer = one.write(add(a, LIKES, b, 1)).await.unwrap();
        let shards: Vec<ShardId> = answer.reply.positions.iter().map(|position| position.shard).collect();
        assert_eq!((shards, answer.reply.inverse_pending), (vec![here, other], false));
        assert_eq!(answer.changes.len(), 2, "the changes of both sides come back (R18a)");
        let token = answer.reply.positions[1];
        let reader = if at == 0 { &one } else { &two };
        let back = reader.read(ReadOp::AssocCount(list(b, LIKED_BY)), Some(token)).await.unwrap();
        assert_eq!(back.answer, Answer::Count { count: 1, version: token.seq });
    }
    until("empty outboxes", async || {
        one.stores[0].outbox(here, None, 10).await.unwrap().is_empty()
            && one.handle.metrics().outbox_pairs.get() == 0
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn writers_from_both_ends_are_ordered_by_one_side() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let (a, b) = (object(world.shard_of("leader-1", 0), 1), object(world.shard_of("leader-2", 1), 1));
    let edge = |id1, atype, id2| EdgeKey { id1, atype, id2 };
    let added = two.write(add(b, LIKED_BY, a, 7)).await.unwrap();
    assert_eq!(added.reply.outcomes[0].effect, Effect::Created);
    assert_eq!(added.reply.positions[0].shard, a.shard(), "the forward side orders");
    let delete = WriteOp::AssocDelete { edge: edge(a, LIKES, b), expected: None };
    assert_eq!(one.write(delete).await.unwrap().reply.outcomes[0].effect, Effect::Deleted);
    let befriend = |id1, id2| add(id1, FRIEND, id2, 3);
    let (x, y) = tokio::join!(one.write(befriend(a, b)), two.write(befriend(b, a)));
    assert!(!x.unwrap().reply.inverse_pending && !y.unwrap().reply.inverse_pending);
    tokio::time::sleep(world.options.upkeep_every * 3).await;
    for node in [&one, &two] {
        assert_eq!(node.count(list(b, LIKED_BY)).await, 0);
        assert_eq!((node.count(list(a, FRIEND)).await, node.count(list(b, FRIEND)).await), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_between_the_sides_leaves_no_half_edge() {
    let world = World::new().await;
    let first = world.start("leader-1").await;
    let (here, there) = (world.shard_of("leader-1", 0), world.shard_of("leader-1", 1));
    let (a, b) = (object(here, 1), object(there, 1));
    world.databases[1].set_read_only(true);
    let patient = Instant::now() + Duration::from_secs(1);
    let answer = first.handle.write(request(add(a, LIKES, b, 1)), patient).await.unwrap();
    assert!(answer.reply.inverse_pending && Instant::now() < patient);
    assert!(answer.reply.positions.iter().all(|position| position.shard == here));
    first.handle.kill().await;
    world.databases[1].set_read_only(false);
    let next = world.start("leader-1").await;
    // Nobody asks for the pair: the new leader drains because it serves the shard.
    until("the outbox is drained", async || next.stores[0].outbox(here, None, 1).await.unwrap().is_empty())
        .await;
    assert_eq!(next.count(list(b, LIKED_BY)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_is_passed_over_for_the_next_on_the_ring() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let (a, b) = (object(world.shard_of("leader-1", 0), 1), object(world.shard_of("leader-2", 1), 1));
    two.handle.kill().await;
    let answer = one.write(add(a, LIKES, b, 1)).await.unwrap();
    assert!(!answer.reply.inverse_pending);
    assert_eq!(one.count(list(b, LIKED_BY)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn too_many_pairs_on_their_way_refuse_new_ones_before_they_are_written() {
    let mut world = World::new().await;
    world.options.inverse.depth_per_shard = 1;
    let node = world.start("leader-1").await;
    let (here, there) = (world.shard_of("leader-1", 0), world.shard_of("leader-1", 1));
    let (a, b) = (object(here, 1), object(there, 1));
    world.databases[1].set_read_only(true);
    let patient = Instant::now() + Duration::from_millis(200);
    let answer = node.handle.write(request(add(a, LIKES, b, 1)), patient).await.unwrap();
    assert!(answer.reply.inverse_pending);
    assert_code(node.write(add(a, LIKES, object(there, 2), 1)).await, ErrorCode::Overloaded);
    node.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    assert_eq!(node.count(list(a, LIKES)).await, 1, "what was refused left no trace");
    world.databases[1].set_read_only(false);
    until("room again", async || node.write(add(a, LIKES, object(there, 2), 1)).await.is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_pair_holds_up_no_other() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let (here, there) = (world.shard_of("leader-1", 0), world.shard_of("leader-2", 1));
    let (a, bad) = (object(here, 1), object(there, 66));
    let poisoned = EdgeKey { id1: bad, atype: LIKED_BY, id2: a };
    two.stores[1].store.set_poison(move |unit| {
        let applies = |op: &tao_shard_store::write::StoreOp| {
            matches!(op, tao_shard_store::write::StoreOp::InverseApply { edge, .. } if *edge == poisoned)
        };
        unit.ops.iter().any(applies)
    });
    // The other leader would take the pair to its own lane: it must meet the poison there, too.
    one.stores[1].store.set_poison(move |unit| unit.shard == there);
    // All are committed at once, so that the bad one shares its first call with others.
    let hold = world.databases[0].hold_commits();
    let short = Instant::now() + Duration::from_secs(1);
    let write = |id2: ObjectId| one.handle.write(request(add(a, LIKES, id2, 1)), short);
    let ids = std::iter::once(bad).chain((1..20).map(|id2| object(there, id2)));
    let release = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(hold);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(ids.map(write)), release);
    assert!(answers[0].as_ref().unwrap().reply.inverse_pending);
    until("all but one", async || two.stores[0].outbox(here, None, 100).await.unwrap().len() == 1).await;
    for id2 in 1..20 {
        assert_eq!(two.count(list(object(there, id2), LIKED_BY)).await, 1);
    }
}
