//! Database servers as nodes reach them: the memory engine behind the simulated network.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::Rng as _;
use tao_leader_follower::ports::RemoteDatabases;
use tao_schema::Error;
use tao_schema::ids::{EdgeKey, Epoch, HostGroupId, PrimaryTime, Seq, ShardId};
use tao_schema::rows::ShardState;
use tao_shard_store::log::{
    Beat, BeatWriter, Finding, LogPosition, LogTail, ServerLog, SharedDatabase, StoredTopology, Survey,
    TailError, TailErrorKind, TailEvent, TailStart,
};
use tao_shard_store::memory::{MemoryDatabase, MemoryStore};
use tao_shard_store::store::{PendingInverse, ReadKey, ScanPage, ShardRow, Snapshot, StoreErrorKind, Table};
use tao_shard_store::write::{Batch, BatchResult};
use tao_shard_store::{ShardStore, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::network::{End, Lost, Network, Process};

/// A connection gives up so long after a request.
const PATIENCE: Duration = Duration::from_secs(4);
/// Answers of a log that are on their way.
const ON_THE_WAY: usize = 16;

/// The servers that run now, by their ends. One that was rebuilt is another one at the same end.
#[derive(Clone, Default)]
pub struct RunningDatabases(Arc<Mutex<BTreeMap<End, MemoryDatabase>>>);

impl RunningDatabases {
    /// Another server took this end.
    pub fn put(&self, end: End, database: MemoryDatabase) {
        self.0.lock().insert(end, database);
    }

    /// The server at an end.
    ///
    /// # Panics
    /// If there never was one: ends of databases get theirs before anything starts.
    pub fn get(&self, end: End) -> MemoryDatabase {
        self.0.lock().get(&end).cloned().expect("every database end has a server from the start")
    }
}

/// The servers of all regions as one process reaches them.
pub struct Servers(BTreeMap<(HostGroupId, String), SharedDatabase>);

impl Servers {
    /// The ways of `process` to the servers at these ends.
    pub fn new(
        process: &Process,
        network: &Network,
        databases: &RunningDatabases,
        ends: &BTreeMap<(HostGroupId, String), End>,
    ) -> Self {
        let way = |(place, to): (&(HostGroupId, String), &End)| {
            let connection = Connection {
                network: network.clone(),
                process: process.clone(),
                to: *to,
                store: Store { end: *to, databases: databases.clone(), open: Arc::default() },
            };
            (place.clone(), Arc::new(connection) as SharedDatabase)
        };
        Self(ends.iter().map(way).collect())
    }
}

impl RemoteDatabases for Servers {
    fn server(&self, group: HostGroupId, region: &str) -> Option<SharedDatabase> {
        self.0.get(&(group, region.to_owned())).cloned()
    }
}

/// One process' way to one server.
struct Connection {
    network: Network,
    process: Process,
    to: End,
    store: Store,
}

/// The connection to the server that is there now. What a leader remembers of requests is of one server.
#[derive(Clone)]
struct Store {
    end: End,
    databases: RunningDatabases,
    open: Arc<Mutex<Option<Arc<MemoryStore>>>>,
}

type Stored<T> = Result<T, StoreError>;

impl Store {
    fn get(&self) -> Arc<MemoryStore> {
        let database = self.databases.get(self.end);
        let mut open = self.open.lock();
        if open.as_ref().is_some_and(|store| !store.database().is_same(&database)) {
            *open = None;
        }
        Arc::clone(open.get_or_insert_with(|| Arc::new(MemoryStore::open(&database))))
    }
}

impl Connection {
    async fn carry<T: Send + 'static, F>(
        &self,
        what: &'static str,
        work: impl FnOnce(Arc<MemoryStore>) -> F + Send + 'static,
    ) -> Result<T, Lost>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (store, dead) = (self.store.clone(), self.process.dead.clone());
        // A server notices that its client's process is gone: what was not committed is rolled back.
        let work = async move || {
            tokio::select! {
                biased;
                () = dead.cancelled() => None,
                done = work(store.get()) => Some(done),
            }
        };
        let deadline = Instant::now() + PATIENCE;
        let done = self.network.call(&self.process, self.to, deadline, what, work).await?;
        done.ok_or(Lost::Broken)
    }

    /// A call that changes nothing.
    async fn ask<T: Send + 'static, F>(
        &self,
        what: &'static str,
        work: impl FnOnce(Arc<MemoryStore>) -> F + Send + 'static,
    ) -> Stored<T>
    where
        F: Future<Output = Stored<T>> + Send + 'static,
    {
        let lost = |lost| StoreError::new(StoreErrorKind::Unavailable, format!("{what} was lost: {lost:?}"));
        self.carry(what, work).await.map_err(lost)?
    }

    /// A call that is one COMMIT: when it is lost, nobody knows (R4).
    async fn change<T: Send + 'static, F>(
        &self,
        what: &'static str,
        work: impl FnOnce(Arc<MemoryStore>) -> F + Send + 'static,
    ) -> Stored<T>
    where
        F: Future<Output = Stored<T>> + Send + 'static,
    {
        let unknown = |lost| {
            let kind = match lost {
                Lost::Refused => StoreErrorKind::Unavailable,
                Lost::Broken | Lost::Silence => StoreErrorKind::Uncertain,
            };
            StoreError::new(kind, format!("{what} was lost: {lost:?}"))
        };
        self.carry(what, work).await.map_err(unknown)?
    }
}

#[async_trait]
impl ShardStore for Connection {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn commit(&self, batch: Batch) -> Stored<BatchResult> {
        self.change("commit", async move |store: Arc<MemoryStore>| store.commit(batch).await).await
    }

