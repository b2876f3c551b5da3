//! The rows of an import, and the deletion of a range.

use mysql_async::{Params, Value};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, ShardId, Time};

use super::super::Inner;
use super::super::batch_read::chunks;
use super::super::batch_write::{Fill, ValueRows, put};
use super::super::columns::JsonKeys;
use super::super::connection::Lease;
use super::super::statements::{
    DELETE_EDGES, DELETE_OBJECTS, DELETE_OUTBOX, DELETE_TOMBSTONES, MOVE_DELETE_COUNTS, MOVE_DELETE_HISTORY,
    MOVE_DELETE_REQUESTS, MOVE_RANGE_ASSOC, MOVE_RANGE_ASSOC_COUNT, MOVE_RANGE_EPOCH_HISTORY,
    MOVE_RANGE_OBJECT, MOVE_RANGE_OUTBOX, MOVE_RANGE_REQUEST, MOVE_RANGE_TOMBSTONE, Sql,
};
use super::records::{Failed, Found, Written, end, lock, write};
use crate::moves::rules::{self, Ruling};
use crate::moves::{Answer, Committed, Import, MoveTable, RawKey, RawRow};
use crate::store::{StoreError, StoreErrorKind};

/// Writes the rows of an import: deletions of rows that are not there are none.
pub(super) async fn import(inner: &Inner, lease: &mut Lease, import: &Import) -> Result<(), StoreError> {
    let templates = &inner.templates;
    let mut tables = Tables::new();
    for row in &import.puts {
        tables.push(import.shard, row);
    }
    let puts = [
        (&templates.objects, tables.objects),
        (&templates.edges, tables.edges),
        (&templates.counts, tables.counts),
        (&templates.outbox, tables.outbox),
        (&templates.tombstones, tables.tombstones),
        (&templates.moved_requests, tables.requests),
        (&templates.moved_history, tables.history),
    ];
    for (sized, rows) in puts {
        put(inner, lease, sized, rows, Fill::Padded).await?;
    }
    for table in MoveTable::ALL {
        let keys = import.deletes.iter().filter(|key| key.table == table);
        let shard = u64::from(import.shard.0);
        for keys in chunks(keys, |json, key: &RawKey| push(json, shard, key)) {
            lease.run(delete_of(table), (keys,)).await?;
        }
    }
    Ok(())
}

fn push(json: &mut JsonKeys, shard: u64, key: &RawKey) {
    let [a, b, c] = key.parts;
    match key.table {
        MoveTable::Object => json.push(&[a]),
        MoveTable::AssocCount => json.push(&[a, b]),
        MoveTable::Assoc | MoveTable::Outbox | MoveTable::Tombstone => json.push(&[a, b, c]),
        MoveTable::Request | MoveTable::EpochHistory => json.push(&[shard, a]),
    }
}

fn delete_of(table: MoveTable) -> &'static Sql {
    match table {
        MoveTable::Object => &DELETE_OBJECTS,
        MoveTable::Assoc => &DELETE_EDGES,
        MoveTable::AssocCount => &MOVE_DELETE_COUNTS,
        MoveTable::Outbox => &DELETE_OUTBOX,
        MoveTable::Tombstone => &DELETE_TOMBSTONES,
        MoveTable::Request => &MOVE_DELETE_REQUESTS,
        MoveTable::EpochHistory => &MOVE_DELETE_HISTORY,
    }
}

/// Rows by table, as parameters.
struct Tables {
    objects: ValueRows,
    edges: ValueRows,
    counts: ValueRows,
    outbox: ValueRows,
    tombstones: ValueRows,
    requests: ValueRows,
    history: ValueRows,
}

fn edge(edge: &EdgeKey) -> [Value; 3] {
    [edge.id1.0.into(), edge.atype.0.into(), edge.id2.0.into()]
}

fn data(fields: &EncodedFields) -> Value {
    Value::Bytes(fields.0.to_vec())
}

impl Tables {
    fn new() -> Self {
        let rows = |width| ValueRows::new(width, 0);
        Self {
            objects: rows(4),
            edges: rows(7),
            counts: rows(4),
            outbox: rows(9),
            tombstones: rows(6),
            requests: rows(6),
            history: rows(3),
        }
    }

