//! A follower between scripted leaders: every call it makes is a message that the test answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tao_schema::fields::{Fields, Value};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{
    Epoch, FieldId, HostGroupId, ObjectId, ObjectType, Position, PrimaryTime, Seq, ShardId,
};
use tao_schema::ops::{
    Answer, Demand, Explain, FillReply, FillRequest, FillRow, InverseState, ReadOp, ReadReply, ReadRequest,
    Source, WriteRequest,
};
use tao_schema::rows::{ChangeItem, EpochStart, ObjectRow, ShardChange, ShardState};
use tao_schema::stream::{GroupAge, StreamMessage, SubscribeShard};
use tao_schema::topology::{TierRef, Topology};
use tao_schema::{Error, Result};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::scripted::{Leader, Said, Stream, connect, next};
use super::{Follower, FollowerContext, FollowerHandle, FollowerMetrics, FollowerOptions, ReadResult};
use crate::clock::{Clock, RuntimeClock};
use crate::core::Key;
use crate::ports::{ChangeStream, Cluster, ClusterView, LeaderPeer, LeaderPeers, WriteAnswer};

mod ages;
mod epochs;
mod reads;
mod region;
mod scripted;
mod streams;
mod writes;

struct Peers(HashMap<String, Arc<dyn LeaderPeer>>);

struct Fixture {
    follower: FollowerHandle,
    /// In the order in which shard [`SHARD`] would ask them.
    leaders: Vec<Leader>,
    cluster: ClusterView,
    stale_topology: Arc<Notify>,
    clock: Arc<SuspendedClock>,
}

/// A clock that goes on while the runtime's stands still, as that of a machine does that was suspended (H23).
struct SuspendedClock(RuntimeClock, Mutex<Duration>);

const SHARD: ShardId = ShardId(3);

fn fixture() -> Fixture {
    fixture_with(ageless())
}

/// For what is not about ages: nobody has to vouch for anything. And each call is made once, so that what is said of it
/// can be seen.
fn ageless() -> FollowerOptions {
    FollowerOptions { max_age: Duration::MAX, patience: Duration::ZERO, ..FollowerOptions::default() }
}

/// A promotion is waited for.
fn patient() -> FollowerOptions {
    FollowerOptions { patience: FollowerOptions::default().patience, ..ageless() }
}

fn fixture_with(options: FollowerOptions) -> Fixture {
    let cluster: ClusterView = Arc::new(ArcSwap::from_pointee(Cluster::new(Arc::new(topology(1)))));
    let (mut leaders, mut peers) = (Vec::new(), HashMap::new());
    let view = cluster.load();
    for node in view.placement.candidates(TierRef { region: 0, tier: 0 }, SHARD) {
        let name = view.topology.regions[0].leaders.nodes[usize::from(*node)].name.clone();
        let (peer, leader) = connect(&name);
        peers.insert(name, Arc::new(peer) as Arc<dyn LeaderPeer>);
        leaders.push(leader);
    }
    drop(view);
    let stale_topology = Arc::new(Notify::new());
    let clock = Arc::new(SuspendedClock(RuntimeClock::start(), Mutex::default()));
    let context = FollowerContext {
        node: "follower-1".to_owned(),
        schema: Arc::new(GraphSchema::demo()),
        cluster: Arc::clone(&cluster),
        region: 0,
        peers: Arc::new(Peers(peers)),
        stale_topology: Arc::clone(&stale_topology),
        clock: Arc::clone(&clock) as _,
        metrics: Arc::new(FollowerMetrics::default()),
    };
    let follower = Follower::start(options, context).unwrap();
    Fixture { follower, leaders, cluster, stale_topology, clock }
}

fn topology(version: u64) -> Topology {
    let text = format!(
        r#"
        version = {version}
        cluster = "test"
        shards = 16
        host_groups = [{{ id = 1, master = "local", servers = {{ local = "mysql://tao@127.0.0.1:3306/tao" }} }}]
        [[regions]]
        name = "local"
        leaders = {{ name = "leaders", nodes = [
            {{ name = "leader-1", address = "127.0.0.1:7101" }}, {{ name = "leader-2", address = "127.0.0.1:7102" }},
        ] }}
        "#
    );
    Topology::parse(&text, "test.toml").unwrap()
}

impl LeaderPeers for Peers {
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>> {
        self.0.get(name).cloned()
    }
}

/// Lets every task go on until all wait, without moving the clock.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

