//! The nodes' inspection service, and who is asked what.

use anyhow::{Context, Result};
use tao_schema::ids::{EdgeKey, ShardId};
use tao_schema::limits::MAX_MESSAGE_BYTES;
use tao_schema::topology::{self, Placement, TierRef, Topology};
use tao_schema::wire::proto::inspect_client::InspectClient;
use tao_schema::wire::proto::{self, CachedEntry};
use tonic::transport::{Channel, Endpoint};

/// Longest time for one answer of a node.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Connections to every node of a region.
pub struct Nodes {
    nodes: Vec<Node>,
    /// Indexes into `nodes`, in the order of the leader tier.
    leaders: Vec<usize>,
    tier: TierRef,
    placement: Placement,
}

/// One node.
pub struct Node {
    /// Its name in the topology.
    pub name: String,
    client: InspectClient<Channel>,
}

impl Nodes {
    /// Connects to every node of the region at this index of the topology.
    pub async fn connect(topology: &Topology, region: u16) -> Result<Self> {
        let leader_tier = TierRef::leaders(region);
        let mut nodes = Vec::new();
        let mut leaders = Vec::new();
        for (tier, content) in topology.tiers().filter(|(tier, _)| tier.region == region) {
            for node in &content.nodes {
                if tier == leader_tier {
                    leaders.push(nodes.len());
                }
                let client = connect(&node.address)
                    .await
                    .with_context(|| format!("{} at {} can't be reached", node.name, node.address))?;
                named(&client, node).await?;
                nodes.push(Node { name: node.name.clone(), client });
            }
        }
        Ok(Self { nodes, leaders, tier: leader_tier, placement: Placement::compute(topology) })
    }

    /// Names of all nodes.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// All nodes.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    fn leader(&self, shard: ShardId) -> Result<InspectClient<Channel>> {
        let owner = self.placement.owner(self.tier, shard).context("no leader in the topology")?;
        let index = self
            .leaders
            .get(usize::from(owner))
            .context("a leader of the placement is not in the topology")?;
        Ok(self.nodes[*index].client.clone())
    }

    /// Reads rows and edges of one shard past every cache.
    pub async fn read(
        &self,
        shard: ShardId,
        keys: Vec<proto::FillRequest>,
        edges: &[EdgeKey],
    ) -> Result<proto::ReadStoreReply> {
        let edge = edges
            .iter()
            .map(|edge| proto::ScanKey { id1: edge.id1.0, atype: u32::from(edge.atype.0), id2: edge.id2.0 })
            .collect();
        let request = proto::ReadStoreRequest { key: keys, edge };
        Ok(self.leader(shard)?.read_store(request).await.map_err(says)?.into_inner())
    }

    /// One page of a table.
    pub async fn scan(
        &self,
        shard: ShardId,
        table: proto::ScanTable,
        after: Option<proto::ScanKey>,
        limit: u32,
    ) -> Result<proto::ScanStoreReply> {
        let request =
            proto::ScanStoreRequest { shard: u32::from(shard.0), table: table.into(), after, limit };
        Ok(self.leader(shard)?.scan_store(request).await.map_err(says)?.into_inner())
    }
}

impl Node {
    /// Everything that the node would serve from memory for `shard`.
    pub async fn dump(&self, shard: ShardId) -> Result<Vec<CachedEntry>> {
        let request = proto::DumpCacheRequest { shard: u32::from(shard.0) };
        let mut stream = self.client.clone().dump_cache(request).await.map_err(says)?.into_inner();
        let mut entries = Vec::new();
        while let Some(page) = stream.message().await.map_err(says)? {
            entries.extend(page.entry);
        }
        Ok(entries)
    }
}

/// Keys of one call at most.
const BATCH_KEYS: usize = 128;
/// Bytes of the rows asked for in one call, about: an answer must fit a message even if they have grown.
const BATCH_BYTES: usize = MAX_MESSAGE_BYTES / 4;

/// Items in batches whose rows fit one answer, by the bytes that each is expected to take.
pub fn batches<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut batches, mut start, mut taken) = (Vec::new(), 0, 0);
    for (at, item) in items.iter().enumerate() {
        let bytes = bytes(item);
        if at > start && (at - start == BATCH_KEYS || taken + bytes > BATCH_BYTES) {
            batches.push(&items[start..at]);
            (start, taken) = (at, 0);
        }
        taken += bytes;
    }
    batches.push(&items[start..]);
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Makes sure that the address is that of the node: else what one node holds would pass for what another does, and a
/// node that nobody asked for right.
async fn named(client: &InspectClient<Channel>, node: &topology::Node) -> Result<()> {
    let status = client.clone().node_status(proto::NodeStatusRequest {}).await.map_err(says)?.into_inner();
    same_name(&status.node, node)
}

fn same_name(said: &str, node: &topology::Node) -> Result<()> {
    anyhow::ensure!(
        said == node.name,
        "{} is not {}, as the topology says: it is {said}; correct the addresses (`tao topology apply`), or end the process \
         that took the port",
        node.address,
        node.name
    );
    Ok(())
}

/// Connects to a node's inspection service.
///
/// # Errors
/// It can't be reached.
pub async fn connect(address: &str) -> Result<InspectClient<Channel>> {
    let channel = Endpoint::new(format!("http://{address}"))?
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .connect()
        .await?;
    Ok(InspectClient::new(channel).max_decoding_message_size(2 * MAX_MESSAGE_BYTES))
}

/// What a node says, as the tier's own error.
pub fn says(status: tonic::Status) -> anyhow::Error {
    anyhow::Error::from(tao_schema::Error::from(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_at_anothers_address_is_named() {
        let (name, address) = ("follower-1".to_owned(), "10.0.0.21:7400".to_owned());
        let node = topology::Node { name, address, admin: None };
        assert!(same_name("follower-1", &node).is_ok());
        let said = same_name("follower-2", &node).unwrap_err().to_string();
        assert!(
            said.contains("10.0.0.21:7400 is not follower-1") && said.contains("it is follower-2"),
            "{said}"
        );
    }

    #[test]
    fn batches_are_bounded_in_keys_and_bytes_and_lose_nothing() {
        let lengths = |sizes: &[usize]| {
            batches(sizes, |size| *size).iter().map(|batch| batch.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[1; 300]), [128, 128, 44]);
        let half = BATCH_BYTES / 2;
        assert_eq!(lengths(&[half, half, 1, half, 2 * BATCH_BYTES, 1]), [2, 2, 1, 1]);
        assert!(lengths(&[]).is_empty());
    }
}
