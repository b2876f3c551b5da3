//! What the services need of the nodes around them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tao_schema::Result;
use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::ops::{
    FillReply, FillRequest, InverseState, ReadReply, ReadRequest, WriteReply, WriteRequest,
};
use tao_schema::rows::ShardChange;
use tao_schema::stream::{StreamMessage, SubscribeShard};
use tao_schema::topology::{Placement, Topology};
use tao_shard_store::log::SharedDatabase;
use tokio::time::Instant;

/// The topology with what is computed from it, replaced as a whole: a request sees one version of both.
#[derive(Debug)]
pub struct Cluster {
    /// Where things are.
    pub topology: Arc<Topology>,
    /// Who serves which shard.
    pub placement: Placement,
}

/// The cluster as a node sees it now. Readers never wait; whoever learns of a newer topology stores it.
pub type ClusterView = Arc<ArcSwap<Cluster>>;

impl Cluster {
    /// Computes the placement of a topology.
    pub fn new(topology: Arc<Topology>) -> Self {
        let placement = Placement::compute(&topology);
        Self { topology, placement }
    }
}

/// The leaders of the cluster, by their names in the topology.
pub trait LeaderPeers: Send + Sync + 'static {
    /// A handle to a leader, the same for each call; `None`: the topology has no such leader. Does not connect yet.
    fn leader(&self, name: &str) -> Option<Arc<dyn LeaderPeer>>;
}

/// The database servers of other regions, by SQL: heartbeats are written on the primary itself, and its log is followed
/// when the region's own server can't be.
pub trait RemoteDatabases: Send + Sync + 'static {
    /// The server of `group` in `region`, the same for each call; `None`: none is known there. Does not connect yet.
    fn server(&self, group: HostGroupId, region: &str) -> Option<SharedDatabase>;
}

/// One leader node, as followers and other leaders reach it. Over gRPC in a cluster, direct calls in tests.
///
/// Errors are the tier's: `Unavailable` means that nothing was done, `OutcomeUnknown` that a write may have been.
/// A call never waits beyond its deadline.
#[async_trait]
pub trait LeaderPeer: Send + Sync + 'static {
    /// The node's name in the topology.
    fn name(&self) -> &str;

    /// A read that the caller's memory can't answer from one entry: deep pages, edges below a prefix.
    async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply>;

    /// One entry, with the position it is right at.
    async fn fill(&self, request: FillRequest, deadline: Instant) -> Result<FillReply>;

    /// Orders and commits a write; answers after its inverse is applied, too, or says that it is pending.
    async fn write(&self, request: WriteRequest, deadline: Instant) -> Result<WriteAnswer>;

    /// Brings states of pairs to the shards of their other side (R22). Idempotent.
    async fn apply_inverse(&self, states: Vec<InverseState>, deadline: Instant) -> Result<WriteAnswer>;

    /// Opens the change stream. It ends with an error when the connection is lost; the subscriptions go with it.
    async fn changes(&self, follower: &str) -> Result<ChangeStream>;
}

/// The answer to a write with what it changed, for the caches on the way back (R18a). `changes` is empty for a
/// replayed request: whoever passes it on must treat its positions as floors.
#[derive(Clone, PartialEq, Debug)]
pub struct WriteAnswer {
    /// For the client.
    pub reply: WriteReply,
    /// Of each shard written, the change with the items that the write touched, each item whole (R18a); others of the
    /// same transaction are left out. So it may be applied item by item, but says nothing about the watermark.
    pub changes: Vec<Arc<ShardChange>>,
}

/// An open change stream from one leader: changes of all subscribed shards in order, heartbeats among them.
pub struct ChangeStream {
    /// Adds and removes shards.
    pub control: Arc<dyn SubscriptionControl>,
    /// What the leader sends. Bounded: a slow reader slows the sender, who falls out of its ring and is reset.
    pub messages: BoxStream<'static, Result<StreamMessage>>,
}

/// The sending side of a subscription.
#[async_trait]
pub trait SubscriptionControl: Send + Sync + 'static {
    /// Asks for shards. The answer for each, `Subscribed`, `Reset` or `Refused`, comes in the stream.
    async fn subscribe(&self, shards: Vec<SubscribeShard>) -> Result<()>;

    /// Asks for a heartbeat now, behind everything that the leader has published, that repeats `number`, which is not
    /// zero (R20).
    async fn probe(&self, number: u64) -> Result<()>;

    /// Ends subscriptions; messages already on the way may still come.
    async fn unsubscribe(&self, shards: Vec<ShardId>) -> Result<()>;
}
