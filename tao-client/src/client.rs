//! The client: one handle for everything, cheap to clone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rand::Rng;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{RequestId, ShardId};
use tao_schema::limits::MAX_DEADLINE;
use tao_schema::ops::{Demand, Explain, ReadRequest, WriteRequest};
use tao_schema::session::Session;
use tao_schema::topology::Topology;
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use crate::calls::{CallOptions, Context, Reply, Request};
use crate::cluster::Cluster;
use crate::connection::Stats;
use crate::flight::{Core, Flight, Outgoing};
use crate::options::Options;
use crate::retry::Attempts;

/// A handle to a cluster. Clones share connections, retry budget and what is known of the cluster.
///
/// Each operation has a call that is built and then sent:
///
/// ```
/// # tao_client::testing::run(async |client: tao_client::Client| {
/// let ann = client.object_add("user").set("name", "Ann").send().await?.id;
/// let bob = client.object_add("user").set("name", "Bob").near(ann).send().await?.id;
/// client.assoc_add(ann, "friend", bob).time(1_700_000_000).set("circle", "school").send().await?;
///
/// assert_eq!(client.assoc_count(bob, "friend").send().await?.count, 1);
/// let friends = client.assoc_range(ann, "friend").limit(10).send().await?;
/// for friend in friends.iter() {
///     let user = client.object_get(friend.id2).send().await?.expect("we have just made it");
///     assert_eq!((user.text("name")?, friend.fields().text("circle")?), ("Bob", "school"));
/// }
/// # Ok(())
/// # });
/// ```
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    /// What the user of this handle has seen; see [`Client::session`].
    pub(crate) tokens: Option<Arc<Mutex<Session>>>,
}

impl Client {
    /// Finds the cluster through the seed nodes of `options`.
    ///
    /// # Errors
    /// `InvalidArgument` if the options make no sense, `Unavailable` if no seed node answers, `Corrupt` if what it
    /// says can't be understood.
    pub async fn connect(options: Options) -> Result<Self> {
        options.validate()?;
        let cluster = Cluster::discover(options).await?;
        Ok(Self { core: Arc::new(Core::start(cluster)), tokens: None })
    }

    /// The graph schema of the cluster, as last heard.
    pub fn schema(&self) -> Arc<GraphSchema> {
        self.core.cluster.schema()
    }

    /// The topology, as last heard.
    pub fn topology(&self) -> Topology {
        self.core.cluster.routes().topology.clone()
    }

    /// The node that requests about `shard` go to now: its name, and what the connection to it is doing.
    ///
    /// # Errors
    /// `NoSuchShard`, or `Unavailable` if the topology has no follower.
    pub fn node_of(&self, shard: ShardId) -> Result<(String, Stats)> {
        let routes = self.core.cluster.routes();
        let node = routes.preferred(shard)?;
        Ok((node.name.clone(), node.connection.stats()))
    }

    /// What calls are prepared with.
    pub(crate) fn context(&self) -> Context {
        let cluster = &self.core.cluster;
        Context { schema: cluster.schema(), shards: cluster.routes().topology.shards }
    }

    /// Sends one request and sees it through.
    pub(crate) async fn run(
        &self,
        context: &Context,
        request: Request,
        options: &CallOptions,
    ) -> Result<Reply> {
        let mut flight = self.flight(context, request, options)?;
        self.understand(self.core.fly(&mut flight).await?)
    }

    /// Sends independent requests, those for one node together. Outcomes are in the order of the requests.
    pub(crate) async fn run_all(
        &self,
        context: &Context,
        requests: Vec<(Result<Request>, CallOptions)>,
    ) -> Vec<Result<Reply>> {
        let flights = requests.into_iter().map(|(request, options)| self.flight(context, request?, &options));
        let outcomes = self.core.fly_all(flights.collect()).await;
        outcomes.into_iter().map(|outcome| self.understand(outcome?)).collect()
    }

    fn flight(&self, context: &Context, request: Request, options: &CallOptions) -> Result<Flight> {
        let client_options = self.core.cluster.options();
        let now = Instant::now();
        let timeout = options.timeout.unwrap_or(client_options.timeout).min(MAX_DEADLINE);
        let deadline = now + timeout;
        let (shard, what) = match request {
            Request::Read(op) => {
                context.schema.check_read(&op)?;
                let shard = op.shard();
                let seen = self.tokens.as_ref().and_then(|tokens| tokens.lock().at_least(shard));
                // The stricter of both: positions of one shard are ordered by (epoch, seq).
                let at_least = seen.max(options.at_least.filter(|position| position.shard == shard));
                (
                    shard,
                    Outgoing::Read(
                        ReadRequest {
                            demand: Demand { at_least, ..Demand::local() },
                            explain: options.explain,
                            ..ReadRequest::local(op)
                        }
                        .into(),
                    ),
                )
            }
            Request::Write { ops, .. } => {
                let id = RequestId(rand::rng().random());
                let request = WriteRequest { id, age: Duration::ZERO, ops, forwarded: false };
                context.schema.check_write(&request)?;
                let shard = request.ops.first().map_or(ShardId(0), tao_schema::ops::WriteOp::shard);
                let began_wall = SystemTime::now();
                (shard, Outgoing::Write { request: request.into(), began: now, began_wall })
            }
        };
        let attempts = Attempts::new(client_options, deadline);
        Ok(Flight::new(shard, what, attempts, client_options.attempt_within(timeout), deadline))
    }

    /// Translates a reply and notes its positions in the session (R19).
    fn understand(&self, reply: proto::reply::Result) -> Result<Reply> {
        let (reply, positions) = match reply {
            proto::reply::Result::Read(reply) => {
                let reply = tao_schema::ops::ReadReply::try_from(reply)?;
                if let Some(tokens) = &self.tokens {
                    tokens.lock().observe(reply.position);
                }
                return Ok(Reply::Read(reply));
            }
            proto::reply::Result::Write(mut reply) => {
                let explain = reply.explain.take().map(Explain::try_from).transpose();
                // It has happened: what can't be understood of it must not make it look failed.
                let unclear = |error: Error| Error::new(ErrorCode::OutcomeUnknown, error.message);
                let explain = explain.map_err(unclear)?;
                let reply = tao_schema::ops::WriteReply::try_from(reply).map_err(unclear)?;
                let positions = reply.positions.clone();
                (Reply::Write(reply, explain), positions)
            }
            proto::reply::Result::Error(error) => return Err(error.into()),
            proto::reply::Result::Fill(_) => {
                return Err(Error::new(
                    ErrorCode::Corrupt,
                    "the node answered with a fill, which was not asked",
                ));
            }
        };
        if let Some(tokens) = &self.tokens {
            tokens.lock().extend(positions);
        }
        Ok(reply)
    }
}
