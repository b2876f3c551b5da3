//! Leaders as other nodes reach them: the port of `leader-follower`, over gRPC.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use tao_client::connection::{Connection, ConnectionOptions, Service, dial};
use tao_leader_follower::ports::{
    ChangeStream, ClusterView, LeaderPeer, LeaderPeers, SubscriptionControl, WriteAnswer,
};
use tao_schema::ids::ShardId;
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::ops::{FillReply, FillRequest, InverseState, ReadReply, ReadRequest, WriteRequest};
use tao_schema::stream::{StreamMessage, Subscribe, SubscribeShard};
use tao_schema::wire::envelope::{ReplyBody, RequestOp, decode_reply, encode_request};
use tao_schema::wire::proto;
use tao_schema::wire::proto::peer_client::PeerClient;
use tao_schema::{Error, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::translate::Translate;

/// Wishes of a subscriber that may wait to be sent.
const WISHES: usize = 64;
/// Shards of one wish: some 25 KiB, within the smallest message that a node may be configured to take.
const WISH_SHARDS: usize = 1_024;

/// Connections to the leaders of all regions, opened when first used, one for each node.
pub struct GrpcPeers {
    cluster: ClusterView,
    translate: Translate,
    options: Arc<ConnectionOptions>,
    peers: Mutex<HashMap<String, Arc<GrpcLeader>>>,
}

impl GrpcPeers {
    /// Peers by the addresses of the topology in force, translated.
    pub fn new(cluster: ClusterView, translate: Translate, options: ConnectionOptions) -> Self {
        Self { cluster, translate, options: Arc::new(options), peers: Mutex::default() }
    }
}

impl LeaderPeers for GrpcPeers {
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>> {
        let cluster = self.cluster.load();
        let leaders = || cluster.topology.regions.iter().flat_map(|region| &region.leaders.nodes);
        let address = self.translate.address(&leaders().find(|node| node.name == name)?.address);
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(name).filter(|peer| peer.connection.address() == address) {
            return Some(Arc::clone(peer) as Arc<dyn LeaderPeer>);
        }
        // Connections to nodes that are no more go with the first new one.
        peers.retain(|known, _| leaders().any(|node| node.name == *known));
        let connection = Connection::new(address, Service::Peer, Arc::clone(&self.options));
        let peer =
            Arc::new(GrpcLeader { name: name.to_owned(), connection, options: Arc::clone(&self.options) });
        peers.insert(name.to_owned(), Arc::clone(&peer));
        Some(peer)
    }
}

/// One leader over gRPC.
struct GrpcLeader {
    name: String,
    connection: Connection,
    options: Arc<ConnectionOptions>,
}

impl GrpcLeader {
    async fn call(&self, op: RequestOp, deadline: Instant) -> Result<ReplyBody> {
        // The connection numbers requests and keeps deadlines itself.
        let op = encode_request(0, None, op)
            .op
            .ok_or_else(|| Error::internal("a request without an operation"))?;
        let result = Some(self.connection.call(op, deadline).await?);
        decode_reply(proto::Reply { id: 0, result }).1
    }

    async fn call_write(&self, op: RequestOp, deadline: Instant) -> Result<WriteAnswer> {
        match self.call(op, deadline).await? {
            ReplyBody::Write { reply, changes } => Ok(WriteAnswer { reply, changes }),
            other => Err(self.unexpected("write", &other)),
        }
    }

    fn unexpected(&self, wanted: &str, body: &ReplyBody) -> Error {
        let kind = match body {
            ReplyBody::Read(_) => "read",
            ReplyBody::Write { .. } => "write",
            ReplyBody::Fill(_) => "fill",
        };
        Error::internal(format!("{} answered a {wanted} with the reply of a {kind}", self.name))
    }
}

#[async_trait]
impl LeaderPeer for GrpcLeader {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        self.connection.read(&request, deadline).await
    }

    async fn fill(&self, request: FillRequest, deadline: Instant) -> Result<FillReply> {
        match self.call(RequestOp::Fill(request), deadline).await? {
            ReplyBody::Fill(reply) => Ok(reply),
            other => Err(self.unexpected("fill", &other)),
        }
    }

    async fn write(&self, request: WriteRequest, deadline: Instant) -> Result<WriteAnswer> {
        self.call_write(RequestOp::Write(request), deadline).await
    }

    async fn apply_inverse(&self, states: Vec<InverseState>, deadline: Instant) -> Result<WriteAnswer> {
        self.call_write(RequestOp::ApplyInverse(states), deadline).await
    }

    async fn changes(&self, follower: &str) -> Result<ChangeStream> {
        // A connection of its own: fills in bulk must not delay the news that makes them fresh.
        let channel = dial(self.connection.address(), &self.options).await?;
        let (wishes, outbound) = mpsc::channel(WISHES);
        let hello = Subscribe { follower: follower.to_owned(), ..Subscribe::default() };
        send(&wishes, hello, &self.name).await?;
        let mut client = PeerClient::new(channel).max_decoding_message_size(2 * MAX_MESSAGE_BYTES);
        let opening = client.changes(ReceiverStream::new(outbound));
        let inbound = tokio::time::timeout(self.options.connect_timeout, opening)
            .await
            .map_err(|_| Error::unavailable(format!("{} did not open a change stream in time", self.name)))??
            .into_inner();
        let messages = inbound.flat_map(|frame| {
            stream::iter(match frame {
                Ok(frame) => frame.message.into_iter().map(StreamMessage::try_from).collect(),
                Err(status) => vec![Err(Error::from(status))],
            })
        });
        let control = Arc::new(Wishes { node: self.name.clone(), wishes });
        Ok(ChangeStream { control, messages: messages.boxed() })
    }
}

/// The subscriber's side of a stream's control.
struct Wishes {
    node: String,
    wishes: mpsc::Sender<proto::Subscribe>,
}

async fn send(wishes: &mpsc::Sender<proto::Subscribe>, wish: Subscribe, node: &str) -> Result<()> {
    wishes
        .send(wish.into())
        .await
        .map_err(|_| Error::unavailable(format!("the change stream from {node} has ended")))
}

#[async_trait]
impl SubscriptionControl for Wishes {
    async fn subscribe(&self, shards: Vec<SubscribeShard>) -> Result<()> {
        for add in shards.chunks(WISH_SHARDS) {
            send(&self.wishes, Subscribe { add: add.to_vec(), ..Subscribe::default() }, &self.node).await?;
        }
        Ok(())
    }

    async fn probe(&self, number: u64) -> Result<()> {
        send(&self.wishes, Subscribe { probe: number, ..Subscribe::default() }, &self.node).await
    }

    async fn unsubscribe(&self, shards: Vec<ShardId>) -> Result<()> {
        for remove in shards.chunks(WISH_SHARDS) {
            send(&self.wishes, Subscribe { remove: remove.to_vec(), ..Subscribe::default() }, &self.node)
                .await?;
        }
        Ok(())
    }
}
