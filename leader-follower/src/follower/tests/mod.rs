//! A follower between scripted leaders: every call it makes is a message that the test answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::stream;
use tao_schema::fields::{Fields, Value};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Epoch, FieldId, ObjectId, ObjectType, Position, Seq, ShardId};
use tao_schema::ops::{
    Answer, Demand, FillReply, FillRequest, FillRow, InverseState, ReadOp, ReadReply, ReadRequest, Source,
    WriteRequest,
};
use tao_schema::rows::{ChangeItem, ObjectRow, ShardChange, ShardState};
use tao_schema::stream::{StreamMessage, SubscribeShard};
use tao_schema::topology::{TierRef, Topology};
use tao_schema::{Error, Result};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Follower, FollowerContext, FollowerHandle, FollowerMetrics, FollowerOptions};
use crate::core::Key;
use crate::ports::{
    ChangeStream, Cluster, ClusterView, LeaderPeer, LeaderPeers, SubscriptionControl, WriteAnswer,
};

mod reads;
mod region;
mod streams;
mod writes;

/// A call that waits for the test's answer.
type Asked<Q, A> = (Q, oneshot::Sender<Result<A>>);

/// The leader as the follower sees it.
struct Peer {
    name: String,
    fills: mpsc::UnboundedSender<Asked<FillRequest, FillReply>>,
    reads: mpsc::UnboundedSender<Asked<ReadRequest, ReadReply>>,
    writes: mpsc::UnboundedSender<Asked<WriteRequest, WriteAnswer>>,
    opens: mpsc::UnboundedSender<Asked<(), ChangeStream>>,
}

/// The leader as the test plays it.
struct Leader {
    name: String,
    fills: mpsc::UnboundedReceiver<Asked<FillRequest, FillReply>>,
    reads: mpsc::UnboundedReceiver<Asked<ReadRequest, ReadReply>>,
    writes: mpsc::UnboundedReceiver<Asked<WriteRequest, WriteAnswer>>,
    opens: mpsc::UnboundedReceiver<Asked<(), ChangeStream>>,
}

/// What a follower says on an open stream.
#[derive(Clone, PartialEq, Debug)]
enum Said {
    Subscribe(Vec<SubscribeShard>),
    Unsubscribe(Vec<ShardId>),
    Probe(u64),
}

/// The leader's end of an open stream. Dropped, the stream ends.
struct Stream {
    messages: mpsc::UnboundedSender<Result<StreamMessage>>,
    said: mpsc::UnboundedReceiver<Said>,
}

struct Control(mpsc::UnboundedSender<Said>);

struct Peers(HashMap<String, Arc<dyn LeaderPeer>>);

struct Fixture {
    follower: FollowerHandle,
    /// In the order in which shard [`SHARD`] would ask them.
    leaders: Vec<Leader>,
    cluster: ClusterView,
    stale_topology: Arc<Notify>,
}

const SHARD: ShardId = ShardId(3);

fn fixture() -> Fixture {
    fixture_with(FollowerOptions::default())
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
    let context = FollowerContext {
        node: "follower-1".to_owned(),
        schema: Arc::new(GraphSchema::demo()),
        cluster: Arc::clone(&cluster),
        region: 0,
        peers: Arc::new(Peers(peers)),
        stale_topology: Arc::clone(&stale_topology),
        metrics: Arc::new(FollowerMetrics::default()),
    };
    let follower = Follower::start(options, context).unwrap();
    Fixture { follower, leaders, cluster, stale_topology }
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

fn connect(name: &str) -> (Peer, Leader) {
    let (fills, fills_here) = mpsc::unbounded_channel();
    let (reads, reads_here) = mpsc::unbounded_channel();
    let (writes, writes_here) = mpsc::unbounded_channel();
    let (opens, opens_here) = mpsc::unbounded_channel();
    let peer = Peer { name: name.to_owned(), fills, reads, writes, opens };
    let name = name.to_owned();
    (peer, Leader { name, fills: fills_here, reads: reads_here, writes: writes_here, opens: opens_here })
}

async fn ask<Q, A>(calls: &mpsc::UnboundedSender<Asked<Q, A>>, question: Q) -> Result<A> {
    let (answer, answered) = oneshot::channel();
    let gone = || Error::unavailable("the leader is gone");
    calls.send((question, answer)).map_err(|_| gone())?;
    answered.await.unwrap_or_else(|_| Err(gone()))
}

#[async_trait]
impl LeaderPeer for Peer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, request: ReadRequest, _deadline: Instant) -> Result<ReadReply> {
        ask(&self.reads, request).await
    }

    async fn fill(&self, request: FillRequest, _deadline: Instant) -> Result<FillReply> {
        ask(&self.fills, request).await
    }

    async fn write(&self, request: WriteRequest, _deadline: Instant) -> Result<WriteAnswer> {
        ask(&self.writes, request).await
    }

    async fn apply_inverse(&self, _states: Vec<InverseState>, _deadline: Instant) -> Result<WriteAnswer> {
        Err(Error::internal("a follower applies no inverses"))
    }

    async fn changes(&self, _follower: &str) -> Result<ChangeStream> {
        ask(&self.opens, ()).await
    }
}

