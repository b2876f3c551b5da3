//! What to import next: the copy and the log in one order, so that nothing that was deleted comes back (H31).
//!
//! The rows that are copied are always as of one position of the source, `applied`. A chunk was read at a position `s`, in one
//! statement with the shard row. Before its rows go in, the log from `applied` to `s` is applied to the keys that are
//! copied already, and to no others; then all of it, chunk included, is as of `s`. A change of a key that is not copied
//! yet needs no applying: its chunk, when it comes, has it.
//!
//! The source may go on to another epoch meanwhile: promoted, or opened again after a fence. If that epoch begins above what is
//! applied, nothing of what is here was lost there, and the log goes on. Else all is to be copied anew.

use std::collections::{BTreeMap, VecDeque};

use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;

use super::Import;
use super::record::{Copied, MoveId, Progress};
use super::rows::{PageLimit, RawKey, RawPage, RawRow, RawTransaction};
use crate::log::LogPosition;

/// Puts together chunks and log. Holds nothing that is not in the stored progress: after any failure make a new one from
/// that.
#[derive(Debug)]
pub struct Copier {
    shard: ShardId,
    move_id: MoveId,
    progress: Progress,
    /// What the log brought and was not imported.
    log: VecDeque<RawTransaction>,
    /// Everything in the log up to here is in `log` or imported.
    read: LogPosition,
    chunk: Option<RawPage>,
    /// See [`Copier::hold`].
    hold: Option<Position>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Import this. If that fails in any way, begin again from the stored progress.
    Import(Import),
    /// Read a page of the source from here on, and give it to [`Copier::chunk`].
    ReadChunk(Copied),
    /// Read the log, and give it to [`Copier::log`]: a chunk, or whoever holds, waits for this
    /// position.
    ReadLog(Position),
    /// Everything is copied, and all of the log that was read is imported.
    CaughtUp,
}

/// Why the copy can't go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CopyError {
    /// The log has a hole.
    #[error("seq {found} of the source follows {applied}")]
    Gap {
        /// What is applied.
        applied: Seq,
        /// What came.
        found: Seq,
    },
    /// The source opened an epoch at or below what is applied: what is here was lost there. The move is to be given up, and
    /// what it copied to be deleted.
    #[error("epoch {0} of the source does not begin above what is applied")]
    Epoch(Epoch),
    /// The source does not have the shard any more.
    #[error("the shard is {0:?} on the source")]
    SourceLeft(ShardState),
    /// A page of another shard or from another place than was asked for.
    #[error("a page that was not asked for")]
    WrongPage,
}

/// In the order of the source's log.
fn place(at: Position) -> (Epoch, Seq) {
    (at.epoch, at.seq)
}

/// Rows by key, the last state of each.
#[derive(Default)]
struct Fold {
    rows: BTreeMap<RawKey, Option<RawRow>>,
    bytes: usize,
}

impl Fold {
    fn take(&mut self, transaction: RawTransaction, copied: &Copied) {
        self.bytes += transaction.bytes();
        for row in transaction.puts {
            let key = row.key();
            if copied.covers(&key) {
                self.rows.insert(key, Some(row));
            }
        }
        for key in transaction.deletes.into_iter().filter(|key| copied.covers(key)) {
            if !planted(Bug::MoveForgetsDeletes) {
                self.rows.insert(key, None);
            }
        }
    }
}

impl Copier {
    /// Goes on from the target's stored progress.
    pub fn new(shard: ShardId, move_id: MoveId, progress: Progress) -> Self {
        let read = progress.position.clone();
        Self { shard, move_id, progress, log: VecDeque::new(), read, chunk: None, hold: None }
    }

    /// What is done once everything that was handed out is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Nothing behind this position is applied until it is told otherwise: for a comparison, and for the drain to a fence. Only once
    /// everything is copied.
    pub fn hold(&mut self, at: Option<Position>) {
        self.hold = at;
    }

    /// Transactions that wait.
    pub fn waiting(&self) -> usize {
        self.log.len()
    }

    /// Whether everything up to the fence is handed out.
    pub fn drained(&self, fence: Position) -> bool {
        self.progress.copied == Copied::ALL && self.progress.applied == fence && self.chunk.is_none()
    }

    /// Takes what the log brought next; `position`: the log was read up to there.
    ///
    /// # Errors
    /// If the source does not have the shard any more.
    pub fn log(&mut self, brought: Vec<RawTransaction>, position: LogPosition) -> Result<(), CopyError> {
        let states = brought.iter().filter_map(|transaction| transaction.shard);
        if let Some((_, state)) = states.into_iter().find(|(_, state)| !state.readable()) {
            return Err(CopyError::SourceLeft(state));
        }
        self.log.extend(brought);
        self.read = position;
        Ok(())
    }

