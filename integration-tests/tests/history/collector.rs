//! The collector on memory servers, across a promotion that loses something.

use std::sync::Arc;
use std::time::Duration;

use integration_tests::history::truth::{Collector, CollectorOptions};
use integration_tests::history::{Invariant, Rules, RunClock, judge_tables, read_tables};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Epoch, ObjectId, Seq};
use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore, ReplicationOptions};
use tao_shard_store::store::ShardStore as _;
use tao_shard_store::write::{Batch, StoreOp, UnitResult, WriteUnit};

use super::world::*;

async fn put(store: &MemoryStore, epoch: u32, id: ObjectId, value: i64) {
    let op = StoreOp::ObjectAdd { id: Some(id), otype: USER, fields: number(value) };
    let unit = WriteUnit { shard: id.shard(), epoch: Epoch(epoch), request: None, ops: vec![op] };
    let result = store.commit(Batch { units: vec![unit] }).await.unwrap();
    assert!(matches!(result.units[..], [UnitResult::Done(_)]), "{result:?}");
}

#[tokio::test]
async fn every_server_tells_and_what_a_promotion_lost_is_kept_apart() {
    let database =
        |name: &str| MemoryDatabase::new(MemoryOptions { server: name.into(), ..MemoryOptions::default() });
    let (old, new) = (database("old"), database("new"));
    new.replicate(&old, ReplicationOptions::default()).unwrap();
    let (old_store, new_store) = (Arc::new(MemoryStore::open(&old)), Arc::new(MemoryStore::open(&new)));
    old_store.create_shards(&[S1], Epoch(1)).await.unwrap();
    // Something is there before the run.
    put(&old_store, 1, user(S1, 1), 10).await;
    new.wait_executed(&tao_shard_store::log::ServerLog::executed(&*old_store).await.unwrap()).await;

    let mut collector = Collector::new(RunClock::start(), CollectorOptions::default());
    collector.follow("old", old_store.clone()).await.unwrap();
    collector.follow("new", new_store.clone()).await.unwrap();
    put(&old_store, 1, user(S1, 2), 20).await;
    new.wait_executed(&tao_shard_store::log::ServerLog::executed(&*old_store).await.unwrap()).await;
    new.stop_replication();
    put(&old_store, 1, user(S1, 3), 30).await;
    new.forget_source();
    new.open_epochs(&[(S1, Epoch(1), Epoch(2))]).await.unwrap();
    new.promote();
    put(&new_store, 2, user(S1, 4), 40).await;

    let collected = collector.finish(Duration::from_secs(30)).await.unwrap();
    assert!(collected.unreachable.is_empty() && collected.troubled.is_empty(), "{collected:?}");
    let truth = collected.truth;
    assert!(truth.conflicts().is_empty());
    let lost: Vec<_> = truth.lost().map(|(position, _)| position).collect();
    assert_eq!(lost, [at(S1, 1, 3)]);
    let log = truth.shard(S1).unwrap();
    assert_eq!((log.base(), log.end()), ((Epoch(1), Seq(1)), (Epoch(2), Seq(3))));

    let rules = Rules { lossless: false, ..Rules::strict(Arc::new(GraphSchema::demo())) };
    let tables = read_tables(&*new_store, [S1]).await.unwrap();
    let found = judge_tables(&truth, &tables, &rules, |_, _| false);
    assert!(found.is_clean(), "{:#?}", found.violations);
    // One shard row, and four objects: the seeded one, those of both epochs, and that the lost one is not there.
    assert_eq!(found.checked[&Invariant::I1], 5);
    // The old server is not the new one.
    let tables = read_tables(&*old_store, [S1]).await.unwrap();
    refused(&judge_tables(&truth, &tables, &rules, |_, _| false), Invariant::I1);
}
