//! A database server that is opened when it is first needed, and tried again while it can't be: so a leader starts, and
//! serves the rest, while one of its databases is down.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tao_schema::Error;
use tao_schema::ids::{EdgeKey, Epoch, PrimaryTime, Seq, ShardId};
use tao_schema::rows::ShardState;
use tao_shard_store::ShardStore;
use tao_shard_store::log::{
    Beat, BeatWriter, Finding, LogPosition, LogTail, ServerLog, SharedDatabase, StoredTopology, Survey,
    TailError, TailErrorKind, TailStart,
};
use tao_shard_store::store::{
    PendingInverse, ReadKey, ScanPage, ShardRow, Snapshot, StoreError, StoreErrorKind, Table,
};
use tao_shard_store::write::{Batch, BatchResult};
use tokio::time::Instant;

/// First and longest time between two attempts to open; calls in between fail at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Opens a server. Called again after a failure, never again after a success.
pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Result<SharedDatabase, StoreError>> + Send + Sync>;

/// See the module.
pub struct LazyDatabase(Arc<Inner>);

struct Inner {
    /// What people call it: host group, region, address.
    place: String,
    open: Opener,
    opened: OnceLock<SharedDatabase>,
    /// One attempt at a time.
    attempts: tokio::sync::Mutex<Attempts>,
    /// Why it is not open.
    missing: Mutex<Option<String>>,
}

struct Attempts {
    not_before: Option<(Instant, StoreError)>,
    pause: Duration,
}

impl LazyDatabase {
    /// A server that nobody has tried to reach yet.
    pub fn new(place: String, open: Opener) -> Self {
        let attempts = tokio::sync::Mutex::new(Attempts { not_before: None, pause: PAUSE.0 });
        let missing = Mutex::new(Some(format!("{place}: not reached yet")));
        Self(Arc::new(Inner { place, open, opened: OnceLock::new(), attempts, missing }))
    }

    /// What people call it.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// Why it is not open; `None`: it is.
    pub fn missing(&self) -> Option<String> {
        self.0.missing.lock().clone()
    }

    /// The server, opened if it is not yet.
    ///
    /// Cancel-safe: an attempt goes on without its caller. Opening a server far away takes longer than some callers
    /// wait, and would otherwise begin anew with each of them.
    ///
    /// # Errors
    /// It could not be opened now, or just now.
    pub async fn reach(&self) -> Result<SharedDatabase, StoreError> {
        if let Some(database) = self.0.opened.get() {
            return Ok(Arc::clone(database));
        }
        let inner = Arc::clone(&self.0);
        let attempt = tokio::spawn(async move { inner.attempt().await });
        attempt.await.unwrap_or_else(|error| {
            let message = format!("{}: the attempt to open it ended early: {error}", self.0.place);
            Err(StoreError::new(StoreErrorKind::Unavailable, message))
        })
    }
}

impl Inner {
    async fn attempt(&self) -> Result<SharedDatabase, StoreError> {
        let mut attempts = self.attempts.lock().await;
        if let Some(database) = self.opened.get() {
            return Ok(Arc::clone(database));
        }
        if let Some((time, error)) = &attempts.not_before
            && Instant::now() < *time
        {
            return Err(error.clone());
        }
        match (self.open)().await {
            Ok(database) => {
                *self.missing.lock() = None;
                tracing::debug!(place = self.place, "database opened");
                Ok(Arc::clone(self.opened.get_or_init(|| database)))
            }
            Err(error) => {
                let error = StoreError::new(error.kind, format!("{}: {}", self.place, error.message));
                if self.missing.lock().replace(error.message.clone()).as_deref() != Some(&error.message) {
                    tracing::warn!("waiting for a database: {}", error.message);
                }
                attempts.not_before = Some((Instant::now() + attempts.pause, error.clone()));
                attempts.pause = (attempts.pause * 2).min(PAUSE.1);
                Err(error)
            }
        }
    }
}

impl fmt::Debug for LazyDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyDatabase").field("place", &self.0.place).finish_non_exhaustive()
    }
}

#[async_trait]
impl ShardStore for LazyDatabase {
    fn describe(&self) -> String {
        self.0.opened.get().map_or_else(|| "not reached yet".to_owned(), |database| database.describe())
    }

    async fn commit(&self, batch: Batch) -> Result<BatchResult, StoreError> {
        // Nothing was sent to a server that can't be opened, whatever the attempt to open it ended with.
        let database = self.reach().await.map_err(nothing_done)?;
        database.commit(batch).await
    }

    async fn read(&self, keys: &[ReadKey]) -> Result<Vec<Result<Snapshot, Error>>, StoreError> {
        self.reach().await?.read(keys).await
    }

    async fn shard_rows(&self) -> Result<Vec<ShardRow>, StoreError> {
        self.reach().await?.shard_rows().await
    }

    async fn shard_rows_of(&self, shards: &[ShardId]) -> Result<Vec<ShardRow>, StoreError> {
        self.reach().await?.shard_rows_of(shards).await
    }

    async fn create_shards(&self, shards: &[ShardId], epoch: Epoch) -> Result<(), StoreError> {
        self.reach().await?.create_shards(shards, epoch).await
    }

