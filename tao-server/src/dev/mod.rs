//! A whole cluster in one process, for development and tests: one region or several with a distance between them, each
//! with database servers, leaders and followers, all over the same gRPC and SQL that a real cluster uses.

mod layout;
mod memory;
mod storage;
mod wan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::topology::{MAX_REGIONS, ReplicationMode, Topology};
use tokio::net::TcpListener;

use crate::node::{Admin, Node, Plan};
use crate::ready::{ReadyDatabase, ReadyFile, ReadyNode, ReadyRegion};
use crate::topology;
use crate::translate::server_address;

use wan::Distance;

pub use storage::{Storage, StorageChoice};

/// How long nodes may take until they serve.
const READY: Duration = Duration::from_secs(60);

/// What `tao dev` starts.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Where the data lives.
    pub storage: StorageChoice,
    /// Logical shards.
    pub shards: u32,
    /// Host groups: private database servers, or parts of the memory engine. Ignored if there are `dsns`.
    pub db_servers: usize,
    /// The user's own database servers, each a host group, in place of private ones.
    pub dsns: Vec<String>,
    /// Regions, 1 to 16: one is called `local`, more are `region-a`, `region-b` and so on.
    pub regions: usize,
    /// What each byte takes from one region to another, in either direction: on gRPC, SQL and replication.
    pub wan_latency: Duration,
    /// What an acknowledged write is worth when its region is lost, with more than one region.
    pub mode: ReplicationMode,
    /// The region that all host groups are mastered in; none: host group `g` in region `g mod regions`.
    pub master: Option<String>,
    /// Followers of each region.
    pub followers: usize,
    /// Leaders of each region.
    pub leaders: usize,
    /// Keeps data over restarts; none: a temporary folder.
    pub data_dir: Option<PathBuf>,
    /// A graph schema file; none: the demo schema.
    pub schema: Option<PathBuf>,
    /// First port to try; 0: any free ports.
    pub base_port: u16,
    /// Memory for each node's cache.
    pub cache_bytes: u64,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            storage: StorageChoice::Auto,
            shards: 64,
            db_servers: 2,
            dsns: Vec::new(),
            regions: 1,
            wan_latency: Duration::ZERO,
            mode: ReplicationMode::Async,
            master: None,
            followers: 2,
            leaders: 1,
            data_dir: None,
            schema: None,
            base_port: 0,
            cache_bytes: 1 << 30,
        }
    }
}

impl DevOptions {
    /// Number of host groups.
    fn host_groups(&self) -> usize {
        if self.dsns.is_empty() { self.db_servers } else { self.dsns.len() }
    }

    fn region_names(&self) -> Vec<String> {
        layout::region_names(self.regions)
    }

    fn validate(&self) -> Result<()> {
        let bounds = [
            ("--shards", u64::from(self.shards), u64::from(tao_schema::limits::MAX_SHARDS)),
            ("--db-servers", self.host_groups() as u64, 64),
            ("--followers", self.followers as u64, 64),
            ("--leaders", self.leaders as u64, 64),
            ("--regions", self.regions as u64, MAX_REGIONS as u64),
        ];
        for (flag, value, most) in bounds {
            anyhow::ensure!((1..=most).contains(&value), "{flag} {value}: must be 1 to {most}");
        }
        let regions = self.region_names();
        if let Some(master) = self.master.as_ref().filter(|master| !regions.contains(master)) {
            anyhow::bail!("--master {master}: the regions are {}", regions.join(", "));
        }
        anyhow::ensure!(
            self.wan_latency <= Duration::from_secs(10),
            "--wan-latency: at most 10 s, not {:?}",
            self.wan_latency
        );
        anyhow::ensure!(
            self.dsns.is_empty() || self.regions == 1,
            "--dsn: servers of yours make one region; replication between them would have to be set up by you"
        );
        if let Some((at, _)) = self.dsns.iter().enumerate().find(|(at, dsn)| self.dsns[..*at].contains(*dsn))
        {
            anyhow::bail!("--dsn: server {} is named twice; each is a host group of its own", at + 1);
        }
        Ok(())
    }
}

