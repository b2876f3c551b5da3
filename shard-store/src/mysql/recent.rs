//! What is remembered of each shard's requests (R3), so that a retry finds its first outcome whoever committed it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tokio::time::Instant;

use super::Inner;
use super::connection::Lease;
use super::error::Failure;
use super::statements::{REQUESTS_BETWEEN, SHARDS_AND_CLOCK, STEPS};
use crate::apply::{LockedShard, Lookup, RecentRequests, RequestRow};
use crate::store::{StoreError, StoreErrorKind};
use crate::write::RequestKey;

/// Outcomes kept for all shards together: some 150 MB at the very most.
const OUTCOMES: usize = 1 << 20;
/// Of one shard, where few share that: three minutes of 700 requests a second. More than are kept by then, and a takeover
/// refuses retries of what it may have dropped as too late (soak: a reversal after ten minutes of over 200 a second).
const MOST_OF_ONE: usize = 1 << 17;
/// Request rows of one statement: a takeover reads all that are kept while writers wait for it.
const PAGE: usize = 4_000;
/// Attempts to join what is missing to what is known, while other tasks may forget it.
const CATCH_UPS: usize = 4;
/// How often shards that nobody writes to are looked at.
const SWEEP: Duration = Duration::from_secs(20);

/// The memory of all shards of a server.
pub(super) struct Memory {
    shards: Mutex<Shards>,
    /// Number of shards on the server: they share [`OUTCOMES`].
    population: AtomicUsize,
}

struct Shards {
    of: HashMap<ShardId, Remembered>,
    swept: Instant,
}

/// Everything of the shard's log up to `epoch`, `seq` is in `requests`, as far as it is kept.
struct Remembered {
    epoch: Epoch,
    seq: Seq,
    requests: RecentRequests,
}

/// Request rows that a statement answered.
type Rows = Vec<RequestRow>;

impl Default for Memory {
    fn default() -> Self {
        let shards = Shards { of: HashMap::new(), swept: Instant::now() };
        Self { shards: Mutex::new(shards), population: AtomicUsize::new(1) }
    }
}

impl Memory {
    /// Tells how many shards share the memory.
    pub(super) fn set_population(&self, shards: usize) {
        self.population.store(shards.max(1), Ordering::Relaxed);
    }

    /// What is known of a request. The caller holds the shard's row and has called [`catch_up`].
    pub(super) fn lookup(&self, shard: ShardId, key: RequestKey) -> Lookup {
        let now = Instant::now();
        let shards = self.shards.lock();
        match shards.of.get(&shard) {
            Some(known) => known.requests.lookup(key, now),
            // Swept away since: it had no outcomes. The claimed age counts all the same.
            None => RecentRequests::default().lookup(key, now),
        }
    }

    /// Whether everything of the shard's log is known up to `seq` of `epoch`, and nothing behind it.
    pub(super) fn is_whole(&self, shard: ShardId, epoch: Epoch, seq: Seq) -> bool {
        let shards = self.shards.lock();
        shards.of.get(&shard).is_some_and(|known| known.epoch == epoch && known.seq == seq)
    }

    /// Notes what a transaction committed. Everything up to `position` is known now only if everything up to the seq
    /// before was: not so on a shard that was locked for the other side of a pair alone, which nobody caught up.
    pub(super) fn committed(&self, position: Position, row: Option<&RequestRow>) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut shards = self.shards.lock();
        // Of another epoch, or forgotten meanwhile: whoever needs it loads it.
        if let Some(known) = shards.of.get_mut(&position.shard)
            && known.epoch == position.epoch
        {
            if let Some(row) = row {
                known.requests.record(row, now).map_err(damaged)?;
            }
            if known.seq.next() == position.seq {
                known.seq = position.seq;
            }
            known.requests.expire(now);
        }
        shards.sweep(now);
        Ok(())
    }

    /// From which seq on rows are missing for a shard whose row says `epoch`, `seq`; `None`: none are. The caller holds
    /// the row: so a memory of another epoch, or of more than the row says, is of another log, and is thrown away.
    fn missing_from(&self, shard: ShardId, epoch: Epoch, seq: Seq) -> Option<Seq> {
        let mut shards = self.shards.lock();
        match shards.of.get(&shard) {
            Some(known) if known.epoch == epoch && known.seq <= seq => (known.seq < seq).then_some(known.seq),
            Some(_) => {
                shards.of.remove(&shard);
                Some(Seq::ZERO)
            }
            None => Some(Seq::ZERO),
        }
    }

    /// Notes rows `(from, position.seq]` that were loaded. They count only where they join what is known: meanwhile
    /// another task may have forgotten it, or learned it from another log.
    fn loaded(&self, from: Seq, position: Position, rows: &Rows) -> Result<(), StoreError> {
        let limit = (OUTCOMES / self.population.load(Ordering::Relaxed)).clamp(1_024, MOST_OF_ONE);
        let mut shards = self.shards.lock();
        if from == Seq::ZERO {
            shards.of.entry(position.shard).or_insert_with(|| Remembered {
                epoch: position.epoch,
                seq: Seq::ZERO,
                requests: RecentRequests::with_limit(limit),
            });
        }
        let Some(known) = shards.of.get_mut(&position.shard) else { return Ok(()) };
        if known.epoch != position.epoch || from > known.seq {
            return Ok(());
        }
        // When they were written, only the server's clock says, which may have been set since: not later than now.
        let now = Instant::now();
        for row in rows {
            known.requests.record(row, now).map_err(damaged)?;
        }
        known.seq = known.seq.max(position.seq);
        Ok(())
    }
}

