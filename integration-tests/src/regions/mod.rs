//! Several regions of real processes: database servers with replicas, leaders and followers, a delay on every link between
//! two regions, and, if wanted, a link on every connection, for [`crate::faults`].

mod can;
mod clients;
mod databases;
mod faults;
mod links;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};
use tao_shard_store::fleet::can_mount;
use tempfile::TempDir;

pub(crate) use self::databases::place;
pub use self::databases::{Database, Databases};
pub use self::links::Links;
use crate::binaries::{run_tao, tao_server};
use crate::faults::{Clocks, Network, Place};
use crate::process::{Process, is_ready};
use crate::region::free_address;
use crate::servers::{CLUSTER, Servers, Source};

/// Knowledge that is younger is of the present.
const AGE_OF_CAUGHT_UP: Duration = Duration::from_secs(2);

/// How long anything may take to start, on a busy machine.
const START: Duration = Duration::from_secs(90);

/// What [`Regions`] consist of.
#[derive(Clone, Debug)]
pub struct RegionsOptions {
    /// Regions, named `region-a`, `region-b`, …
    pub regions: usize,
    /// Host groups, each with a server in every region.
    pub groups: usize,
    /// Leaders of each region.
    pub leaders: usize,
    /// Followers of each region.
    pub followers: usize,
    /// Logical shards.
    pub shards: u32,
    /// One-way delay of every link between two regions.
    pub wan: Duration,
    /// What an acknowledgement promises.
    pub mode: ReplicationMode,
    /// Where links are.
    pub links: Links,
    /// Gives the data of each database server a disk of its own of this size, in memory, that can get full. Without effect
    /// where this process may not mount any, and on servers that are no processes of this machine.
    pub disk_bytes: Option<u64>,
    /// Gives each node and server a wall clock of its own. Without effect where `libfaketime` is not installed.
    pub clocks: bool,
    /// Where the chance in links starts.
    pub seed: u64,
    /// Master regions of the host groups, by index of the region; the last one stands for all groups that follow, and
    /// the first region for all if there is none.
    pub masters: Vec<usize>,
}

impl Default for RegionsOptions {
    fn default() -> Self {
        Self {
            regions: 2,
            groups: 2,
            leaders: 1,
            followers: 1,
            shards: 16,
            wan: Duration::ZERO,
            mode: ReplicationMode::Async,
            links: Links::default(),
            disk_bytes: None,
            clocks: false,
            seed: 0,
            masters: vec![0],
        }
    }
}

/// Running regions. Everything ends with the handle.
pub struct Regions {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Process>,
    /// The topology file that the nodes started with: a list of all servers and nodes for `tao`.
    pub topology_file: PathBuf,
    /// The database servers.
    pub servers: Servers,
    topology: Topology,
    network: Network,
    clocks: Option<Clocks>,
    /// Admin addresses of nodes, from their last start on.
    admins: BTreeMap<String, String>,
    has_disks: bool,
    folder: TempDir,
}

/// The name of a region of an index.
pub fn region_name(index: usize) -> String {
    format!("region-{}", char::from(b'a' + index as u8))
}

impl Regions {
    /// Starts databases with replication, or takes those of `source`, then all nodes, and waits until each answers.
    ///
    /// # Errors
    /// Something does not become ready; the message has its log.
    pub async fn start(source: &Source, options: &RegionsOptions) -> Result<Self> {
        ensure!((1..=8).contains(&options.regions), "1 to 8 regions");
        let folder = tempfile::tempdir()?;
        let mut network = Network::new(options.seed)?;
        let servers = databases::start(source, options, &mut network).await?;
        let topology = topology(options, &servers)?;
        links::between_nodes(&mut network, &servers, &topology, options).await?;
        let topology_file = folder.path().join("topology.toml");
        std::fs::write(&topology_file, topology.to_toml())?;
        let mut regions = Self {
            nodes: BTreeMap::new(),
            topology_file,
            has_disks: options.disk_bytes.is_some() && servers.fleet().is_ok() && can_mount().is_ok(),
            servers,
            topology,
            network,
            clocks: if options.clocks { Clocks::new(folder.path()).ok() } else { None },
            admins: BTreeMap::new(),
            folder,
        };
        for name in regions.node_names() {
            regions.start_node(&name).await?;
        }
        Ok(regions)
    }

    /// Number of logical shards.
    pub fn shards(&self) -> u32 {
        self.topology.shards
    }

    /// The topology that the nodes started with.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The master region of a shard, by the masters of the host groups.
    pub fn master_of(&self, shard: ShardId, masters: &[usize]) -> Option<usize> {
        let group = self.topology.assignment(shard)?.host_group;
        let at = self.topology.host_groups.iter().position(|known| known.id == group)?;
        masters.get(at).copied()
    }

    /// All nodes, region by region, leaders first.
    pub fn node_names(&self) -> impl Iterator<Item = String> + use<> {
        let names: Vec<String> =
            self.topology.tiers().flat_map(|(_, tier)| &tier.nodes).map(|node| node.name.clone()).collect();
        names.into_iter()
    }

