//! Two regions on memory databases: `a` has the primary, `b` a replica. What opens a hole is named after it.

mod demands;
mod forwarding;
mod logs;
mod masters;
mod promotion;

use std::time::Duration;

use futures_util::StreamExt as _;
use tao_schema::ErrorCode;
use tao_schema::ids::{PrimaryTime, Seq};
use tao_schema::ops::{Freshness, Source};
use tao_schema::stream::{StreamMessage, SubscribeShard};
use tao_shard_store::apply::UnixMillis;
use tao_shard_store::memory::{CommitFault, ReplicationOptions};

use super::*;
use crate::clock::{Clock, SharedClock};
use crate::ports::ChangeStream;

const GROUP: HostGroupId = HostGroupId(1);
const SHARD: ShardId = ShardId(0);
const SHARDS: u16 = 4;

const TWO_REGIONS: &str = r#"
version = 1
cluster = "test"
shards = 4
[[regions]]
name = "a"
leaders = { name = "leaders-a", nodes = [
    { name = "a-1", address = "127.0.0.1:1" }, { name = "a-2", address = "127.0.0.1:2" } ] }
[[regions]]
name = "b"
leaders = { name = "leaders-b", nodes = [
    { name = "b-1", address = "127.0.0.1:3" }, { name = "b-2", address = "127.0.0.1:4" } ] }
[[host_groups]]
id = 1
master = "a"
"#;

/// Two regions with a database each, and the leaders in them.
struct Regions {
    databases: [MemoryDatabase; 2],
    /// As each region has it.
    clusters: [ClusterView; 2],
    leaders: Arc<Directory>,
    options: LeaderOptions,
    clock: Arc<Skewed>,
}

/// A clock that can jump.
struct Skewed {
    base: RuntimeClock,
    ahead: Mutex<Duration>,
}

impl Clock for Skewed {
    fn now(&self) -> Duration {
        self.base.now() + *self.ahead.lock()
    }
}

/// One leader's connections to the servers of all regions.
struct Servers([Arc<MemoryStore>; 2]);

impl RemoteDatabases for Servers {
    fn server(&self, group: HostGroupId, region: &str) -> Option<SharedDatabase> {
        let at = ["a", "b"].iter().position(|name| *name == region)?;
        (group == GROUP).then(|| Arc::clone(&self.0[at]) as SharedDatabase)
    }
}

/// A leader with its connections.
struct Peer {
    handle: LeaderHandle,
    /// To the servers of both regions.
    stores: [Arc<MemoryStore>; 2],
}

fn topology(change: impl FnOnce(&mut Topology)) -> Cluster {
    let mut topology = Topology::parse(TWO_REGIONS, "test.toml").unwrap();
    change(&mut topology);
    Cluster::new(Arc::new(topology))
}

impl Regions {
    /// With replication that takes `delay`.
    async fn new(delay: Duration) -> Self {
        let start = Instant::now();
        let database = |server: &str| {
            let clock = move || UnixMillis((1 << 40) + start.elapsed().as_millis() as u64);
            let options = MemoryOptions {
                server: server.to_owned(),
                clock: Arc::new(clock),
                ..MemoryOptions::default()
            };
            MemoryDatabase::new(options)
        };
        let databases = [database("a"), database("b")];
        let shards: Vec<ShardId> = (0..SHARDS).map(ShardId).collect();
        MemoryStore::open(&databases[0]).create_shards(&shards, Epoch(1)).await.unwrap();
        databases[1].replicate(&databases[0], ReplicationOptions { delay }).unwrap();
        let view = || Arc::new(ArcSwap::from_pointee(topology(|_| {})));
        let clock = Skewed { base: RuntimeClock::start(), ahead: Mutex::default() };
        Self {
            databases,
            clusters: [view(), view()],
            leaders: Arc::default(),
            options: LeaderOptions::default(),
            clock: Arc::new(clock),
        }
    }

