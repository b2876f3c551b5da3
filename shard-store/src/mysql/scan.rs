//! Pages of a shard's tables in key order.

use mysql_async::{Params, Value};
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId, Position, Seq, ShardId, Time};
use tao_schema::rows::{EdgeValue, ObjectRow};

use super::Inner;
use super::columns::{Columns, Unexpected};
use super::error::Failure;
use super::statements::{SCAN_COUNTS, SCAN_EDGES, SCAN_OBJECTS, SCAN_OUTBOX, Sql};
use crate::store::{PendingInverse, ScanPage, StoreError, StoreErrorKind, Table};

/// Rows of a page at most: a row may be an object at its limit.
const MAX_PAGE: usize = 10_000;

/// The first key of `shard` after `after`; `None` if there can't be one.
pub(super) fn start(shard: ShardId, after: Option<EdgeKey>) -> Option<EdgeKey> {
    let (first, last) = shard.key_range();
    let lowest = EdgeKey { id1: first, atype: AssocType(0), id2: ObjectId(0) };
    let Some(after) = after else { return Some(lowest) };
    let next = if let Some(id2) = after.id2.0.checked_add(1) {
        EdgeKey { id2: ObjectId(id2), ..after }
    } else if let Some(atype) = after.atype.0.checked_add(1) {
        EdgeKey { atype: AssocType(atype), id2: ObjectId(0), ..after }
    } else {
        let id1 = ObjectId(after.id1.0.checked_add(1)?);
        EdgeKey { id1, atype: AssocType(0), id2: ObjectId(0) }
    };
    (next.id1 <= last).then_some(next.max(lowest))
}

/// The parameters of three ranges that together are "from `start` to the end of the shard".
pub(super) fn edge_range(start: EdgeKey) -> Vec<Value> {
    let (id1, atype, id2) = (start.id1.0, start.atype.0, start.id2.0);
    let last = start.id1.shard().key_range().1.0;
    vec![id1.into(), atype.into(), id2.into(), id1.into(), atype.into(), id1.into(), last.into()]
}

fn count_range(start: EdgeKey) -> Vec<Value> {
    // Count rows are paged as (id1, atype, 0): anything after 0 is the next list.
    let atype = u64::from(start.atype.0) + u64::from(start.id2.0 > 0);
    let last = start.id1.shard().key_range().1.0;
    vec![start.id1.0.into(), atype.into(), start.id1.0.into(), last.into()]
}

fn object_range(start: EdgeKey) -> Vec<Value> {
    // Objects are paged as (id, 0, 0): anything after that is the next object.
    let next = u64::from(start.atype.0 > 0 || start.id2.0 > 0);
    let last = start.id1.shard().key_range().1.0;
    vec![start.id1.0.saturating_add(next).into(), last.into()]
}

/// See [`crate::ShardStore::scan`].
pub(super) async fn scan(
    inner: &Inner,
    shard: ShardId,
    table: Table,
    after: Option<EdgeKey>,
    limit: usize,
) -> Result<ScanPage, StoreError> {
    let limit = limit.clamp(1, MAX_PAGE);
    // Past the last key there is nothing, but the position is still asked for: a range that holds no row.
    let past_end = EdgeKey { id1: shard.key_range().1, atype: AssocType(u16::MAX), id2: ObjectId(u64::MAX) };
    let (from, limit) = start(shard, after).map_or((past_end, 0), |from| (from, limit));
    let (sql, range): (&'static Sql, _) = match table {
        Table::Objects => (&SCAN_OBJECTS, object_range(from)),
        Table::Edges => (&SCAN_EDGES, edge_range(from)),
        Table::Counts => (&SCAN_COUNTS, count_range(from)),
        Table::Outbox => (&SCAN_OUTBOX, edge_range(from)),
    };
    let mut params = vec![Value::from(shard.0)];
    params.extend(range);
    params.push(limit.into());
    let rows = inner.readers.query(sql, Params::Positional(params)).await?;
    let page = page(rows, shard, table, limit);
    match page.map_err(|unexpected| Failure::unexpected(&inner.server, sql.name, &unexpected))? {
        Some(page) => Ok(page),
        None => {
            let message = format!("{}: shard {shard} has no row", inner.server);
            Err(StoreError::new(StoreErrorKind::Rejected, message))
        }
    }
}

