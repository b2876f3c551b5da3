//! One node: services, gRPC, health and metrics, wired together and taken down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tao_client::connection::ConnectionOptions;
use tao_leader_follower::core::CoreOptions;
use tao_leader_follower::follower::{
    Follower, FollowerContext, FollowerHandle, FollowerMetrics, FollowerOptions,
};
use tao_leader_follower::lanes::LaneOptions;
use tao_leader_follower::leader::{Leader, LeaderContext, LeaderHandle, LeaderOptions};
use tao_leader_follower::ports::Cluster;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::topology::Topology;
use tao_schema::wire::proto::{self, inspect_server, peer_server, tao_server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::config::NodeConfig;
use crate::grpc::{FollowerInspect, FollowerService, LeaderInspect, LeaderService, Metadata, ServiceLimits};
use crate::health::Health;
use crate::peers::GrpcPeers;
use crate::stores::{self, Stores};

/// What the topology says a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Answers applications from memory.
    Follower,
    /// Orders writes and talks to the databases.
    Leader,
}

impl Role {
    /// As in labels and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
        }
    }
}

/// A configuration that has been checked against its topology and graph schema.
pub struct Plan {
    /// The configuration.
    pub config: NodeConfig,
    /// What the node is.
    pub role: Role,
    /// Index of the region it is in.
    pub region: u16,
    /// The graph schema.
    pub schema: Arc<GraphSchema>,
    /// The topology.
    pub topology: Arc<Topology>,
}

impl Plan {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A file can't be read or is wrong, with file, line and key; or the topology has no node of this name.
    pub fn read(config: &NodeConfig) -> Result<Self> {
        let topology = read(&config.topology)
            .and_then(|text| Ok(Topology::parse(&text, &config.topology.display().to_string())?))?;
        let schema = if config.schema.as_os_str().is_empty() {
            GraphSchema::demo()
        } else {
            let text = read(&config.schema)?;
            GraphSchema::parse(&text, &config.schema.display().to_string())?
        };
        Self::new(config.clone(), Arc::new(topology), Arc::new(schema))
    }

    /// Finds the node in the topology.
    ///
    /// # Errors
    /// It is not there.
    pub fn new(config: NodeConfig, topology: Arc<Topology>, schema: Arc<GraphSchema>) -> Result<Self> {
        let (tier, _) = topology.node_named(&config.name).with_context(|| {
            format!("name = \"{}\": the topology has no node of this name; add it to a tier", config.name)
        })?;
        let role = if tier.tier == 0 { Role::Leader } else { Role::Follower };
        Ok(Self { config, role, region: tier.region, schema, topology })
    }

    /// Name of the region.
    pub fn region_name(&self) -> &str {
        &self.topology.regions[usize::from(self.region)].name
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!(
            "{} is a {} in region {} of cluster {} ({} shards, {} host groups), graph schema of {} object and {} \
             association types",
            self.config.name,
            self.role.name(),
            self.region_name(),
            self.topology.cluster,
            self.topology.shards,
            self.topology.host_groups.len(),
            self.schema.object_types().count(),
            self.schema.assoc_types().count(),
        )
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// A node that runs.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where it listens for gRPC.
    pub address: SocketAddr,
    /// Where it tells about itself.
    pub admin: SocketAddr,
    service: Service,
    health: Health,
    drain: CancellationToken,
    stop: CancellationToken,
    server: JoinHandle<()>,
    grace: Duration,
    _topology: watch::Sender<Arc<Topology>>,
}

enum Service {
    Follower(FollowerHandle),
    Leader(LeaderHandle),
}

impl Node {
    /// Starts a node on a listener that is bound already. `stores` are a leader's databases; a follower has none.
    ///
    /// # Errors
    /// The admin port can't be had, or a service refuses its options.
    pub async fn start(plan: Plan, listener: TcpListener, stores: Stores) -> Result<Self> {
        let Plan { config, role, region, schema, topology } = plan;
        let address = listener.local_addr()?;
        let health = Health::new(&config.name, role.name());
        let stop = CancellationToken::new();
        let drain = CancellationToken::new();
        let (sender, receiver) = watch::channel(Arc::clone(&topology));
        let view = Arc::new(ArcSwap::from_pointee(Cluster::new(topology)));
        let peers = Arc::new(GrpcPeers::new(receiver.clone(), ConnectionOptions::default()));
        let limits = ServiceLimits {
            default_deadline: Duration::from_millis(config.limits.default_deadline_ms),
            stream_requests: config.limits.stream_requests,
            drain: drain.clone(),
        };
        let bytes = config.limits.message_bytes;
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let base = Server::builder()
            .max_concurrent_streams(Some(config.limits.connection_streams))
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_service(health_service)
            .add_service(reflection()?);
        let (service, router) = match role {
            Role::Follower => {
                let metrics = Arc::new(FollowerMetrics::default());
                health.register(|registry| metrics.register(registry));
                let context = FollowerContext {
                    node: config.name.clone(),
                    schema: Arc::clone(&schema),
                    cluster: view,
                    region,
                    peers,
                    stale_topology: Arc::default(),
                    metrics,
                };
                let follower = Follower::start(follower_options(&config), context)?;
                let metadata = Metadata::new(&config.name, schema, receiver);
                reporter.set_serving::<tao_server::TaoServer<FollowerService>>().await;
                let tao = FollowerService::new(follower.clone(), metadata, limits);
                let router = base
                    .add_service(tao_server::TaoServer::new(tao).max_decoding_message_size(bytes))
                    .add_service(inspect_server::InspectServer::new(FollowerInspect::new(follower.clone())));
                (Service::Follower(follower), router)
            }
            Role::Leader => {
                let options = leader_options(&config);
                let context = LeaderContext {
                    node: config.name.clone(),
                    schema,
                    cluster: view,
                    stores,
                    peers,
                    stale_topology: Arc::default(),
                };
                let leader = health.register(|registry| Leader::start(options, context, registry));
                reporter.set_serving::<peer_server::PeerServer<LeaderService>>().await;
                // Answers carry whole changes and batches of inverses: twice an application's message.
                let peer = peer_server::PeerServer::new(LeaderService::new(leader.clone(), limits))
                    .max_decoding_message_size(2 * bytes);
                let router = base
                    .add_service(peer)
                    .add_service(inspect_server::InspectServer::new(LeaderInspect::new(leader.clone())));
                (Service::Leader(leader), router)
            }
        };
        let admin = health.clone().serve(config.admin_listen, stop.clone()).await?;
        let server = tokio::spawn(serve(router, listener, stop.clone(), config.name.clone()));
        health.set_ready(true);
        let grace = Duration::from_millis(config.drain_ms);
        tracing::info!(node = config.name, role = role.name(), %address, %admin, "ready");
        Ok(Self {
            name: config.name,
            address,
            admin,
            service,
            health,
            drain,
            stop,
            server,
            grace,
            _topology: sender,
        })
    }

