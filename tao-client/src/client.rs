//! The client: one handle for everything, cheap to clone.

mod reads;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Position, PrimaryTime, RequestId, ShardId};
use tao_schema::limits::MAX_DEADLINE;
use tao_schema::ops::{Demand, Explain, WriteOp, WriteRequest};
use tao_schema::session::{GroupTime, Place, require};
use tao_schema::topology::Topology;
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use crate::calls::{CallOptions, Context, Reply, Request};
use crate::cluster::Cluster;
use crate::connection::Stats;
use crate::flight::{Answer, Core, Flight, Landed, Outgoing, OutgoingWrite};
use crate::options::Options;
use crate::record::{Recorded, RecordedReply, Recording};
use crate::retry::Attempts;
use crate::session::{SessionState, group_time};

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
    pub(crate) session: Option<Arc<SessionState>>,
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
        Ok(Self { core: Arc::new(Core::start(cluster)), session: None })
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
        let ops = match request {
            Request::Read(op) => return self.run_read(context, &op, options).await.map(Reply::Read),
            Request::Write { ops, .. } => ops,
        };
        let now = Instant::now();
        let (mut flight, mut sent) = self.flight(context, ops, options, now)?;
        let answer = self.core.fly(&mut flight, now).await;
        self.settle(answer, &mut sent)
    }

    /// Sends independent writes, those for one node together. Outcomes are in the order of the requests.
    pub(crate) async fn run_writes(
        &self,
        context: &Context,
        requests: impl ExactSizeIterator<Item = (Result<Request>, CallOptions)>,
    ) -> impl Iterator<Item = Result<Reply>> {
        let now = Instant::now();
        let mut sent = Vec::with_capacity(requests.len());
        let flights = requests.map(|(request, options)| {
            let flight = request.and_then(|request| match request {
                Request::Write { ops, .. } => self.flight(context, ops, &options, now),
                Request::Read(_) => Err(Error::internal("a read among writes")),
            });
            match flight {
                Ok((flight, what)) => {
                    sent.push(Some(what));
                    Ok(flight)
                }
                Err(error) => {
                    sent.push(None);
                    Err(error)
                }
            }
        });
        let answers = self.core.fly_all(flights, now).await.into_iter();
        // Each is settled, and decoded, when it is taken: while it is still near.
        answers.zip(sent).map(move |(answer, sent)| match (answer, sent) {
            (answer, Some(mut sent)) => self.settle(answer, &mut sent),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Err(Error::internal("an answer to what was not sent")),
        })
    }

    /// A write that is ready to go at `now`, and what is needed to note its answer.
    fn flight(
        &self,
        context: &Context,
        ops: Vec<WriteOp>,
        options: &CallOptions,
        now: Instant,
    ) -> Result<(Flight, Sent)> {
        let client_options = self.core.cluster.options();
        let mut recording = self.record().map(Box::new);
        let timeout = options.timeout.unwrap_or(client_options.timeout).min(MAX_DEADLINE);
        let deadline = now + timeout;
        let id = RequestId(rand::rng().random());
        let request = WriteRequest { id, age: Duration::ZERO, ops, forwarded: false };
        context.schema.check_write(&request)?;
        let shard = request.ops.first().map_or(ShardId(0), WriteOp::shard);
        let began_wall = SystemTime::now();
        if let Some(recording) = &mut recording {
            recording.asked(Recorded::Write(request.clone()));
        }
        let write = OutgoingWrite { request: request.into(), began: now, began_wall };
        let sent = Sent { shard, demand: None, recording };
        let attempts = Attempts::new(client_options, deadline);
        let patience = client_options.attempt_within(timeout);
        Ok((Flight::new(shard, Outgoing::Write(Box::new(write)), attempts, patience, deadline), sent))
    }

    fn record(&self) -> Option<Recording> {
        let recorder = self.core.cluster.options().recorder.as_ref()?;
        let session = self.session.as_ref().map_or(0, |session| session.recorded_as());
        Some(Recording::begin(recorder, session))
    }

    /// What a read demands: all that the session has seen, and what the call says (R19, R21).
    fn demand(&self, shard: ShardId, options: &CallOptions) -> Demand {
        let mut demand = match &self.session {
            Some(session) => session.demand(shard, self.place(shard), options.freshness),
            None => Demand { freshness: options.freshness.unwrap_or_default(), ..Demand::local() },
        };
        if let Some(position) = options.at_least.filter(|position| position.shard == shard) {
            require(&mut demand, position);
        }
        demand
    }

    fn place(&self, shard: ShardId) -> Option<Place> {
        self.core.cluster.routes().place(shard)
    }

    /// Translates a reply, notes what it tells in the session (R19), and shows it to the recorder: last, so that what begins
    /// after the recorded end demands all of it.
    fn settle(&self, answer: Answer, sent: &mut Sent) -> Result<Reply> {
        let reply = answer.and_then(understand).map_err(|error| self.explain_loss(error, sent.shard));
        self.noted(reply, sent)
    }

    /// Notes a reply, and hands it on.
    fn noted(&self, reply: Result<Reply>, sent: &mut Sent) -> Result<Reply> {
        self.note(&reply, sent);
        if let Some(recording) = &mut sent.recording {
            recording.end(match &reply {
                Ok(Reply::Read(read)) => Ok(RecordedReply::Read(read.clone())),
                Ok(Reply::Write(written, _)) => Ok(RecordedReply::Write(written.clone())),
                Err(error) => Err(error.code),
            });
        }
        reply
    }

    fn note(&self, reply: &Result<Reply>, sent: &Sent) {
        let Some(session) = &self.session else { return };
        match reply {
            Ok(Reply::Read(read)) => {
                if let Some(demanded) = &sent.demand {
                    let time = self.time_of(read.position, read.time);
                    session.note_read(demanded, read.position, time);
                }
            }
            Ok(Reply::Write(written, _)) => {
                // The time is by the clock of the first one's primary.
                let first = written.positions.first().and_then(|first| self.time_of(*first, written.time));
                session.note_write(written.positions.iter().map(|position| {
                    let time = self.time_of(*position, written.time);
                    (*position, time.filter(|time| first.is_some_and(|first| first.group == time.group)))
                }));
            }
            Err(error) if error.code == ErrorCode::LostEpoch => session.note_lost(sent.shard),
            // It may have happened.
            Err(error) if !error.code.outcome_certain() => session.note_write([]),
            Err(_) => {}
        }
    }

    fn time_of(&self, position: Position, time: Option<PrimaryTime>) -> Option<GroupTime> {
        let place = self.place(position.shard);
        if place.is_some_and(|place| place.epoch < position.epoch) {
            self.core.cluster.refresh();
        }
        group_time(position, time, place)
    }

    /// Says what to do about a loss: only the application can tell the user.
    fn explain_loss(&self, error: Error, shard: ShardId) -> Error {
        if error.code != ErrorCode::LostEpoch {
            return error;
        }
        let next = if self.session.is_some() {
            "tell the user, then go on with SessionClient::forget"
        } else {
            "read again without the token"
        };
        let message = format!("{}; what was seen of shard {shard} is lost: {next}", error.message);
        Error::new(ErrorCode::LostEpoch, message)
    }
}

/// What of a request is needed to note its answer.
struct Sent {
    shard: ShardId,
    /// Of a read in a session.
    demand: Option<Demand>,
    recording: Option<Box<Recording>>,
}

fn understand(landed: Landed) -> Result<Reply> {
    let reply = match landed {
        Landed::Read(_) => return Err(Error::internal("a write has brought home a read")),
        Landed::Other(reply) => *reply,
    };
    match reply {
        proto::reply::Result::Write(mut reply) => {
            let explain = reply.explain.take().map(Explain::try_from).transpose();
            // It has happened: what can't be understood of it must not make it look failed.
            let unclear = |error: Error| Error::new(ErrorCode::OutcomeUnknown, error.message);
            let explain = explain.map_err(unclear)?;
            Ok(Reply::Write(reply.try_into().map_err(unclear)?, explain))
        }
        proto::reply::Result::Error(error) => Err(error.into()),
        proto::reply::Result::Read(_) | proto::reply::Result::Fill(_) => {
            Err(Error::new(ErrorCode::Corrupt, "the node's answer to a write is none to a write"))
        }
    }
}
