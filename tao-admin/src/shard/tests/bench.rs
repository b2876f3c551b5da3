//! Two host groups in two regions, a shard that is written all the time, and workers that die where they are told to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use parking_lot::Mutex;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, HostGroupId, ListKey, ObjectId, ShardId, Time};
use tao_schema::rows::{EdgeValue, ShardState};
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};
use tao_shard_store::ShardStore;
use tao_shard_store::fleet::{Fleet, FleetOptions, ServerBinary};
use tao_shard_store::log::{ServerLog, StoredTopology};
use tao_shard_store::moves::ShardMover;
use tao_shard_store::mysql::{MySqlStore, Options};
use tao_shard_store::store::{ReadKey, Row};
use tao_shard_store::write::{Batch, StoreOp, UnitResult, WriteUnit};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::shard::{Goal, MoveError, MoveOptions, MoveStatus, Mover, Quiet, Settings, Step, Watch};

pub(super) const SHARD: ShardId = ShardId(4);
pub(super) const A: HostGroupId = HostGroupId(1);
pub(super) const B: HostGroupId = HostGroupId(2);
const SHARDS: u16 = 8;
const LIKES: AssocType = AssocType(1);
pub(super) const REGIONS: [&str; 2] = ["here", "there"];

/// The servers, with the topology that was stored first.
pub(super) struct Bench {
    pub(super) fleet: Fleet,
    pub(super) topology: Topology,
}

impl Bench {
    /// Two host groups, each with a replica in another region.
    pub(super) async fn start(binary: ServerBinary) -> Self {
        Self::on(FleetOptions::new(binary, 2)).await
    }

    /// The same, with options of their own.
    pub(super) async fn on(options: FleetOptions) -> Self {
        let options = FleetOptions { replicas: 1, mode: ReplicationMode::Async, ..options };
        let fleet = Fleet::start(options).await.unwrap();
        fleet.replicate(&[0, 0], &|_, _| None).await.unwrap();
        let node = |name: String| Node { name, address: "127.0.0.1:1".to_owned(), admin: None };
        let region = |name: &str| Region {
            name: name.to_owned(),
            leaders: Tier { name: format!("leaders-{name}"), nodes: vec![node(format!("leader-{name}"))] },
            followers: Vec::new(),
        };
        let dsn = |group, replica| Dsn::new(fleet.server(group, replica).unwrap().dsn().expose());
        let group = |group: usize| HostGroup {
            id: HostGroupId(group as u16 + 1),
            master: REGIONS[0].to_owned(),
            epoch: FIRST_EPOCH,
            mode: ReplicationMode::Async,
            servers: REGIONS
                .iter()
                .enumerate()
                .map(|(at, name)| (name.to_string(), dsn(group, at)))
                .collect::<BTreeMap<_, _>>(),
        };
        let topology = Topology {
            version: 1,
            cluster: "test".to_owned(),
            shards: SHARDS.into(),
            regions: REGIONS.iter().map(|name| region(name)).collect(),
            host_groups: vec![group(0), group(1)],
            assignments: Vec::new(),
        };
        let bench = Self { fleet, topology };
        for group in 0..2 {
            let own: Vec<_> =
                (0..SHARDS).filter(|shard| usize::from(*shard) % 2 == group).map(ShardId).collect();
            bench.store(group, 0).await.create_shards(&own, FIRST_EPOCH).await.unwrap();
        }
        let stored = StoredTopology { version: 1, toml: bench.topology.to_toml() };
        assert!(bench.store(0, 0).await.store_topology(&stored).await.unwrap());
        bench.level().await;
        bench
    }

    /// A server, by host group and region.
    pub(super) async fn store(&self, group: usize, replica: usize) -> MySqlStore {
        let dsn = self.fleet.server(group, replica).unwrap().dsn().expose();
        MySqlStore::open(&dsn, Options::default()).await.unwrap()
    }

    /// The primary of a host group, as the newest topology has it.
    pub(super) async fn primary(&self, group: HostGroupId) -> MySqlStore {
        let newest = self.mover().await.topology().await.unwrap();
        let there = newest.host_group(group).unwrap().master == REGIONS[1];
        self.store(usize::from(group.0) - 1, usize::from(there)).await
    }

    /// Waits until the replicas have everything.
    pub(super) async fn level(&self) {
        for group in 0..2 {
            let index = |replica| self.fleet.server(group, replica).unwrap().index();
            let all = self.fleet.admin(index(0)).unwrap().executed().await.unwrap();
            let limit = Duration::from_secs(30);
            self.fleet.admin(index(1)).unwrap().wait_executed(&all, limit).await.unwrap();
        }
    }

    pub(super) async fn mover(&self) -> Mover {
        Mover::open(self.topology.clone(), settings()).await.unwrap()
    }

    pub(super) async fn begin(&self, goal: Goal) {
        self.mover().await.begin(SHARD, B, goal, options()).await.unwrap();
    }

    /// Orders a move to whichever host group does not serve; answers which.
    pub(super) async fn begin_away(&self) -> HostGroupId {
        let to = if self.owner().await.0 == A { B } else { A };
        self.mover().await.begin(SHARD, to, Goal::There, options()).await.unwrap();
        to
    }

    /// The side that does not serve gives up its rows.
    pub(super) async fn finalize(&self) {
        let mover = self.mover().await;
        mover.order(SHARD, |orders| orders.finalize = true).await.unwrap();
        let over = mover.run(SHARD, &Quiet).await.unwrap();
        assert!(over.over && over.state == "FINALIZED", "{over:?}");
    }

