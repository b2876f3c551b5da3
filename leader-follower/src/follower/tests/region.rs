//! Two followers, two leaders and the memory engine: a whole region in one thread, with the clock paused.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_schema::edges::Edge;
use tao_schema::ids::{AssocType, EdgeKey, ListKey, RequestId, Time};
use tao_schema::ops::{Demand, WriteOp, WriteReply};
use tao_schema::session::Session;
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore};
use tao_shard_store::store::{ReadKey, Row, SharedStore};

use super::*;
use crate::clock::RuntimeClock;
use crate::core::Body;
use crate::leader::{Leader as LeaderNode, LeaderContext, LeaderHandle, LeaderOptions};
use crate::ports::RemoteDatabases;

const FRIEND: AssocType = AssocType(1);
const USERS: u64 = 12;

/// Leaders that come to be known after those who need them.
#[derive(Default)]
struct LatePeers(RwLock<HashMap<String, Arc<dyn LeaderPeer>>>);

impl LeaderPeers for LatePeers {
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>> {
        self.0.read().get(name).cloned()
    }
}

/// No server elsewhere can be reached.
struct Nowhere;

impl RemoteDatabases for Nowhere {
    fn server(&self, _group: HostGroupId, _region: &str) -> Option<SharedDatabase> {
        None
    }
}

struct Region {
    followers: Vec<FollowerHandle>,
    leaders: Vec<LeaderHandle>,
    store: SharedStore,
}

async fn region() -> Region {
    let cluster: ClusterView = Arc::new(ArcSwap::from_pointee(Cluster::new(Arc::new(topology(1)))));
    let database = MemoryDatabase::new(MemoryOptions::default());
    let store: SharedStore = Arc::new(MemoryStore::open(&database));
    let shards: Vec<ShardId> = cluster.load().placement.shards().collect();
    store.create_shards(&shards, Epoch(1)).await.unwrap();
    let (schema, peers) = (Arc::new(GraphSchema::demo()), Arc::new(LatePeers::default()));
    let start_leader = |name: &str| {
        let store: SharedDatabase = Arc::new(MemoryStore::open(&database));
        let context = LeaderContext {
            node: name.to_owned(),
            schema: Arc::clone(&schema),
            cluster: Arc::clone(&cluster),
            databases: HashMap::from([(HostGroupId(1), store)]),
            remote: Arc::new(Nowhere),
            clock: Arc::new(RuntimeClock::start()),
            peers: Arc::clone(&peers) as _,
            stale_topology: Arc::default(),
            newer_topology: Arc::default(),
        };
        let handle = LeaderNode::start(LeaderOptions::default(), context, &mut Registry::default());
        peers.0.write().insert(name.to_owned(), Arc::new(handle.clone()));
        handle
    };
    let leaders = ["leader-1", "leader-2"].map(start_leader).to_vec();
    let start_follower = |name: &str| {
        let context = FollowerContext {
            node: name.to_owned(),
            schema: Arc::clone(&schema),
            cluster: Arc::clone(&cluster),
            region: 0,
            peers: Arc::clone(&peers) as _,
            stale_topology: Arc::default(),
            clock: Arc::new(RuntimeClock::start()),
            metrics: Arc::default(),
        };
        Follower::start(FollowerOptions::default(), context).unwrap()
    };
    let followers = ["follower-1", "follower-2"].map(start_follower).to_vec();
    Region { followers, leaders, store }
}

fn user(n: u64) -> ObjectId {
    ObjectId::new(ShardId((n % 5) as u16), 1_000 + n)
}

