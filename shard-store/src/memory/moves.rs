//! [`ShardMover`] of the memory engine.

use std::ops::Bound;

use async_trait::async_trait;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, Position, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardState};

use super::database::{LockKey, Rights};
use super::log::{Write, epoch_event, state_event};
use super::raw::MemoryRawTail;
use super::store::{CommitFault, MemoryStore, unavailable};
use super::tables::Tables;
use crate::apply::{LockedShard, RequestRow, UnixMillis};
use crate::log::{LogPosition, ServerLog, TailError, TailEvent};
use crate::moves::rules::{self, Change, Ruling};
use crate::moves::{
    AbortImport, Aborted, Answer, BeginImport, BeginReverse, CommitImport, Committed, Copied, Fence,
    FenceShard, Import, MovePreflight, MoveTable, Outcome, PageLimit, RawKey, RawPage, RawRequest, RawRow,
    RawTail, Refusal, Role, RowCounts, ShardMover, ShardMoves,
};
use crate::store::{StoreError, StoreErrorKind};

/// What a call of a move wrote.
pub(super) struct Moved {
    /// Rows that decide.
    pub(super) change: Change,
    /// The state of the shard row before.
    pub(super) before: Option<ShardState>,
    pub(super) puts: Vec<RawRow>,
    pub(super) deletes: Vec<RawKey>,
}

/// Rows that go with a change.
enum Work<'a> {
    Nothing,
    Rows(&'a Import),
    Delete(usize),
}

impl Moved {
    /// As of MySQL's row images: what is copied here is not news, that it opens here, or is not read any more, is (R9).
    pub(super) fn events(&self) -> Vec<TailEvent> {
        let Some(row) = &self.change.row else { return Vec::new() };
        if !row.state.readable() && !self.before.is_some_and(ShardState::readable) {
            return Vec::new();
        }
        let opened = self.change.opened.map(|start| epoch_event(row, start.first_seq));
        opened.into_iter().chain([state_event(row)]).collect()
    }
}

impl Tables {
    pub(super) fn write_moved(&mut self, moved: &Moved) {
        let Moved { change, puts, deletes, .. } = moved;
        for record in &change.records {
            self.moves.insert((record.shard, record.move_id), record.clone());
        }
        let Some(row) = change.row else { return };
        for put in puts {
            self.put_raw(row.shard, put);
        }
        for key in deletes {
            self.delete_raw(row.shard, key);
        }
        if let Some(EpochStart { epoch, first_seq }) = change.opened {
            self.epochs.insert((row.shard, epoch), first_seq);
        }
        self.shards.insert(row.shard, row);
    }

    fn put_raw(&mut self, shard: ShardId, row: &RawRow) {
        match row.clone() {
            RawRow::Object(id, row) => {
                self.objects.insert(id, row);
            }
            RawRow::Assoc(edge, row) => self.put_edge(edge, row),
            RawRow::AssocCount(list, row) => {
                self.counts.insert(list, row);
            }
            RawRow::Outbox(edge, row) => {
                self.outbox.insert(edge, row);
            }
            RawRow::Tombstone(edge, row) => {
                self.tombstones.insert(edge, row);
            }
            RawRow::Request(row) => {
                let position = Position { shard, epoch: row.epoch, seq: row.seq };
                let request = RequestRow { position, body: row.body };
                self.requests.insert((shard, row.seq), (request, row.at));
            }
            RawRow::EpochHistory(start) => {
                self.epochs.insert((shard, start.epoch), start.first_seq);
            }
        }
    }

    fn delete_raw(&mut self, shard: ShardId, key: &RawKey) {
        let [first, second, _] = key.parts;
        match key.table {
            MoveTable::Object => {
                self.objects.remove(&ObjectId(first));
            }
            MoveTable::Assoc => self.delete_edge(key.as_edge()),
            MoveTable::AssocCount => {
                self.counts.remove(&ListKey { id1: ObjectId(first), atype: AssocType(second as u16) });
            }
            MoveTable::Outbox => {
                self.outbox.remove(&key.as_edge());
            }
            MoveTable::Tombstone => {
                self.tombstones.remove(&key.as_edge());
            }
            MoveTable::Request => {
                self.requests.remove(&(shard, Seq(first)));
            }
            // Made from an epoch: it fits.
            MoveTable::EpochHistory => {
                self.epochs.remove(&(shard, Epoch(first as u32)));
            }
        }
    }

