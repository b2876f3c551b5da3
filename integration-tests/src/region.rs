//! Regions: one `tao dev`, or servers, leaders and followers as processes of their own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tao_client::{Client, Options};
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{
    Dsn, FIRST_EPOCH, HostGroup, Node, Region as TopologyRegion, ReplicationMode, Tier, Topology,
};
use tao_server::ready::ReadyFile;
use tao_shard_store::fleet::{Fleet, FleetOptions, ServerBinary};
use tempfile::TempDir;

use crate::binaries::{tao, tao_server};
use crate::process::{Process, is_ready, wait_until};

/// How long anything may take to start, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A `tao dev`.
pub struct DevRegion {
    /// The process.
    pub process: Process,
    /// What it says of itself.
    pub ready: ReadyFile,
    folder: TempDir,
}

impl DevRegion {
    /// Starts `tao dev` with these arguments, on free ports.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::start_with(args, &[])
    }

    /// As [`DevRegion::start`], with variables of the environment.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_with(args: &[&str], environment: &[(&str, &Path)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ready_file = folder.path().join("ready.json");
        let log = folder.path().join("dev.log");
        let path = ready_file.display().to_string();
        let mut all = vec!["dev", "--port", "0", "--ready-file", &path];
        all.extend(args);
        let mut process = Process::start_with("tao dev", &tao()?, &all, &log, environment)?;
        wait_until("tao dev is ready", START, || {
            anyhow::ensure!(process.runs()?, "tao dev ended: {}", std::fs::read_to_string(&log)?);
            Ok(ready_file.exists())
        })?;
        let ready = ReadyFile::read(&ready_file)?;
        Ok(Self { process, ready, folder })
    }

    /// Its ready file, for `tao --cluster`.
    pub fn cluster(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    /// A client of it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn client(&self) -> Result<Client> {
        let followers = self.ready.regions.iter().flat_map(|region| &region.followers);
        Ok(Client::connect(Options::new(followers.map(|node| node.address.clone()))).await?)
    }
}

/// What a [`Region`] consists of.
#[derive(Clone, Debug)]
pub struct RegionOptions {
    /// Database servers.
    pub db_servers: usize,
    /// Leaders.
    pub leaders: usize,
    /// Followers.
    pub followers: usize,
    /// Logical shards.
    pub shards: u32,
}

/// A region in which every node is a process, as in production.
pub struct Region {
    /// The database servers.
    pub fleet: Fleet,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Process>,
    /// The topology file, for `tao --cluster`.
    pub topology_file: PathBuf,
    topology: Topology,
    folder: TempDir,
}

impl Region {
    /// Starts databases and nodes.
    ///
    /// # Errors
    /// Something does not become ready; the message has its log.
    pub async fn start(binary: ServerBinary, options: &RegionOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let fleet = Fleet::start(FleetOptions::new(binary, options.db_servers)).await?;
        let topology = topology(options, &fleet)?;
        let topology_file = folder.path().join("topology.toml");
        std::fs::write(&topology_file, topology.to_toml())?;
        let mut region = Self { fleet, nodes: BTreeMap::new(), topology_file, topology, folder };
        let names: Vec<String> =
            region.topology.tiers().flat_map(|(_, tier)| &tier.nodes).map(|node| node.name.clone()).collect();
        for name in names {
            region.start_node(&name)?;
        }
        Ok(region)
    }

    /// Starts a node of the topology, again if it ran before, and waits until it answers.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_node(&mut self, name: &str) -> Result<()> {
        let (tier, index) = self.topology.node_named(name).with_context(|| format!("no node {name}"))?;
        let node = &self.topology.tier(tier).context("a tier of the topology")?.nodes[usize::from(index)];
        let log = self.folder.path().join(format!("{name}.log"));
        let topology = format!("topology={}", self.topology_file.display());
        let admin = free_address()?;
        let admin_listen = format!("admin_listen={admin}");
        let (name_key, listen) = (format!("name={name}"), format!("listen={}", node.address));
        let args = ["--set", &name_key, "--set", &listen, "--set", &admin_listen, "--set", &topology];
        let mut process = Process::start(name, &tao_server()?, &args, &log)?;
        wait_until(&format!("{name} is ready"), START, || {
            anyhow::ensure!(process.runs()?, "{name} ended: {}", std::fs::read_to_string(&log)?);
            is_ready(&admin)
        })?;
        self.nodes.insert(name.to_owned(), process);
        Ok(())
    }

    /// kill -9 of a node.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_node(&mut self, name: &str) -> Result<()> {
        self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?.kill()
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

    /// A client of the region.
    ///
    /// # Errors
    /// No follower answers.
    pub async fn client(&self) -> Result<Client> {
        let followers = self.topology.tiers().filter(|(tier, _)| tier.tier != 0);
        let addresses = followers.flat_map(|(_, tier)| &tier.nodes).map(|node| node.address.clone());
        Ok(Client::connect(Options::new(addresses)).await?)
    }
}

/// A port that is free, and that nobody gets by chance until it is used: below those that the system gives to whoever asks
/// for any, and never twice in one process. Nodes must know each other's before they start.
pub(crate) fn free_address() -> Result<String> {
    /// The first port that may be taken, and how many.
    const PORTS: (u16, u16) = (12_000, 20_000);
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random::<u16>() % PORTS.1));
    for _ in 0..PORTS.1 {
        let port = PORTS.0 + next.fetch_add(1, Ordering::Relaxed) % PORTS.1;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port from {} on is free", PORTS.0)
}

fn topology(options: &RegionOptions, fleet: &Fleet) -> Result<Topology> {
    let nodes = |role: &str, number: usize| -> Result<Vec<Node>> {
        (1..=number)
            .map(|index| Ok(Node { name: format!("{role}-{index}"), address: free_address()?, admin: None }))
            .collect()
    };
    let host_group = |server: &tao_shard_store::fleet::Server| HostGroup {
        id: HostGroupId(server.index() as u16 + 1),
        master: "local".to_owned(),
        epoch: FIRST_EPOCH,
        mode: ReplicationMode::Async,
        servers: BTreeMap::from([("local".to_owned(), Dsn::new(server.dsn().expose()))]),
    };
    Ok(Topology {
        version: 1,
        cluster: "test".to_owned(),
        shards: options.shards,
        regions: vec![TopologyRegion {
            name: "local".to_owned(),
            leaders: Tier { name: "leaders".to_owned(), nodes: nodes("leader", options.leaders)? },
            followers: vec![Tier {
                name: "followers".to_owned(),
                nodes: nodes("follower", options.followers)?,
            }],
        }],
        host_groups: fleet.servers().iter().map(host_group).collect(),
        assignments: Vec::new(),
    })
}
