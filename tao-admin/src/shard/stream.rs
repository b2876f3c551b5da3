//! Rows from one server to the other: chunks and log, in the one order that brings no deleted row back (H31).

use std::time::{Duration, Instant};

use tao_schema::ids::{Position, ShardId};
use tao_shard_store::log::LogPosition;
use tao_shard_store::moves::{
    Copied, Copier, Import, MoveId, PageLimit, Progress, RawRow, RawTail, ShardMover, Step,
};
use tao_shard_store::mysql::MySqlStore;

use super::error::{Done, Halt};
use super::terms::MoveOptions;

/// Bytes of an import, about.
const IMPORT_BYTES: usize = 4 << 20;
/// Rows of the first chunk.
const FIRST_CHUNK: usize = 200;
/// The place in the source's log is stored at least so often, so that what a new worker reads again stays short.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Before a page that was older than what is applied is read again.
const STALE_PAGE: Duration = Duration::from_millis(5);

/// An open way from a source to a target. After any error it is used up: whoever opens the next one goes on from what is
/// stored.
pub(super) struct Stream {
    source: MySqlStore,
    target: MySqlStore,
    shard: ShardId,
    copier: Copier,
    tail: Box<dyn RawTail>,
    pace: Pace,
    checkpointed: Instant,
    /// What is imported: copied, and applied.
    stored: (Copied, u64),
    /// When the log said something of the shard last.
    pub(super) last_event: Instant,
}

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stepped {
    /// Something was imported: rows of a chunk, their bytes; transactions of the log.
    Imported { chunk_rows: u64, chunk_bytes: u64, transactions: u64 },
    /// A chunk or a part of the log was read.
    Read,
    /// Everything that the log had is imported, and it had nothing more.
    Idle,
}

/// How many rows an import may hold, so that it takes the time that it should.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rows: usize,
    most: usize,
    goal: Duration,
}

impl Pace {
    fn learn(&mut self, rows: usize, took: Duration) {
        // Only a full import tells something of the size.
        if rows * 2 < self.rows && took < self.goal {
            return;
        }
        let ratio = self.goal.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let wanted = (rows.max(1) as f64 * ratio.clamp(0.25, 2.0)) as usize;
        self.rows = wanted.clamp(1, self.most);
    }
}

impl Stream {
    /// Opens the log where the progress stands.
    pub(super) async fn open(
        (source, target): (&MySqlStore, &MySqlStore),
        shard: ShardId,
        move_id: MoveId,
        progress: Progress,
        options: &MoveOptions,
    ) -> Done<Self> {
        let tail = source.raw_tail(shard, progress.position.clone()).await?;
        let most = usize::try_from(options.max_chunk_rows).unwrap_or(usize::MAX);
        let goal = Duration::from_millis(options.chunk_ms);
        let now = Instant::now();
        let stored = (progress.copied, progress.applied.seq.0);
        Ok(Self {
            source: source.clone(),
            target: target.clone(),
            shard,
            copier: Copier::new(shard, move_id, progress),
            tail,
            pace: Pace { rows: FIRST_CHUNK.min(most), most, goal },
            checkpointed: now,
            stored,
            last_event: now,
        })
    }

    /// What is done once everything that was begun is.
    pub(super) fn progress(&self) -> &Progress {
        self.copier.progress()
    }

    /// Whether all tables are copied.
    pub(super) fn copied(&self) -> bool {
        self.progress().copied == Copied::ALL
    }

    /// How far the log was read.
    pub(super) fn read_to(&self) -> LogPosition {
        self.tail.position()
    }

    /// Source and target.
    pub(super) fn sides(&self) -> (MySqlStore, MySqlStore) {
        (self.source.clone(), self.target.clone())
    }

    /// See [`Copier::hold`].
    pub(super) fn hold(&mut self, at: Option<Position>) {
        self.copier.hold(at);
    }

    /// See [`Copier::drained`].
    pub(super) fn drained(&self, at: Position) -> bool {
        self.copier.drained(at)
    }

    /// Options may change while it runs.
    pub(super) fn adjust(&mut self, options: &MoveOptions) {
        self.pace.most = usize::try_from(options.max_chunk_rows).unwrap_or(usize::MAX);
        self.pace.goal = Duration::from_millis(options.chunk_ms);
        self.pace.rows = self.pace.rows.min(self.pace.most);
    }

    /// Does one thing. Waits for the log at most `patience`.
    pub(super) async fn step(&mut self, patience: Duration) -> Done<Stepped> {
        let limit = PageLimit { rows: self.pace.rows, bytes: IMPORT_BYTES };
        match self.copier.next(limit)? {
            Step::Import(import) => self.import(import).await,
            Step::ReadChunk(from) => {
                let page = self.source.raw_page(self.shard, from, limit).await?;
                if !self.copier.chunk(page)? {
                    // The log tells before it shows.
                    tokio::time::sleep(STALE_PAGE).await;
                }
                Ok(Stepped::Read)
            }
            Step::ReadLog(_) => self.read(patience).await,
            Step::CaughtUp => self.follow(patience).await,
        }
    }

    /// Reads the log, and no chunk. To be called when nothing of the log waits.
    pub(super) async fn follow(&mut self, patience: Duration) -> Done<Stepped> {
        if self.checkpointed.elapsed() >= CHECKPOINT_EVERY
            && let Some(import) = self.copier.checkpoint()
        {
            return self.import(import).await;
        }
        self.read(patience).await
    }

    /// Whether the next step would read a chunk: what is throttled.
    pub(super) fn wants_chunk(&self) -> bool {
        !self.copied() && self.copier.waiting() == 0
    }

    async fn read(&mut self, patience: Duration) -> Done<Stepped> {
        // Dropping the wait loses nothing: the tail is cancel-safe.
        let Ok(more) = tokio::time::timeout(patience, self.tail.next()).await else {
            return Ok(Stepped::Idle);
        };
        let more = more?;
        if !more.is_empty() {
            self.last_event = Instant::now();
        }
        self.copier.log(more, self.tail.position())?;
        Ok(Stepped::Read)
    }

    async fn import(&mut self, import: Import) -> Done<Stepped> {
        let (copied, applied) = self.stored;
        let rows = import.puts.len() + import.deletes.len();
        let stored = (import.progress.copied, import.progress.applied.seq.0);
        // Only what a chunk brings moves `copied`. Rows of the log that come with it are few.
        let chunk = stored.0 != copied;
        let bytes = if chunk { import.puts.iter().map(RawRow::bytes).sum::<usize>() as u64 } else { 0 };
        let chunk_rows = if chunk { import.puts.len() as u64 } else { 0 };
        let start = Instant::now();
        self.target.import(import).await?.accepted().map_err(Halt::from)?;
        self.pace.learn(rows, start.elapsed());
        self.checkpointed = start;
        self.stored = stored;
        let transactions = stored.1.saturating_sub(applied);
        Ok(Stepped::Imported { chunk_rows, chunk_bytes: bytes, transactions })
    }
}