    /// The rows of one table of a shard behind `last`, in order.
    fn raw_rows<'a>(
        &'a self,
        shard: ShardId,
        table: MoveTable,
        last: Option<[u64; 3]>,
    ) -> Box<dyn Iterator<Item = RawRow> + 'a> {
        let (first_id, last_id) = shard.key_range();
        let low = EdgeKey { id1: first_id, atype: AssocType(0), id2: ObjectId(0) };
        let high = EdgeKey { id1: last_id, atype: AssocType(u16::MAX), id2: ObjectId(u64::MAX) };
        let part = last.map(|[first, ..]| first);
        let edge = last.map(|parts| RawKey { table, parts }.as_edge());
        let edges = (behind(low, edge), Bound::Included(high));
        match table {
            MoveTable::Object => {
                let range = (behind(first_id, part.map(ObjectId)), Bound::Included(last_id));
                Box::new(self.objects.range(range).map(|(id, row)| RawRow::Object(*id, row.clone())))
            }
            MoveTable::Assoc => {
                Box::new(self.edges.range(edges).map(|(edge, row)| RawRow::Assoc(*edge, row.clone())))
            }
            MoveTable::AssocCount => {
                let range = (behind(low.list(), edge.map(EdgeKey::list)), Bound::Included(high.list()));
                Box::new(self.counts.range(range).map(|(list, row)| RawRow::AssocCount(*list, *row)))
            }
            MoveTable::Outbox => {
                Box::new(self.outbox.range(edges).map(|(edge, row)| RawRow::Outbox(*edge, row.clone())))
            }
            MoveTable::Tombstone => {
                Box::new(self.tombstones.range(edges).map(|(edge, row)| RawRow::Tombstone(*edge, *row)))
            }
            MoveTable::Request => {
                let start = behind((shard, Seq::ZERO), part.map(|seq| (shard, Seq(seq))));
                let range = (start, Bound::Included((shard, Seq(u64::MAX))));
                Box::new(self.requests.range(range).map(|(_, (row, at))| raw_request(row, *at)))
            }
            MoveTable::EpochHistory => {
                let start = behind((shard, Epoch(0)), part.map(|epoch| (shard, Epoch(epoch as u32))));
                let range = (start, Bound::Included((shard, Epoch(u32::MAX))));
                let row = |((_, epoch), seq): (&(ShardId, Epoch), &Seq)| {
                    RawRow::EpochHistory(EpochStart { epoch: *epoch, first_seq: *seq })
                };
                Box::new(self.epochs.range(range).map(row))
            }
        }
    }

    fn shard_moves(&self, shard: ShardId) -> ShardMoves {
        let moves = self.moves.values().filter(|record| record.shard == shard);
        ShardMoves { row: self.shards.get(&shard).copied(), moves: moves.cloned().collect() }
    }

    /// Whether a move from here that is not over fenced the row.
    pub(super) fn fenced_by_move(&self, row: &LockedShard) -> bool {
        self.shard_moves(row.shard).moves.iter().any(|record| {
            let running = (record.role, record.outcome) == (Role::Source, Outcome::Running);
            running && row.state == ShardState::Fenced && record.epoch == row.epoch
        })
    }

    fn any_rows(&self, shard: ShardId) -> bool {
        MoveTable::ALL.into_iter().any(|table| self.raw_rows(shard, table, None).next().is_some())
    }
}

fn behind<K>(first: K, last: Option<K>) -> Bound<K> {
    last.map_or(Bound::Included(first), Bound::Excluded)
}

pub(super) fn raw_request(row: &RequestRow, at: UnixMillis) -> RawRow {
    let Position { epoch, seq, .. } = row.position;
    RawRow::Request(RawRequest { seq, epoch, nonce: [0; 16], at, body: row.body.clone() })
}

impl MemoryStore {
    /// Asks `decide` under the lock of the shard row, and writes what it says, with the work.
    async fn ruled<T: Send>(
        &self,
        shard: ShardId,
        work: Work<'_>,
        decide: impl FnOnce(&ShardMoves, &Tables) -> Result<Ruling<T>, Refusal> + Send,
    ) -> Result<Answer<(T, u64)>, StoreError> {
        self.check_reachable()?;
        let fault = self.next_fault();
        match fault {
            Some(CommitFault::Unavailable) => return Err(unavailable("the connection broke before COMMIT")),
            Some(CommitFault::UncertainLost) => return Err(uncertain()),
            Some(CommitFault::UncertainCommitted) | None => {}
        }
        let lock = self.database.lock(LockKey::Shard(shard)).await;
        let lock = lock.ok_or_else(|| unavailable("the shard row is locked by another transaction"))?;
        self.database.may_commit().await;
        let mut answer = None;
        self.database
            .transact(Rights::Client, vec![lock], |tables, _| {
                let found = tables.shard_moves(shard);
                match Ruling::of(decide(&found, tables)) {
                    Ruling::Answer(given) => {
                        answer = Some(given.map(|value| (value, 0)));
                        Ok(None)
                    }
                    Ruling::Write(change, value) => {
                        let moved = work.with(*change, tables, &found);
                        answer = Some(Answer::Done((value, moved.deletes.len() as u64)));
                        Ok(Some(Write::Moved(Box::new(moved))))
                    }
                }
            })
            .await?;
        if fault.is_some() {
            return Err(uncertain());
        }
        // Decided, or the transaction would have failed.
        answer.ok_or_else(uncertain)
    }
}

impl Work<'_> {
    fn with(&self, change: Change, tables: &Tables, found: &ShardMoves) -> Moved {
        let before = found.row.map(|row| row.state);
        let (puts, deletes) = match self {
            Self::Nothing => (Vec::new(), Vec::new()),
            Self::Rows(import) => (import.puts.clone(), import.deletes.clone()),
            Self::Delete(rows) => {
                let shard = found.row.map(|row| row.shard).unwrap_or_default();
                let keys = MoveTable::ALL.into_iter().flat_map(|table| tables.raw_rows(shard, table, None));
                (Vec::new(), keys.map(|row| row.key()).take(*rows).collect())
            }
        };
        Moved { change, before, puts, deletes }
    }
}

