//! `tao.v1.Inspect`: what a node holds, and, at a leader, what the database says.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tao_leader_follower::core::{Body, Key};
use tao_leader_follower::engine::{CachedEntry, EngineStats};
use tao_leader_follower::follower::FollowerHandle;
use tao_leader_follower::leader::{GroupReasonLabel, GroupStatus, LeaderHandle, LeaderMetrics};
use tao_schema::ids::{AssocType, EdgeKey, ObjectId, Position, PrimaryTime, ShardId};
use tao_schema::ops::{FillKey, FillReply, FillRequest, FillRow, Source};
use tao_schema::wire::proto::{self, ScanTable, cached_entry, inspect_server::Inspect};
use tao_schema::{Error, Result};
use tao_shard_store::store::{ReadKey, Row, ScanPage, Snapshot, Table};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::size::{fitting_rows, leading};
use crate::topology::TopologyState;

/// Bytes of a page of a dump, about: entries can be large.
const PAGE_BYTES: usize = 512 << 10;
/// Rows of a page of a scan at most.
const MAX_SCAN: u32 = 10_000;
/// Keys of one read at most.
const MAX_READ: usize = 1_024;
/// Why all shards of a host group begin anew, as the leader's metrics have it.
const REASONS: [&str; 4] = ["position_lost", "not_understood", "blind", "refused"];
/// Longest time for the database behind one call.
const DATABASE: Duration = Duration::from_secs(20);

type DumpStream = Pin<Box<dyn Stream<Item = std::result::Result<proto::DumpCacheReply, Status>> + Send>>;

/// Inspection of a follower.
pub struct FollowerInspect {
    follower: FollowerHandle,
    topology: Arc<TopologyState>,
}

/// Inspection of a leader.
pub struct LeaderInspect {
    leader: LeaderHandle,
    topology: Arc<TopologyState>,
}

impl FollowerInspect {
    /// Looks into `follower`.
    pub const fn new(follower: FollowerHandle, topology: Arc<TopologyState>) -> Self {
        Self { follower, topology }
    }
}

impl LeaderInspect {
    /// Looks into `leader`.
    pub const fn new(leader: LeaderHandle, topology: Arc<TopologyState>) -> Self {
        Self { leader, topology }
    }
}

#[tonic::async_trait]
impl Inspect for FollowerInspect {
    type DumpCacheStream = DumpStream;

    async fn dump_cache(
        &self,
        request: Request<proto::DumpCacheRequest>,
    ) -> std::result::Result<Response<DumpStream>, Status> {
        let shard = shard_id(request.into_inner().shard)?;
        Ok(Response::new(dump(self.follower.dump(shard))))
    }

    async fn scan_store(
        &self,
        _request: Request<proto::ScanStoreRequest>,
    ) -> std::result::Result<Response<proto::ScanStoreReply>, Status> {
        Err(no_database().into())
    }

    async fn read_store(
        &self,
        _request: Request<proto::ReadStoreRequest>,
    ) -> std::result::Result<Response<proto::ReadStoreReply>, Status> {
        Err(no_database().into())
    }

    async fn node_status(
        &self,
        _request: Request<proto::NodeStatusRequest>,
    ) -> std::result::Result<Response<proto::NodeStatusReply>, Status> {
        let shards = self.follower.status().into_iter().map(|shard| (shard.watermark, shard.continuous));
        let reply = status(self.follower.node(), "follower", shards, self.follower.cache_stats());
        Ok(Response::new(goes_by(&self.topology, reply)))
    }
}

#[tonic::async_trait]
impl Inspect for LeaderInspect {
    type DumpCacheStream = DumpStream;

    async fn dump_cache(
        &self,
        request: Request<proto::DumpCacheRequest>,
    ) -> std::result::Result<Response<DumpStream>, Status> {
        let shard = shard_id(request.into_inner().shard)?;
        Ok(Response::new(dump(self.leader.cached(shard))))
    }

    async fn scan_store(
        &self,
        request: Request<proto::ScanStoreRequest>,
    ) -> std::result::Result<Response<proto::ScanStoreReply>, Status> {
        let request = request.into_inner();
        let table = match request.table() {
            ScanTable::Objects => Table::Objects,
            ScanTable::Edges => Table::Edges,
            ScanTable::Counts => Table::Counts,
            ScanTable::Outbox => Table::Outbox,
            ScanTable::Unspecified => {
                return Err(Error::invalid("table: objects, edges, counts or outbox").into());
            }
        };
        if !(1..=MAX_SCAN).contains(&request.limit) {
            return Err(Error::invalid(format!("limit {}: 1 to {MAX_SCAN}", request.limit)).into());
        }
        let after = request.after.map(|key| edge_key(&key)).transpose()?;
        let shard = shard_id(request.shard)?;
        let deadline = Instant::now() + DATABASE;
        let page = self.leader.scan(shard, table, after, request.limit as usize, deadline).await?;
        Ok(Response::new(one_message(scan_reply(page))))
    }