impl Clock for SuspendedClock {
    fn now(&self) -> Duration {
        self.0.now() + *self.1.lock()
    }
}

impl SuspendedClock {
    fn sleep(&self, time: Duration) {
        *self.1.lock() += time;
    }
}

impl Fixture {
    /// Brings [`SHARD`] to a continuous stream at `seq`, with the first leader.
    async fn live_at(&mut self, seq: u64) -> Stream {
        self.live_in(at(seq), &[]).await
    }

    /// As [`Self::live_at`], in an epoch with a history.
    async fn live_in(&mut self, position: Position, history: &[EpochStart]) -> Stream {
        let first = self.spawn_read(get(1));
        let (_, answer) = next(&mut self.leaders[0].reads).await;
        let reply = ReadReply { position, answer: Answer::Object(None), explain: None, time: None };
        answer.send(Ok(reply)).unwrap();
        let mut stream = self.leaders[0].accept().await;
        first.await.unwrap().unwrap();
        assert_eq!(stream.subscribed_from().await, None);
        stream.say(StreamMessage::Reset { position, history: history.to_vec() });
        settle().await;
        assert!(self.continuous());
        stream
    }

    /// The age of what is known of [`SHARD`].
    fn age(&self) -> Option<Duration> {
        self.follower.status().iter().find(|status| status.watermark.shard == SHARD)?.age
    }

    /// What memory says to a read, with its rule.
    fn rule(&self, request: ReadRequest) -> Option<String> {
        let reply = self.follower.try_read(&ReadRequest { explain: true, ..request })?;
        Some(reply.unwrap().explain.unwrap().rule)
    }

    fn counted(&self, result: ReadResult) -> u64 {
        self.follower.metrics().reads_of(&get(1).op, result)
    }

    /// Has object `local` filled at `seq`.
    async fn fill(&mut self, local: u64, seq: u64, row: Option<ObjectRow>) -> ReadReply {
        let read = self.spawn_read(get(local));
        self.leaders[0].answer_fill(seq, row).await;
        read.await.unwrap().unwrap()
    }

    fn spawn_read(&self, request: ReadRequest) -> JoinHandle<Result<ReadReply>> {
        let (follower, deadline) = (self.follower.clone(), Instant::now() + Duration::from_secs(30));
        tokio::spawn(async move { follower.read(request, deadline).await })
    }

    /// What memory answers: version and position of an object.
    fn memory(&self, local: u64) -> Option<(Option<u64>, u64)> {
        self.follower.try_read(&get(local)).map(|result| shown(&result.unwrap()))
    }

    fn continuous(&self) -> bool {
        self.follower.status().iter().any(|status| status.watermark.shard == SHARD && status.continuous)
    }

    fn evict(&self, local: u64) {
        self.follower.shared.entries.remove(&Key::Object(id(local)));
    }
}

/// Version, or absence, and position of an object reply.
fn shown(reply: &ReadReply) -> (Option<u64>, u64) {
    match &reply.answer {
        Answer::Object(row) => (row.as_ref().map(|(_, row)| row.version.0), reply.position.seq.0),
        other => panic!("not an object: {other:?}"),
    }
}

fn at(seq: u64) -> Position {
    Position { shard: SHARD, epoch: Epoch(1), seq: Seq(seq) }
}

fn id(local: u64) -> ObjectId {
    ObjectId::new(SHARD, local)
}

fn get(local: u64) -> ReadRequest {
    ReadRequest::local(ReadOp::ObjectGet(id(local)))
}

fn get_at_least(local: u64, seq: u64) -> ReadRequest {
    ReadRequest { demand: Demand::at_least(at(seq)), ..get(local) }
}

fn row(version: u64, text: &str) -> ObjectRow {
    let mut fields = Fields::new();
    fields.set(FieldId(1), Value::Text(text.to_owned()));
    ObjectRow { otype: ObjectType(1), version: Seq(version), fields: fields.encode() }
}

fn filled(seq: u64, row: Option<ObjectRow>) -> FillReply {
    FillReply {
        position: at(seq),
        state: ShardState::Serving,
        row: FillRow::Object(row),
        source: Source::Database,
    }
}

fn change(seq: u64, local: u64, text: Option<&str>) -> ShardChange {
    let row = text.map(|text| row(seq, text));
    let items = vec![ChangeItem::Object { id: id(local), row }];
    ShardChange { shard: SHARD, epoch: Epoch(1), seq: Seq(seq), items }
}