    async fn read(&self, keys: &[ReadKey]) -> Stored<Vec<Result<Snapshot, Error>>> {
        let keys = keys.to_vec();
        self.ask("select", async move |store: Arc<MemoryStore>| store.read(&keys).await).await
    }

    async fn shard_rows(&self) -> Stored<Vec<ShardRow>> {
        self.ask("rows", async |store: Arc<MemoryStore>| store.shard_rows().await).await
    }

    async fn shard_rows_of(&self, shards: &[ShardId]) -> Stored<Vec<ShardRow>> {
        let shards = shards.to_vec();
        self.ask("held", async move |store: Arc<MemoryStore>| store.shard_rows_of(&shards).await).await
    }

    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> Stored<()> {
        let shards = shards.to_vec();
        self.change("create", async move |store: Arc<MemoryStore>| store.create_shards(&shards, epoch).await)
            .await
    }

    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> Stored<bool> {
        let work = async move |store: Arc<MemoryStore>| store.change_state(shard, epoch, from, to).await;
        self.change("state", work).await
    }

    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Stored<Vec<PendingInverse>> {
        self.ask("outbox", async move |store: Arc<MemoryStore>| store.outbox(shard, after, limit).await).await
    }

    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Stored<ScanPage> {
        self.ask("scan", async move |store: Arc<MemoryStore>| store.scan(shard, table, after, limit).await)
            .await
    }

    async fn purge(&self, shard: ShardId, requests: Seq, tombstones: Duration) -> Stored<u64> {
        let work = async move |store: Arc<MemoryStore>| store.purge(shard, requests, tombstones).await;
        self.change("purge", work).await
    }
}

#[async_trait]
impl ServerLog for Connection {
    async fn preflight(&self) -> Stored<Vec<Finding>> {
        self.ask("preflight", async |store: Arc<MemoryStore>| store.preflight().await).await
    }

    async fn open_tail(&self, start: TailStart) -> Result<Box<dyn LogTail>, TailError> {
        let work = async move |store: Arc<MemoryStore>| store.open_tail(start).await;
        let lost = |lost| TailError::new(TailErrorKind::Disconnected, format!("the log was lost: {lost:?}"));
        let tail = self.carry("tail", work).await.map_err(lost)??;
        let (sender, events) = mpsc::channel(ON_THE_WAY);
        let position = tail.position();
        let wire = Wire { network: self.network.clone(), near: self.process.end, far: self.to };
        let broken = self.network.streams(self.process.end, self.to);
        let dead = self.process.dead.clone();
        let bring = wire.clone().bring(tail, sender);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = dead.cancelled() => {}
                () = broken.cancelled() => {}
                () = bring => {}
            }
        });
        Ok(Box::new(Tail { wire, events, position, waiting: None }))
    }

    async fn executed(&self) -> Stored<LogPosition> {
        self.ask("executed", async |store: Arc<MemoryStore>| store.executed().await).await
    }

    async fn beat(&self, beat: Beat) -> Stored<PrimaryTime> {
        self.change("beat", async move |store: Arc<MemoryStore>| store.beat(beat).await).await
    }

    async fn survey(&self, writer: BeatWriter) -> Stored<Survey> {
        self.ask("survey", async move |store: Arc<MemoryStore>| store.survey(writer).await).await
    }

    async fn stored_topology(&self) -> Stored<Option<StoredTopology>> {
        self.ask("topology", async |store: Arc<MemoryStore>| store.stored_topology().await).await
    }

    async fn store_topology(&self, topology: &StoredTopology) -> Stored<bool> {
        let topology = topology.clone();
        self.change("store", async move |store: Arc<MemoryStore>| store.store_topology(&topology).await).await
    }
}

/// The way of a log from its server.
#[derive(Clone)]
struct Wire {
    network: Network,
    near: End,
    far: End,
}

type Given = Result<(Vec<TailEvent>, LogPosition), TailError>;

impl Wire {
    async fn bring(self, mut tail: Box<dyn LogTail>, events: mpsc::Sender<(Instant, Given)>) {
        let mut last = Instant::now();
        loop {
            let given = tokio::select! {
                biased;
                () = events.closed() => return,
                given = tail.next() => given.map(|given| (given, tail.position())),
            };
            last = last.max(Instant::now() + self.network.delay(self.far, self.near));
            let is_last = given.is_err();
            if events.send((last, given)).await.is_err() || is_last {
                return;
            }
        }
    }
}

/// The near end of a log.
struct Tail {
    wire: Wire,
    events: mpsc::Receiver<(Instant, Given)>,
    position: LogPosition,
    /// Came, and was not given out yet.
    waiting: Option<(Instant, Given)>,
}

#[async_trait]
impl LogTail for Tail {
    async fn next(&mut self) -> Result<Vec<TailEvent>, TailError> {
        if self.waiting.is_none() {
            self.waiting = self.events.recv().await;
        }
        let gone = || TailError::new(TailErrorKind::Disconnected, "the connection to the log is gone");
        let Some((due, _)) = &self.waiting else { return Err(gone()) };
        sleep_until(*due).await;
        let Wire { network, near, far } = &self.wire;
        let patience = Duration::from_millis(network.draw(|random| random.random_range(500..8_000)));
        network.passable(*far, *near, patience).await.map_err(|_| gone())?;
        let (_, given) = self.waiting.take().ok_or_else(gone)?;
        let (events, position) = given?;
        network.trace().event("log", &[far.0.into(), near.0.into(), events.len() as u64], || {
            format!("{} -> {}: {events:?}", network.name(*far), network.name(*near))
        });
        self.position = position;
        Ok(events)
    }

    fn position(&self) -> LogPosition {
        self.position.clone()
    }
}
