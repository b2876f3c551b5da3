//! A cluster of processes to measure: one database server for the tier, one like it for the peers, a leader and a follower.

mod check;
mod gauges;
mod ready;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tao_client::{Client, Options};
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};
use tao_shard_store::fleet::{Fleet, FleetOptions, ServerBinary};
use tempfile::TempDir;

pub use check::{Checked, check};
pub use gauges::Gauges;
pub use ready::Ready;

use crate::machine::{Cores, Process, free_address, sibling_program};

/// The graph schema of all benchmarks.
pub const SCHEMA: &str = include_str!("../../schema.toml");

const REGION: &str = "local";
const START: Duration = Duration::from_secs(90);

/// What a [`Cluster`] is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Who runs where.
    pub cores: Cores,
    /// Logical shards.
    pub shards: u32,
    /// The follower's cache.
    pub follower_bytes: u64,
    /// The leader's cache.
    pub leader_bytes: u64,
    /// Buffer pool of each database server.
    pub buffer_pool_bytes: u64,
    /// A second database server, for the peers: what they write must not go through the tier's log.
    pub peer_database: bool,
}

/// Running processes. Everything ends with the value.
pub struct Cluster {
    follower: Option<Process>,
    leader: Option<Process>,
    fleet: Fleet,
    topology: Topology,
    topology_file: PathBuf,
    admin: BTreeMap<&'static str, String>,
    options: ClusterOptions,
    engine: String,
    folder: TempDir,
}

impl Cluster {
    /// Starts everything and waits until it takes requests.
    ///
    /// # Errors
    /// A program is missing, or does not start; the message has the end of its log.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let binary = ServerBinary::find()?;
        let engine = format!("{} {}", binary.flavour(), binary.version());
        let fleet = FleetOptions {
            buffer_pool_bytes: options.buffer_pool_bytes,
            redo_log_bytes: 512 << 20,
            ..FleetOptions::new(binary, if options.peer_database { 2 } else { 1 })
        };
        let fleet = Fleet::start(fleet).await.context("database servers")?;
        for pid in fleet.servers().iter().filter_map(tao_shard_store::fleet::Server::pid) {
            options.cores.move_to_server(pid)?;
        }
        let dsn = fleet.servers().first().context("a database server")?.dsn().expose();
        let topology = topology(options.shards, dsn)?;
        let topology_file = folder.path().join("topology.toml");
        std::fs::write(&topology_file, topology.to_toml())?;
        std::fs::write(folder.path().join("schema.toml"), SCHEMA)?;
        let admin = BTreeMap::from([("leader", free_address()?), ("follower", free_address()?)]);
        let mut cluster = Self {
            follower: None,
            leader: None,
            fleet,
            topology,
            topology_file,
            admin,
            options,
            engine,
            folder,
        };
        cluster.leader = Some(cluster.node("leader", cluster.options.leader_bytes).await?);
        cluster.follower = Some(cluster.node("follower", cluster.options.follower_bytes).await?);
        Ok(cluster)
    }

    /// Starts the follower again, with nothing in memory and room for `bytes`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_follower(&mut self, bytes: u64) -> Result<()> {
        // The old one first: it has the port.
        drop(self.follower.take());
        self.follower = Some(self.node("follower", bytes).await?);
        Ok(())
    }

    /// Starts both nodes again with nothing in memory.
    ///
    /// # Errors
    /// One does not start.
    pub async fn restart(&mut self, follower_bytes: u64, leader_bytes: u64) -> Result<()> {
        drop(self.follower.take());
        drop(self.leader.take());
        self.leader = Some(self.node("leader", leader_bytes).await?);
        self.follower = Some(self.node("follower", follower_bytes).await?);
        Ok(())
    }

    /// A client with connections of its own.
    ///
    /// # Errors
    /// The follower does not answer.
    pub async fn client(&self) -> Result<Client> {
        let follower = self.topology.regions[0].followers[0].nodes[0].address.clone();
        Ok(Client::connect(Options::new([follower])).await?)
    }

    /// So many clients.
    ///
    /// # Errors
    /// As [`Cluster::client`].
    pub async fn clients(&self, number: usize) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..number {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }

    /// The peers' database.
    ///
    /// # Errors
    /// The cluster was started without.
    pub fn peer_dsn(&self) -> Result<String> {
        Ok(self.fleet.servers().get(1).context("the cluster has no database for peers")?.dsn().expose())
    }

    /// Where everything is.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Engine and version of the databases.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// Process of the follower.
    pub fn follower_pid(&self) -> u32 {
        self.follower.as_ref().map_or(0, Process::pid)
    }

    /// Process of the leader.
    pub fn leader_pid(&self) -> u32 {
        self.leader.as_ref().map_or(0, Process::pid)
    }

    /// What the follower tells of itself.
    pub fn gauges(&self) -> Gauges {
        Gauges::new(self.topology_file.clone(), self.admin.get("follower").cloned().unwrap_or_default())
    }

    /// Compares what the nodes have in memory with the database.
    ///
    /// # Errors
    /// The check can't be made, or finds a difference.
    pub async fn check(&self) -> Result<Checked> {
        check(&self.topology_file, &self.options.cores).await
    }

    /// A folder that goes with the cluster.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Ends everything in order.
    pub async fn stop(self) {
        drop(self.follower);
        drop(self.leader);
        self.fleet.stop().await;
    }

    async fn node(&self, role: &'static str, cache_bytes: u64) -> Result<Process> {
        let folder = self.folder.path();
        let tier = if role == "leader" {
            &self.topology.regions[0].leaders
        } else {
            &self.topology.regions[0].followers[0]
        };
        let admin = self.admin.get(role).context("an admin address")?.clone();
        let config = format!(
            "name = {role:?}\nlisten = {:?}\nadmin_listen = {admin:?}\ntopology = {:?}\nschema = {:?}\ndrain_ms = 1000\n\
             [cache]\nbytes = {cache_bytes}\n[log]\nlevel = \"warn\"\n",
            tier.nodes[0].address,
            self.topology_file.display().to_string(),
            folder.join("schema.toml").display().to_string(),
        );
        let path = folder.join(format!("{role}.toml"));
        std::fs::write(&path, config)?;
        let args = ["--config".to_owned(), path.display().to_string()];
        let log = folder.join(format!("{role}.log"));
        let mut process =
            Process::start(role, &sibling_program("tao-server")?, &args, &log, &self.options.cores)?;
        process
            .wait_ready(START, || gauges::http_get(&admin, "/readyz").is_ok_and(|(status, _)| status == 200))
            .await?;
        Ok(process)
    }
}

fn topology(shards: u32, dsn: String) -> Result<Topology> {
    let tier = |name: &str, node: &str| -> Result<Tier> {
        let nodes = vec![Node { name: node.to_owned(), address: free_address()?, admin: None }];
        Ok(Tier { name: name.to_owned(), nodes })
    };
    let group = HostGroup {
        id: HostGroupId(1),
        master: REGION.to_owned(),
        epoch: FIRST_EPOCH,
        mode: ReplicationMode::Async,
        servers: BTreeMap::from([(REGION.to_owned(), Dsn::new(dsn))]),
    };
    Ok(Topology {
        version: 1,
        cluster: "bench".to_owned(),
        shards,
        regions: vec![Region {
            name: REGION.to_owned(),
            leaders: tier("leaders", "leader")?,
            followers: vec![tier("followers", "follower")?],
        }],
        host_groups: vec![group],
        assignments: Vec::new(),
    })
}