    /// Drains and stops: no longer ready, streams take no more requests, what was taken is answered, then the ports
    /// close. Bounded by the configured grace.
    pub async fn shutdown(self) {
        self.health.set_ready(false);
        self.drain.cancel();
        let draining = async {
            match &self.service {
                Service::Follower(follower) => drop(follower.shutdown().await),
                Service::Leader(leader) => leader.shutdown().await,
            }
        };
        if tokio::time::timeout(self.grace, draining).await.is_err() {
            tracing::warn!(node = self.name, "requests were still under way at the end of the grace period");
        }
        self.stop.cancel();
        let abort = self.server.abort_handle();
        // Streams of peers that don't hang up end with the process; they have nothing under way any more.
        if tokio::time::timeout(Duration::from_millis(500), self.server).await.is_err() {
            abort.abort();
        }
        tracing::info!(node = self.name, "stopped");
    }

    /// Stops at once, as a crash does: nothing is drained.
    pub fn kill(self) {
        self.stop.cancel();
        self.server.abort();
    }
}

async fn serve(router: Router, listener: TcpListener, stop: CancellationToken, name: String) {
    let incoming = TcpListenerStream::new(listener);
    if let Err(error) = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await {
        tracing::error!(node = name, %error, "gRPC server failed");
    }
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .build_v1()?)
}

fn core_options(config: &NodeConfig) -> CoreOptions {
    CoreOptions {
        ring_changes: config.cache.ring_changes,
        ring_bytes: config.cache.ring_bytes,
        ..CoreOptions::default()
    }
}

fn follower_options(config: &NodeConfig) -> FollowerOptions {
    FollowerOptions {
        core: core_options(config),
        engine: config.cache.engine.into(),
        cache_bytes: config.cache.bytes,
        ..FollowerOptions::default()
    }
}

fn leader_options(config: &NodeConfig) -> LeaderOptions {
    LeaderOptions {
        core: core_options(config),
        engine: config.cache.engine.into(),
        cache_bytes: config.cache.bytes,
        lanes: LaneOptions { lanes: config.storage.writer_lanes, ..LaneOptions::default() },
        ..LeaderOptions::default()
    }
}

/// Runs a node of the configuration until SIGTERM or SIGINT, then drains it.
///
/// # Errors
/// What keeps it from starting.
pub async fn run_until_signal(config: NodeConfig) -> Result<()> {
    let plan = Plan::read(&config)?;
    tracing::info!("{}", plan.summary());
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen = \"{}\"", config.listen))?;
    let stores = match plan.role {
        Role::Follower => Stores::new(),
        Role::Leader => {
            let stores = stores::open(&plan.topology, plan.region_name(), &config.storage).await?;
            stores::create_shards(&plan.topology, &stores).await?;
            stores
        }
    };
    let node = Node::start(plan, listener, stores).await?;
    signal().await?;
    node.shutdown().await;
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The handlers can't be installed.
pub async fn signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    Ok(())
}