/// The rows of a page; `None` without the header.
fn page(
    rows: Vec<mysql_async::Row>,
    shard: ShardId,
    table: Table,
    limit: usize,
) -> Result<Option<ScanPage>, Unexpected> {
    let mut position = None;
    let mut page_rows = Vec::with_capacity(rows.len());
    for row in rows {
        let mut columns = Columns::from(row);
        if columns.u64()? == 0 {
            columns.skip(4)?;
            position = Some(Position { shard, epoch: columns.epoch()?, seq: columns.seq()? });
        } else {
            let key = EdgeKey {
                id1: columns.object_id()?,
                atype: AssocType(columns.optional()?.unwrap_or(0)),
                id2: ObjectId(columns.optional_u64()?.unwrap_or(0)),
            };
            page_rows.push((key, columns));
        }
    }
    let Some(position) = position else { return Ok(None) };
    // Counts hold their number where others hold id2: it is unique within (id1, atype), so order is right all the same.
    page_rows.sort_by_key(|(key, _)| *key);
    let full = limit > 0 && page_rows.len() == limit;
    let last = page_rows.last().map(|(key, _)| *key).filter(|_| full);
    let next = match table {
        Table::Counts => last.map(|key| EdgeKey { id2: ObjectId(0), ..key }),
        Table::Objects | Table::Edges | Table::Outbox => last,
    };
    let mut page =
        ScanPage { position, objects: vec![], edges: vec![], counts: vec![], outbox: vec![], next };
    for (key, columns) in page_rows {
        add(&mut page, table, key, columns)?;
    }
    Ok(Some(page))
}

/// Adds a row; `columns` stands at `time`.
fn add(page: &mut ScanPage, table: Table, key: EdgeKey, mut columns: Columns) -> Result<(), Unexpected> {
    match table {
        Table::Objects => {
            let otype = columns.otype()?;
            columns.skip(1)?;
            let version = columns.seq()?;
            columns.skip(2)?;
            page.objects.push((key.id1, ObjectRow { otype, version, fields: columns.fields()? }));
        }
        Table::Edges => {
            let (time, epoch, seq) = (columns.time()?, columns.epoch()?, columns.seq()?);
            columns.skip(2)?;
            page.edges.push((key, EdgeValue { time, fields: columns.fields()? }, epoch, seq));
        }
        Table::Counts => {
            columns.skip(2)?;
            let list = ListKey { id1: key.id1, atype: key.atype };
            page.counts.push((list, key.id2.0, Seq(columns.u64()?)));
        }
        Table::Outbox => page.outbox.push(pending(key, &mut columns)?),
    }
    Ok(())
}

fn pending(edge: EdgeKey, columns: &mut Columns) -> Result<PendingInverse, Unexpected> {
    let time: Time = columns.time()?;
    let origin = Position { shard: edge.id1.shard(), epoch: columns.epoch()?, seq: columns.seq()? };
    let inverse = edge.reversed(columns.atype()?);
    let present = columns.u64()? != 0;
    let fields = columns.fields()?;
    Ok(PendingInverse { edge, inverse, value: present.then_some(EdgeValue { time, fields }), origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id1: u64, atype: u16, id2: u64) -> EdgeKey {
        EdgeKey { id1: ObjectId(id1), atype: AssocType(atype), id2: ObjectId(id2) }
    }

    #[test]
    fn the_next_key_carries_and_ends_with_the_shard() {
        let shard = ShardId(3);
        let (first, last) = (shard.key_range().0.0, shard.key_range().1.0);
        assert_eq!(start(shard, None), Some(key(first, 0, 0)));
        assert_eq!(start(shard, Some(key(first, 2, 9))), Some(key(first, 2, 10)));
        assert_eq!(start(shard, Some(key(first, 2, u64::MAX))), Some(key(first, 3, 0)));
        assert_eq!(start(shard, Some(key(first, u16::MAX, u64::MAX))), Some(key(first + 1, 0, 0)));
        assert_eq!(start(shard, Some(key(last, u16::MAX, u64::MAX))), None);
        assert_eq!(start(ShardId(u16::MAX), Some(key(u64::MAX, u16::MAX, u64::MAX))), None);
    }
}
