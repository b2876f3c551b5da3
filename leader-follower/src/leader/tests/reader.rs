use tao_schema::ErrorCode;
use tao_schema::ids::ObjectType;
use tao_shard_store::store::Row;
use tokio::task::JoinSet;

use super::*;

#[tokio::test(start_paused = true)]
async fn keys_that_fail_leave_their_neighbours_their_own_rows() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let thing =
            WriteOp::ObjectAdd { id: None, shard, otype: ObjectType(1), fields: EncodedFields::new() };
        ids.extend(node.write(thing).await.unwrap().reply.outcomes[0].id);
    }
    let store: SharedStore = Arc::new(MemoryStore::open(&world.databases[0]));
    let mut tasks = JoinSet::new();
    let reader = Reader::start(&store, ReaderOptions::default(), &Arc::default(), &mut tasks);
    // A shard of the other database has no row here: three keys fail in front of the others, in one call.
    let elsewhere = ShardId(shard.0 ^ 1);
    let failing = (1..4).map(|local| ReadKey::Object(object(elsewhere, local))).collect();
    let read = |at: usize| reader.read(ReadKey::Object(ids[at]), soon());
    let (failed, first, second, third) =
        tokio::join!(reader.read_all(elsewhere, failing, soon()), read(0), read(1), read(2));
    assert_code(failed, ErrorCode::NoSuchShard);
    for (at, snapshot) in [first, second, third].into_iter().enumerate() {
        let Row::Object(Some(row)) = snapshot.unwrap().row else { panic!("object {at} exists") };
        assert_eq!(row.version.0, at as u64 + 1, "each of its own write");
    }
}

/// Two calls begin at once; what comes behind them waits for company, for a call to end, or for its patience to end.
#[tokio::test(start_paused = true)]
async fn keys_behind_two_calls_gather() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let gate = Arc::clone(&node.stores[0]);
    let store: SharedStore = Arc::<Gate>::clone(&gate);
    let options = ReaderOptions { gather: 4, ..ReaderOptions::default() };
    let metrics = Arc::<LeaderMetrics>::default();
    let mut tasks = JoinSet::new();
    let reader = Reader::start(&store, options, &metrics, &mut tasks);
    let before = gate.keys_read.load(Ordering::SeqCst);
    let asked = || gate.keys_read.load(Ordering::SeqCst) - before;
    let mut reads = JoinSet::new();
    let mut read = |local: u64| {
        let (reader, key) = (reader.clone(), ReadKey::Object(object(shard, local)));
        reads.spawn(async move { reader.read(key, soon()).await.unwrap() });
    };
    // Longer than it takes every task to run, much shorter than the patience.
    let moment = || tokio::time::sleep(Duration::from_micros(1));

    let closed = gate.open.acquire_many(1_000).await.unwrap();
    for (local, reached) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
        read(local);
        moment().await;
        assert_eq!(asked(), reached, "after {local}");
    }
    tokio::time::sleep(options.patience).await;
    assert_eq!(asked(), 4, "the patience of two has ended");
    (5..16).for_each(&mut read);
    moment().await;
    assert_eq!(asked(), 4, "eleven are too few behind three calls");
    read(16);
    moment().await;
    assert_eq!(asked(), 16, "twelve are enough");
    (17..20).for_each(&mut read);
    moment().await;
    assert_eq!(asked(), 16);
    drop(closed);
    while reads.join_next().await.is_some() {}
    assert_eq!(asked(), 19);
}
