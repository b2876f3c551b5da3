//! One node: services, gRPC, health and metrics, wired together and taken down in order.

mod options;
mod plan;
mod readiness;
mod run;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tao_client::connection::ConnectionOptions;
use tao_leader_follower::clock::BootClock;
use tao_leader_follower::follower::{Follower, FollowerContext, FollowerHandle, FollowerMetrics};
use tao_leader_follower::leader::{Leader, LeaderContext, LeaderHandle};
use tao_leader_follower::ports::RemoteDatabases;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::HostGroupId;
use tao_schema::wire::proto::{self, inspect_server, peer_server, tao_server};
use tao_shard_store::log::SharedDatabase;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::NodeConfig;
use crate::grpc::{FollowerInspect, FollowerService, LeaderInspect, LeaderService, Metadata, ServiceLimits};
use crate::health::{Health, State};
use crate::peers::GrpcPeers;
use crate::stores::Stores;
use crate::topology::{TopologyState, Watch, WatchOptions};

pub use plan::{Plan, Role};
pub use run::{Signals, run_until_signal};

/// Between two looks whether a node serves.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Time for the last answers to leave, once the services have ended.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

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
    reporter: HealthReporter,
    /// Name of the gRPC service, as its health is asked for.
    service_name: &'static str,
    drain: CancellationToken,
    calls: TaskTracker,
    stop: CancellationToken,
    server: JoinHandle<()>,
    grace: Duration,
}

/// The databases of a leader.
pub struct Databases {
    /// Those of its region.
    pub own: Stores,
    /// Those of other regions.
    pub remote: Arc<dyn RemoteDatabases>,
}

/// The admin port of a node, open from the first moment of its life.
pub struct Admin {
    health: Health,
    address: SocketAddr,
    stop: CancellationToken,
}

enum Service {
    Follower(FollowerHandle),
    Leader(LeaderHandle),
}

impl Admin {
    /// Opens the port: alive, but not ready.
    ///
    /// # Errors
    /// The port can't be had; the message names it.
    pub async fn open(plan: &Plan) -> Result<Self> {
        let health = Health::new(&plan.config.name, plan.role.name());
        let stop = CancellationToken::new();
        let address = health.clone().serve(plan.config.admin_listen, stop.clone()).await?;
        Ok(Self { health, address, stop })
    }
}