fn uncertain() -> StoreError {
    StoreError::new(StoreErrorKind::Uncertain, "the connection broke while COMMIT was under way")
}

fn only<T>(answer: Answer<(T, u64)>) -> Answer<T> {
    answer.map(|(value, _)| value)
}

#[async_trait]
impl ShardMover for MemoryStore {
    async fn move_preflight(&self) -> Result<MovePreflight, StoreError> {
        let findings = ServerLog::preflight(self).await?;
        Ok(MovePreflight { schema: "memory".to_owned(), findings })
    }

    async fn raw_page(
        &self,
        shard: ShardId,
        copied: Copied,
        limit: PageLimit,
    ) -> Result<RawPage, StoreError> {
        self.check_reachable()?;
        let rejected = |message: String| StoreError::new(StoreErrorKind::Rejected, message);
        let table = copied.table.ok_or_else(|| rejected("a page behind the last table".to_owned()))?;
        let state = self.database.state();
        let header = *state.tables.shard(shard).map_err(|error| rejected(error.message))?;
        let (mut rows, mut bytes, mut cut): (Vec<RawRow>, usize, bool) = (Vec::new(), 0, false);
        for row in state.tables.raw_rows(shard, table, copied.last) {
            bytes = bytes.saturating_add(row.bytes());
            if rows.len() >= limit.rows.max(1) || (bytes > limit.bytes && !rows.is_empty()) {
                cut = true;
                break;
            }
            rows.push(row);
        }
        let last = rows.last().filter(|_| cut).map(RawRow::key);
        let to = last.map_or_else(|| Copied::whole(table), |key| Copied::up_to(table, key.parts));
        Ok(RawPage { shard: header, from: copied, rows, to })
    }

    async fn raw_tail(&self, shard: ShardId, after: LogPosition) -> Result<Box<dyn RawTail>, TailError> {
        Ok(Box::new(MemoryRawTail::open(self, shard, after)?))
    }

    async fn shard_moves(&self, shard: ShardId) -> Result<ShardMoves, StoreError> {
        self.check_reachable()?;
        Ok(self.database.state().tables.shard_moves(shard))
    }

    async fn rows_of_range(&self, shard: ShardId) -> Result<RowCounts, StoreError> {
        self.check_reachable()?;
        let state = self.database.state();
        let count = |table| state.tables.raw_rows(shard, table, None).count() as u64;
        Ok(RowCounts(MoveTable::ALL.map(count)))
    }

    async fn begin_import(&self, begin: BeginImport) -> Result<Answer, StoreError> {
        let decide =
            |found: &ShardMoves, tables: &Tables| rules::begin(found, tables.any_rows(begin.shard), &begin);
        self.ruled(begin.shard, Work::Nothing, decide).await.map(only)
    }

    async fn import(&self, import: Import) -> Result<Answer, StoreError> {
        self.ruled(import.shard, Work::Rows(&import), |found, _| rules::import(found, &import))
            .await
            .map(only)
    }

    async fn fence(&self, fence: FenceShard) -> Result<Answer<Fence>, StoreError> {
        self.ruled(fence.shard, Work::Nothing, |found, _| rules::fence(found, &fence)).await.map(only)
    }

    async fn commit_import(&self, commit: CommitImport) -> Result<Answer<Committed>, StoreError> {
        self.ruled(commit.shard, Work::Nothing, |found, _| rules::commit(found, &commit)).await.map(only)
    }

    async fn abort_import(&self, abort: AbortImport) -> Result<Answer<Aborted>, StoreError> {
        self.ruled(abort.shard, Work::Nothing, |found, _| rules::abort(found, &abort)).await.map(only)
    }

    async fn unfence(&self, proof: &Aborted) -> Result<Answer<Position>, StoreError> {
        self.ruled(proof.of().0, Work::Nothing, |found, _| rules::unfence(found, proof)).await.map(only)
    }

    async fn begin_reverse(&self, reverse: BeginReverse) -> Result<Answer, StoreError> {
        let shard = reverse.committed.at().shard;
        self.ruled(shard, Work::Nothing, |found, _| rules::reverse(found, &reverse)).await.map(only)
    }

    async fn retire(&self, proof: &Committed, rows: usize) -> Result<Answer<u64>, StoreError> {
        let work = Work::Delete(rows.max(1));
        let answer = self.ruled(proof.at().shard, work, |found, _| rules::retire(found, proof)).await?;
        Ok(answer.map(|((), gone)| gone))
    }

    async fn delete_range(&self, shard: ShardId, rows: usize) -> Result<Answer<u64>, StoreError> {
        let answer = self.ruled(shard, Work::Delete(rows.max(1)), |found, _| rules::delete(found)).await?;
        Ok(answer.map(|((), gone)| gone))
    }
}
