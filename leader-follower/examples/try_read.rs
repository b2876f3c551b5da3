//! How long a hit takes at a follower, with each kind of demand, and on a clock that costs nothing.
//!
//! `cargo run --release -p tao-leader-follower --example try_read`
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::stream;
use tao_leader_follower::clock::{BootClock, Clock, SharedClock};
use tao_leader_follower::follower::{Follower, FollowerContext, FollowerHandle, FollowerOptions};
use tao_leader_follower::ports::{
    ChangeStream, Cluster, LeaderPeer, LeaderPeers, SubscriptionControl, WriteAnswer,
};
use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{
    AssocType, Epoch, HostGroupId, ListKey, ObjectId, Position, PrimaryTime, Seq, ShardId, Time,
};
use tao_schema::ops::{
    Answer, Demand, FillKey, FillReply, FillRequest, FillRow, Freshness, InverseState, ReadOp, ReadReply,
    ReadRequest, Source, WriteRequest,
};
use tao_schema::rows::{ListRow, ShardState};
use tao_schema::stream::{GroupAge, StreamMessage, SubscribeShard};
use tao_schema::topology::Topology;
use tao_schema::{Error, Result};
use tokio::sync::mpsc;

const LISTS: u64 = 10_000;
const READS: u64 = 3_000_000;
const ROUNDS: usize = 5;
const SHARD: ShardId = ShardId(3);
const AT: Position = Position { shard: SHARD, epoch: Epoch(1), seq: Seq(10) };

/// A leader whose every list has ten edges.
struct Node;

struct Control(mpsc::UnboundedSender<Result<StreamMessage>>);

struct Nodes(Arc<dyn LeaderPeer>);

/// Every age is the same.
struct Stopped;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    for (name, clock) in
        [("stopped clock", Arc::new(Stopped) as SharedClock), ("boot clock", Arc::new(BootClock))]
    {
        let follower = start(clock)?;
        fill(&follower).await?;
        let token = Demand::at_least(Position { seq: Seq(5), ..AT });
        let bounded = Demand { freshness: Freshness::Within(Duration::from_secs(1)), ..Demand::local() };
        for (kind, demand) in [("local", Demand::local()), ("token", token), ("bounded", bounded)] {
            println!("{name}, {kind}: {:.1} ns a hit", best(&follower, &demand));
        }
        follower.shutdown().await;
    }
    Ok(())
}

fn start(clock: SharedClock) -> Result<FollowerHandle> {
    let text = r#"
        version = 1
        cluster = "bench"
        shards = 16
        host_groups = [{ id = 1, master = "local", servers = { local = "mysql://tao@127.0.0.1:3306/tao" } }]
        [[regions]]
        name = "local"
        leaders = { name = "leaders", nodes = [{ name = "leader-1", address = "127.0.0.1:7101" }] }
    "#;
    let topology = Topology::parse(text, "bench.toml").map_err(|error| Error::invalid(error.to_string()))?;
    let context = FollowerContext {
        node: "follower-1".to_owned(),
        schema: Arc::new(GraphSchema::demo()),
        cluster: Arc::new(ArcSwap::from_pointee(Cluster::new(Arc::new(topology)))),
        region: 0,
        peers: Arc::new(Nodes(Arc::new(Node))),
        stale_topology: Arc::default(),
        clock,
        metrics: Arc::default(),
    };
    Follower::start(FollowerOptions::default(), context)
}

fn read(list: u64, demand: &Demand) -> ReadRequest {
    let list = ListKey { id1: ObjectId::new(SHARD, list), atype: AssocType(1) };
    ReadRequest {
        demand: demand.clone(),
        ..ReadRequest::local(ReadOp::AssocRange { list, pos: 0, limit: 10 })
    }
}

/// Reads each list until memory answers.
async fn fill(follower: &FollowerHandle) -> Result<()> {
    for list in 0..LISTS {
        let request = read(list, &Demand::local());
        while follower.try_read(&request).is_none() {
            follower.read(request.clone(), tokio::time::Instant::now() + Duration::from_secs(5)).await?;
        }
    }
    Ok(())
}

/// The best of some rounds, in nanoseconds a read: what disturbs a round makes it longer, never shorter.
fn best(follower: &FollowerHandle, demand: &Demand) -> f64 {
    let requests: Vec<_> = (0..LISTS).map(|list| read(list, demand)).collect();
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        let mut hits = 0;
        for request in requests.iter().cycle().take(READS as usize) {
            hits += u64::from(matches!(follower.try_read(black_box(request)), Some(Ok(_))));
        }
        // A heartbeat may come between; misses would make a round look fast.
        assert!(hits > READS - READS / 1_000, "only {hits} hits");
        start.elapsed().as_nanos() as f64 / READS as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

impl Clock for Stopped {
    fn now(&self) -> Duration {
        Duration::from_secs(3_600)
    }
}

impl LeaderPeers for Nodes {
    fn leader(&self, _name: &str) -> Option<Arc<dyn LeaderPeer>> {
        Some(Arc::clone(&self.0))
    }
}

#[async_trait]
impl LeaderPeer for Node {
    fn name(&self) -> &str {
        "leader-1"
    }

    async fn read(&self, _request: ReadRequest, _deadline: tokio::time::Instant) -> Result<ReadReply> {
        let answer = Answer::Edges { edges: PackedEdgesBuilder::with_capacity(0).finish(), version: AT.seq };
        Ok(ReadReply { position: AT, answer, explain: None, time: None })
    }

    async fn fill(&self, request: FillRequest, _deadline: tokio::time::Instant) -> Result<FillReply> {
        let FillKey::List { .. } = request.key else { return Err(Error::invalid("only lists are read")) };
        let mut edges = PackedEdgesBuilder::with_capacity(10);
        (0..10).rev().for_each(|i| edges.push(ObjectId(i), Time(i as u32), b""));
        let row = FillRow::List(ListRow { count: 10, version: Seq(1), edges: edges.finish() });
        Ok(FillReply { position: AT, state: ShardState::Serving, row, source: Source::Database })
    }

    async fn write(&self, _request: WriteRequest, _deadline: tokio::time::Instant) -> Result<WriteAnswer> {
        Err(Error::invalid("nothing is written"))
    }

    async fn apply_inverse(&self, _: Vec<InverseState>, _: tokio::time::Instant) -> Result<WriteAnswer> {
        Err(Error::invalid("nothing is written"))
    }

    async fn changes(&self, _follower: &str) -> Result<ChangeStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let messages = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|message| (message, receiver))
        });
        Ok(ChangeStream { control: Arc::new(Control(sender)), messages: Box::pin(messages) })
    }
}

impl Control {
    fn say(&self, message: StreamMessage) -> Result<()> {
        self.0.send(Ok(message)).map_err(|_| Error::unavailable("the stream has ended"))
    }
}

#[async_trait]
impl SubscriptionControl for Control {
    async fn subscribe(&self, _shards: Vec<SubscribeShard>) -> Result<()> {
        self.say(StreamMessage::Reset { position: AT, history: Vec::new() })
    }

    async fn probe(&self, number: u64) -> Result<()> {
        let (age, time) = (Duration::from_millis(1), PrimaryTime(1));
        let ages = vec![GroupAge { host_group: HostGroupId(1), age, time, shards: vec![SHARD] }];
        self.say(StreamMessage::Heartbeat { positions: vec![AT], sent_unix_ms: 0, probe: number, ages })
    }

    async fn unsubscribe(&self, _shards: Vec<ShardId>) -> Result<()> {
        Ok(())
    }
}
