//! The log of a memory database: what each committed transaction wrote, in the order of commit.

use std::collections::VecDeque;
use std::sync::Arc;

use tao_schema::ids::{EdgeKey, PrimaryTime, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};
use tokio::time::Instant;

use super::moves::Moved;
use crate::apply::{LockedShard, Plan, UnixMillis};
use crate::log::{Beat, LogPosition, StoredTopology, TailEvent};

/// A transaction. Its replicas have the same one.
pub(super) struct Transaction {
    /// The server that committed it first.
    pub(super) source: Arc<str>,
    /// Contiguous for each source.
    pub(super) sequence: u64,
    /// By the clock of that server.
    pub(super) time: UnixMillis,
    pub(super) write: Write,
}

/// What a transaction wrote: enough for a replica to write it, too.
pub(super) enum Write {
    Batch {
        plan: Box<Plan>,
        at: UnixMillis,
    },
    /// Rows that did not exist.
    Shards(Vec<LockedShard>),
    /// A row with a new state, and the state before.
    State {
        row: LockedShard,
        before: ShardState,
    },
    /// Rows after a promotion, with the first seq of their new epoch, and whether they changed their state.
    Promotion(Vec<(LockedShard, Seq, bool)>),
    /// What is kept only for a time.
    Expired {
        requests: Vec<(ShardId, Seq)>,
        tombstones: Vec<EdgeKey>,
    },
    Beat {
        beat: Beat,
        time: PrimaryTime,
    },
    Topology(StoredTopology),
    Moved(Box<Moved>),
}

impl Write {
    /// What a tail says of it: the same as of the row images that MySQL's binlog has.
    fn events(&self) -> Vec<TailEvent> {
        match self {
            // Only serving shards take batches.
            Self::Batch { plan, .. } => {
                let event = |change: &Arc<ShardChange>| TailEvent::Change {
                    change: Arc::clone(change),
                    state: ShardState::Serving,
                };
                plan.changes.iter().map(event).collect()
            }
            // That a shard is not to be read here any more is news, too; what happens to it then is not (R9).
            Self::State { row, before } if before.readable() || row.state.readable() => {
                vec![state_event(row)]
            }
            Self::State { .. } | Self::Expired { .. } => Vec::new(),
            Self::Shards(rows) => rows.iter().map(|row| epoch_event(row, row.seq.next())).collect(),
            Self::Promotion(opened) => {
                let epochs = opened.iter().map(|(row, first_seq, _)| epoch_event(row, *first_seq));
                let states = opened.iter().filter(|(.., new_state)| *new_state).map(|(row, ..)| row);
                epochs.chain(states.map(state_event)).collect()
            }
            Self::Beat { beat, time } => vec![TailEvent::Beat { beat: *beat, time: *time }],
            Self::Topology(topology) => vec![TailEvent::Topology { version: topology.version }],
            Self::Moved(moved) => moved.events(),
        }
    }
}

pub(super) fn epoch_event(row: &LockedShard, first_seq: Seq) -> TailEvent {
    TailEvent::Epoch { shard: row.shard, start: EpochStart { epoch: row.epoch, first_seq } }
}

pub(super) fn state_event(row: &LockedShard) -> TailEvent {
    let change = ShardChange { shard: row.shard, epoch: row.epoch, seq: row.seq, items: Vec::new() };
    TailEvent::Change { change: Arc::new(change), state: row.state }
}

/// A transaction in the log of one server.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) transaction: Arc<Transaction>,
    /// When it came into this log.
    pub(super) at: Instant,
    /// Why this log's copy can't be read.
    pub(super) damage: Option<Arc<str>>,
    /// Tails pass it without a word.
    pub(super) omitted: bool,
}

impl Entry {
    pub(super) fn events(&self) -> Vec<TailEvent> {
        self.transaction.write.events()
    }
}

/// The newest transactions, and the set of all.
#[derive(Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// Number of the first entry, counted from the beginning of the log.
    first: u64,
    /// Transactions before the first entry.
    purged: LogPosition,
    executed: LogPosition,
    /// Raised when whoever reads the log loses it: a broken connection, or an end cut off.
    generation: u64,
}

/// A reader's place.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    next: u64,
    /// Transactions that the reader has from elsewhere, although they come later here.
    skip: Option<LogPosition>,
    generation: u64,
}

/// Why a reader can't go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    /// The connection broke.
    Broken,
    /// What follows was purged.
    Purged,
    /// The reader has what this log lacks.
    Unknown,
}

