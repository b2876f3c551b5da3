//! A cluster under proof: its doors, and windows of work that are judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::{ReplicationMode, Topology};
use tao_shard_store::fleet::Fleet;
use tao_shard_store::log::{SharedDatabase, StoredTopology};
use tao_shard_store::mysql::{MySqlStore, Options};
use tokio::task::block_in_place;

use super::quiet;
use crate::history::{
    Call, Collector, CollectorOptions, History, Judgement, Operation, Recorder, Rules, RunClock, ShardTables,
    judge, judge_tables, read_tables,
};
use crate::regions::{Regions, RegionsOptions, region_name};
use crate::servers::Source;
use crate::soak::Door;

/// The logs must come to their ends within this when nobody writes.
const LOGS_END: Duration = Duration::from_secs(60);
/// Inverses that are on their way must have arrived within this.
const OUTBOX_EMPTY: Duration = Duration::from_secs(30);
/// More than a store keeps connections.
const RECONNECTS: u32 = 40;
/// Between two looks at what is on its way.
const LOOK: Duration = Duration::from_millis(250);

/// A running cluster. Between [`Stage::open`] and [`Stage::close`] is a window: what users did in it is judged against what
/// the logs say of it. Windows keep memory bounded, however long a run is.
pub struct Stage {
    /// The cluster.
    pub cluster: Regions,
    doors: Vec<Door>,
    mode: ReplicationMode,
    clock: RunClock,
    recorder: Recorder,
    collector: Option<Collector>,
    /// Stores past the tier and its links, by the index of their servers.
    stores: BTreeMap<usize, SharedDatabase>,
    /// Writes of the last window whose outcomes are unknown: they may happen in this one.
    unknown: Vec<Operation>,
    sessions: u32,
    /// The topology when the window was opened: shards may move.
    placed: Option<Topology>,
}

impl Stage {
    /// Starts a cluster.
    ///
    /// # Errors
    /// Something does not become ready.
    pub async fn start(source: &Source, options: &RegionsOptions) -> Result<Self> {
        let cluster = Regions::start(source, options).await?;
        let clock = RunClock::start();
        let recorder = Recorder::new(clock.clone());
        let doors = cluster.recorded_clients(&recorder).await?;
        Ok(Self {
            cluster,
            doors,
            mode: options.mode,
            clock,
            recorder,
            collector: None,
            stores: BTreeMap::new(),
            unknown: Vec::new(),
            sessions: 0,
            placed: None,
        })
    }

    /// How users reach the regions. What they do there is recorded.
    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// The first of so many numbers for sessions, which nobody else has.
    pub fn sessions(&mut self, number: u32) -> u32 {
        let first = self.sessions + 1;
        self.sessions += number;
        first
    }