#[async_trait]
impl SubscriptionControl for Control {
    async fn subscribe(&self, shards: Vec<SubscribeShard>) -> Result<()> {
        self.0.send(Said::Subscribe(shards)).map_err(|_| Error::unavailable("the stream has ended"))
    }

    async fn probe(&self, number: u64) -> Result<()> {
        self.0.send(Said::Probe(number)).map_err(|_| Error::unavailable("the stream has ended"))
    }

    async fn unsubscribe(&self, shards: Vec<ShardId>) -> Result<()> {
        self.0.send(Said::Unsubscribe(shards)).map_err(|_| Error::unavailable("the stream has ended"))
    }
}

impl LeaderPeers for Peers {
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>> {
        self.0.get(name).cloned()
    }
}

/// The next call; the test fails if none comes for a minute.
async fn next<T>(calls: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), calls.recv()).await.expect("no call came").unwrap()
}

/// Lets every task go on until all wait, without moving the clock.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

impl Leader {
    async fn accept(&mut self) -> Stream {
        let ((), answer) = next(&mut self.opens).await;
        let (messages, receiver) = mpsc::unbounded_channel();
        let (control, said) = mpsc::unbounded_channel();
        let messages_here = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|message| (message, receiver))
        });
        let opened = ChangeStream { control: Arc::new(Control(control)), messages: Box::pin(messages_here) };
        assert!(answer.send(Ok(opened)).is_ok(), "the follower gave up opening");
        Stream { messages, said }
    }

    /// Answers the next read with an absent object at `seq`.
    async fn answer_read(&mut self, seq: u64) -> ReadRequest {
        let (request, answer) = next(&mut self.reads).await;
        let reply = ReadReply { position: at(seq), answer: Answer::Object(None), explain: None, time: None };
        answer.send(Ok(reply)).unwrap();
        request
    }

    /// Answers the next fill with this object at `seq`.
    async fn answer_fill(&mut self, seq: u64, row: Option<ObjectRow>) -> FillRequest {
        let (request, answer) = next(&mut self.fills).await;
        answer.send(Ok(filled(seq, row))).unwrap();
        request
    }
}

impl Stream {
    fn say(&self, message: StreamMessage) {
        self.messages.send(Ok(message)).unwrap();
    }

    fn change(&self, seq: u64, local: u64, text: Option<&str>) {
        self.say(StreamMessage::Change(Arc::new(change(seq, local, text))));
    }

    fn heartbeat(&self, seq: u64) {
        self.say(StreamMessage::Heartbeat {
            positions: vec![at(seq)],
            sent_unix_ms: 0,
            probe: 0,
            ages: Vec::new(),
        });
    }

    /// The next subscription of [`SHARD`]; what it goes on from.
    async fn subscribed_from(&mut self) -> Option<Seq> {
        loop {
            if let Said::Subscribe(shards) = next(&mut self.said).await {
                let found = shards.iter().find(|asked| asked.shard == SHARD).expect("only one shard is used");
                return found.from.map(|from| from.seq);
            }
        }
    }
}

impl Fixture {
    /// Brings [`SHARD`] to a continuous stream at `seq`, with the first leader.
    async fn live_at(&mut self, seq: u64) -> Stream {
        let first = self.spawn_read(get(1));
        self.leaders[0].answer_read(seq).await;
        let mut stream = self.leaders[0].accept().await;
        first.await.unwrap().unwrap();
        assert_eq!(stream.subscribed_from().await, None);
        stream.say(StreamMessage::Reset { position: at(seq), history: Vec::new() });
        settle().await;
        assert!(self.continuous());
        stream
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