    async fn change_state(
        &self,
        shard: ShardId,
        epoch: Epoch,
        from: ShardState,
        to: ShardState,
    ) -> Result<bool, StoreError> {
        let database = self.reach().await.map_err(nothing_done)?;
        database.change_state(shard, epoch, from, to).await
    }

    async fn outbox(
        &self,
        shard: ShardId,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<Vec<PendingInverse>, StoreError> {
        self.reach().await?.outbox(shard, after, limit).await
    }

    async fn scan(
        &self,
        shard: ShardId,
        table: Table,
        after: Option<EdgeKey>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.reach().await?.scan(shard, table, after, limit).await
    }

    async fn purge(&self, shard: ShardId, requests: Seq, tombstones: Duration) -> Result<u64, StoreError> {
        self.reach().await?.purge(shard, requests, tombstones).await
    }
}

#[async_trait]
impl ServerLog for LazyDatabase {
    async fn preflight(&self) -> Result<Vec<Finding>, StoreError> {
        self.reach().await?.preflight().await
    }

    async fn open_tail(&self, start: TailStart) -> Result<Box<dyn LogTail>, TailError> {
        match self.reach().await {
            Ok(database) => database.open_tail(start).await,
            Err(error) => Err(TailError::new(TailErrorKind::Disconnected, error.message)),
        }
    }

    async fn executed(&self) -> Result<LogPosition, StoreError> {
        self.reach().await?.executed().await
    }

    async fn beat(&self, beat: Beat) -> Result<PrimaryTime, StoreError> {
        self.reach().await.map_err(nothing_done)?.beat(beat).await
    }

    async fn survey(&self, writer: BeatWriter) -> Result<Survey, StoreError> {
        self.reach().await?.survey(writer).await
    }

    async fn stored_topology(&self) -> Result<Option<StoredTopology>, StoreError> {
        self.reach().await?.stored_topology().await
    }

    async fn store_topology(&self, topology: &StoredTopology) -> Result<bool, StoreError> {
        let database = self.reach().await.map_err(nothing_done)?;
        database.store_topology(topology).await
    }
}

/// Opening may end uncertain (making the shard rows did not get an answer); of the call itself nothing was done.
fn nothing_done(error: StoreError) -> StoreError {
    match error.kind {
        StoreErrorKind::Uncertain => StoreError::new(StoreErrorKind::Unavailable, error.message),
        _ => error,
    }
}

/// A handle that can also tell why it is not open.
pub type SharedLazy = Arc<LazyDatabase>;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tao_shard_store::memory::{MemoryDatabase, MemoryOptions, MemoryStore};

    use super::*;

    /// A server that is down for the first `failures` attempts.
    fn flaky(failures: u32) -> (Arc<AtomicU32>, LazyDatabase) {
        let tried = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&tried);
        let memory = MemoryDatabase::new(MemoryOptions::default());
        let open: Opener = Box::new(move || {
            let attempt = count.fetch_add(1, Ordering::Relaxed);
            let opened = if attempt < failures {
                Err(StoreError::new(StoreErrorKind::Uncertain, "no answer"))
            } else {
                Ok(Arc::new(MemoryStore::open(&memory)) as SharedDatabase)
            };
            Box::pin(async move { opened })
        });
        (tried, LazyDatabase::new("host group 1 at db:3306".to_owned(), open))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_between_attempts_fail_at_once_and_a_later_one_succeeds() {
        let (tried, database) = flaky(2);
        assert!(database.missing().unwrap().contains("not reached yet"));
        for _ in 0..10 {
            assert!(database.shard_rows().await.is_err());
        }
        assert_eq!(tried.load(Ordering::Relaxed), 1);
        assert_eq!(database.missing().unwrap(), "host group 1 at db:3306: no answer");
        tokio::time::advance(PAUSE.0).await;
        assert!(database.shard_rows().await.is_err());
        // Twice as long now.
        tokio::time::advance(PAUSE.0).await;
        assert!(database.shard_rows().await.is_err());
        tokio::time::advance(PAUSE.0).await;
        assert_eq!(database.shard_rows().await, Ok(Vec::new()));
        assert_eq!((tried.load(Ordering::Relaxed), database.missing()), (3, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_goes_on_without_its_caller() {
        let memory = MemoryDatabase::new(MemoryOptions::default());
        let open: Opener = Box::new(move || {
            let store = Arc::new(MemoryStore::open(&memory)) as SharedDatabase;
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(store)
            })
        });
        let database = LazyDatabase::new("far away".to_owned(), open);
        let impatient = Duration::from_secs(2);
        assert!(tokio::time::timeout(impatient, database.reach()).await.is_err());
        assert!(tokio::time::timeout(impatient, database.reach()).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_write_to_a_server_that_is_not_open_was_certainly_not_done() {
        let (_, database) = flaky(9);
        let error =
            database.change_state(ShardId(0), Epoch(1), ShardState::Serving, ShardState::Fenced).await;
        assert_eq!(error.unwrap_err().kind, StoreErrorKind::Unavailable);
    }
}
