//! Writes the rows of a [`Plan`], many to a statement.

use mysql_async::{Params, Value};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, Epoch, ObjectId, Seq, ShardId, Time};
use tao_schema::rows::ShardState;

use super::Inner;
use super::batch_read::chunks;
use super::columns::JsonKeys;
use super::connection::Lease;
use super::error::Failure;
use super::presumed;
use super::statements::{
    ADVANCE_SHARDS, ASSERT_AFFECTED, DELETE_EDGES, DELETE_OBJECTS, DELETE_OUTBOX, DELETE_TOMBSTONES,
    PUT_EDGES, PUT_OBJECTS, PUT_OUTBOX, STEPS, Sized, Sql,
};
use super::trip::Trip;
use crate::apply::{Plan, UnixMillis};
use crate::store::{StoreError, StoreErrorKind};

/// Rows that may be written twice to save a statement: one more costs about as much as a round trip.
const PADDING: usize = 16;
/// Rows with more data than this are not written twice.
const PADDING_BYTES: usize = 1_024;

/// Up to so many rows of a table go out together with COMMIT, as text; more cost less as a statement of their own that
/// the server knows already.
pub(super) const FEW_ROWS: usize = 16;
/// Data of more bytes doesn't go out as text.
const FEW_BYTES: usize = 64 << 10;
// Rows of seven tables, as digits: no server that is taken refuses the packet.
const _: () = assert!(7 * (2 * FEW_BYTES + FEW_ROWS * 512) < super::MIN_PACKET as usize);

/// Rows of one table as parameters, in order.
pub(super) struct ValueRows {
    width: usize,
    values: Vec<Value>,
    /// Bytes of each row's data.
    sizes: Vec<usize>,
}

impl ValueRows {
    pub(super) fn new(width: usize, rows: usize) -> Self {
        Self { width, values: Vec::with_capacity(width * rows), sizes: Vec::with_capacity(rows) }
    }

