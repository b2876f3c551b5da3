//! A whole region in one process, for development and tests: private database servers, leaders and followers, all
//! over the same gRPC that a real cluster uses.

mod layout;
mod storage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use tao_schema::graph_schema::GraphSchema;
use tokio::net::TcpListener;

use crate::node::{Admin, Node, Plan};
use crate::ready::{ReadyDatabase, ReadyFile, ReadyNode, ReadyRegion};

pub use storage::{Storage, StorageChoice};

/// The one region's name.
const REGION: &str = "local";

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
    /// Followers.
    pub followers: usize,
    /// Leaders.
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

    fn validate(&self) -> Result<()> {
        let bounds = [
            ("--shards", u64::from(self.shards), u64::from(tao_schema::limits::MAX_SHARDS)),
            ("--db-servers", self.host_groups() as u64, 64),
            ("--followers", self.followers as u64, 64),
            ("--leaders", self.leaders as u64, 64),
        ];
        for (flag, value, most) in bounds {
            anyhow::ensure!((1..=most).contains(&value), "{flag} {value}: must be 1 to {most}");
        }
        if let Some((at, _)) = self.dsns.iter().enumerate().find(|(at, dsn)| self.dsns[..*at].contains(*dsn))
        {
            anyhow::bail!("--dsn: server {} is named twice; each is a host group of its own", at + 1);
        }
        Ok(())
    }
}

/// A region that runs in this process.
pub struct DevCluster {
    nodes: Vec<Node>,
    storage: Storage,
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
        let listeners = layout::listen(&options).await?;
        let topology = Arc::new(layout::topology(&options, &listeners, &storage)?);
        storage.create_shards(&topology).await?;
        let mut nodes = Vec::new();
        let mut region = ReadyRegion { name: REGION.to_owned(), followers: Vec::new(), leaders: Vec::new() };
        for place in listeners {
            let stores = if place.leader { storage.open(&topology).await? } else { Default::default() };
            let config = layout::config(&options, &place);
            let plan = Plan::new(config, Arc::clone(&topology), Arc::clone(&schema))?;
            let admin = Admin::open(&plan).await?;
            let node = Node::start(plan, place.listener, stores, admin).await?;
            let ready = ReadyNode {
                name: node.name.clone(),
                address: node.address.to_string(),
                admin: node.admin.to_string(),
            };
            if place.leader {
                region.leaders.push(ready);
            } else {
                region.followers.push(ready);
            }
            nodes.push(node);
        }
        let ready = ReadyFile {
            cluster: topology.cluster.clone(),
            pid: std::process::id(),
            storage: storage.name().to_owned(),
            engine: storage.engine(),
            shards: options.shards,
            ready_seconds: started.elapsed().as_secs_f64(),
            regions: vec![region],
            databases: storage.databases(),
        };
        Ok(Self { nodes, storage, ready })
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
    leader: bool,
    listener: TcpListener,
    admin: std::net::SocketAddr,
}

impl From<&tao_shard_store::fleet::Server> for ReadyDatabase {
    fn from(server: &tao_shard_store::fleet::Server) -> Self {
        Self {
            host_group: server.index() as u16 + 1,
            address: format!("127.0.0.1:{}", server.port()),
            dsn: server.dsn().expose(),
        }
    }
}
