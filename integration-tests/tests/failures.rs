//! Processes die in the middle of work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use integration_tests::{Region, RegionOptions, run_tao};
use tao_client::{Client, ErrorCode};
use tao_schema::ids::{ObjectId, ObjectType};
use tao_schema::ops::Source;
use tao_shard_store::fleet::{self, ServerBinary};

const SHARDS: u32 = 16;

fn user(number: u32) -> ObjectId {
    ObjectId::named(ObjectType(1), number, SHARDS)
}

/// Adds friendships `(caller, n)` until told to stop; every one acknowledged is remembered.
async fn befriend(
    client: Client,
    caller: u32,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    unknown: Arc<AtomicU64>,
) -> Vec<(u32, u32)> {
    let mut acknowledged = Vec::new();
    for other in 1_000.. {
        if stop.load(Ordering::Relaxed) {
            return acknowledged;
        }
        let call = client.assoc_add(user(caller), "friend", user(other)).time(other);
        match call.timeout(Duration::from_secs(20)).send().await {
            Ok(_) => {
                acknowledged.push((caller, other));
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.code == ErrorCode::OutcomeUnknown => {
                unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
    acknowledged
}

/// Waits until so much more was done that every caller is in the middle of it; as quick as the machine is.
async fn more(done: &AtomicU64) {
    let start = done.load(Ordering::Relaxed);
    let enough = async {
        while done.load(Ordering::Relaxed) < start + 60 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), enough).await.expect("writes go on");
}

/// kill -9 of one leader under load, then of the other, with a restart between: nothing acknowledged is lost, no half
/// friendship stays, and every cache agrees with the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_loses_nothing() {
    for binary in fleet::test_servers().unwrap() {
        println!("{} {}", binary.flavour(), binary.version());
        leaders_die(binary).await;
    }
}

async fn leaders_die(binary: ServerBinary) {
    let options = RegionOptions { db_servers: 2, leaders: 2, followers: 2, shards: SHARDS };
    let mut region = Region::start(binary, &options).await.unwrap();
    let client = region.client().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (done, unknown) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let (stop, done, unknown) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&unknown));
            tokio::spawn(befriend(client.clone(), caller, stop, done, unknown))
        })
        .collect();
    for name in ["leader-1", "leader-2"] {
        more(&done).await;
        region.kill_node(name).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        region.start_node(name).unwrap();
    }
    more(&done).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.extend(caller.await.unwrap());
    }
    println!("{} acknowledged, {} unknown", acknowledged.len(), unknown.load(Ordering::Relaxed));
    for (caller, other) in acknowledged {
        for (from, to) in [(caller, other), (other, caller)] {
            let found = client.assoc_get(user(from), "friend", [user(to)]).send().await.unwrap();
            assert_eq!(found.len(), 1, "friendship {from} to {to} was acknowledged");
        }
    }
    let (code, check, talk) = run_tao(&region.topology_file, &["check", "--deep"]).unwrap();
    assert_eq!((code, &check["difference_count"]), (0, &0.into()), "{check} {talk}");
}

/// A database that dies is "unavailable", not a hang and not a lie; when it is back, so is the service.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_comes_back() {
    for binary in fleet::test_servers().unwrap() {
        println!("{} {}", binary.flavour(), binary.version());
        database_dies(binary).await;
    }
}

async fn database_dies(binary: ServerBinary) {
    let options = RegionOptions { db_servers: 1, leaders: 1, followers: 1, shards: SHARDS };
    let mut region = Region::start(binary, &options).await.unwrap();
    let client = region.client().await.unwrap();
    client.object_add("user").id(user(1)).set("name", "Ann").send().await.unwrap();
    // From the follower's memory: what the first read brings is kept once the shard's stream is open.
    let in_memory = async {
        loop {
            let read = client.object_get(user(1)).send_explained().await.unwrap();
            assert!(read.value.is_some());
            if read.explain.unwrap().source == Source::FollowerCache {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), in_memory).await.expect("the object comes into memory");
    region.fleet.kill(0).await.unwrap();
    let refused =
        client.object_add("user").id(user(2)).timeout(Duration::from_secs(2)).send().await.unwrap_err();
    assert!(refused.retryable(), "{refused}");
    // What is cached is still right: nobody else could have written.
    assert!(client.object_get(user(1)).send().await.unwrap().is_some());
    region.fleet.restart(0).await.unwrap();
    let mut last = None;
    for _ in 0..50 {
        match client.object_add("user").id(user(3)).send().await {
            Ok(_) => {
                last = None;
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    assert_eq!(last, None);
    assert_eq!(region.nodes.get_mut("leader-1").unwrap().terminate(Duration::from_secs(15)).unwrap(), 0);
}