impl Log {
    pub(super) fn executed(&self) -> &LogPosition {
        &self.executed
    }

    pub(super) fn purged(&self) -> &LogPosition {
        &self.purged
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last sequence number of a source; 0: none.
    pub(super) fn last_of(&self, source: &str) -> u64 {
        let intervals = self.executed.sources().find(|(name, _)| *name == source);
        intervals.and_then(|(_, intervals)| intervals.last()).map_or(0, |(_, last)| *last)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.executed.add(&entry.transaction.source, entry.transaction.sequence);
        self.entries.push_back(entry);
    }

    /// Forgets the oldest entries, all but `keep`.
    pub(super) fn purge(&mut self, keep: usize) {
        while self.entries.len() > keep
            && let Some(entry) = self.entries.pop_front()
        {
            self.purged.add(&entry.transaction.source, entry.transaction.sequence);
            self.first += 1;
        }
    }

    /// Forgets the oldest entries that the position covers.
    pub(super) fn purge_before(&mut self, position: &LogPosition) {
        let covered = self.entries.iter().take_while(|entry| holds(position, entry)).count();
        self.purge(self.entries.len() - covered);
    }

    /// Cuts off the newest entries, all but `keep`: they never were. Answers them.
    pub(super) fn truncate(&mut self, keep: usize) -> Vec<Entry> {
        let lost = self.entries.split_off(keep.min(self.entries.len()));
        self.executed = self.purged.clone();
        for Entry { transaction, .. } in &self.entries {
            self.executed.add(&transaction.source, transaction.sequence);
        }
        self.break_readers();
        lost.into()
    }

    /// A log that begins behind these transactions.
    pub(super) fn restart(&mut self, executed: LogPosition) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.purged = executed.clone();
        self.executed = executed;
        self.break_readers();
    }

    pub(super) fn break_readers(&mut self) {
        self.generation += 1;
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// A place after a set of transactions.
    pub(super) fn after(&self, position: &LogPosition) -> Result<Cursor, Lost> {
        if !self.executed.covers(position) {
            return Err(Lost::Unknown);
        }
        if !position.covers(&self.purged) {
            return Err(Lost::Purged);
        }
        let known = self.entries.iter().take_while(|entry| holds(position, entry)).count();
        let later = self.entries.iter().skip(known).any(|entry| holds(position, entry));
        Ok(Cursor {
            next: self.first + known as u64,
            skip: later.then(|| position.clone()),
            generation: self.generation,
        })
    }

    /// The place before the first transaction that is not more than `millis` older than the newest one, and not before
    /// any of `behind`; with what stands before it. Ages are differences of one clock, the primary's: another server's
    /// may be an hour off.
    pub(super) fn back(&self, millis: u64, behind: &LogPosition) -> (Cursor, LogPosition) {
        let newest = self.entries.iter().map(|entry| entry.transaction.time.0).max().unwrap_or_default();
        let since = UnixMillis(newest.saturating_sub(millis));
        let older = self.entries.iter().take_while(|entry| entry.transaction.time < since).count();
        let not_before = self.entries.iter().rposition(|entry| holds(behind, entry)).map_or(0, |at| at + 1);
        let skipped = older.max(not_before);
        let mut position = self.purged.clone();
        for Entry { transaction, .. } in self.entries.iter().take(skipped) {
            position.add(&transaction.source, transaction.sequence);
        }
        let next = self.first + skipped as u64;
        (Cursor { next, skip: None, generation: self.generation }, position)
    }

    /// The next transaction; `None`: the end was reached. The cursor stays before it, see [`Cursor::advance`].
    pub(super) fn read(&self, cursor: &mut Cursor) -> Result<Option<&Entry>, Lost> {
        if cursor.generation != self.generation {
            return Err(Lost::Broken);
        }
        loop {
            let at = cursor.next.checked_sub(self.first).ok_or(Lost::Purged)?;
            let Some(entry) = self.entries.get(at as usize) else { return Ok(None) };
            if !cursor.skip.as_ref().is_some_and(|skip| holds(skip, entry)) {
                return Ok(Some(entry));
            }
            cursor.next += 1;
        }
    }
}

impl Cursor {
    /// Goes behind the transaction that was read.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }
}

fn holds(position: &LogPosition, entry: &Entry) -> bool {
    let Transaction { source, sequence, .. } = &*entry.transaction;
    let intervals = position.sources().find(|(name, _)| *name == &**source);
    intervals.is_some_and(|(_, all)| all.iter().any(|(first, last)| (first..=last).contains(&sequence)))
}