    fn push(&mut self, shard: ShardId, row: &RawRow) {
        match row {
            RawRow::Object(id, row) => {
                let values = [id.0.into(), row.otype.0.into(), row.version.0.into(), data(&row.fields)];
                self.objects.push(values, row.fields.len());
            }
            RawRow::Assoc(key, row) => {
                let [id1, atype, id2] = edge(key);
                let (time, fields) = (row.value.time.0.into(), data(&row.value.fields));
                let values = [id1, atype, id2, time, row.epoch.0.into(), row.seq.0.into(), fields];
                self.edges.push(values, row.value.fields.len());
            }
            RawRow::AssocCount(list, row) => {
                let values = [list.id1.0.into(), list.atype.0.into(), row.count.into(), row.version.0.into()];
                self.counts.push(values, 0);
            }
            RawRow::Outbox(key, row) => {
                let [id1, atype, id2] = edge(key);
                let (present, none) = (u8::from(row.value.is_some()).into(), EncodedFields::new());
                let value = row.value.as_ref();
                let (time, fields) = value.map_or((Time(0), &none), |value| (value.time, &value.fields));
                let (epoch, seq) = (row.epoch.0.into(), row.seq.0.into());
                let values =
                    [id1, atype, id2, row.inverse.0.into(), present, time.0.into(), epoch, seq, data(fields)];
                self.outbox.push(values, fields.len());
            }
            RawRow::Tombstone(key, row) => {
                let [id1, atype, id2] = edge(key);
                let values = [id1, atype, id2, row.epoch.0.into(), row.seq.0.into(), row.at.0.into()];
                self.tombstones.push(values, 0);
            }
            RawRow::Request(row) => {
                let (nonce, body) = (Value::Bytes(row.nonce.to_vec()), Value::Bytes(row.body.to_vec()));
                let values =
                    [shard.0.into(), row.seq.0.into(), row.epoch.0.into(), nonce, row.at.0.into(), body];
                self.requests.push(values, row.body.len());
            }
            RawRow::EpochHistory(start) => {
                self.history.push([shard.0.into(), start.epoch.0.into(), start.first_seq.0.into()], 0);
            }
        }
    }
}

/// See [`crate::moves::ShardMover::retire`].
pub(super) async fn retire(inner: &Inner, proof: &Committed, rows: usize) -> Result<Answer<u64>, StoreError> {
    let shard = proof.at().shard;
    in_transaction(inner, shard, rows, |found| Ruling::of(rules::retire(&found.moves, proof))).await
}

/// See [`crate::moves::ShardMover::delete_range`].
pub(super) async fn delete_range(
    inner: &Inner,
    shard: ShardId,
    rows: usize,
) -> Result<Answer<u64>, StoreError> {
    in_transaction(inner, shard, rows, |found| Ruling::of(rules::delete(&found.moves))).await
}

/// Writes what is decided, and deletes, in one transaction.
async fn in_transaction(
    inner: &Inner,
    shard: ShardId,
    rows: usize,
    decide: impl Fn(&Found) -> Ruling + Send,
) -> Result<Answer<u64>, StoreError> {
    let mut lease = inner.writers.get().await?;
    match decided(inner, &mut lease, shard, rows, decide).await {
        Ok((answer, Some(written))) => end(inner, lease, answer, written).await,
        Ok((answer, None)) => {
            lease.roll_back().await;
            Ok(answer)
        }
        Err(failed) => {
            lease.roll_back().await;
            Err(match failed {
                Failed::Error(error) => error,
                // No row is inserted here.
                Failed::Raced => {
                    let message = format!("{}: a deletion met a row that exists already", inner.server);
                    StoreError::new(StoreErrorKind::Rejected, message)
                }
            })
        }
    }
}

async fn decided(
    inner: &Inner,
    lease: &mut Lease,
    shard: ShardId,
    rows: usize,
    decide: impl Fn(&Found) -> Ruling + Send,
) -> Result<(Answer<u64>, Option<Written>), Failed> {
    let found = lock(lease, shard, false).await?;
    match decide(&found) {
        Ruling::Answer(answer) => Ok((answer.map(|()| 0), None)),
        Ruling::Write(change, ()) => {
            let gone = delete(lease, shard, rows).await?;
            let written = write(inner, lease, &found, *change).await?;
            Ok((Answer::Done(gone), Some(written)))
        }
    }
}

async fn delete(lease: &mut Lease, shard: ShardId, rows: usize) -> Result<u64, Failed> {
    let (first, last) = crate::moves::id_range(shard);
    let by_id = |limit: u64| vec![Value::from(first), Value::from(last), Value::from(limit)];
    let by_shard = |limit: u64| vec![Value::from(shard.0), Value::from(limit)];
    let mut gone = 0;
    for table in MoveTable::ALL {
        let left = rows as u64 - gone;
        if left == 0 {
            break;
        }
        let (sql, params): (&Sql, _) = match table {
            MoveTable::Object => (&MOVE_RANGE_OBJECT, by_id(left)),
            MoveTable::Assoc => (&MOVE_RANGE_ASSOC, by_id(left)),
            MoveTable::AssocCount => (&MOVE_RANGE_ASSOC_COUNT, by_id(left)),
            MoveTable::Outbox => (&MOVE_RANGE_OUTBOX, by_id(left)),
            MoveTable::Tombstone => (&MOVE_RANGE_TOMBSTONE, by_id(left)),
            MoveTable::Request => (&MOVE_RANGE_REQUEST, by_shard(left)),
            MoveTable::EpochHistory => (&MOVE_RANGE_EPOCH_HISTORY, by_shard(left)),
        };
        gone += lease.run(sql, Params::Positional(params)).await?;
    }
    Ok(gone)
}
