//! Pages of the tables, as they are.

use bytes::Bytes;
use mysql_async::{Params, Row, Value};
use tao_schema::ids::{AssocType, EdgeKey, ObjectId, Seq, ShardId};
use tao_schema::rows::{EdgeValue, EpochStart, ObjectRow};

use super::super::Inner;
use super::super::columns::{Columns, Unexpected};
use super::super::error::Failure;
use super::super::scan::edge_range;
use super::super::statements::{
    MOVE_COUNT_ROWS, MOVE_PAGE_ASSOC, MOVE_PAGE_ASSOC_COUNT, MOVE_PAGE_EPOCH_HISTORY, MOVE_PAGE_OBJECT,
    MOVE_PAGE_OUTBOX, MOVE_PAGE_REQUEST, MOVE_PAGE_TOMBSTONE, MOVE_SIZES_ASSOC, MOVE_SIZES_OBJECT,
    MOVE_SIZES_OUTBOX, MOVE_SIZES_REQUEST, Sql,
};
use crate::apply::{CountRow, EdgeRow, LockedShard, OutboxRow, Tombstone, UnixMillis};
use crate::moves::{Copied, MoveTable, PageLimit, RawPage, RawRequest, RawRow, RowCounts};
use crate::store::{StoreError, StoreErrorKind};

/// Rows of a page at most.
const MAX_PAGE: usize = 10_000;
/// Bytes of a request's nonce.
const NONCE: usize = 16;

/// See [`crate::moves::ShardMover::raw_page`].
pub(super) async fn page(
    inner: &Inner,
    shard: ShardId,
    copied: Copied,
    limit: PageLimit,
) -> Result<RawPage, StoreError> {
    let Some(table) = copied.table else {
        return Err(StoreError::new(StoreErrorKind::Rejected, "a page behind the last table"));
    };
    let asked = limit.rows.clamp(1, MAX_PAGE);
    // The last row there can be: nothing is behind it, and only the shard row is asked for.
    let (range, rows) = match range(table, shard, copied.last) {
        Some(range) => {
            let fitting = fitting(inner, table, &range, asked, limit.bytes).await?;
            (range, fitting)
        }
        None => (range(table, shard, None).unwrap_or_default(), 0),
    };
    let sql = page_of(table);
    let mut params = vec![Value::from(shard.0)];
    params.extend(range);
    params.push(rows.into());
    let answer = inner.readers.query(sql, Params::Positional(params)).await?;
    let (header, mut found) = read(answer, shard, table)
        .map_err(|unexpected| Failure::unexpected(&inner.server, sql.name, &unexpected))?;
    let header = header.ok_or_else(|| {
        StoreError::new(StoreErrorKind::Rejected, format!("{}: shard {shard} has no row", inner.server))
    })?;
    found.sort_by_key(RawRow::key);
    // A page with room left is the table's last.
    let last = found.last().map(RawRow::key).filter(|_| rows > 0 && found.len() == rows);
    let to = last.map_or_else(|| Copied::whole(table), |key| Copied::up_to(table, key.parts));
    Ok(RawPage { shard: header, from: copied, rows: found, to })
}

fn page_of(table: MoveTable) -> &'static Sql {
    match table {
        MoveTable::Object => &MOVE_PAGE_OBJECT,
        MoveTable::Assoc => &MOVE_PAGE_ASSOC,
        MoveTable::AssocCount => &MOVE_PAGE_ASSOC_COUNT,
        MoveTable::Outbox => &MOVE_PAGE_OUTBOX,
        MoveTable::Tombstone => &MOVE_PAGE_TOMBSTONE,
        MoveTable::Request => &MOVE_PAGE_REQUEST,
        MoveTable::EpochHistory => &MOVE_PAGE_EPOCH_HISTORY,
    }
}

/// The parameters of "behind `last`, to the end of the shard"; `None`: there can be nothing.
fn range(table: MoveTable, shard: ShardId, last: Option<[u64; 3]>) -> Option<Vec<Value>> {
    let (first_id, last_id) = crate::moves::id_range(shard);
    let after = |part: u64| last.map_or(Some(part), |[a, ..]| a.checked_add(1));
    Some(match table {
        MoveTable::Object => {
            let from = after(first_id).filter(|from| *from <= last_id)?;
            vec![from.into(), last_id.into()]
        }
        MoveTable::Assoc | MoveTable::Outbox | MoveTable::Tombstone => {
            let edge = |[id1, atype, id2]: [u64; 3]| EdgeKey {
                id1: ObjectId(id1),
                atype: AssocType(atype as u16),
                id2: ObjectId(id2),
            };
            edge_range(super::super::scan::start(shard, last.map(edge))?)
        }
        MoveTable::AssocCount => {
            let (id1, atype) = match last {
                None => (first_id, 0),
                // Past the largest type there is none, and the next id is in the second range.
                Some([id1, atype, _]) => (id1, atype + 1),
            };
            vec![id1.into(), atype.into(), id1.into(), last_id.into()]
        }
        MoveTable::Request | MoveTable::EpochHistory => vec![shard.0.into(), after(0)?.into()],
    })
}

