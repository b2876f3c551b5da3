use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::ops::{Effect, Source};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_write_is_read_back_from_memory_at_its_position() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    assert_eq!(node.count(list(a, FOLLOWS)).await, 0);
    let answer = node.write(add(a, FOLLOWS, b, 5)).await.unwrap();
    assert_eq!(answer.reply.outcomes[0].effect, Effect::Created);
    assert_eq!(answer.changes.len(), 1);
    let read =
        node.read(ReadOp::AssocCount(list(a, FOLLOWS)), Some(answer.reply.positions[0])).await.unwrap();
    assert_eq!(read.position, answer.reply.positions[0]);
    assert_eq!(read.answer, Answer::Count { count: 1, version: Seq(1) });
    assert_eq!(read.explain.unwrap().source, Source::LeaderCache, "the commit went into the cached list");
}

#[tokio::test(start_paused = true)]
async fn an_answer_carries_whole_items_and_only_its_own() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b, c) = (object(shard, 1), object(shard, 2), object(shard, 3));
    node.write(add(c, FOLLOWS, a, 1)).await.unwrap();
    let hold = world.databases[0].hold_commits();
    let first = node.write(add(c, FOLLOWS, b, 1));
    let together = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let writes = tokio::join!(
            node.write(add(a, FOLLOWS, b, 1)),
            node.write(add(a, FOLLOWS, c, 2)),
            node.write(add(b, FOLLOWS, c, 3)),
            async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(hold);
            }
        );
        (writes.0.unwrap(), writes.1.unwrap(), writes.2.unwrap())
    };
    let (_, (ab, ac, bc)) = tokio::join!(first, together);
    assert_eq!(ab.reply.positions, ac.reply.positions, "one transaction");
    assert_eq!(ab.changes, ac.changes, "both edges of the list, or half would pass for all (R18a)");
    let items = |answer: &WriteAnswer| answer.changes.iter().map(|change| change.items.len()).sum::<usize>();
    assert_eq!((items(&ab), items(&bc)), (1, 1), "others' items are left out");
}

#[tokio::test(start_paused = true)]
async fn one_request_has_one_effect_across_leaders_and_at_once() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let shard = world.shard_of("leader-1", 0);
    let thing = WriteOp::ObjectAdd {
        id: None,
        shard,
        otype: tao_schema::ids::ObjectType(1),
        fields: EncodedFields::new(),
    };
    let request = request(thing);
    let (first, attached) = tokio::join!(one.send(request.clone()), one.send(request.clone()));
    let (first, attached) = (first.unwrap(), attached.unwrap());
    assert!(!first.reply.replayed && attached.reply.replayed && attached.changes.is_empty());
    let retry = WriteRequest { age: Duration::from_millis(500), ..request };
    let again = two.send(retry).await.unwrap();
    assert!(again.reply.replayed && again.changes.is_empty());
    assert_eq!(again.reply.outcomes, first.reply.outcomes, "the same object id (H6)");
    assert_eq!(again.reply.positions, first.reply.positions);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_caller_goes_away_is_done_all_the_same() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let (a, b) = (object(world.shard_of("leader-1", 0), 1), object(world.shard_of("leader-1", 1), 1));
    assert_eq!(node.count(list(a, LIKES)).await, 0);
    let hold = world.databases[0].hold_commits();
    let given_up = tokio::time::timeout(Duration::from_millis(5), node.write(add(a, LIKES, b, 1))).await;
    assert!(given_up.is_err());
    drop(hold);
    until("both sides", async || {
        node.count(list(a, LIKES)).await == 1 && node.count(list(b, LIKED_BY)).await == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_schema_or_the_cluster_is_refused() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let a = object(world.shard_of("leader-1", 0), 1);
    assert_code(node.write(add(a, AssocType(99), a, 1)).await, ErrorCode::InvalidArgument);
    let nowhere = object(ShardId(800), 1);
    assert_code(node.write(add(nowhere, FOLLOWS, a, 1)).await, ErrorCode::NoSuchShard);
    assert_code(node.read(ReadOp::ObjectGet(nowhere), None).await, ErrorCode::NoSuchShard);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_leader_refuses_and_has_answered_what_it_took() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let a = object(world.shard_of("leader-1", 0), 1);
    node.count(list(a, FOLLOWS)).await;
    let hold = world.databases[0].hold_commits();
    let write = node.write(add(a, FOLLOWS, a, 1));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::join!(node.handle.shutdown(), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(hold);
        });
    };
    let (answer, ()) = tokio::join!(write, stop);
    assert_eq!(answer.unwrap().reply.outcomes[0].effect, Effect::Created);
    assert_code(node.write(add(a, FOLLOWS, a, 2)).await, ErrorCode::Unavailable);
}