    pub(super) fn push<const N: usize>(&mut self, row: [Value; N], data_bytes: usize) {
        debug_assert_eq!(N, self.width);
        self.values.extend(row);
        self.sizes.push(data_bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// All values, row by row.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// Whether they go out as text.
    pub(super) fn are_few(&self) -> bool {
        self.sizes.len() <= FEW_ROWS && self.sizes.iter().sum::<usize>() <= FEW_BYTES
    }
}

/// How a multi-row statement is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// The last row may be repeated: writing it twice is the same as once.
    Padded,
    /// Each row exactly once.
    Exact,
}

/// How many rows the next statement takes, and how many places it has. Of `sizes` as many as fit into `bytes`, at
/// least one.
fn next_step(sizes: &[usize], bytes: usize, fill: Fill) -> (usize, usize) {
    let largest = STEPS[STEPS.len() - 1];
    let mut sum = 0usize;
    let fitting = sizes.iter().take(largest).take_while(|size| {
        sum = sum.saturating_add(**size);
        sum <= bytes
    });
    let count = fitting.count().max(1);
    let below = STEPS.iter().copied().rfind(|step| *step <= count).unwrap_or(1);
    let above = STEPS.iter().copied().find(|step| *step >= count).unwrap_or(largest);
    let may_pad = fill == Fill::Padded && above - count <= PADDING && sizes[count - 1] <= PADDING_BYTES;
    if may_pad { (count, above) } else { (below, below) }
}

/// Writes rows with as few statements as their steps allow; answers the affected rows.
pub(super) async fn put(
    inner: &Inner,
    lease: &mut Lease,
    sized: &Sized,
    rows: ValueRows,
    fill: Fill,
) -> Result<u64, StoreError> {
    let ValueRows { width, values, sizes } = rows;
    let mut values = values.into_iter();
    let (mut at, mut affected) = (0, 0);
    while at < sizes.len() {
        let (count, step) = next_step(&sizes[at..], inner.statement_bytes, fill);
        let mut params: Vec<Value> = Vec::with_capacity(step * width);
        params.extend(values.by_ref().take(count * width));
        let last = params[(count - 1) * width..].to_vec();
        for _ in count..step {
            params.extend_from_slice(&last);
        }
        affected += lease.run_text(sized.sql.name, sized.text(step), Params::Positional(params)).await?;
        at += count;
    }
    Ok(affected)
}

/// Writes a plan: rows first, then the request rows, and last the shard rows. Answers the last of it, not sent yet: it
/// goes with COMMIT. Or `None`: an edge that the plan presumes absent was there; it is overwritten, so roll back.
pub(super) async fn write(
    inner: &Inner,
    lease: &mut Lease,
    (plan, is_presumed): (&Plan, bool),
    nonce: u128,
    now: UnixMillis,
) -> Result<Option<Trip>, StoreError> {
    let templates = &inner.templates;
    let writes = [
        (&templates.objects, object_rows(plan)),
        (&templates.edges, edge_rows(plan)),
        (&templates.counts, count_rows(plan)),
        (&templates.tombstones, tombstone_rows(plan)),
        (&templates.outbox, outbox_rows(plan)),
    ];
    let mut last = Trip::default();
    for (sized, rows) in writes {
        if rows.are_few() {
            push(inner, &mut last, sized.sql, &rows)?;
        } else {
            let affected = put(inner, lease, sized, rows, Fill::Padded).await?;
            let is_edges = sized.sql.name == PUT_EDGES.name;
            if is_presumed && is_edges && !presumed::came_true(plan, affected) {
                return Ok(None);
            }
        }
    }
    delete(lease, plan).await?;
    let (requests, advances) = (request_rows(plan, nonce, now), advance_rows(plan));
    // Each row is locked, so it exists and is updated, which counts 2. Anything else means that a row would be
    // written that this transaction does not hold (H1).
    let affected = 2 * plan.advances.len() as u64;
    if requests.are_few() {
        push(inner, &mut last, templates.requests.sql, &requests)?;
        push(inner, &mut last, &ADVANCE_SHARDS, &advances)?;
        let asserted = last.push(&ASSERT_AFFECTED, &[affected.into()]);
        asserted
            .map_err(|unexpected| Failure::unexpected(&inner.server, ASSERT_AFFECTED.name, &unexpected))?;
        return Ok(Some(last));
    }
    lease.send(&mut last).await.map_err(|failed| failed.failure)?;
    put(inner, lease, &templates.requests, requests, Fill::Exact).await?;
    let advanced = put(inner, lease, &templates.advance, advances, Fill::Padded).await?;
    assert_affected(lease, ADVANCE_SHARDS.name, advanced, affected)?;
    Ok(Some(Trip::default()))
}

/// The rows that a plan puts into the tables of objects, edges and the outbox, with the statements that put them.
pub(super) fn additions(plan: &Plan) -> [(&'static Sql, ValueRows); 3] {
    [(&PUT_OBJECTS, object_rows(plan)), (&PUT_EDGES, edge_rows(plan)), (&PUT_OUTBOX, outbox_rows(plan))]
}

/// Adds rows, if there are any, to what goes out as text.
fn push(inner: &Inner, trip: &mut Trip, sql: &Sql, rows: &ValueRows) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let pushed = trip.push(sql, &rows.values);
    pushed.map_err(|unexpected| Failure::unexpected(&inner.server, sql.name, &unexpected))
}

/// Deletes by key: no row of these is written as well, so it may be done before.
async fn delete(lease: &mut Lease, plan: &Plan) -> Result<(), StoreError> {
    let objects = chunks(plan.objects.deletes.iter(), |keys, id: &ObjectId| keys.push(&[id.0]));
    let deletes: [(&Sql, Vec<Value>, usize); 4] = [
        (&DELETE_OBJECTS, objects, plan.objects.deletes.len()),
        edge_deletes(&DELETE_EDGES, &plan.edges.deletes),
        edge_deletes(&DELETE_TOMBSTONES, &plan.tombstones.deletes),
        edge_deletes(&DELETE_OUTBOX, &plan.outbox.deletes),
    ];
    for (sql, keys, expected) in deletes {
        let mut gone = 0;
        for keys in keys {
            gone += lease.run(sql, (keys,)).await?;
        }
        // A tombstone may have gone since it was read: a purge takes no shard's lock, and to be gone is all that is
        // asked here.
        let purged = sql.name == DELETE_TOMBSTONES.name && gone < expected as u64;
        if !purged {
            assert_affected(lease, sql.name, gone, expected as u64)?;
        }
    }
    Ok(())
}

fn edge_deletes(sql: &'static Sql, edges: &[EdgeKey]) -> (&'static Sql, Vec<Value>, usize) {
    (sql, chunks(edges.iter(), JsonKeys::push_edge), edges.len())
}

/// Rows that the plan knows to exist, and no others, must have been touched: else the transaction is not the one that
/// was planned, and must not commit.
pub(super) fn assert_affected(
    lease: &Lease,
    name: &str,
    affected: u64,
    expected: u64,
) -> Result<(), StoreError> {
    if affected == expected {
        return Ok(());
    }
    let message = format!("{}: {name}: affected {affected} rows in place of {expected}", lease.server());
    Err(StoreError::new(StoreErrorKind::Rejected, message))
}

fn data(fields: &EncodedFields) -> Value {
    Value::Bytes(fields.0.to_vec())
}

fn object_rows(plan: &Plan) -> ValueRows {
    let mut rows = ValueRows::new(4, plan.objects.puts.len());
    for (id, row) in &plan.objects.puts {
        let values = [id.0.into(), row.otype.0.into(), row.version.0.into(), data(&row.fields)];
        rows.push(values, row.fields.len());
    }
    rows
}

fn edge_rows(plan: &Plan) -> ValueRows {
    let mut rows = ValueRows::new(7, plan.edges.puts.len());
    for (edge, row) in &plan.edges.puts {
        let values = [
            edge.id1.0.into(),
            edge.atype.0.into(),
            edge.id2.0.into(),
            row.value.time.0.into(),
            row.epoch.0.into(),
            row.seq.0.into(),
            data(&row.value.fields),
        ];
        rows.push(values, row.value.fields.len());
    }
    rows
}

pub(super) fn count_rows(plan: &Plan) -> ValueRows {
    let mut rows = ValueRows::new(4, plan.counts.len());
    for (list, row) in &plan.counts {
        rows.push([list.id1.0.into(), list.atype.0.into(), row.count.into(), row.version.0.into()], 0);
    }
    rows
}

fn tombstone_rows(plan: &Plan) -> ValueRows {
    let mut rows = ValueRows::new(6, plan.tombstones.puts.len());
    for (edge, row) in &plan.tombstones.puts {
        let values = [
            edge.id1.0.into(),
            edge.atype.0.into(),
            edge.id2.0.into(),
            row.epoch.0.into(),
            row.seq.0.into(),
            row.at.0.into(),
        ];
        rows.push(values, 0);
    }
    rows
}

fn outbox_rows(plan: &Plan) -> ValueRows {
    let mut rows = ValueRows::new(9, plan.outbox.puts.len());
    for (edge, row) in &plan.outbox.puts {
        let (time, fields) = match &row.value {
            Some(value) => (value.time, value.fields.clone()),
            None => (Time(0), EncodedFields::new()),
        };
        let values = [
            edge.id1.0.into(),
            edge.atype.0.into(),
            edge.id2.0.into(),
            row.inverse.0.into(),
            u8::from(row.value.is_some()).into(),
            time.0.into(),
            row.epoch.0.into(),
            row.seq.0.into(),
            data(&fields),
        ];
        rows.push(values, fields.len());
    }
    rows
}

/// One row for each advanced shard, with or without outcomes: its nonce is how the batch is recognised (R4).
pub(super) fn request_rows(plan: &Plan, nonce: u128, now: UnixMillis) -> ValueRows {
    let mut rows = ValueRows::new(6, plan.advances.len());
    for advance in &plan.advances {
        let stored = plan.requests.iter().find(|row| row.position.shard == advance.shard);
        let body = stored.map(|row| row.body.to_vec()).unwrap_or_default();
        let bytes = body.len();
        rows.push(request_row((advance.shard, advance.new_seq, advance.epoch), nonce, now, body), bytes);
    }
    rows
}

/// Values of a request row.
pub(super) fn request_row(
    (shard, seq, epoch): (ShardId, Seq, Epoch),
    nonce: u128,
    now: UnixMillis,
    body: Vec<u8>,
) -> [Value; 6] {
    let nonce = Value::Bytes(nonce.to_be_bytes().to_vec());
    [shard.0.into(), seq.0.into(), epoch.0.into(), nonce, now.0.into(), Value::Bytes(body)]
}

/// Writes the one request row of a transaction that is not a batch.
pub(super) async fn put_request(inner: &Inner, lease: &mut Lease, row: [Value; 6]) -> Result<(), StoreError> {
    let mut rows = ValueRows::new(6, 1);
    rows.push(row, 0);
    put(inner, lease, &inner.templates.requests, rows, Fill::Exact).await.map(|_| ())
}

pub(super) fn advance_rows(plan: &Plan) -> ValueRows {
    let mut rows = ValueRows::new(5, plan.advances.len());
    for advance in &plan.advances {
        // Only a serving shard is advanced by a batch, and the state is not touched.
        let state = ShardState::Serving.number();
        let values = [
            advance.shard.0.into(),
            advance.epoch.0.into(),
            advance.new_seq.0.into(),
            state.into(),
            advance.next_id.into(),
        ];
        rows.push(values, 0);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_all_rows_within_bounds() {
        let small = vec![10; 1_200];
        assert_eq!(next_step(&small, 1 << 20, Fill::Padded), (512, 512));
        assert_eq!(next_step(&small[..53], 1 << 20, Fill::Padded), (53, 64));
        assert_eq!(next_step(&small[..53], 1 << 20, Fill::Exact), (48, 48));
        assert_eq!(next_step(&small[..70], 1 << 20, Fill::Padded), (64, 64));
        // By bytes: never more than fits, never none.
        assert_eq!(next_step(&[600, 600, 600], 1_300, Fill::Exact), (2, 2));
        assert_eq!(next_step(&[5_000, 1], 1_300, Fill::Padded), (1, 1));
        assert_eq!(next_step(&[1, 1, 1, 1, 5_000, 1], 1 << 20, Fill::Exact), (6, 6));
    }
}
