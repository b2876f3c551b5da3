//! Reads the rows of a [`ReadSet`]: few by key, together with the lock; many in as few statements as there are kinds.

use std::collections::BTreeSet;

use mysql_async::Value;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Time};
use tao_schema::rows::{EdgeValue, ObjectRow};

use super::columns::{Columns, JsonKeys, Unexpected};
use super::connection::Lease;
use super::statements::{
    READ_EDGE_AND_COUNT, READ_EDGES_AND_COUNTS, READ_OBJECT, READ_OBJECTS, READ_OUTBOX_AND_TOMBSTONES,
    READ_OUTBOX_ROW, READ_TOMBSTONE, Sql,
};
use crate::apply::{CountRow, EdgeRow, OutboxRow, ReadSet, Tombstone, UnixMillis, Workspace};
use crate::store::StoreError;

/// Keys of one statement that reads or deletes.
const KEYS_PER_STATEMENT: usize = 1_024;

/// So many rows at most are read in the round trip of the lock.
pub(super) const FEW: usize = 4;

/// A row that was read.
pub(super) enum Loaded {
    Object(ObjectId, ObjectRow),
    Edge(EdgeKey, EdgeRow),
    Count(ListKey, CountRow),
    Outbox(EdgeKey, OutboxRow),
    Tombstone(EdgeKey, Tombstone),
}

/// Reads the rows of a read set into a workspace, of its edges only those of `edges`. Runs after the lock: under READ COMMITTED each statement sees all
/// that was committed before it.
pub(super) async fn read(
    lease: &mut Lease,
    set: &ReadSet,
    edges: &BTreeSet<EdgeKey>,
    workspace: &mut Workspace<'_>,
) -> Result<(), StoreError> {
    for keys in chunks(set.objects.iter(), |keys, id| keys.push(&[id.0])) {
        load(workspace, lease.map(&READ_OBJECTS, (keys,), object).await?);
    }
    let edges = chunks(edges.iter(), JsonKeys::push_edge);
    let counts = chunks(set.counts.iter(), |keys, list| keys.push(&[list.id1.0, u64::from(list.atype.0)]));
    for keys in in_step(edges, counts) {
        load(workspace, lease.map(&READ_EDGES_AND_COUNTS, keys, edge_or_count).await?);
    }
    let outbox = chunks(set.outbox.iter(), JsonKeys::push_edge);
    let tombstones = chunks(set.tombstones.iter(), JsonKeys::push_edge);
    for keys in in_step(outbox, tombstones) {
        load(workspace, lease.map(&READ_OUTBOX_AND_TOMBSTONES, keys, outbox_or_tombstone).await?);
    }
    Ok(())
}

/// Puts rows into a workspace, which ignores those that it did not ask for.
pub(super) fn load(workspace: &mut Workspace<'_>, rows: Vec<Loaded>) {
    for row in rows {
        match row {
            Loaded::Object(id, row) => workspace.load_object(id, row),
            Loaded::Edge(edge, row) => workspace.load_edge(edge, row),
            Loaded::Count(list, row) => workspace.load_count(list, row),
            Loaded::Outbox(edge, row) => workspace.load_outbox(edge, row),
            Loaded::Tombstone(edge, row) => workspace.load_tombstone(edge, row),
        }
    }
}

/// How the rows of a statement are read.
pub(super) type ReadRow = fn(&mut Columns) -> Result<Loaded, Unexpected>;

/// The statements that read the few rows of a set by their keys, or none if there are more. An edge comes with its
/// list's count row, which every read set has as well.
pub(super) fn by_key(set: &ReadSet) -> Vec<(&'static Sql, Vec<Value>, ReadRow)> {
    let rows = set.objects.len() + set.edges.len() + set.outbox.len() + set.tombstones.len();
    let with_edges = set.counts.iter().all(|list| set.edges.iter().any(|edge| edge.list() == *list));
    if rows > FEW || !with_edges {
        return Vec::new();
    }
    let key = |edge: &EdgeKey| vec![edge.id1.0.into(), edge.atype.0.into(), edge.id2.0.into()];
    let mut reads: Vec<(&'static Sql, Vec<Value>, ReadRow)> = Vec::with_capacity(rows);
    reads.extend(set.objects.iter().map(|id| (&READ_OBJECT, vec![id.0.into()], object as ReadRow)));
    for edge in &set.edges {
        let mut keys = key(edge);
        keys.extend([edge.id1.0.into(), edge.atype.0.into()]);
        reads.push((&READ_EDGE_AND_COUNT, keys, edge_or_count));
    }
    reads.extend(set.outbox.iter().map(|edge| (&READ_OUTBOX_ROW, key(edge), outbox_or_tombstone as ReadRow)));
    reads.extend(
        set.tombstones.iter().map(|edge| (&READ_TOMBSTONE, key(edge), outbox_or_tombstone as ReadRow)),
    );
    reads
}

fn object(row: &mut Columns) -> Result<Loaded, Unexpected> {
    let (id, otype, version) = (row.object_id()?, row.otype()?, row.seq()?);
    Ok(Loaded::Object(id, ObjectRow { otype, version, fields: row.fields()? }))
}

fn edge_or_count(row: &mut Columns) -> Result<Loaded, Unexpected> {
    let is_count = row.u64()? == 1;
    let list = row.list_key()?;
    let (id2, time) = (row.optional_u64()?, row.optional()?);
    if is_count {
        let count = CountRow { count: row.u64()?, version: row.seq()? };
        return Ok(Loaded::Count(list, count));
    }
    let edge = EdgeKey { id1: list.id1, atype: list.atype, id2: ObjectId(id2.unwrap_or_default()) };
    let (epoch, seq, fields) = (row.epoch()?, row.seq()?, row.fields()?);
    let value = EdgeValue { time: Time(time.unwrap_or_default()), fields };
    Ok(Loaded::Edge(edge, EdgeRow { value, epoch, seq }))
}

fn outbox_or_tombstone(row: &mut Columns) -> Result<Loaded, Unexpected> {
    let is_tombstone = row.u64()? == 1;
    let edge = row.edge_key()?;
    if is_tombstone {
        row.skip(2)?;
        let at = UnixMillis(row.u64()?);
        return Ok(Loaded::Tombstone(edge, Tombstone { epoch: row.epoch()?, seq: row.seq()?, at }));
    }
    let (inverse, present, time) = (row.atype()?, row.u64()? != 0, row.time()?);
    let (epoch, seq, fields) = (row.epoch()?, row.seq()?, row.fields()?);
    let value = present.then_some(EdgeValue { time, fields });
    Ok(Loaded::Outbox(edge, OutboxRow { inverse, value, epoch, seq }))
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
