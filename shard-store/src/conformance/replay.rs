//! A naive cache that is made of nothing but the change stream.

use std::collections::BTreeMap;

use tao_schema::ids::{ListKey, ObjectId, Seq, ShardId};
use tao_schema::rows::{ChangeItem, EdgeValue, ListChange, ObjectRow, ShardChange};

use super::Verdict;
use super::bench::{EPOCH, ensure_eq};

/// A list as the changes show it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct ReplayedList {
    pub(super) version: Seq,
    pub(super) edges: BTreeMap<ObjectId, EdgeValue>,
}

/// Holds everything that ever changed.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) objects: BTreeMap<ObjectId, ObjectRow>,
    pub(super) lists: BTreeMap<ListKey, ReplayedList>,
    seqs: BTreeMap<ShardId, Seq>,
}

impl Replay {
    /// Applies the next change of a shard, and checks that it is the next.
    pub(super) fn apply(&mut self, change: &ShardChange) -> Verdict {
        let watermark = self.seqs.entry(change.shard).or_default();
        ensure_eq!((change.epoch, change.seq), (EPOCH, watermark.next()), "epoch and seq of a change");
        *watermark = change.seq;
        for item in &change.items {
            match item {
                ChangeItem::Object { id, row } => {
                    ensure_eq!(id.shard(), change.shard, "the shard of object {id}");
                    match row {
                        Some(row) => {
                            ensure_eq!(row.version, change.seq, "the version of object {id}");
                            self.objects.insert(*id, row.clone());
                        }
                        None => {
                            self.objects.remove(id);
                        }
                    }
                }
                ChangeItem::List(list) => self.apply_list(change.seq, list)?,
            }
        }
        Ok(())
    }

    fn apply_list(&mut self, seq: Seq, change: &ListChange) -> Verdict {
        let list = self.lists.entry(change.key).or_default();
        ensure_eq!(change.prev_version, list.version, "the version before, of {:?}", change.key);
        list.version = seq;
        for (id2, value) in &change.edges {
            match value {
                Some(value) => {
                    list.edges.insert(*id2, value.clone());
                }
                None => {
                    list.edges.remove(id2);
                }
            }
        }
        ensure_eq!(change.count, list.edges.len() as u64, "the count of {:?}", change.key);
        Ok(())
    }
}
