//! The lossless mode over a link that breaks: what waits for an acknowledgement must not wait for ever (R5).

use std::time::{Duration, Instant};

use tao_schema::ids::{Epoch, ObjectId, ObjectType, ShardId};
use tao_schema::topology::ReplicationMode;
use tao_server::wan::{WanLink, WanOptions};
use tao_shard_store::ShardStore as _;
use tao_shard_store::fleet::{self, Fleet, FleetOptions};
use tao_shard_store::log::{Beat, BeatWriter, ServerLog as _};
use tao_shard_store::mysql::{MySqlStore, Options};
use tao_shard_store::replication::SourceAddress;
use tao_shard_store::write::{Batch, StoreOp, WriteUnit};

const SHARD: ShardId = ShardId(0);

fn add(key: u64) -> Batch {
    let id = ObjectId::new(SHARD, key);
    let op = StoreOp::ObjectAdd { id: Some(id), otype: ObjectType(1), fields: Default::default() };
    Batch { units: vec![WriteUnit { shard: SHARD, epoch: Epoch(1), request: None, ops: vec![op] }] }
}

/// What a leader's second heartbeat row is for: on both servers an acknowledgement that was lost is not repeated when the
/// replica comes back, and a later commit's acknowledgement stands for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_commit_frees_one_whose_acknowledgement_was_lost() {
    for binary in fleet::test_servers().unwrap() {
        let options = FleetOptions {
            replicas: 1,
            mode: ReplicationMode::Lossless,
            ..FleetOptions::new(binary.clone(), 1)
        };
        let fleet = Fleet::start(options).await.unwrap();
        fleet.replicate(&[0], &|_, _| None).await.unwrap();
        let primary = fleet.server(0, 0).unwrap().clone();
        let store = MySqlStore::open(&primary.dsn().expose(), Options::default()).await.unwrap();
        store.create_shards(&[SHARD], Epoch(1)).await.unwrap();

        // The replica has the commit after one latency, the primary would know of it after two.
        let latency = Duration::from_millis(500);
        let address = ([127, 0, 0, 1], primary.port()).into();
        let link = WanLink::open(address, WanOptions::with_latency(latency)).await.unwrap();
        fleet.follow(1, 0, Some(link.address())).await.unwrap();
        store.commit(add(1)).await.unwrap();
        let began = Instant::now();
        let commit = tokio::spawn({
            let store = store.clone();
            async move { store.commit(add(2)).await }
        });
        tokio::time::sleep(latency * 3 / 2).await;
        drop(link);
        assert!(!commit.is_finished(), "{binary}: acknowledged after {:?}", began.elapsed());
        // It connects again by itself, as after any break. (`follow` would compare first: MySQL does not count what waits.)
        let replica = fleet.admin(1).unwrap();
        replica.replicate_from(&SourceAddress::of(&primary.dsn().expose()).unwrap()).await.unwrap();
        replica.wait_connected(Duration::from_secs(20)).await.unwrap();
        tokio::time::sleep(latency).await;
        println!("{binary}: the replica is back, acknowledged without help: {}", commit.is_finished());

        let beaten = Instant::now();
        store.beat(Beat { writer: BeatWriter(7), nonce: 1 }).await.unwrap();
        let done = commit.await.unwrap().unwrap();
        println!("{binary}: acknowledged {:?} after the heartbeat", beaten.elapsed());
        assert!(beaten.elapsed() < Duration::from_secs(2), "{binary}: {:?}", beaten.elapsed());
        assert_eq!(done.changes[0].shard, SHARD, "it was committed, and once: {:?}", done.units);
    }
}