fn friends(n: u64) -> ListKey {
    ListKey { id1: user(n), atype: FRIEND }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn read_edges(follower: &FollowerHandle, n: u64, session: Option<&Session>) -> Vec<(ObjectId, Time)> {
    let op = ReadOp::AssocRange { list: friends(n), pos: 0, limit: 100 };
    let at_least = session.and_then(|session| session.at_least(op.shard()));
    let request = ReadRequest { demand: Demand { at_least, ..Demand::local() }, ..ReadRequest::local(op) };
    let reply = match follower.try_read(&request) {
        Some(answered) => answered.unwrap(),
        None => follower.read(request, soon()).await.unwrap(),
    };
    let Answer::Edges { edges, .. } = reply.answer else { panic!("not edges") };
    edges.to_vec().into_iter().map(|Edge { id2, time, .. }| (id2, time)).collect()
}

/// What a friend list must be: newest first, then by the greater id.
fn expected(model: &BTreeMap<(u64, u64), Time>, n: u64) -> Vec<(ObjectId, Time)> {
    let of = model.iter().filter(|((from, _), _)| *from == n);
    let mut edges: Vec<_> = of.map(|((_, to), time)| (user(*to), *time)).collect();
    edges.sort_by_key(|(id2, time)| std::cmp::Reverse((*time, *id2)));
    edges
}

async fn write_one(
    region: &Region,
    random: &mut StdRng,
    model: &mut BTreeMap<(u64, u64), Time>,
) -> WriteReply {
    let (a, b) = (random.random_range(0..USERS), random.random_range(0..USERS));
    let edge = EdgeKey { id1: user(a), atype: FRIEND, id2: user(b) };
    let time = Time(random.random_range(1..50));
    let op = if random.random_bool(0.7) {
        model.insert((a, b), time);
        model.insert((b, a), time);
        WriteOp::AssocAdd { edge, time, fields: Fields::new().encode(), create_only: false, expected: None }
    } else {
        model.remove(&(a, b));
        model.remove(&(b, a));
        WriteOp::AssocDelete { edge, expected: None }
    };
    let request =
        WriteRequest { id: RequestId(random.random()), age: Duration::ZERO, ops: vec![op], forwarded: false };
    let writer = &region.followers[random.random_range(0..2)];
    let reply = writer.write(request, soon()).await.unwrap();
    assert!(!reply.inverse_pending, "nobody is in the way");
    // R15, R18a: on the node that wrote, without a token, at both ends.
    for end in [a, b] {
        assert_eq!(read_edges(writer, end, None).await, expected(model, end), "the writer's own node");
    }
    reply
}

#[tokio::test(start_paused = true)]
async fn followers_show_what_was_written_through_a_change_of_leader_too() {
    let seed = 20_131_126;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let region = region().await;
    let (mut model, mut session) = (BTreeMap::new(), Session::new());
    for step in 0..400 {
        if step == 200 {
            region.leaders[0].kill().await;
        }
        session.extend(write_one(&region, &mut random, &mut model).await.positions);
        let n = random.random_range(0..USERS);
        for follower in &region.followers {
            let seen = read_edges(follower, n, Some(&session)).await;
            assert_eq!(seen, expected(&model, n), "with the session's token, at {}", follower.node());
        }
        if random.random_bool(0.2) {
            tokio::time::sleep(Duration::from_millis(random.random_range(1..900))).await;
        }
    }
    // The streams bring the rest; then every entry that is served is what the database holds.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut compared = 0;
    for follower in &region.followers {
        for cached in (0..16).flat_map(|shard| follower.dump(ShardId(shard))) {
            let Key::List(key) = cached.key else { panic!("only lists were read") };
            let rows = region.store.read(&[ReadKey::List { key, edges: 100 }]).await.unwrap();
            let snapshot = rows[0].as_ref().unwrap();
            let (Row::List(stored), Body::List(held)) = (&snapshot.row, cached.entry.body()) else {
                panic!("not lists")
            };
            assert_eq!((stored.count, stored.version), (held.count, held.version), "{key:?}");
            assert_eq!(stored.edges.to_vec(), held.edges.to_vec(), "{key:?}");
            assert_eq!(snapshot.position, cached.position, "the stream has brought everything");
            compared += 1;
        }
    }
    assert!(compared >= USERS, "only {compared} entries were in memory");
    for follower in &region.followers {
        assert!(follower.shutdown().await);
    }
    region.leaders[1].shutdown().await;
}
