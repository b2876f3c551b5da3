//! Leaders on memory databases, called directly.

mod faults;
mod fills;
mod inverses;
mod moves;
mod reader;
mod regions;
mod strangers;
mod streams;
mod writes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tao_schema::fields::EncodedFields;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{
    AssocType, EdgeKey, Epoch, HostGroupId, ListKey, ObjectId, Position, RequestId, Seq, ShardId, Time,
};
use tao_schema::ops::{
    Answer, Demand, FillKey, FillReply, FillRequest, ReadOp, ReadReply, ReadRequest, WriteOp, WriteRequest,
};
use tao_schema::rows::ShardState;
use tao_schema::topology::Topology;
use tao_schema::{Error, Result};
use tao_shard_store::log::{
    Beat, BeatWriter, Finding, LogPosition, LogTail, ServerLog, StoredTopology, Survey, TailError, TailStart,
};
use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore};
use tao_shard_store::store::{PendingInverse, ReadKey, ScanPage, ShardRow, Snapshot, Table};
use tao_shard_store::write::{Batch, BatchResult};
use tao_shard_store::{ShardStore, StoreError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::*;
use crate::clock::RuntimeClock;
use crate::ports::{Cluster, LeaderPeer};

const FOLLOWS: AssocType = AssocType(1);
const FRIEND: AssocType = AssocType(2);
const LIKES: AssocType = AssocType(3);
const LIKED_BY: AssocType = AssocType(4);
/// Queries return at most five of these.
const SHORT: AssocType = AssocType(5);

const SCHEMA: &str = r#"
format = 1
[object.thing]
id = 1
[assoc.follows]
id = 1
[assoc.friend]
id = 2
symmetric = true
[assoc.likes]
id = 3
inverse = "liked_by"
[assoc.liked_by]
id = 4
[assoc.short]
id = 5
query_limit = 5
"#;

/// Even shards are on host group 1, odd ones on 2.
const TOPOLOGY: &str = r#"
version = 1
cluster = "test"
shards = 8
[[regions]]
name = "here"
leaders = { name = "leaders", nodes = [
    { name = "leader-1", address = "127.0.0.1:1" }, { name = "leader-2", address = "127.0.0.1:2" } ] }
[[host_groups]]
id = 1
master = "here"
[[host_groups]]
id = 2
master = "here"
"#;

/// Two databases, and the leaders on them by name.
struct World {
    databases: [MemoryDatabase; 2],
    cluster: ClusterView,
    leaders: Arc<Directory>,
    options: LeaderOptions,
}

#[derive(Default)]
struct Directory(Mutex<HashMap<String, Arc<dyn LeaderPeer>>>);

impl LeaderPeers for Directory {
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>> {
        self.0.lock().get(name).cloned()
    }
}

/// No server elsewhere can be reached.
struct Nowhere;

impl RemoteDatabases for Nowhere {
    fn server(&self, _group: HostGroupId, _region: &str) -> Option<SharedDatabase> {
        None
    }
}

/// A leader with the stores under it.
struct Node {
    handle: LeaderHandle,
    stores: [Arc<Gate>; 2],
}

/// A store that counts reads and can hold them.
struct Gate {
    store: MemoryStore,
    keys_read: AtomicUsize,
    /// Reads take a permit each, and give it back.
    open: Semaphore,
    /// The next heartbeat waits, and all that write its row after it, until a heartbeat of another row comes: as on a
    /// lossless primary whose replica's acknowledgement was lost on the way.
    ack_lost: AtomicBool,
    waiting: Mutex<Option<BeatWriter>>,
    freed: Notify,
}

impl World {
    async fn new() -> Self {
        let databases = [(); 2].map(|()| MemoryDatabase::new(MemoryOptions::default()));
        let topology = Arc::new(Topology::parse(TOPOLOGY, "test.toml").unwrap());
        let world = Self {
            databases,
            cluster: Arc::new(ArcSwap::from_pointee(Cluster::new(topology))),
            leaders: Arc::default(),
            options: LeaderOptions::default(),
        };
        for (group, database) in world.databases.iter().enumerate() {
            let shards: Vec<ShardId> =
                (0..8).filter(|shard| shard % 2 == group as u16).map(ShardId).collect();
            MemoryStore::open(database).create_shards(&shards, Epoch(1)).await.unwrap();
        }
        world
    }

    /// Starts a leader and puts it into the directory, in place of an earlier one of its name.
    async fn start(&self, name: &str) -> Node {
        let gate = |at: usize| {
            let store = MemoryStore::open(&self.databases[at]);
            Arc::new(Gate {
                store,
                keys_read: AtomicUsize::new(0),
                open: Semaphore::new(1_000),
                ack_lost: AtomicBool::new(false),
                waiting: Mutex::default(),
                freed: Notify::new(),
            })
        };
        let stores = [gate(0), gate(1)];
        let shared = |at: usize| (HostGroupId(at as u16 + 1), Arc::clone(&stores[at]) as SharedDatabase);
        let context = LeaderContext {
            node: name.to_owned(),
            schema: Arc::new(GraphSchema::parse(SCHEMA, "test.toml").unwrap()),
            cluster: Arc::clone(&self.cluster),
            databases: HashMap::from([shared(0), shared(1)]),
            remote: Arc::new(Nowhere),
            clock: Arc::new(RuntimeClock::start()),
            peers: Arc::clone(&self.leaders) as _,
            stale_topology: Arc::new(Notify::new()),
            newer_topology: Arc::default(),
        };
        let handle = Leader::start(self.options.clone(), context, &mut Registry::default());
        self.leaders.0.lock().insert(name.to_owned(), Arc::new(handle.clone()));
        let node = Node { handle, stores };
        until("all shards are open", async || node.handle.status().shards.len() == 8).await;
        node
    }

    /// A shard of the host group (0 or 1) that the leader owns.
    fn shard_of(&self, leader: &str, group: u16) -> ShardId {
        let cluster = self.cluster.load();
        let (tier, node) = cluster.topology.node_named(leader).unwrap();
        cluster.placement.owned_by(tier, node).find(|shard| shard.0 % 2 == group).unwrap()
    }
}

impl Node {
    async fn write(&self, op: WriteOp) -> Result<WriteAnswer> {
        self.send(request(op)).await
    }

    async fn send(&self, request: WriteRequest) -> Result<WriteAnswer> {
        self.handle.write(request, soon()).await
    }

    async fn read(&self, op: ReadOp, at_least: Option<Position>) -> Result<ReadReply> {
        self.handle
            .read(
                ReadRequest {
                    demand: Demand { at_least, ..Demand::local() },
                    explain: true,
                    ..ReadRequest::local(op)
                },
                soon(),
            )
            .await
    }

    async fn fill(&self, key: FillKey, at_least: Option<Position>) -> Result<FillReply> {
        self.handle.fill(FillRequest { key, at_least, forwarded: false }, soon()).await
    }

    async fn count(&self, list: ListKey) -> u64 {
        match self.read(ReadOp::AssocCount(list), None).await.unwrap().answer {
            Answer::Count { count, .. } => count,
            other => panic!("a count was asked for, got {other:?}"),
        }
    }

    fn keys_read(&self) -> usize {
        self.stores.iter().map(|store| store.keys_read.load(Ordering::SeqCst)).sum()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Requests have ids of their own, the same in every run.
fn request(op: WriteOp) -> WriteRequest {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let id = RequestId(NEXT.fetch_add(1, Ordering::Relaxed) as u128);
    WriteRequest { id, age: Duration::ZERO, ops: vec![op], forwarded: false }
}

fn object(shard: ShardId, local: u64) -> ObjectId {
    ObjectId::new(shard, local | 1 << 40)
}

fn add(id1: ObjectId, atype: AssocType, id2: ObjectId, time: u32) -> WriteOp {
    let edge = EdgeKey { id1, atype, id2 };
    WriteOp::AssocAdd {
        edge,
        time: Time(time),
        fields: EncodedFields::new(),
        create_only: false,
        expected: None,
    }
}

fn list(id1: ObjectId, atype: AssocType) -> ListKey {
    ListKey { id1, atype }
}

#[async_trait]
impl ShardStore for Gate {
    fn describe(&self) -> String {
        self.store.describe()
    }

    async fn commit(&self, batch: Batch) -> std::result::Result<BatchResult, StoreError> {
        self.store.commit(batch).await
    }

    async fn read(&self, keys: &[ReadKey]) -> std::result::Result<Vec<Result<Snapshot>>, StoreError> {
        self.keys_read.fetch_add(keys.len(), Ordering::SeqCst);
        let _open = self.open.acquire().await;
        self.store.read(keys).await
    }

    async fn shard_rows(&self) -> std::result::Result<Vec<ShardRow>, StoreError> {
        self.store.shard_rows().await
    }

    async fn shard_rows_of(&self, shards: &[ShardId]) -> std::result::Result<Vec<ShardRow>, StoreError> {
        self.store.shard_rows_of(shards).await
    }

    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> std::result::Result<(), StoreError> {
        self.store.create_shards(shards, epoch).await
    }

    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> std::result::Result<bool, StoreError> {
        self.store.change_state(shard, epoch, from, to).await
    }

    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> std::result::Result<Vec<PendingInverse>, StoreError> {
        self.store.outbox(shard, after, limit).await
    }

    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> std::result::Result<ScanPage, StoreError> {
        self.store.scan(shard, table, after, limit).await
    }

    async fn purge(
        &self,
        shard: ShardId,
        requests: Seq,
        tombstones: Duration,
    ) -> std::result::Result<u64, StoreError> {
        self.store.purge(shard, requests, tombstones).await
    }
}

#[async_trait]
impl ServerLog for Gate {
    async fn preflight(&self) -> std::result::Result<Vec<Finding>, StoreError> {
        self.store.preflight().await
    }

    async fn open_tail(&self, start: TailStart) -> std::result::Result<Box<dyn LogTail>, TailError> {
        self.store.open_tail(start).await
    }

    async fn executed(&self) -> std::result::Result<LogPosition, StoreError> {
        self.store.executed().await
    }

    async fn beat(&self, beat: Beat) -> std::result::Result<tao_schema::ids::PrimaryTime, StoreError> {
        let waits = {
            let mut waiting = self.waiting.lock();
            if self.ack_lost.swap(false, Ordering::SeqCst) {
                *waiting = Some(beat.writer);
            }
            if waiting.is_some_and(|writer| writer != beat.writer) {
                *waiting = None;
                self.freed.notify_waiters();
            }
            waiting.is_some().then(|| self.freed.notified())
        };
        if let Some(freed) = waits {
            freed.await;
        }
        self.store.beat(beat).await
    }

    async fn survey(&self, writer: BeatWriter) -> std::result::Result<Survey, StoreError> {
        self.store.survey(writer).await
    }

    async fn stored_topology(&self) -> std::result::Result<Option<StoredTopology>, StoreError> {
        self.store.stored_topology().await
    }

    async fn store_topology(&self, topology: &StoredTopology) -> std::result::Result<bool, StoreError> {
        self.store.store_topology(topology).await
    }
}

/// Waits for something that background work brings, in paused time.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}

fn assert_code<T: std::fmt::Debug>(result: Result<T>, code: tao_schema::ErrorCode) -> Error {
    let error = result.expect_err("an error was expected");
    assert_eq!(error.code, code, "{error}");
    error
}