    /// Takes the page that was asked for. `false`: it is older than what is applied (it was read from a server that lags),
    /// and was thrown away.
    ///
    /// # Errors
    /// If it is not the page, or the source does not have the shard any more.
    pub fn chunk(&mut self, page: RawPage) -> Result<bool, CopyError> {
        let row = &page.shard;
        if row.shard != self.shard || page.from != self.progress.copied || self.chunk.is_some() {
            return Err(CopyError::WrongPage);
        }
        if !row.state.readable() {
            return Err(CopyError::SourceLeft(row.state));
        }
        let fresh = place(page.at()) >= place(self.progress.applied);
        self.chunk = fresh.then_some(page);
        Ok(fresh)
    }

    /// What to do next. An import holds about as much as `limit`, whole transactions of the source, and a chunk.
    ///
    /// # Errors
    /// If the log has a hole, or another history than what is applied.
    pub fn next(&mut self, limit: PageLimit) -> Result<Step, CopyError> {
        if let Some(page) = self.chunk.as_ref().filter(|_| planted(Bug::ChunkWithoutLog)) {
            self.progress.applied = page.at();
        }
        let chunk_at = self.chunk.as_ref().map(RawPage::at);
        let until = chunk_at.or(self.hold);
        let (fold, used) = self.fold(until, limit)?;
        let ready = chunk_at == Some(self.progress.applied);
        let chunk = if ready { self.chunk.take() } else { None };
        if fold.rows.is_empty() && chunk.is_none() && !used {
            return Ok(match until {
                Some(at) if place(at) > place(self.progress.applied) => Step::ReadLog(at),
                _ if self.progress.copied == Copied::ALL => Step::CaughtUp,
                _ => Step::ReadChunk(self.progress.copied),
            });
        }
        Ok(Step::Import(self.import(fold, chunk)))
    }

    /// An import without rows, if the log went on and nothing of it is to be applied: so that the place to go on from
    /// stays within what the source's log keeps.
    pub fn checkpoint(&mut self) -> Option<Import> {
        let moved = self.log.is_empty() && self.progress.position != self.read;
        moved.then(|| {
            self.progress.position = self.read.clone();
            self.import(Fold::default(), None)
        })
    }

    /// Takes transactions up to position `until`, and not one more: what follows it may delete rows of the waiting chunk
    /// (a purge takes no seq), and must come after them. Answers whether any was used.
    fn fold(&mut self, until: Option<Position>, limit: PageLimit) -> Result<(Fold, bool), CopyError> {
        let (mut fold, mut used) = (Fold::default(), false);
        while until.is_none_or(|until| place(self.progress.applied) < place(until))
            && fold.rows.len() < limit.rows
            && fold.bytes < limit.bytes
            && let Some(transaction) = self.log.pop_front()
        {
            if !self.advance(&transaction)? {
                continue;
            }
            self.progress.position = transaction.position.clone();
            fold.take(transaction, &self.progress.copied);
            used = true;
        }
        Ok((fold, used))
    }

    /// Counts a transaction as applied; `false`: it is already.
    fn advance(&mut self, transaction: &RawTransaction) -> Result<bool, CopyError> {
        let applied = &mut self.progress.applied;
        let next = applied.seq.next();
        let epoch = transaction.shard.map_or(applied.epoch, |(epoch, _)| epoch);
        if epoch > applied.epoch {
            match transaction.opens(epoch) {
                Some(found) if found > next => return Err(CopyError::Gap { applied: applied.seq, found }),
                Some(first_seq) if first_seq == next || planted(Bug::LostSourceFollowed) => {}
                // That much of what is applied was lost there.
                _ => return Err(CopyError::Epoch(epoch)),
            }
        }
        match transaction.seq {
            Some(seq) if seq > next => return Err(CopyError::Gap { applied: applied.seq, found: seq }),
            Some(seq) if seq < next => return Ok(false),
            // A history that goes back.
            Some(_) if epoch < applied.epoch => return Err(CopyError::Epoch(epoch)),
            Some(seq) => applied.seq = seq,
            None => {}
        }
        applied.epoch = applied.epoch.max(epoch);
        Ok(true)
    }

    fn import(&mut self, fold: Fold, chunk: Option<RawPage>) -> Import {
        let step = self.progress.step;
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (key, row) in fold.rows {
            match row {
                Some(row) => puts.push(row),
                None => deletes.push(key),
            }
        }
        if let Some(page) = chunk {
            // None of its keys is copied yet, so none was in the fold.
            puts.extend(page.rows);
            self.progress.copied = page.to;
        }
        self.progress.step = step + 1;
        let progress = self.progress.clone();
        Import { shard: self.shard, move_id: self.move_id, step, puts, deletes, progress }
    }
}

#[cfg(test)]
#[path = "copier_tests.rs"]
mod tests;