    pub(super) async fn run(&self, watch: &dyn Watch) -> Result<MoveStatus, MoveError> {
        self.mover().await.run(SHARD, watch).await
    }

    /// Who serves the shard: exactly one server, the one that the newest topology names, in its epoch.
    pub(super) async fn owner(&self) -> (HostGroupId, Epoch) {
        let newest = self.mover().await.topology().await.unwrap().assignment(SHARD).unwrap();
        let mut serving = Vec::new();
        for id in [A, B] {
            let row = self.primary(id).await.shard_moves(SHARD).await.unwrap().row;
            if let Some(row) = row.filter(|row| row.state == ShardState::Serving) {
                serving.push((id, row.epoch));
            }
        }
        assert_eq!(serving, [(newest.host_group, newest.epoch)], "one owner, which the topology names");
        (newest.host_group, newest.epoch)
    }

    /// The edges that the serving group has.
    pub(super) async fn edges(&self) -> BTreeSet<u64> {
        let (owner, _) = self.owner().await;
        let store = self.primary(owner).await;
        let key = ListKey { id1: ObjectId::new(SHARD, 1), atype: LIKES };
        let read = store.read(&[ReadKey::List { key, edges: 100_000 }]).await.unwrap();
        let Row::List(list) = &read[0].as_ref().unwrap().row else { panic!("not a list") };
        assert_eq!(list.count, list.edges.count() as u64, "the count");
        list.edges.iter().map(|edge| edge.id2.0).collect()
    }
}

/// Short times, so that a dead worker is soon replaced.
pub(super) fn settings() -> Settings {
    Settings {
        lease: Duration::from_millis(1_500),
        patience: Duration::from_secs(20),
        take_over: true,
        ..Settings::default()
    }
}

pub(super) fn options() -> MoveOptions {
    MoveOptions { max_pause_ms: 10_000, max_lag_ms: 20_000, grace_s: 0, ..MoveOptions::default() }
}

/// Writes edges to the shard wherever the topology says it is, each once, and remembers those that were acknowledged.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<BTreeSet<u64>>,
}

impl Writer {
    pub(super) async fn start(bench: &Bench, first: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stores = [bench.store(0, 0).await, bench.store(1, 0).await];
        let flag = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut acknowledged = BTreeSet::new();
            let mut next = first;
            while !flag.load(Ordering::Relaxed) {
                if put(&stores, next).await {
                    acknowledged.insert(next);
                    next += 1;
                }
            }
            acknowledged
        });
        Self { stop, task }
    }

    pub(super) async fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Puts one edge as a leader does that goes by the stored topology.
pub(super) async fn put(stores: &[MySqlStore; 2], id2: u64) -> bool {
    let stored = stores[0].stored_topology().await.unwrap().unwrap();
    let place = Topology::parse(&stored.toml, "stored").unwrap().assignment(SHARD).unwrap();
    let edge = EdgeKey { id1: ObjectId::new(SHARD, 1), atype: LIKES, id2: ObjectId(id2) };
    let value = EdgeValue { time: Time(1), fields: EncodedFields::new() };
    let op = StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None };
    let unit = WriteUnit { shard: SHARD, epoch: place.epoch, request: None, ops: vec![op] };
    let result = stores[usize::from(place.host_group.0) - 1].commit(Batch { units: vec![unit] }).await;
    result.is_ok_and(|result| matches!(result.units[0], UnitResult::Done(_)))
}

/// Fills the shard.
pub(super) async fn fill(bench: &Bench, edges: std::ops::Range<u64>) {
    let stores = [bench.store(0, 0).await, bench.store(1, 0).await];
    for id2 in edges {
        assert!(put(&stores, id2).await, "edge {id2}");
    }
}

/// Dies at the `nth` time that a step comes.
pub(super) struct DiesAt {
    pub(super) step: Step,
    left: AtomicUsize,
}

impl DiesAt {
    pub(super) fn new(step: Step, nth: usize) -> Self {
        Self { step, left: AtomicUsize::new(nth) }
    }

    pub(super) fn died(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

#[async_trait]
impl Watch for DiesAt {
    async fn step(&self, step: Step) -> Result<()> {
        if step == self.step
            && self.left.load(Ordering::Relaxed) > 0
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            bail!("died at {}", step.name());
        }
        Ok(())
    }
}

/// Stands still at steps, one after the other, until it is told to go on: for whoever does something to servers there.
#[derive(Default)]
pub(super) struct Stands {
    at: Mutex<VecDeque<Step>>,
    reached: Notify,
    go: Notify,
}

impl Stands {
    pub(super) fn at<const N: usize>(steps: [Step; N]) -> Arc<Self> {
        Arc::new(Self { at: Mutex::new(steps.into()), ..Self::default() })
    }

    /// Works with it.
    pub(super) fn run(self: &Arc<Self>, mover: Mover) -> JoinHandle<Result<MoveStatus, MoveError>> {
        let stands = Arc::clone(self);
        tokio::spawn(async move { mover.run(SHARD, &*stands).await })
    }

    /// Until the next of the steps is reached.
    pub(super) async fn reached(&self) {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, self.reached.notified()).await.expect("the step comes");
    }

    pub(super) fn go_on(&self) {
        self.go.notify_one();
    }
}

#[async_trait]
impl Watch for Stands {
    async fn step(&self, step: Step) -> Result<()> {
        let here = {
            let mut at = self.at.lock();
            let here = at.front() == Some(&step);
            if here {
                at.pop_front();
            }
            here
        };
        if here {
            self.reached.notify_one();
            self.go.notified().await;
        }
        Ok(())
    }
}