    /// Starts a leader; it may not be able to follow its log yet.
    fn start_now(&self, name: &str) -> Peer {
        let at = usize::from(name.starts_with('b'));
        let stores = [0, 1].map(|of| Arc::new(MemoryStore::open(&self.databases[of])));
        let context = LeaderContext {
            node: name.to_owned(),
            schema: Arc::new(GraphSchema::parse(SCHEMA, "test.toml").unwrap()),
            cluster: Arc::clone(&self.clusters[at]),
            databases: HashMap::from([(GROUP, Arc::clone(&stores[at]) as SharedDatabase)]),
            remote: Arc::new(Servers(stores.clone())),
            clock: Arc::clone(&self.clock) as SharedClock,
            peers: Arc::clone(&self.leaders) as _,
            stale_topology: Arc::new(Notify::new()),
            newer_topology: Arc::default(),
        };
        let handle = Leader::start(self.options.clone(), context, &mut Registry::default());
        self.leaders.0.lock().insert(name.to_owned(), Arc::new(handle.clone()));
        Peer { handle, stores }
    }

    async fn start(&self, name: &str) -> Peer {
        let peer = self.start_now(name);
        peer.serves().await;
        peer
    }

    /// All leaders learn that the primary is in `region`, in `epoch`.
    fn promoted(&self, region: &str, epoch: u32) {
        for view in &self.clusters {
            let version = view.load().topology.version + 1;
            view.store(Arc::new(topology(|topology| {
                topology.version = version;
                topology.host_groups[0].master = region.to_owned();
                topology.host_groups[0].epoch = Epoch(epoch);
            })));
        }
    }
}

impl Peer {
    async fn serves(&self) {
        until("all shards are open", async || self.handle.status().shards.len() == usize::from(SHARDS)).await;
    }

    async fn write(&self, op: WriteOp) -> Result<WriteAnswer> {
        self.handle.write(request(op), soon()).await
    }

    async fn read(&self, op: ReadOp, demand: Demand) -> Result<ReadReply> {
        let request = ReadRequest { demand, explain: true, ..ReadRequest::local(op) };
        self.handle.read(request, soon()).await
    }

    /// The count of a list, and who said it.
    async fn count(&self, list: ListKey, demand: Demand) -> (u64, Vec<String>, Source) {
        let reply = self.read(ReadOp::AssocCount(list), demand).await.unwrap();
        let Answer::Count { count, .. } = reply.answer else { panic!("a count was asked for") };
        let explain = reply.explain.unwrap();
        (count, explain.path, explain.source)
    }

    async fn local(&self, list: ListKey) -> u64 {
        self.count(list, Demand::local()).await.0
    }

    fn seq(&self) -> Seq {
        self.position().seq
    }

    fn position(&self) -> Position {
        self.handle.inner.slot(SHARD).unwrap().core.position()
    }

    fn group(&self) -> GroupStatus {
        self.handle.status().groups.remove(0)
    }

    fn alarms(&self, reason: &'static str) -> u64 {
        let label = GroupReasonLabel { host_group: GROUP.0, reason };
        self.handle.metrics().logs.alarms.get_or_create(&label).get()
    }

    fn resets(&self) -> u64 {
        let reset = |reason| self.handle.metrics().resets.get_or_create(&ResetLabel { reason }).get();
        ["gap", "audit", "epoch", "backwards"].into_iter().map(reset).sum()
    }

    fn forwarded(&self, call: &'static str) -> u64 {
        let reasons = ["not master", "too old", "no age", "replica behind or away", "no replica"];
        let more = ["newer epoch", "critical", "master", "time floor", "history"];
        let forwarded = &self.handle.metrics().forwarded;
        let of = |reason| forwarded.get_or_create(&ForwardLabel { call, reason }).get();
        reasons.into_iter().chain(more).map(of).sum()
    }

    async fn subscribe(&self, from: Option<Position>) -> ChangeStream {
        let stream = self.handle.changes("follower").await.unwrap();
        stream.control.subscribe(vec![SubscribeShard { shard: SHARD, from }]).await.unwrap();
        stream
    }
}

/// The next message that is no heartbeat.
async fn news(stream: &mut ChangeStream) -> StreamMessage {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), stream.messages.next()).await;
        match next.expect("a message is due").expect("the stream is open").unwrap() {
            StreamMessage::Heartbeat { .. } => {}
            other => return other,
        }
    }
}

fn user(n: u64) -> ObjectId {
    object(SHARD, n)
}

fn follows(n: u64) -> ListKey {
    list(user(n), FOLLOWS)
}

/// `n` follows one more.
fn follow(n: u64, id2: u64) -> WriteOp {
    add(user(n), FOLLOWS, user(id2), id2 as u32)
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
