//! Who is looked at, and asking them: followers as clients ask them, leaders as followers do, servers by SQL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::ops::{Demand, Freshness, ReadOp, ReadRequest};
use tao_schema::rows::ObjectRow;
use tao_schema::topology::{Dsn, Placement, TierRef, Topology};
use tao_schema::wire::envelope::{ReplyBody, RequestOp, decode_reply, encode_request};
use tao_schema::wire::proto::peer_client::PeerClient;
use tao_schema::wire::proto::tao_client::TaoClient;
use tao_schema::wire::proto::{Frame, Reply};
use tao_shard_store::log::SharedDatabase;
use tao_shard_store::store::{ReadKey, Row, Snapshot};
use tokio::sync::{OnceCell, oneshot};
use tonic::transport::{Channel, Endpoint};

use super::item::{Content, ItemKey, Seen, object_digest};
use super::looks::Look;
use super::tally::{Role, Target};
use crate::servers::{self, Server};

/// Who is looked at for each shard.
pub struct Targets {
    placement: Placement,
    tiers: Vec<(TierRef, Vec<Arc<Target>>)>,
    databases: HashMap<HostGroupId, Vec<Arc<Target>>>,
}

impl Targets {
    /// Of each tier of a region (or of all) the node that serves a shard to its clients; and its databases, if `servers`
    /// are given.
    pub fn new(topology: &Topology, only: Option<&str>, servers: &[Server]) -> Self {
        let region = |tier: TierRef| topology.regions[usize::from(tier.region)].name.as_str();
        let wanted = |region: &str| only.is_none_or(|only| only == region);
        let tiers = topology.tiers().filter(|(tier, _)| wanted(region(*tier))).map(|(tier, content)| {
            let role = if tier.tier == 0 { Role::Leader } else { Role::Follower };
            let nodes = content.nodes.iter().map(|node| {
                let region = region(tier).to_owned();
                Arc::new(Target { region, role, node: node.name.clone(), address: node.address.clone() })
            });
            (tier, nodes.collect())
        });
        let mut databases: HashMap<HostGroupId, Vec<Arc<Target>>> = HashMap::new();
        for server in servers.iter().filter(|server| wanted(&server.region)) {
            let Ok(group) = u16::try_from(server.group) else { continue };
            databases.entry(HostGroupId(group)).or_default().push(Arc::new(Target {
                region: server.region.clone(),
                role: Role::Database,
                node: format!("database-{group}"),
                address: server.address.clone(),
            }));
        }
        Self { placement: Placement::compute(topology), tiers: tiers.collect(), databases }
    }

    /// Who answers for a shard.
    pub fn of(&self, shard: ShardId) -> Vec<Arc<Target>> {
        let owners = self.tiers.iter().filter_map(|(tier, nodes)| {
            let owner = self.placement.owner(*tier, shard)?;
            nodes.get(usize::from(owner)).cloned()
        });
        let group = self.placement.host_group(shard).map(|(group, _)| group);
        let databases = group.and_then(|group| self.databases.get(&group)).into_iter().flatten().cloned();
        owners.chain(databases).collect()
    }
}

/// Connections to whoever is asked.
pub struct Nodes {
    channels: Mutex<HashMap<String, Channel>>,
    databases: HashMap<String, (Dsn, OnceCell<SharedDatabase>)>,
    timeout: Duration,
}

impl Nodes {
    /// Connects when somebody is first asked; no answer may take longer than `timeout`.
    pub fn new(servers: &[Server], timeout: Duration) -> Self {
        let cell = |server: &Server| (server.address.clone(), (server.dsn.clone(), OnceCell::new()));
        Self { channels: Mutex::default(), databases: servers.iter().map(cell).collect(), timeout }
    }

    /// Makes the reads of a look; one that verifies goes to the primary, past all caches.
    ///
    /// # Errors
    /// In words: the node can't be reached, is too slow, or refuses.
    pub async fn ask(&self, look: &Look, primary: Option<SharedDatabase>) -> Result<Vec<Seen>, String> {
        let critical = look.verifies.is_some();
        let asked = async {
            match look.target.role {
                Role::Database => {
                    let database = match primary.filter(|_| critical) {
                        Some(primary) => primary,
                        None => self.database(&look.target.address).await?,
                    };
                    read_rows(&database, look.key).await
                }
                Role::Follower => {
                    let mut client = TaoClient::new(self.channel(&look.target.address)?)
                        .max_decoding_message_size(2 * MAX_MESSAGE_BYTES);
                    let frame = frame(&look.reads, critical, self.timeout);
                    let replies = client.batch(frame).await.map_err(says)?.into_inner().reply;
                    answers(&look.reads, replies)
                }
                Role::Leader => self.ask_leader(look, critical).await,
            }
        };
        let late = |_| format!("no answer within {:?}", self.timeout);
        tokio::time::timeout(self.timeout, asked).await.map_err(late)?
    }

