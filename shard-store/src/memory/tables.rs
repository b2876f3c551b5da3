//! The tables.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tao_schema::edges::EdgeOrder;
use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, PrimaryTime, Seq, ShardId};
use tao_schema::rows::ObjectRow;

use super::log::Write;
use crate::apply::{
    CountRow, EdgeRow, LockedShard, Mutations, OutboxRow, Plan, ReadSet, RequestRow, Tombstone, UnixMillis,
    Workspace,
};
use crate::moves::{MoveId, MoveRecord};
use crate::store::ShardRow;

/// Every table of a database server, by primary key.
#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) shards: BTreeMap<ShardId, LockedShard>,
    /// First seq of each epoch (R19).
    pub(super) epochs: BTreeMap<(ShardId, Epoch), Seq>,
    pub(super) objects: BTreeMap<ObjectId, ObjectRow>,
    pub(super) edges: BTreeMap<EdgeKey, EdgeRow>,
    /// The edge table's index for lists: newest first.
    pub(super) newest: BTreeSet<(ListKey, Reverse<EdgeOrder>)>,
    pub(super) counts: BTreeMap<ListKey, CountRow>,
    pub(super) tombstones: BTreeMap<EdgeKey, Tombstone>,
    pub(super) outbox: BTreeMap<EdgeKey, OutboxRow>,
    pub(super) requests: BTreeMap<(ShardId, Seq), (RequestRow, UnixMillis)>,
    /// Nonce and time, by writer.
    pub(super) beats: BTreeMap<u64, (u64, PrimaryTime)>,
    /// By version.
    pub(super) topologies: BTreeMap<u64, String>,
    pub(super) moves: BTreeMap<(ShardId, MoveId), MoveRecord>,
}

fn shard_row(row: &LockedShard) -> ShardRow {
    ShardRow { shard: row.shard, epoch: row.epoch, seq: row.seq, state: row.state }
}

impl Tables {
    pub(super) fn shard_rows(&self) -> Vec<ShardRow> {
        self.shards.values().map(shard_row).collect()
    }

    /// See [`crate::ShardStore::shard_rows_of`].
    pub(super) fn shard_rows_of(&self, shards: &[ShardId]) -> Vec<ShardRow> {
        shards.iter().filter_map(|shard| self.shards.get(shard)).map(shard_row).collect()
    }

    /// Makes a transaction visible.
    pub(super) fn write(&mut self, write: &Write) {
        match write {
            Write::Batch { plan, at } => self.apply(plan, *at),
            Write::Shards(rows) => {
                for row in rows {
                    self.epochs.insert((row.shard, row.epoch), row.seq.next());
                    self.shards.insert(row.shard, *row);
                }
            }
            Write::Promotion(opened) => {
                for (row, first_seq, _) in opened {
                    self.epochs.insert((row.shard, row.epoch), *first_seq);
                    self.shards.insert(row.shard, *row);
                }
            }
            Write::State { row, .. } => {
                self.shards.insert(row.shard, *row);
            }
            Write::Expired { requests, tombstones } => {
                for key in requests {
                    self.requests.remove(key);
                }
                for edge in tombstones {
                    self.tombstones.remove(edge);
                }
            }
            Write::Beat { beat, time } => {
                self.beats.insert(beat.writer.0, (beat.nonce, *time));
            }
            Write::Topology(topology) => {
                self.topologies.insert(topology.version, topology.toml.clone());
            }
            Write::Moved(moved) => self.write_moved(moved),
        }
    }

    /// Gives the workspace the rows that exist.
    pub(super) fn load(&self, reads: &ReadSet, workspace: &mut Workspace<'_>) {
        each(&self.objects, &reads.objects, |key, row| workspace.load_object(key, row));
        each(&self.edges, &reads.edges, |key, row| workspace.load_edge(key, row));
        each(&self.counts, &reads.counts, |key, row| workspace.load_count(key, row));
        each(&self.tombstones, &reads.tombstones, |key, row| workspace.load_tombstone(key, row));
        each(&self.outbox, &reads.outbox, |key, row| workspace.load_outbox(key, row));
    }

    fn apply(&mut self, plan: &Plan, now: UnixMillis) {
        for advance in &plan.advances {
            if let Some(row) = self.shards.get_mut(&advance.shard) {
                // The whole row, as a row image: whoever commits here has checked the one before; a replica of a crashed
                // source, as on MySQL, does not (H10).
                row.epoch = advance.epoch;
                row.seq = advance.new_seq;
                row.next_id = advance.next_id;
            }
        }
        write(&mut self.objects, &plan.objects);
        self.apply_edges(&plan.edges);
        self.counts.extend(plan.counts.iter().copied());
        write(&mut self.tombstones, &plan.tombstones);
        write(&mut self.outbox, &plan.outbox);
        let requests = plan.requests.iter();
        self.requests
            .extend(requests.map(|row| ((row.position.shard, row.position.seq), (row.clone(), now))));
    }

    fn apply_edges(&mut self, edges: &Mutations<EdgeKey, EdgeRow>) {
        for (edge, row) in &edges.puts {
            self.put_edge(*edge, row.clone());
        }
        for edge in &edges.deletes {
            self.delete_edge(*edge);
        }
    }

    pub(super) fn put_edge(&mut self, edge: EdgeKey, row: EdgeRow) {
        self.newest.insert(place(edge, &row));
        if let Some(old) = self.edges.insert(edge, row.clone())
            && place(edge, &old) != place(edge, &row)
        {
            self.newest.remove(&place(edge, &old));
        }
    }

    pub(super) fn delete_edge(&mut self, edge: EdgeKey) {
        if let Some(old) = self.edges.remove(&edge) {
            self.newest.remove(&place(edge, &old));
        }
    }
}

/// Where an edge stands in the index.
fn place(edge: EdgeKey, row: &EdgeRow) -> (ListKey, Reverse<EdgeOrder>) {
    (edge.list(), Reverse(EdgeOrder { time: row.value.time, id2: edge.id2 }))
}

fn each<K: Ord + Copy, R: Clone>(table: &BTreeMap<K, R>, keys: &BTreeSet<K>, mut load: impl FnMut(K, R)) {
    for key in keys {
        if let Some(row) = table.get(key) {
            load(*key, row.clone());
        }
    }
}

fn write<K: Ord + Copy, R: Clone>(table: &mut BTreeMap<K, R>, mutations: &Mutations<K, R>) {
    table.extend(mutations.puts.iter().cloned());
    for key in &mutations.deletes {
        table.remove(key);
    }
}