/// How many of the next rows, of `asked`, hold no more than `bytes`; at least one.
async fn fitting(
    inner: &Inner,
    table: MoveTable,
    range: &[Value],
    asked: usize,
    bytes: usize,
) -> Result<usize, StoreError> {
    let sql = match table {
        MoveTable::Object => &MOVE_SIZES_OBJECT,
        MoveTable::Assoc => &MOVE_SIZES_ASSOC,
        MoveTable::Outbox => &MOVE_SIZES_OUTBOX,
        MoveTable::Request => &MOVE_SIZES_REQUEST,
        MoveTable::AssocCount | MoveTable::Tombstone | MoveTable::EpochHistory => return Ok(asked),
    };
    if bytes == usize::MAX {
        return Ok(asked);
    }
    let mut params = range.to_vec();
    params.push(asked.into());
    let sizes = inner.readers.query(sql, Params::Positional(params)).await?;
    let sizes = inner.readers.read(sql, sizes, |row| row.u64())?;
    let mut sum = 0u64;
    let over = sizes.iter().position(|size| {
        sum = sum.saturating_add(*size);
        sum > bytes as u64
    });
    // Rows that come behind the last one meanwhile are within the limit of rows.
    Ok(over.map_or(asked, |count| count.max(1)))
}

fn read(
    answer: Vec<Row>,
    shard: ShardId,
    table: MoveTable,
) -> Result<(Option<LockedShard>, Vec<RawRow>), Unexpected> {
    let mut header = None;
    let mut found = Vec::with_capacity(answer.len());
    for row in answer {
        let mut columns = Columns::from(row);
        if columns.u64()? == 0 {
            let (epoch, seq, state) = (columns.epoch()?, columns.seq()?, columns.state()?);
            header = Some(LockedShard { shard, epoch, seq, state, next_id: columns.u64()? });
        } else {
            found.push(raw_row(table, &mut columns)?);
        }
    }
    Ok((header, found))
}

/// Columns: eight numbers, data.
fn raw_row(table: MoveTable, row: &mut Columns) -> Result<RawRow, Unexpected> {
    Ok(match table {
        MoveTable::Object => {
            let (id, otype, version) = (row.object_id()?, row.otype()?, row.seq()?);
            row.skip(5)?;
            RawRow::Object(id, ObjectRow { otype, version, fields: row.fields()? })
        }
        MoveTable::Assoc => {
            let (key, time, epoch, seq) = (row.edge_key()?, row.time()?, row.epoch()?, row.seq()?);
            row.skip(2)?;
            RawRow::Assoc(key, EdgeRow { value: EdgeValue { time, fields: row.fields()? }, epoch, seq })
        }
        MoveTable::AssocCount => {
            RawRow::AssocCount(row.list_key()?, CountRow { count: row.u64()?, version: row.seq()? })
        }
        MoveTable::Outbox => {
            let (key, inverse, present) = (row.edge_key()?, row.atype()?, row.u64()? != 0);
            let (time, epoch, seq) = (row.time()?, row.epoch()?, row.seq()?);
            let value = EdgeValue { time, fields: row.fields()? };
            RawRow::Outbox(key, OutboxRow { inverse, value: present.then_some(value), epoch, seq })
        }
        MoveTable::Tombstone => {
            let key = row.edge_key()?;
            let (epoch, seq, at) = (row.epoch()?, row.seq()?, UnixMillis(row.u64()?));
            RawRow::Tombstone(key, Tombstone { epoch, seq, at })
        }
        MoveTable::Request => {
            let (seq, epoch, at) = (row.seq()?, row.epoch()?, UnixMillis(row.u64()?));
            row.skip(5)?;
            let data = Bytes::from(row.bytes()?);
            let nonce = data.first_chunk::<NONCE>().copied();
            let nonce = nonce.ok_or(Unexpected("a request without its nonce"))?;
            RawRow::Request(RawRequest { seq, epoch, nonce, at, body: data.slice(NONCE..) })
        }
        MoveTable::EpochHistory => {
            RawRow::EpochHistory(EpochStart { epoch: row.epoch()?, first_seq: Seq(row.u64()?) })
        }
    })
}

/// The parameters of statements that look at all tables: the id range five times, the shard twice.
pub(super) fn all_ranges(shard: ShardId) -> Vec<Value> {
    let (first, last) = crate::moves::id_range(shard);
    let mut params = Vec::with_capacity(12);
    for _ in 0..5 {
        params.extend([Value::from(first), Value::from(last)]);
    }
    params.extend([Value::from(shard.0), Value::from(shard.0)]);
    params
}

/// See [`crate::moves::ShardMover::rows_of_range`].
pub(super) async fn count(inner: &Inner, shard: ShardId) -> Result<RowCounts, StoreError> {
    let rows = inner.readers.query(&MOVE_COUNT_ROWS, Params::Positional(all_ranges(shard))).await?;
    let rows = inner.readers.read(&MOVE_COUNT_ROWS, rows, |row| {
        let mut counts = RowCounts::default();
        for count in &mut counts.0 {
            *count = row.u64()?;
        }
        Ok(counts)
    })?;
    Ok(rows.into_iter().next().unwrap_or_default())
}