    async fn read_store(
        &self,
        request: Request<proto::ReadStoreRequest>,
    ) -> std::result::Result<Response<proto::ReadStoreReply>, Status> {
        let request = request.into_inner();
        if request.key.len() + request.edge.len() > MAX_READ {
            return Err(Error::invalid(format!("more than {MAX_READ} keys: ask for fewer at a time")).into());
        }
        let mut keys = request.key.into_iter().map(read_key).collect::<Result<Vec<_>>>()?;
        let rows = keys.len();
        for edge in &request.edge {
            keys.push(ReadKey::Edge(edge_key(edge)?));
        }
        let Some(shard) = keys.first().map(ReadKey::shard) else {
            return Ok(Response::new(proto::ReadStoreReply::default()));
        };
        let snapshots = self.leader.read_store(shard, keys, Instant::now() + DATABASE).await?;
        let mut reply = proto::ReadStoreReply::default();
        for (index, snapshot) in snapshots.into_iter().enumerate() {
            if index < rows {
                reply.row.push(fill_reply(snapshot)?.into());
            } else {
                reply.edge.push(stored_edge(snapshot)?);
            }
        }
        fitting_rows(&reply)?;
        Ok(Response::new(reply))
    }

    async fn node_status(
        &self,
        _request: Request<proto::NodeStatusRequest>,
    ) -> std::result::Result<Response<proto::NodeStatusReply>, Status> {
        let found = self.leader.status();
        let mut reply = status(&found.name, "leader", found.shards.into_iter(), found.cache);
        reply.storage = found.storage.join(", ");
        reply.group =
            found.groups.into_iter().map(|group| group_status(group, self.leader.metrics())).collect();
        Ok(Response::new(goes_by(&self.topology, reply)))
    }
}

fn no_database() -> Error {
    Error::invalid("a follower has no database; ask a leader")
}

fn shard_id(number: u32) -> Result<ShardId> {
    u16::try_from(number).map(ShardId).map_err(|_| Error::invalid(format!("shard {number}: at most 65535")))
}

fn edge_key(key: &proto::ScanKey) -> Result<EdgeKey> {
    let atype = u16::try_from(key.atype)
        .map_err(|_| Error::invalid(format!("association type {}: at most 65535", key.atype)))?;
    Ok(EdgeKey { id1: ObjectId(key.id1), atype: AssocType(atype), id2: ObjectId(key.id2) })
}

fn read_key(request: proto::FillRequest) -> Result<ReadKey> {
    Ok(match FillRequest::try_from(request)?.key {
        FillKey::Object(id) => ReadKey::Object(id),
        FillKey::List { key, edges } => ReadKey::List { key, edges },
    })
}

fn fill_reply(snapshot: Snapshot) -> Result<FillReply> {
    let row = match snapshot.row {
        Row::Object(row) => FillRow::Object(row),
        Row::List(row) => FillRow::List(row),
        Row::Edge(_) => return Err(Error::internal("an edge in place of a row")),
    };
    Ok(FillReply { position: snapshot.position, state: snapshot.state, row, source: Source::Database })
}

fn stored_edge(snapshot: Snapshot) -> Result<proto::StoredEdge> {
    let Row::Edge(edge) = snapshot.row else { return Err(Error::internal("a row in place of an edge")) };
    let value = edge.map(|(value, ..)| value.into());
    Ok(proto::StoredEdge { value, position: Some(snapshot.position.into()) })
}

fn scan_reply(page: ScanPage) -> proto::ScanStoreReply {
    let scan_key =
        |key: EdgeKey| proto::ScanKey { id1: key.id1.0, atype: u32::from(key.atype.0), id2: key.id2.0 };
    let edge = |(key, value, ..): (EdgeKey, tao_schema::rows::EdgeValue, _, _)| proto::ScannedEdge {
        id1: key.id1.0,
        atype: u32::from(key.atype.0),
        id2: key.id2.0,
        value: Some(value.into()),
    };
    let count = |(key, count, version): (tao_schema::ids::ListKey, u64, tao_schema::ids::Seq)| {
        proto::ScannedCount { id1: key.id1.0, atype: u32::from(key.atype.0), count, version: version.0 }
    };
    proto::ScanStoreReply {
        position: Some(page.position.into()),
        object: page.objects.into_iter().map(Into::into).collect(),
        edge: page.edges.into_iter().map(edge).collect(),
        count: page.counts.into_iter().map(count).collect(),
        next: page.next.map(scan_key),
    }
}

