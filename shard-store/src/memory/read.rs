//! Reads: each from one state of the tables, with the shard row of that state.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use tao_schema::edges::{EdgeOrder, PackedEdges, PackedEdgesBuilder};
use tao_schema::error::{Error, ErrorCode, Result};
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId, Position, ShardId, Time};
use tao_schema::rows::ListRow;

use super::tables::Tables;
use crate::apply::LockedShard;
use crate::store::{PendingInverse, ReadKey, Row, ScanPage, Snapshot, Table};

/// Part of a list.
struct Window {
    high: Time,
    low: Time,
    pos: u32,
    limit: u32,
}

impl Tables {
    pub(super) fn read(&self, key: &ReadKey) -> Result<Snapshot> {
        let shard = self.shard(key.shard())?;
        let row = match *key {
            ReadKey::Object(id) => Row::Object(self.objects.get(&id).cloned()),
            ReadKey::Edge(edge) => {
                Row::Edge(self.edges.get(&edge).map(|row| (row.value.clone(), row.epoch, row.seq)))
            }
            ReadKey::List { key, edges } => {
                let window = Window { high: Time(u32::MAX), low: Time(0), pos: 0, limit: edges };
                Row::List(self.list(key, &window))
            }
            ReadKey::Slice { key, high, low, pos, limit } => {
                Row::List(self.list(key, &Window { high, low, pos, limit }))
            }
        };
        Ok(Snapshot { position: position(shard), state: shard.state, row })
    }

    fn list(&self, key: ListKey, window: &Window) -> ListRow {
        let edges = self.window(key, window);
        match self.counts.get(&key) {
            Some(row) => ListRow { count: row.count, version: row.version, edges },
            None => ListRow { edges, ..ListRow::default() },
        }
    }

    fn window(&self, key: ListKey, window: &Window) -> PackedEdges {
        if window.high < window.low {
            return PackedEdges::new();
        }
        let newest = EdgeOrder { time: window.high, id2: ObjectId(u64::MAX) };
        let oldest = EdgeOrder { time: window.low, id2: ObjectId(0) };
        let places = self.newest.range((key, Reverse(newest))..=(key, Reverse(oldest)));
        let mut packed = PackedEdgesBuilder::default();
        for (_, Reverse(order)) in places.skip(window.pos as usize).take(window.limit as usize) {
            let edge = EdgeKey { id1: key.id1, atype: key.atype, id2: order.id2 };
            if let Some(row) = self.edges.get(&edge) {
                packed.push(order.id2, order.time, &row.value.fields.0);
            }
        }
        packed.finish()
    }

    pub(super) fn outbox(&self, shard: ShardId, after: Option<EdgeKey>, limit: usize) -> Vec<PendingInverse> {
        page(&self.outbox, edges_of(shard), after, limit).map(|(edge, row)| row.pending(*edge)).collect()
    }

    pub(super) fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<ScanPage> {
        let limit = limit.max(1);
        let mut result = ScanPage {
            position: position(self.shard(shard)?),
            objects: Vec::new(),
            edges: Vec::new(),
            counts: Vec::new(),
            outbox: Vec::new(),
            next: None,
        };
        let mut keys = Vec::new();
        match table {
            Table::Objects => {
                let rows = page(&self.objects, shard.key_range(), after.map(|key| key.id1), limit);
                result.objects = rows.map(|(id, row)| (*id, row.clone())).collect();
                let key = |id1| EdgeKey { id1, atype: AssocType(0), id2: ObjectId(0) };
                keys.extend(result.objects.iter().map(|(id, _)| key(*id)));
            }
            Table::Edges => {
                let rows = page(&self.edges, edges_of(shard), after, limit);
                result.edges =
                    rows.map(|(edge, row)| (*edge, row.value.clone(), row.epoch, row.seq)).collect();
                keys.extend(result.edges.iter().map(|(edge, ..)| *edge));
            }
            Table::Counts => {
                let (first, last) = edges_of(shard);
                let rows = page(&self.counts, (first.list(), last.list()), after.map(EdgeKey::list), limit);
                result.counts = rows.map(|(list, row)| (*list, row.count, row.version)).collect();
                let key = |list: ListKey| EdgeKey { id1: list.id1, atype: list.atype, id2: ObjectId(0) };
                keys.extend(result.counts.iter().map(|(list, ..)| key(*list)));
            }
            Table::Outbox => {
                result.outbox = self.outbox(shard, after, limit);
                keys.extend(result.outbox.iter().map(|row| row.edge));
            }
        }
        // A short page is the last one.
        result.next = keys.last().copied().filter(|_| keys.len() == limit);
        Ok(result)
    }

    pub(super) fn shard(&self, shard: ShardId) -> Result<&LockedShard> {
        let absent =
            || Error::new(ErrorCode::NoSuchShard, format!("shard {shard} has no row in this database"));
        self.shards.get(&shard).ok_or_else(absent)
    }
}

fn position(row: &LockedShard) -> Position {
    Position { shard: row.shard, epoch: row.epoch, seq: row.seq }
}

/// First and last edge key of a shard.
fn edges_of(shard: ShardId) -> (EdgeKey, EdgeKey) {
    let (first, last) = shard.key_range();
    (
        EdgeKey { id1: first, atype: AssocType(0), id2: ObjectId(0) },
        EdgeKey { id1: last, atype: AssocType(u16::MAX), id2: ObjectId(u64::MAX) },
    )
}

fn page<K: Ord + Copy, R>(
    table: &BTreeMap<K, R>,
    (first, last): (K, K),
    after: Option<K>,
    limit: usize,
) -> impl Iterator<Item = (&K, &R)> {
    // A key of another shard stands before or after all of this one.
    let after = after.filter(|key| *key >= first);
    let start = after.map_or(Bound::Included(first), |key| Bound::Excluded(key.min(last)));
    table.range((start, Bound::Included(last))).take(limit)
}
