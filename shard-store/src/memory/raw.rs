//! The memory log as rows of one shard: what a move follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tao_schema::ids::{EdgeKey, ObjectId, ShardId};
use tao_schema::rows::{EpochStart, ShardState};

use super::database::{MemoryDatabase, State};
use super::log::{Cursor, Lost, Transaction, Write};
use super::moves::raw_request;
use super::store::MemoryStore;
use super::tail::ended;
use crate::apply::{LockedShard, Mutations, Plan, UnixMillis};
use crate::log::{LogPosition, TailError, TailErrorKind};
use crate::moves::{MoveTable, RawKey, RawRow, RawTail, RawTransaction};

/// Transactions in one answer.
const MOST_TRANSACTIONS: usize = 256;

/// See [`crate::moves::ShardMover::raw_tail`].
pub(super) struct MemoryRawTail {
    database: MemoryDatabase,
    reachable: Arc<AtomicBool>,
    shard: ShardId,
    cursor: Cursor,
    position: LogPosition,
}

impl MemoryRawTail {
    pub(super) fn open(store: &MemoryStore, shard: ShardId, after: LogPosition) -> Result<Self, TailError> {
        let (database, reachable) = (store.database.clone(), Arc::clone(&store.reachable));
        let cursor = {
            let state = database.state();
            if state.down || !reachable.load(Ordering::SeqCst) {
                return Err(ended(&database, Lost::Broken));
            }
            state.log.after(&after).map_err(|lost| ended(&database, lost))?
        };
        Ok(Self { database, reachable, shard, cursor, position: after })
    }
}

#[async_trait]
impl RawTail for MemoryRawTail {
    async fn next(&mut self) -> Result<Vec<RawTransaction>, TailError> {
        let Self { database, reachable, shard, cursor, position } = self;
        // Everything happens in one look at the state, without waiting in between: cancel-safe.
        database
            .when_log_moves(|state| {
                if state.down || !reachable.load(Ordering::SeqCst) {
                    return Some(Err(ended(database, Lost::Broken)));
                }
                take(database, state, *shard, (cursor, position)).transpose()
            })
            .await
    }

    fn position(&self) -> LogPosition {
        self.position.clone()
    }
}

/// `None`: the log did not go on.
fn take(
    database: &MemoryDatabase,
    state: &State,
    shard: ShardId,
    (cursor, position): (&mut Cursor, &mut LogPosition),
) -> Result<Option<Vec<RawTransaction>>, TailError> {
    let (mut out, mut any) = (Vec::new(), false);
    for _ in 0..MOST_TRANSACTIONS {
        let held = state.tail_holds > 0;
        let entry = match state.log.read(cursor) {
            Ok(Some(entry)) if !held => entry,
            Ok(_) => break,
            Err(_) if any => break,
            Err(lost) => return Err(ended(database, lost)),
        };
        if let Some(why) = &entry.damage {
            if any {
                break;
            }
            let message = format!("{}: {why}, after {position}", database.0.source);
            return Err(TailError::new(TailErrorKind::NotUnderstood, message));
        }
        any = true;
        let Transaction { source, sequence, write, .. } = &*entry.transaction;
        position.add(source, *sequence);
        if !entry.omitted {
            out.extend(raw(write, shard, position));
        }
        cursor.advance();
    }
    Ok(any.then_some(out))
}