/// A page that fits a message: the next one goes on behind the last row that is in it.
fn one_message(mut page: proto::ScanStoreReply) -> proto::ScanStoreReply {
    let objects = leading(&page.object);
    if objects < page.object.len() {
        page.object.truncate(objects);
        page.next = page.object.last().map(|last| proto::ScanKey { id1: last.id, atype: 0, id2: 0 });
    }
    let edges = leading(&page.edge);
    if edges < page.edge.len() {
        page.edge.truncate(edges);
        let key =
            |last: &proto::ScannedEdge| proto::ScanKey { id1: last.id1, atype: last.atype, id2: last.id2 };
        page.next = page.edge.last().map(key);
    }
    page
}

fn status(
    node: &str,
    role: &str,
    shards: impl Iterator<Item = (Position, bool)>,
    cache: EngineStats,
) -> proto::NodeStatusReply {
    proto::NodeStatusReply {
        node: node.to_owned(),
        role: role.to_owned(),
        shard: shards
            .map(|(watermark, continuous)| proto::ShardStatus {
                watermark: Some(watermark.into()),
                continuous,
            })
            .collect(),
        cache_entries: cache.entries,
        cache_bytes: cache.bytes,
        ..Default::default()
    }
}

fn group_status(group: GroupStatus, metrics: &LeaderMetrics) -> proto::GroupStatus {
    proto::GroupStatus {
        host_group: u32::from(group.host_group.0),
        master: group.master,
        master_region: group.master_region,
        state: group.state.name().to_owned(),
        followed: group.followed.unwrap_or_default(),
        age_us: group.age.map(|age| age.as_micros() as u64),
        time_ms: group.time.map(|PrimaryTime(time)| time),
        position: group.position,
        refused: group.refused.unwrap_or_default(),
        error: group.error.unwrap_or_default(),
        resets: REASONS
            .iter()
            .filter_map(|reason| {
                let label = GroupReasonLabel { host_group: group.host_group.0, reason };
                Some(metrics.logs.starts.get(&label)?.get())
            })
            .sum(),
    }
}

/// The reply with the topology that the node goes by.
fn goes_by(topology: &TopologyState, reply: proto::NodeStatusReply) -> proto::NodeStatusReply {
    proto::NodeStatusReply {
        topology_version: topology.topology().version,
        problem: topology.problems(),
        ..reply
    }
}

/// Entries in pages that fit a message.
fn dump(entries: Vec<CachedEntry>) -> DumpStream {
    let mut pages = vec![proto::DumpCacheReply::default()];
    let mut bytes = 0;
    for entry in entries {
        let entry = wire_entry(entry);
        let size = prost::Message::encoded_len(&entry);
        if bytes > 0 && bytes + size > PAGE_BYTES {
            pages.push(proto::DumpCacheReply::default());
            bytes = 0;
        }
        bytes += size;
        if let Some(page) = pages.last_mut() {
            page.entry.push(entry);
        }
    }
    stream::iter(pages.into_iter().map(Ok)).boxed()
}

fn wire_entry(cached: CachedEntry) -> proto::CachedEntry {
    let (key, row) = match (cached.key, cached.entry.body()) {
        (Key::Object(id), Body::Object(row)) => {
            let object = row.map(|row| (id, row).into());
            (
                cached_entry::Key::Object(id.0),
                Some(cached_entry::Row::ObjectRow(proto::ObjectResult { object })),
            )
        }
        (Key::List(list), Body::List(row)) => {
            (cached_entry::Key::List(list.into()), Some(cached_entry::Row::ListRow(row.into())))
        }
        // An entry of the wrong kind is shown as one without content, which the check reports as a difference.
        (Key::Object(id), Body::List(_)) => (cached_entry::Key::Object(id.0), None),
        (Key::List(list), Body::Object(_)) => (cached_entry::Key::List(list.into()), None),
    };
    proto::CachedEntry { key: Some(key), position: Some(cached.position.into()), row }
}

#[cfg(test)]
mod tests {
    use tao_schema::fields::EncodedFields;
    use tao_schema::limits::{MAX_MESSAGE_BYTES, MAX_OBJECT_BYTES};

    use super::*;

    #[test]
    fn a_page_of_large_rows_is_cut_and_the_next_goes_on_behind_it() {
        let fields = Some(EncodedFields(vec![0; MAX_OBJECT_BYTES].into()));
        let object = |id| proto::Object { id, otype: 1, version: 1, fields: fields.clone() };
        let whole = proto::ScanStoreReply { object: (1..=9).map(object).collect(), ..Default::default() };
        let page = one_message(whole);
        assert!(prost::Message::encoded_len(&page) <= MAX_MESSAGE_BYTES);
        let last = page.object.last().unwrap().id;
        assert!((1..9).contains(&last));
        assert_eq!(page.next, Some(proto::ScanKey { id1: last, atype: 0, id2: 0 }));

        let short = proto::ScanStoreReply { object: vec![object(1)], ..Default::default() };
        assert_eq!(one_message(short.clone()), short, "the end stays the end");
    }
}