impl Shards {
    /// Forgets shards that have had no request for the retention: what little there is can be loaded again.
    fn sweep(&mut self, now: Instant) {
        if self.swept.elapsed() < SWEEP {
            return;
        }
        self.swept = now;
        self.of.retain(|_, known| {
            known.requests.expire(now);
            !known.requests.is_empty()
        });
    }
}

fn damaged(error: tao_schema::error::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Incompatible, error.message)
}

/// Why request rows could not be loaded.
pub(super) enum LoadError {
    Statement(Failure),
    Damaged(StoreError),
}

impl From<Failure> for LoadError {
    fn from(failure: Failure) -> Self {
        Self::Statement(failure)
    }
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Damaged(error)
    }
}

impl From<LoadError> for StoreError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Statement(failure) => failure.error,
            LoadError::Damaged(error) => error,
        }
    }
}

/// Loads what is kept of shards that are not known yet, before their rows are locked, so that a takeover holds no
/// lock while it reads minutes of requests.
pub(super) async fn preload(inner: &Inner, lease: &mut Lease, shards: &[ShardId]) -> Result<(), LoadError> {
    let unknown: Vec<ShardId> = {
        let known = inner.memory.shards.lock();
        shards.iter().copied().filter(|shard| !known.of.contains_key(shard)).collect()
    };
    for chunk in unknown.chunks(STEPS[STEPS.len() - 1]) {
        let (text, params) = inner.templates.shards_and_clock.of_shards(chunk);
        let rows = lease.rows_of(SHARDS_AND_CLOCK.name, text, params).await?;
        let rows = inner.writers.read(&SHARDS_AND_CLOCK, rows, |row| {
            let (shard, epoch, seq) = (row.shard()?, row.epoch()?, row.seq()?);
            Ok(Position { shard, epoch, seq })
        })?;
        for position in rows {
            load(inner, lease, Seq::ZERO, position).await?;
        }
    }
    Ok(())
}

/// Step 3 of a commit: what others committed since this store last looked. The rows are locked.
pub(super) async fn catch_up(inner: &Inner, lease: &mut Lease, row: &LockedShard) -> Result<(), StoreError> {
    let position = Position { shard: row.shard, epoch: row.epoch, seq: row.seq };
    for _ in 0..CATCH_UPS {
        let Some(from) = inner.memory.missing_from(row.shard, row.epoch, row.seq) else { return Ok(()) };
        load(inner, lease, from, position).await?;
    }
    let message =
        format!("{}: the requests of shard {} changed while they were loaded", inner.server, row.shard);
    Err(StoreError::new(StoreErrorKind::Unavailable, message))
}

/// Loads rows `(from, to.seq]`, a page at a time: all that there are, because no clock can be believed that says which of
/// them don't matter any more. A purge bounds them.
async fn load(inner: &Inner, lease: &mut Lease, from: Seq, to: Position) -> Result<(), LoadError> {
    let shard = to.shard;
    let mut after = from;
    loop {
        let params = (shard.0, after.0, to.seq.0, PAGE as u64);
        let rows = lease
            .map(&REQUESTS_BETWEEN, params, |row| {
                let (seq, epoch) = (row.seq()?, row.epoch()?);
                let body = Bytes::from(row.bytes()?);
                Ok(RequestRow { position: Position { shard, epoch, seq }, body })
            })
            .await?;
        let last = rows.last().map(|row| row.position.seq);
        let full = rows.len() == PAGE;
        // A batch of bookkeeping has a row without outcomes: it only names its batch (R4).
        let rows: Rows = rows.into_iter().filter(|row| !row.body.is_empty()).collect();
        match last.filter(|_| full) {
            Some(last) => {
                inner.memory.loaded(after, Position { seq: last, ..to }, &rows)?;
                after = last;
            }
            None => return Ok(inner.memory.loaded(after, to, &rows)?),
        }
    }
}