    /// Opens a window. No user may be at work.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn open(&mut self) -> Result<()> {
        self.reconnect().await?;
        // What nobody judges is forgotten, but for what may yet happen.
        self.carry(self.recorder.take());
        let masters = self.masters()?;
        let mut servers: Vec<(usize, String, bool)> = Vec::new();
        for (index, (group, region)) in self.cluster.servers.places().enumerate() {
            let name = format!("{} of group {}", region_name(region), group + 1);
            servers.push((index, name, masters.get(group) == Some(&region)));
        }
        // Primaries first: they tell where the shards stand.
        servers.sort_by_key(|(index, _, primary)| (!primary, *index));
        let mut collector = Collector::new(self.clock.clone(), CollectorOptions::default());
        for (index, name, _) in servers {
            let store = self.store(index).await?;
            collector.follow(&name, store).await?;
        }
        self.collector = Some(collector);
        self.placed = Some(self.topology().await?);
        Ok(())
    }

    /// Closes it and judges: answers, writes and sessions against the logs, and the tables against both. No user may be at
    /// work.
    ///
    /// # Errors
    /// The logs or the tables can't be read.
    pub async fn close(&mut self) -> Result<Judgement> {
        let collector = self.collector.take().context("a window is open")?;
        self.reconnect().await?;
        let tables = self.settled_tables().await?;
        let collected = collector.finish(LOGS_END).await.context("read the logs to their ends")?;
        let mut history = self.recorder.take();
        let schema = self.doors.first().context("a region")?.client.schema();
        let rules = Rules { schema, complete: true, lossless: self.mode == ReplicationMode::Lossless };
        let before = std::mem::take(&mut self.unknown);
        self.carry(history.clone());
        history.operations.splice(0..0, before);
        let topology = self.topology().await?;
        let before_moves = self.placed.replace(topology.clone()).unwrap_or_else(|| topology.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let mut found = judge(&history, &collected.truth, &rules);
            // A shard that was elsewhere in between was not with the others all the time.
            let group = |shard| {
                let place = |topology: &Topology| topology.assignment(shard).map(|place| place.host_group);
                (place(&before_moves), place(&topology))
            };
            found.absorb(judge_tables(&collected.truth, &tables, &rules, |one, other| {
                group(one) == group(other)
            }));
            found
        });
        judged.await.context("the judge")
    }

    /// Compares caches with databases, and these with themselves. No user may be at work.
    ///
    /// # Errors
    /// The regions don't come to the present, or can't be asked.
    pub async fn check(&self) -> Result<Judgement> {
        quiet::check(&self.cluster).await
    }

    /// Every process of the cluster on this machine, and this one, by name.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let nodes = self.cluster.nodes.iter().map(|(name, process)| (name.clone(), process.pid()));
        // Of containers and others' servers nothing is known.
        let servers = self.cluster.servers.fleet().map(Fleet::servers).unwrap_or_default();
        let servers = servers.iter().filter_map(|server| {
            let name = format!("database-{}-{}", server.group() + 1, region_name(server.replica()));
            Some((name, server.pid()?))
        });
        nodes.chain(servers).chain([("judge".to_owned(), std::process::id())]).collect()
    }

    /// The newest topology that a server of the first host group has: who serves which shard now.
    ///
    /// # Errors
    /// None of them answers, or what is stored is no topology.
    pub async fn topology(&mut self) -> Result<Topology> {
        let mut newest: Option<StoredTopology> = None;
        let mut trouble = None;
        for region in 0..self.cluster.topology().regions.len() {
            let store = self.store(self.cluster.servers.index(0, region)?).await;
            let stored = match store {
                Ok(store) => store.stored_topology().await.map_err(Into::into),
                Err(error) => Err(error),
            };
            match stored {
                Ok(stored) => newest = newest.into_iter().chain(stored).max_by_key(|stored| stored.version),
                Err(error) => trouble = Some(error),
            }
        }
        match (newest, trouble) {
            (Some(newest), _) => Ok(Topology::parse(&newest.toml, "the stored topology")?),
            (None, Some(error)) => Err(error.context("read the stored topology")),
            (None, None) => Ok(self.cluster.topology().clone()),
        }
    }

    /// The index of the primary of a host group.
    ///
    /// # Errors
    /// There is no such host group, or nobody says.
    pub fn primary_index(&self, group: HostGroupId) -> Result<usize> {
        let groups = &self.cluster.topology().host_groups;
        let at = groups.iter().position(|known| known.id == group);
        let at = at.with_context(|| format!("no host group {group}"))?;
        let master = self.masters()?.get(at).copied().context("a master region")?;
        self.cluster.servers.index(at, master)
    }

    /// The primary of a host group, past the tier.
    ///
    /// # Errors
    /// There is no such host group, or it does not answer.
    pub async fn primary(&mut self, group: HostGroupId) -> Result<SharedDatabase> {
        let index = self.primary_index(group)?;
        self.store(index).await
    }

    /// Keeps the writes of a window that may happen after it.
    fn carry(&mut self, history: History) {
        self.unknown = history.operations;
        self.unknown.retain(|operation| {
            let uncertain = operation.result.as_ref().is_err_and(|code| !code.outcome_certain());
            matches!(operation.call, Call::Write(_)) && uncertain
        });
    }

    fn masters(&self) -> Result<Vec<usize>> {
        block_in_place(|| self.cluster.masters())
    }

    async fn store(&mut self, index: usize) -> Result<SharedDatabase> {
        if let Some(store) = self.stores.get(&index) {
            return Ok(Arc::clone(store));
        }
        let store = MySqlStore::open(&self.cluster.servers.dsn(index)?, Options::default()).await?;
        let store: SharedDatabase = Arc::new(store);
        self.stores.insert(index, Arc::clone(&store));
        Ok(store)
    }

    /// A server that was killed left dead connections behind: they show, one by one, when they are used.
    async fn reconnect(&mut self) -> Result<()> {
        for index in 0..self.cluster.servers.places().count() {
            let store = self.store(index).await?;
            let mut tries = 1;
            while let Err(error) = store.executed().await {
                ensure!(tries < RECONNECTS, "server {index} does not answer: {error}");
                tries += 1;
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// The tables of all shards, when nothing is on its way any more, or as they are after a time.
    async fn settled_tables(&mut self) -> Result<BTreeMap<ShardId, ShardTables>> {
        let began = Instant::now();
        let mut before = None;
        loop {
            let tables = self.tables().await?;
            let positions: Vec<_> = tables.values().map(|shard| shard.position).collect();
            let settled = tables.values().all(|shard| shard.outbox.is_empty());
            // A write whose caller gave up may be on its way to one shard while another is read.
            let still = before.replace(positions.clone()) == Some(positions);
            if (settled && still) || began.elapsed() > OUTBOX_EMPTY {
                return Ok(tables);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn tables(&mut self) -> Result<BTreeMap<ShardId, ShardTables>> {
        let masters = self.masters()?;
        let topology = self.topology().await?;
        let mut tables = BTreeMap::new();
        for (group, master) in masters.iter().enumerate() {
            let primary = self.cluster.servers.index(group, *master)?;
            let store = self.store(primary).await?;
            let id = topology.host_groups.get(group).context("a host group")?.id;
            let shards = (0..topology.shards).filter_map(|shard| u16::try_from(shard).ok().map(ShardId));
            let of_group = shards
                .filter(|shard| topology.assignment(*shard).is_some_and(|found| found.host_group == id));
            let of_group: Vec<ShardId> = of_group.collect();
            tables.extend(read_tables(&*store, of_group).await.context("read the tables")?);
        }
        Ok(tables)
    }
}