impl Node {
    /// Starts a node on a listener that is bound already. `databases` are a leader's; a follower has none.
    ///
    /// # Errors
    /// A service refuses its options; a leader without databases.
    pub async fn start(
        plan: Plan,
        listener: TcpListener,
        databases: Option<Databases>,
        admin: Admin,
    ) -> Result<Self> {
        let Plan { config, role, region, schema, topology } = plan;
        let address = listener.local_addr()?;
        let Admin { health, address: admin, stop } = admin;
        let (drain, calls) = (CancellationToken::new(), TaskTracker::new());
        let (stale, newer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        health.register(|registry| topology.register(registry));
        let (reporter, base) = grpc_server(&config)?;
        let stores = databases.as_ref().map(|databases| databases.own.clone()).unwrap_or_default();
        let parts = Parts {
            limits: service_limits(&config, &drain, &calls),
            metadata: Metadata::new(&config.name, Arc::clone(&schema), topology.subscribe(), drain.clone()),
            config: &config,
            region,
            schema,
            topology: &topology,
            health: &health,
            stale: &stale,
            newer: &newer,
        };
        let (service, router) = match role {
            Role::Follower => parts.follower(base)?,
            Role::Leader => {
                parts.leader(base, databases.context("a leader needs the databases of its region")?)
            }
        };
        let service_name = service.name();
        let watch = Watch {
            state: Arc::clone(&topology),
            node: config.name.clone(),
            region,
            databases: shared(&stores),
            stale,
            newer,
            translate: config.translate.clone(),
            options: WatchOptions::default(),
        };
        watch.spawn(stop.clone());
        let server = tokio::spawn(serve(router, listener, stop.clone(), config.name.clone()));
        readiness::watch(&health, topology, stores, service.leader(), region);
        health.set(State::Ready);
        readiness::report(health.clone(), reporter.clone(), service_name, drain.clone()).await;
        let grace = Duration::from_millis(config.drain_ms);
        tracing::info!(node = config.name, role = role.name(), %address, %admin, "ready");
        Ok(Self {
            name: config.name,
            address,
            admin,
            service,
            health,
            reporter,
            service_name,
            drain,
            calls,
            stop,
            server,
            grace,
        })
    }

    /// Comes back when the node serves.
    ///
    /// # Errors
    /// It still waits for something after `limit`; the message says for what.
    pub async fn serves(&self, limit: Duration) -> Result<()> {
        let ends = tokio::time::Instant::now() + limit;
        loop {
            let waits_for = self.health.details().waits_for;
            if waits_for.is_empty() {
                // Sooner than the next look of `readiness::report`: who is told that the node serves may ask it at once.
                for service in ["", self.service_name] {
                    self.reporter.set_service_status(service, ServingStatus::Serving).await;
                }
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < ends,
                "{} still waits for {}",
                self.name,
                waits_for.join(", ")
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Drains and stops: no longer ready, streams take no more requests, what was taken is answered, then the ports
    /// close. Bounded by the configured grace.
    pub async fn shutdown(self) {
        let ends = tokio::time::Instant::now() + self.grace;
        self.health.set(State::Draining);
        for service in ["", self.service_name] {
            self.reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
        self.drain.cancel();
        self.calls.close();
        // Calls first: they still need the service. It is told to stop even if they are late.
        let late = tokio::time::timeout_at(ends, self.calls.wait()).await.is_err();
        if late {
            tracing::warn!(
                node = self.name,
                calls = self.calls.len(),
                "still under way at the end of drain_ms"
            );
        }
        let stopping = async {
            match &self.service {
                Service::Follower(follower) => drop(follower.shutdown().await),
                Service::Leader(leader) => leader.shutdown().await,
            }
        };
        // Nothing new has come in, so this takes no time unless calls are stuck.
        if tokio::time::timeout_at(ends + LAST_ANSWERS, stopping).await.is_err() {
            tracing::warn!(node = self.name, "the service did not stop in time");
        }
        self.stop.cancel();
        let abort = self.server.abort_handle();
        // Streams of peers that don't hang up end with the process; they have nothing under way any more.
        if tokio::time::timeout(LAST_ANSWERS, self.server).await.is_err() {
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

/// What a node's service is made of.
struct Parts<'a> {
    config: &'a NodeConfig,
    region: u16,
    schema: Arc<GraphSchema>,
    topology: &'a Arc<TopologyState>,
    health: &'a Health,
    limits: ServiceLimits,
    metadata: Metadata,
    stale: &'a Arc<Notify>,
    newer: &'a Arc<Notify>,
}

impl Parts<'_> {
    fn peers(&self) -> Arc<GrpcPeers> {
        let translate = self.config.translate.clone();
        Arc::new(GrpcPeers::new(self.topology.view(), translate, ConnectionOptions::default()))
    }

    fn follower(self, base: Router) -> Result<(Service, Router)> {
        let metrics = Arc::new(FollowerMetrics::default());
        self.health.register(|registry| metrics.register(registry));
        let options = options::follower(self.config, self.topology.topology().shards);
        let context = FollowerContext {
            node: self.config.name.clone(),
            peers: self.peers(),
            schema: self.schema,
            cluster: self.topology.view(),
            region: self.region,
            stale_topology: Arc::clone(self.stale),
            clock: Arc::new(BootClock),
            metrics,
        };
        let follower = Follower::start(options, context)?;
        let tao = FollowerService::new(follower.clone(), self.metadata, self.limits);
        let inspect = FollowerInspect::new(follower.clone(), Arc::clone(self.topology));
        let bytes = self.config.limits.message_bytes;
        let router = base
            .add_service(tao.into_service(bytes))
            .add_service(inspect_server::InspectServer::new(inspect));
        Ok((Service::Follower(follower), router))
    }

    fn leader(self, base: Router, databases: Databases) -> (Service, Router) {
        let context = LeaderContext {
            node: self.config.name.clone(),
            peers: self.peers(),
            schema: self.schema,
            cluster: self.topology.view(),
            databases: shared(&databases.own),
            remote: databases.remote,
            clock: Arc::new(BootClock),
            stale_topology: Arc::clone(self.stale),
            newer_topology: Arc::clone(self.newer),
        };
        let options = options::leader(self.config);
        let leader = self.health.register(|registry| Leader::start(options, context, registry));
        let peer = LeaderService::new(leader.clone(), self.metadata, self.limits);
        let inspect = LeaderInspect::new(leader.clone(), Arc::clone(self.topology));
        // Answers carry whole changes and batches of inverses: twice an application's message.
        let bytes = 2 * self.config.limits.message_bytes;
        let router = base
            .add_service(peer.into_service(bytes))
            .add_service(inspect_server::InspectServer::new(inspect));
        (Service::Leader(leader), router)
    }
}

impl Service {
    /// Of the gRPC service, as its health is asked for.
    const fn name(&self) -> &'static str {
        match self {
            Self::Follower(_) => tao_server::TaoServer::<FollowerService>::NAME,
            Self::Leader(_) => peer_server::PeerServer::<LeaderService>::NAME,
        }
    }

    fn leader(&self) -> Option<LeaderHandle> {
        match self {
            Self::Follower(_) => None,
            Self::Leader(leader) => Some(leader.clone()),
        }
    }
}

async fn serve(router: Router, listener: TcpListener, stop: CancellationToken, name: String) {
    // Without it a frame that follows another waits for the reader's delayed acknowledgement, 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    if let Err(error) = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await {
        tracing::error!(node = name, %error, "gRPC server failed");
    }
}

fn service_limits(config: &NodeConfig, drain: &CancellationToken, calls: &TaskTracker) -> ServiceLimits {
    ServiceLimits {
        default_deadline: Duration::from_millis(config.limits.default_deadline_ms),
        stream_requests: config.limits.stream_requests,
        drain: drain.clone(),
        calls: calls.clone(),
    }
}

/// What every node serves beside its own service.
fn grpc_server(config: &NodeConfig) -> Result<(HealthReporter, Router)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .max_concurrent_streams(Some(config.limits.connection_streams))
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(health)
        .add_service(reflection()?);
    Ok((reporter, server))
}

/// The stores as the services take them.
fn shared(stores: &Stores) -> HashMap<HostGroupId, SharedDatabase> {
    stores.iter().map(|(group, store)| (*group, Arc::clone(store) as SharedDatabase)).collect()
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .build_v1()?)
}
