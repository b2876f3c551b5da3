//! Reads the rows of a [`ReadSet`], in as few statements as there are kinds of rows.

use mysql_async::Value;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Time};
use tao_schema::rows::{EdgeValue, ObjectRow};

use super::columns::JsonKeys;
use super::connection::Lease;
use super::statements::{READ_EDGES_AND_COUNTS, READ_OBJECTS, READ_OUTBOX_AND_TOMBSTONES};
use crate::apply::{CountRow, EdgeRow, OutboxRow, ReadSet, Tombstone, UnixMillis, Workspace};
use crate::store::StoreError;

/// Keys of one statement that reads or deletes.
const KEYS_PER_STATEMENT: usize = 1_024;

/// Reads the rows of a read set into a workspace. Runs after the lock: under READ COMMITTED each statement sees all
/// that was committed before it.
pub(super) async fn read(
    lease: &mut Lease,
    set: &ReadSet,
    workspace: &mut Workspace<'_>,
) -> Result<(), StoreError> {
    for keys in chunks(set.objects.iter(), |keys, id| keys.push(&[id.0])) {
        let rows = lease
            .map(&READ_OBJECTS, (keys,), |row| {
                let (id, otype, version) = (row.object_id()?, row.otype()?, row.seq()?);
                Ok((id, ObjectRow { otype, version, fields: row.fields()? }))
            })
            .await?;
        rows.into_iter().for_each(|(id, row)| workspace.load_object(id, row));
    }
    read_edges(lease, set, workspace).await?;
    read_inverses(lease, set, workspace).await
}

async fn read_edges(
    lease: &mut Lease,
    set: &ReadSet,
    workspace: &mut Workspace<'_>,
) -> Result<(), StoreError> {
    let edges = chunks(set.edges.iter(), JsonKeys::push_edge);
    let counts = chunks(set.counts.iter(), |keys, list| keys.push(&[list.id1.0, u64::from(list.atype.0)]));
    for (edges, counts) in in_step(edges, counts) {
        let rows = lease
            .map(&READ_EDGES_AND_COUNTS, (edges, counts), |row| {
                let is_count = row.u64()? == 1;
                let list = row.list_key()?;
                let (id2, time) = (row.optional_u64()?, row.optional()?);
                if is_count {
                    let count = CountRow { count: row.u64()?, version: row.seq()? };
                    return Ok(Loaded::Count(list, count));
                }
                let edge =
                    EdgeKey { id1: list.id1, atype: list.atype, id2: ObjectId(id2.unwrap_or_default()) };
                let (epoch, seq, fields) = (row.epoch()?, row.seq()?, row.fields()?);
                let value = EdgeValue { time: Time(time.unwrap_or_default()), fields };
                Ok(Loaded::Edge(edge, EdgeRow { value, epoch, seq }))
            })
            .await?;
        for row in rows {
            match row {
                Loaded::Edge(edge, row) => workspace.load_edge(edge, row),
                Loaded::Count(list, row) => workspace.load_count(list, row),
            }
        }
    }
    Ok(())
}

enum Loaded {
    Edge(EdgeKey, EdgeRow),
    Count(ListKey, CountRow),
}

enum LoadedInverse {
    Outbox(EdgeKey, OutboxRow),
    Tombstone(EdgeKey, Tombstone),
}

async fn read_inverses(
    lease: &mut Lease,
    set: &ReadSet,
    workspace: &mut Workspace<'_>,
) -> Result<(), StoreError> {
    let outbox = chunks(set.outbox.iter(), JsonKeys::push_edge);
    let tombstones = chunks(set.tombstones.iter(), JsonKeys::push_edge);
    for (outbox, tombstones) in in_step(outbox, tombstones) {
        let rows = lease
            .map(&READ_OUTBOX_AND_TOMBSTONES, (outbox, tombstones), |row| {
                let is_tombstone = row.u64()? == 1;
                let edge = row.edge_key()?;
                if is_tombstone {
                    row.skip(2)?;
                    let at = UnixMillis(row.u64()?);
                    let tombstone = Tombstone { epoch: row.epoch()?, seq: row.seq()?, at };
                    return Ok(LoadedInverse::Tombstone(edge, tombstone));
                }
                let (inverse, present, time) = (row.atype()?, row.u64()? != 0, row.time()?);
                let (epoch, seq, fields) = (row.epoch()?, row.seq()?, row.fields()?);
                let value = present.then_some(EdgeValue { time, fields });
                Ok(LoadedInverse::Outbox(edge, OutboxRow { inverse, value, epoch, seq }))
            })
            .await?;
        for row in rows {
            match row {
                LoadedInverse::Outbox(edge, row) => workspace.load_outbox(edge, row),
                LoadedInverse::Tombstone(edge, row) => workspace.load_tombstone(edge, row),
            }
        }
    }
    Ok(())
}

/// Keys as JSON parameters of at most [`KEYS_PER_STATEMENT`] each.
pub(super) fn chunks<'a, K: 'a>(
    keys: impl Iterator<Item = &'a K>,
    push: impl Fn(&mut JsonKeys, &K),
) -> Vec<Value> {
    let mut all = Vec::new();
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        let mut json = JsonKeys::new();
        keys.by_ref().take(KEYS_PER_STATEMENT).for_each(|key| push(&mut json, key));
        all.push(json.finish());
    }
    all
}

/// Pairs two kinds of keys for statements that read both; the shorter list is filled up with "no keys".
fn in_step(a: Vec<Value>, b: Vec<Value>) -> impl Iterator<Item = (Value, Value)> {
    let count = a.len().max(b.len());
    let fill =
        |values: Vec<Value>| values.into_iter().chain(std::iter::repeat_with(|| JsonKeys::new().finish()));
    fill(a).zip(fill(b)).take(count)
}