    /// Starts a node of the topology, again if it ran before, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_node(&mut self, name: &str) -> Result<()> {
        self.launch_again(name)?;
        self.node_ready(name, START).await
    }

    /// Waits until a node says that it is ready.
    ///
    /// # Errors
    /// It has ended, or is not within the limit; the message has its log.
    pub async fn node_ready(&mut self, name: &str, limit: Duration) -> Result<()> {
        let admin = self.admins.get(name).with_context(|| format!("no node {name}"))?.clone();
        let began = std::time::Instant::now();
        loop {
            let process = self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?;
            let runs = process.runs()?;
            ensure!(runs, "{name} ended: {}", self.log(name)?);
            let asked = admin.clone();
            if tokio::task::spawn_blocking(move || is_ready(&asked)).await?? {
                return Ok(());
            }
            ensure!(began.elapsed() < limit, "{name} is not ready within {limit:?}: {}", self.log(name)?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a node of the topology, again if it ran before, and does not wait.
    ///
    /// # Errors
    /// It can't be started.
    pub fn launch_again(&mut self, name: &str) -> Result<()> {
        let (tier, index) = self.topology.node_named(name).with_context(|| format!("no node {name}"))?;
        let node = &self.topology.tier(tier).context("a tier")?.nodes[usize::from(index)];
        let log = self.folder.path().join(format!("{name}.log"));
        let config = self.folder.path().join(format!("{name}.toml"));
        let admin = free_address()?;
        let mut text = format!(
            "name = {name:?}\nlisten = {:?}\nadmin_listen = {admin:?}\ntopology = {:?}\n[translate]\n",
            node.address,
            self.topology_file.display().to_string()
        );
        for (address, through) in self.network.seen_from(&Place::node(name)) {
            text.push_str(&format!("{address:?} = {through:?}\n"));
        }
        std::fs::write(&config, text)?;
        let path = config.display().to_string();
        let clock =
            self.clocks.as_ref().map(|clocks| clocks.environment(name)).transpose()?.unwrap_or_default();
        let clock: Vec<(&str, &Path)> = clock.iter().map(|(name, value)| (*name, value.as_path())).collect();
        // The old one first: it has the port.
        self.nodes.remove(name);
        let process = Process::start_with(name, &tao_server()?, &["--config", &path], &log, &clock)?;
        self.nodes.insert(name.to_owned(), process);
        self.admins.insert(name.to_owned(), admin);
        Ok(())
    }

    /// All links, and what is wrong with them.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The nodes' wall clocks, if they have any of their own.
    pub(crate) fn clocks(&self) -> Option<&Clocks> {
        self.clocks.as_ref()
    }

    /// `tao ARGS` against the cluster: its data.
    ///
    /// # Errors
    /// It fails.
    pub fn tao(&self, args: &[&str]) -> Result<Value> {
        let (code, data, talk) = run_tao(&self.topology_file, args)?;
        ensure!(code == 0, "tao {args:?} ended with {code}: {data} {talk}");
        Ok(data)
    }

    /// Waits until every region's logs have come to the present: what is known there is at most two seconds old. How long
    /// that took.
    ///
    /// # Errors
    /// It takes longer than `limit`, or nobody says how old it is.
    pub async fn caught_up(&self, limit: Duration) -> Result<Duration> {
        let began = std::time::Instant::now();
        loop {
            // What was known before the call does not count: a server may have stopped committing just now.
            let most = began.elapsed().min(AGE_OF_CAUGHT_UP).as_millis();
            let lag = self.lag().await?;
            let groups = lag.as_array().context("tao lag lists the host groups of each region")?;
            let young = |group: &Value| group["age_ms"].as_u64().is_some_and(|age| u128::from(age) < most);
            if !groups.is_empty() && groups.iter().all(young) {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < limit, "not caught up after {limit:?}: {lag}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// `tao check --deep` in every region.
    ///
    /// # Errors
    /// It can't be made.
    pub async fn check_all(&self) -> Result<BTreeMap<String, Value>> {
        let regions = self.topology.regions.iter().map(|region| region.name.clone());
        regions
            .map(|region| {
                let (code, data, talk) =
                    run_tao(&self.topology_file, &["check", "--deep", "--region", &region])?;
                ensure!(code <= 1, "tao check in {region} ended with {code}: {talk}");
                Ok((region, data))
            })
            .collect()
    }

    /// `tao lag`.
    ///
    /// # Errors
    /// It fails.
    pub async fn lag(&self) -> Result<Value> {
        let (code, data, talk) = run_tao(&self.topology_file, &["lag"])?;
        // 1: something has no age yet, which is for the caller to judge.
        ensure!(code <= 1 && !data.is_null(), "tao lag ended with {code}: {data} {talk}");
        Ok(data)
    }

    /// What a node has logged since its last start.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn log(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join(format!("{name}.log")))?)
    }

    /// The folder of logs and files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn topology(options: &RegionsOptions, servers: &Servers) -> Result<Topology> {
    let nodes = |region: usize, role: &str, number: usize| -> Result<Vec<Node>> {
        (1..=number)
            .map(|index| {
                let name = format!("{}-{role}-{index}", region_name(region));
                Ok(Node { name, address: free_address()?, admin: None })
            })
            .collect()
    };
    let mut regions = Vec::new();
    for index in 0..options.regions {
        let name = region_name(index);
        regions.push(Region {
            leaders: Tier {
                name: format!("{name}-leaders"),
                nodes: nodes(index, "leader", options.leaders)?,
            },
            followers: vec![Tier {
                name: format!("{name}-followers"),
                nodes: nodes(index, "follower", options.followers)?,
            }],
            name,
        });
    }
    let host_groups = (0..options.groups)
        .map(|group| {
            let servers = (0..options.regions)
                .map(|region| {
                    Ok((region_name(region), Dsn::new(servers.dsn(servers.index(group, region)?)?)))
                })
                .collect::<Result<BTreeMap<String, Dsn>>>()?;
            Ok(HostGroup {
                id: HostGroupId(group as u16 + 1),
                master: region_name(databases::master(options, group)),
                epoch: FIRST_EPOCH,
                mode: options.mode,
                servers,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Topology {
        version: 1,
        cluster: CLUSTER.to_owned(),
        shards: options.shards,
        regions,
        host_groups,
        assignments: Vec::new(),
    })
}