/// What a transaction did to one shard; `None`: nothing, or nothing that is told (R9).
fn raw(write: &Write, shard: ShardId, position: &LogPosition) -> Option<RawTransaction> {
    let made = |seq, row: Option<&LockedShard>, puts, deletes| {
        let shard = row.map(|row| (row.epoch, row.state));
        Some(RawTransaction { seq, shard, puts, deletes, position: position.clone() })
    };
    match write {
        Write::Batch { plan, at } => batch(plan, *at, shard, position),
        Write::State { row, before } if row.shard == shard => {
            let told = before.readable() || row.state.readable();
            told.then(|| made(Some(row.seq), Some(row), vec![], vec![]))?
        }
        Write::Shards(rows) => {
            let row = rows.iter().find(|row| row.shard == shard)?;
            let start = EpochStart { epoch: row.epoch, first_seq: row.seq.next() };
            made(None, Some(row), vec![RawRow::EpochHistory(start)], vec![])
        }
        Write::Promotion(opened) => {
            let (row, first_seq, new_state) = opened.iter().find(|(row, ..)| row.shard == shard)?;
            let start = EpochStart { epoch: row.epoch, first_seq: *first_seq };
            made(new_state.then_some(row.seq), Some(row), vec![RawRow::EpochHistory(start)], vec![])
        }
        Write::Expired { requests, tombstones } => {
            let requests = requests.iter().filter(|(of, _)| *of == shard);
            let requests =
                requests.map(|(_, seq)| RawKey { table: MoveTable::Request, parts: [seq.0, 0, 0] });
            let tombstones = tombstones.iter().filter(|edge| edge.id1.shard() == shard);
            let tombstones = tombstones.map(|edge| RawKey::edge(MoveTable::Tombstone, *edge));
            let deletes: Vec<_> = requests.chain(tombstones).collect();
            if deletes.is_empty() { None } else { made(None, None, vec![], deletes) }
        }
        Write::Moved(moved) => {
            let row = moved.change.row.as_ref().filter(|row| row.shard == shard)?;
            if !row.state.readable() && !moved.before.is_some_and(|state| state.readable()) {
                return None;
            }
            let opened = moved.change.opened.map(RawRow::EpochHistory);
            let puts = moved.puts.iter().cloned().chain(opened).collect();
            made(Some(row.seq), Some(row), puts, moved.deletes.clone())
        }
        Write::State { .. } | Write::Beat { .. } | Write::Topology(_) => None,
    }
}

fn batch(plan: &Plan, at: UnixMillis, shard: ShardId, position: &LogPosition) -> Option<RawTransaction> {
    // A transaction writes nothing of a shard that it does not advance (R2).
    let advance = plan.advances.iter().find(|advance| advance.shard == shard)?;
    let (mut puts, mut deletes) = (Vec::new(), Vec::new());
    let mut add = |rows: Vec<RawRow>, keys: Vec<RawKey>| {
        puts.extend(rows);
        deletes.extend(keys);
    };
    let of = |id: ObjectId| id.shard() == shard;
    let objects = plan.objects.puts.iter().filter(|(id, _)| of(*id));
    let gone = plan.objects.deletes.iter().filter(|id| of(**id));
    add(
        objects.map(|(id, row)| RawRow::Object(*id, row.clone())).collect(),
        gone.map(|id| RawKey { table: MoveTable::Object, parts: [id.0, 0, 0] }).collect(),
    );
    add(edge_puts(&plan.edges, shard, RawRow::Assoc), edge_deletes(&plan.edges, shard, MoveTable::Assoc));
    let counts = plan.counts.iter().filter(|(list, _)| of(list.id1));
    add(counts.map(|(list, row)| RawRow::AssocCount(*list, *row)).collect(), vec![]);
    add(edge_puts(&plan.outbox, shard, RawRow::Outbox), edge_deletes(&plan.outbox, shard, MoveTable::Outbox));
    add(
        edge_puts(&plan.tombstones, shard, RawRow::Tombstone),
        edge_deletes(&plan.tombstones, shard, MoveTable::Tombstone),
    );
    let requests = plan.requests.iter().filter(|row| row.position.shard == shard);
    add(requests.map(|row| raw_request(row, at)).collect(), vec![]);
    // Only serving shards take batches.
    let state = Some((advance.epoch, ShardState::Serving));
    Some(RawTransaction {
        seq: Some(advance.new_seq),
        shard: state,
        puts,
        deletes,
        position: position.clone(),
    })
}

fn edge_puts<R: Clone>(
    rows: &Mutations<EdgeKey, R>,
    shard: ShardId,
    make: impl Fn(EdgeKey, R) -> RawRow,
) -> Vec<RawRow> {
    let of_shard = rows.puts.iter().filter(|(edge, _)| edge.id1.shard() == shard);
    of_shard.map(|(edge, row)| make(*edge, row.clone())).collect()
}

fn edge_deletes<R>(rows: &Mutations<EdgeKey, R>, shard: ShardId, table: MoveTable) -> Vec<RawKey> {
    let of_shard = rows.deletes.iter().filter(|edge| edge.id1.shard() == shard);
    of_shard.map(|edge| RawKey::edge(table, *edge)).collect()
}
