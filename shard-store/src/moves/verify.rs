//! Comparing a chunk: exact, because both sides are of the same seq of the source.

use std::collections::BTreeMap;

use super::rows::{RawKey, RawPage, RawRow};

/// A row that is not the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// Only the source has it.
    Missing(RawKey),
    /// Only the target has it.
    Surplus(RawKey),
    /// Both have it, with other content.
    Other(RawKey),
}

/// See [`compare`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// Rows of the source that were looked at.
    pub rows: u64,
    /// What is not the same.
    pub differences: Vec<Difference>,
    /// Rows of tables that are purged by age that only the target still has: the source's purge takes no seq, so it may not
    /// have come through yet.
    pub purged: u64,
}

/// Compares a page of the source with the target's rows of the same range: the source's page was read at seq `s`, then
/// everything up to `s`, and nothing behind, was imported, then the target's page was read from the same key on with at
/// least one row more and no limit of bytes.
pub fn compare(source: &RawPage, target: &RawPage) -> Comparison {
    let mut comparison = Comparison { rows: source.rows.len() as u64, ..Comparison::default() };
    let in_range = |row: &&RawRow| source.to.covers(&row.key());
    let mut there: BTreeMap<RawKey, &RawRow> =
        target.rows.iter().filter(in_range).map(|row| (row.key(), row)).collect();
    for row in &source.rows {
        let key = row.key();
        match there.remove(&key) {
            None => comparison.differences.push(Difference::Missing(key)),
            Some(other) if other != row => comparison.differences.push(Difference::Other(key)),
            Some(_) => {}
        }
    }
    for key in there.into_keys() {
        if key.table.purged() {
            comparison.purged += 1;
        } else {
            comparison.differences.push(Difference::Surplus(key));
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::{AssocType, Epoch, ListKey, ObjectId, Seq, ShardId};
    use tao_schema::rows::ShardState;

    use super::super::record::Copied;
    use super::super::rows::MoveTable;
    use super::*;
    use crate::apply::{CountRow, LockedShard};

    fn count(id1: u64, count: u64) -> RawRow {
        let list = ListKey { id1: ObjectId(id1), atype: AssocType(1) };
        RawRow::AssocCount(list, CountRow { count, version: Seq(1) })
    }

    fn page(rows: Vec<RawRow>, to: Copied) -> RawPage {
        let (shard, state) = (ShardId(0), ShardState::Serving);
        let shard = LockedShard { shard, epoch: Epoch(1), seq: Seq(9), state, next_id: 1 };
        RawPage { shard, from: Copied { table: Some(MoveTable::AssocCount), last: None }, rows, to }
    }

    #[test]
    fn every_kind_of_difference_is_found_within_the_range() {
        let last = count(7, 1).key();
        let to = Copied::up_to(last.table, last.parts);
        let source = page(vec![count(1, 1), count(3, 1), count(7, 1)], to);
        let all = Copied::whole(MoveTable::AssocCount);
        let target = page(vec![count(1, 1), count(2, 1), count(7, 2), count(8, 1)], all);
        let comparison = compare(&source, &target);
        let expected = vec![
            Difference::Missing(count(3, 1).key()),
            Difference::Other(count(7, 1).key()),
            Difference::Surplus(count(2, 1).key()),
        ];
        assert_eq!((comparison.rows, comparison.differences), (3, expected));
        assert!(compare(&source, &page(source.rows.clone(), all)).differences.is_empty());
    }
}
