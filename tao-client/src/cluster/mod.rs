//! What a client knows of its cluster: the topology to route by, the graph schema, and how it learns of changes.

mod node;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::topology::Topology;
use tao_schema::wire::proto;
use tao_schema::wire::proto::tao_client::TaoClient;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::Notify;
use tonic::transport::Channel;

pub(crate) use self::node::Node;
pub(crate) use self::routes::Routes;
use crate::connection::dial;
use crate::options::Options;

/// Shortest time between two looks at the topology: requests that fail together ask for one look.
const REFRESH_SPACING: Duration = Duration::from_millis(100);
/// Longest wait for an answer about topology or schema, over what the server was asked to wait.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Shared by all handles of one client and its watcher.
pub(crate) struct Cluster {
    options: Options,
    routes: ArcSwap<Routes>,
    schema: ArcSwap<GraphSchema>,
    home: Option<String>,
    refresh: Notify,
}

/// What one node says of the cluster.
struct News {
    topology: Topology,
    schema: GraphSchema,
    node: String,
}

impl Cluster {
    /// Asks the seed nodes, one after the other.
    ///
    /// # Errors
    /// That of the last seed node, if none answers; `InvalidArgument` for a region or tier that is not there.
    pub(crate) async fn discover(options: Options) -> Result<Self> {
        let mut last = Error::unavailable("no address was given");
        for address in &options.addresses {
            match ask(address, &options).await {
                Ok(news) => {
                    check_names(&options, &news.topology)?;
                    return Ok(Self::new(options, news));
                }
                Err(error) => {
                    tracing::debug!(address, %error, "seed node gave no topology");
                    last = error;
                }
            }
        }
        Err(Error::new(last.code, format!("no node could say where the cluster is: {}", last.message)))
    }

    fn new(options: Options, news: News) -> Self {
        let home = options.region.clone().or_else(|| {
            let (tier, _) = news.topology.node_named(&news.node)?;
            Some(news.topology.regions.get(usize::from(tier.region))?.name.clone())
        });
        let routes = Routes::new(news.topology, home.as_deref(), &options, None);
        Self {
            options,
            routes: ArcSwap::from_pointee(routes),
            schema: ArcSwap::from_pointee(news.schema),
            home,
            refresh: Notify::new(),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The routes now. Cheap; do not hold it across an await.
    pub(crate) fn routes(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// The graph schema now.
    pub(crate) fn schema(&self) -> Arc<GraphSchema> {
        self.schema.load_full()
    }

    /// Has the watcher look at the topology soon: somebody was sent to a wrong place, or a node failed.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// Follows the topology for ever: waits at a node for a newer version, and looks at once when asked to.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut node: Option<(String, TaoClient<Channel>)> = None;
        let mut failures = 0usize;
        loop {
            let (address, client) = match node.take() {
                Some(known) => known,
                None => match self.next_node(failures).await {
                    Ok(found) => found,
                    Err(_) => {
                        failures += 1;
                        tokio::time::sleep(REFRESH_SPACING * failures.min(20) as u32).await;
                        continue;
                    }
                },
            };
            let version = self.routes.load().topology.version;
            let asked = tokio::select! {
                asked = topology_after(&client, version, self.options.topology_interval) => asked,
                () = self.refresh.notified() => topology_after(&client, 0, Duration::ZERO).await,
            };
            match asked {
                Ok((topology, _)) => {
                    failures = 0;
                    self.learn(topology, &client).await;
                    node = Some((address, client));
                }
                Err(error) => {
                    tracing::debug!(address, %error, "lost the node that tells of the topology");
                    failures += 1;
                }
            }
            tokio::time::sleep(REFRESH_SPACING).await;
        }
    }

    async fn learn(&self, topology: Topology, client: &TaoClient<Channel>) {
        let before = self.routes.load_full();
        if topology.version < before.topology.version || before.same_as(&topology) {
            return;
        }
        tracing::info!(version = topology.version, "new topology");
        if let Ok(schema) = schema_of(client).await {
            self.schema.store(Arc::new(schema));
        }
        let routes = Routes::new(topology, self.home.as_deref(), &self.options, Some(&before));
        self.routes.store(Arc::new(routes));
    }

    /// A channel to one of the followers or seed nodes, another one after each failure.
    async fn next_node(&self, failures: usize) -> Result<(String, TaoClient<Channel>)> {
        let routes = self.routes.load_full();
        let known: Vec<&str> =
            routes.addresses().chain(self.options.addresses.iter().map(String::as_str)).collect();
        let address = known[failures % known.len()];
        Ok((address.to_owned(), open(address, &self.options).await?))
    }
}

/// A misspelt region would silently read far away.
fn check_names(options: &Options, topology: &Topology) -> Result<()> {
    if let Some(region) = options.region.as_ref().filter(|name| topology.region_named(name).is_none()) {
        return Err(Error::invalid(format!("client options: the cluster has no region {region:?}")));
    }
    let mut followers = topology.tiers().filter(|(at, _)| at.tier != 0);
    match &options.tier {
        Some(name) if !followers.any(|(_, tier)| tier.name == *name) => {
            Err(Error::invalid(format!("client options: the cluster has no follower tier {name:?}")))
        }
        _ => Ok(()),
    }
}

async fn open(address: &str, options: &Options) -> Result<TaoClient<Channel>> {
    let channel = dial(address, &options.connection).await?;
    Ok(TaoClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

async fn ask(address: &str, options: &Options) -> Result<News> {
    let client = open(address, options).await?;
    let (topology, node) = topology_after(&client, 0, Duration::ZERO).await?;
    let schema = schema_of(&client).await?;
    Ok(News { topology, schema, node })
}

/// The topology, when it is newer than `version` or `wait` is over, and the name of the node that answered.
async fn topology_after(
    client: &TaoClient<Channel>,
    version: u64,
    wait: Duration,
) -> Result<(Topology, String)> {
    let mut client = client.clone();
    let asking = client.get_topology(proto::GetTopologyRequest { newer_than: version });
    let reply = match tokio::time::timeout(wait.max(ANSWER_TIME), asking).await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Err(of_status("topology", &status)),
        // A server that waits for news had none: ask what there is, which also tells whether it is alive.
        Err(_) if version > 0 => return Box::pin(topology_after(&client, 0, Duration::ZERO)).await,
        Err(_) => return Err(Error::unavailable("the node did not tell its topology in time")),
    };
    let topology = Topology::parse(&reply.toml, "topology")
        .map_err(|error| Error::new(ErrorCode::Corrupt, format!("the node's topology: {error}")))?;
    if version > 0 && topology.version <= version {
        // It answers at once, news or not: keep the pace of the interval.
        tokio::time::sleep(wait).await;
    }
    Ok((topology, reply.node))
}

async fn schema_of(client: &TaoClient<Channel>) -> Result<GraphSchema> {
    let mut client = client.clone();
    let reply = match tokio::time::timeout(ANSWER_TIME, client.get_schema(proto::GetSchemaRequest {})).await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Err(of_status("graph schema", &status)),
        Err(_) => return Err(Error::unavailable("the node did not tell its graph schema in time")),
    };
    GraphSchema::parse(&reply.toml, "graph schema")
        .map_err(|error| Error::new(ErrorCode::Corrupt, format!("the node's graph schema: {error}")))
}

fn of_status(what: &str, status: &tonic::Status) -> Error {
    Error::unavailable(format!("the node did not tell its {what}: {}", status.message()))
}