    /// A leader takes requests on streams alone.
    async fn ask_leader(&self, look: &Look, critical: bool) -> Result<Vec<Seen>, String> {
        let mut client = PeerClient::new(self.channel(&look.target.address)?)
            .max_decoding_message_size(2 * MAX_MESSAGE_BYTES);
        // The stream stays open until its answers are there, or nobody waits for them any more.
        let (_open, ended) = oneshot::channel::<()>();
        let frames = stream::iter([frame(&look.reads, critical, self.timeout)]);
        let frames = frames.chain(stream::pending::<Frame>()).take_until(ended);
        let mut stream = client.pipeline(frames).await.map_err(says)?.into_inner();
        let mut replies = Vec::new();
        while replies.len() < look.reads.len() {
            let Some(frame) = stream.message().await.map_err(says)? else {
                return Err("the stream ended without an answer".to_owned());
            };
            replies.extend(frame.reply);
        }
        answers(&look.reads, replies)
    }

    fn channel(&self, address: &str) -> Result<Channel, String> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint =
            Endpoint::new(format!("http://{address}")).map_err(|error| format!("{address}: {error}"))?;
        let channel = endpoint.connect_timeout(self.timeout).tcp_nodelay(true).connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    async fn database(&self, address: &str) -> Result<SharedDatabase, String> {
        let (dsn, cell) = self.databases.get(address).ok_or_else(|| format!("no DSN of {address}"))?;
        let opened = cell.get_or_try_init(|| servers::open(dsn)).await;
        opened.cloned().map_err(|error| error.message)
    }
}

fn frame(reads: &[ReadOp], critical: bool, timeout: Duration) -> Frame {
    let freshness = if critical { Freshness::Critical } else { Freshness::Any };
    let request = |(at, op): (usize, &ReadOp)| {
        let demand = Demand { freshness, ..Demand::local() };
        let read = ReadRequest { op: op.clone(), demand, explain: true, forwarded: false };
        encode_request(at as u64, Some(timeout), RequestOp::Read(read))
    };
    Frame { request: reads.iter().enumerate().map(request).collect() }
}

/// In the order of the reads.
fn answers(reads: &[ReadOp], replies: Vec<Reply>) -> Result<Vec<Seen>, String> {
    let mut seen: Vec<Option<Seen>> = vec![None; reads.len()];
    for reply in replies {
        let (id, body) = decode_reply(reply);
        match body {
            Ok(ReplyBody::Read(read)) => {
                let slot = usize::try_from(id).ok().and_then(|id| seen.get_mut(id));
                *slot.ok_or("an answer to what was not asked")? = Some(Seen::of(&read));
            }
            Ok(_) => return Err("an answer of another kind".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
    let whole: Option<Vec<Seen>> = seen.into_iter().collect();
    whole.ok_or_else(|| "a read was not answered".to_owned())
}

fn says(status: tonic::Status) -> String {
    tao_schema::Error::from(status).to_string()
}

/// What a server's tables say: of a list, its count.
async fn read_rows(database: &SharedDatabase, key: ItemKey) -> Result<Vec<Seen>, String> {
    let read = match key {
        ItemKey::Object(id) => ReadKey::Object(id),
        ItemKey::List(key) => ReadKey::List { key, edges: 0 },
    };
    let found = database.read(&[read]).await.map_err(|error| error.message)?;
    let snapshot = found.into_iter().next().ok_or("no answer")?.map_err(|error| error.to_string())?;
    let Snapshot { position, state, row } = snapshot;
    if !state.readable() {
        return Err(format!("shard {} is not served there", position.shard));
    }
    let shown = |row: ObjectRow| (row.version, object_digest(row.otype, &row.fields.0));
    let content = match row {
        Row::Object(object) => Content::Object(object.map(shown)),
        Row::List(list) => Content::Count { count: list.count, version: list.version },
        Row::Edge(_) => return Err("an answer of another kind".to_owned()),
    };
    Ok(vec![Seen { position, content, source: None, rule: String::new() }])
}