/// A cluster that runs in this process.
pub struct DevCluster {
    nodes: Vec<Node>,
    storage: Storage,
    /// Its links go when the cluster does.
    _distance: Distance,
    ready: ReadyFile,
}

impl DevCluster {
    /// Starts databases, leaders and followers, in this order, and comes back when all are ready.
    ///
    /// # Errors
    /// What keeps a part from starting. Nothing is left running then.
    pub async fn start(options: DevOptions) -> Result<Self> {
        let started = Instant::now();
        options.validate()?;
        let schema = Arc::new(match &options.schema {
            None => GraphSchema::demo(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                GraphSchema::parse(&text, &path.display().to_string())?
            }
        });
        let storage = Storage::start(&options).await?;
        let places = layout::listen(&options).await?;
        let asked = layout::topology(&options, &places, &storage)?;
        let last = storage.last_topology(&asked).await?;
        let topology = Arc::new(topology::laid_out_anew(asked, last.as_ref())?);
        let distance = Distance::open(&topology, options.wan_latency).await?;
        storage.replicate(&topology, &distance, options.wan_latency).await?;
        storage.prepare(&topology).await?;
        let mut ready = ReadyFile {
            cluster: topology.cluster.clone(),
            pid: std::process::id(),
            storage: storage.name().to_owned(),
            engine: storage.engine(),
            shards: options.shards,
            ready_seconds: 0.0,
            regions: regions(&topology, &storage, &distance),
        };
        let mut nodes = Vec::new();
        for place in places {
            let config = layout::config(&options, &place, &distance);
            let plan = Plan::new(config, Arc::clone(&topology), Arc::clone(&schema))?;
            let databases = if place.leader { Some(storage.open(&plan).await?) } else { None };
            let admin = Admin::open(&plan).await?;
            let node = Node::start(plan, place.listener, databases, admin).await?;
            let listed = ReadyNode {
                name: node.name.clone(),
                address: node.address.to_string(),
                admin: node.admin.to_string(),
            };
            let region = ready.regions.iter_mut().find(|region| region.name == place.region);
            let region = region.context("a region of the topology")?;
            if place.leader { &mut region.leaders } else { &mut region.followers }.push(listed);
            nodes.push(node);
        }
        for node in &nodes {
            node.serves(READY).await?;
        }
        ready.ready_seconds = started.elapsed().as_secs_f64();
        Ok(Self { nodes, storage, _distance: distance, ready })
    }

    /// Where everything is.
    pub fn ready(&self) -> &ReadyFile {
        &self.ready
    }

    /// Stops followers, then leaders, then databases.
    pub async fn stop(mut self) {
        // Leaders were started first; those that depend on them go first.
        while let Some(node) = self.nodes.pop() {
            node.shutdown().await;
        }
        self.storage.stop().await;
    }
}

/// A port that is bound, for a node that is to come.
pub(crate) struct Place {
    name: String,
    region: String,
    leader: bool,
    listener: TcpListener,
}

/// The regions with their databases; nodes come when they have started.
fn regions(topology: &Topology, storage: &Storage, distance: &Distance) -> Vec<ReadyRegion> {
    let of_memory = matches!(storage, Storage::Memory(_));
    let region = |name: &String| ReadyRegion {
        name: name.clone(),
        followers: Vec::new(),
        leaders: Vec::new(),
        databases: topology
            .host_groups
            .iter()
            .filter(|_| !of_memory)
            .filter_map(|group| {
                let dsn = group.servers.get(name)?;
                Some(ReadyDatabase {
                    host_group: group.id.0,
                    primary: group.master == *name,
                    address: server_address(dsn),
                    dsn: dsn.expose().to_owned(),
                })
            })
            .collect(),
        translate: distance.translate(name),
    };
    topology.regions.iter().map(|found| region(&found.name)).collect()
}
