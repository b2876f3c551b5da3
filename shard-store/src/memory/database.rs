//! The server that several [`MemoryStore`](super::MemoryStore)s share.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use tao_schema::ids::ShardId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::tables::Tables;
use crate::apply::UnixMillis;

/// Tells the time for retention.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// How a memory database behaves.
#[derive(Clone)]
pub struct MemoryOptions {
    /// The time, for what is kept only for a while.
    pub clock: Clock,
    /// How long a transaction waits for a row lock when it waits at all.
    pub lock_wait: Duration,
}

impl Default for MemoryOptions {
    /// The machine's clock; one second, as on MySQL (R1).
    fn default() -> Self {
        Self { clock: Arc::new(system_time), lock_wait: Duration::from_secs(1) }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions").field("lock_wait", &self.lock_wait).finish_non_exhaustive()
    }
}

fn system_time() -> UnixMillis {
    // A clock before 1970 makes everything look new: kept too long rather than lost.
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// One database server in memory. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct MemoryDatabase(Arc<Server>);

struct Server {
    options: MemoryOptions,
    state: Mutex<State>,
    /// A row lock was released, or commits are not held any more.
    released: Notify,
}

/// What the server holds. Row locks are apart from the mutex: a transaction keeps them while it waits.
#[derive(Default)]
pub(super) struct State {
    pub(super) tables: Tables,
    pub(super) read_only: bool,
    locked: BTreeSet<ShardId>,
    holds: usize,
}

impl MemoryDatabase {
    /// An empty server.
    pub fn new(options: MemoryOptions) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Server { options, state, released: Notify::new() }))
    }

    /// While read-only, writes fail as unavailable and reads go on.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Holds every commit from now on between durable and visible, as a primary does that waits for its replica's
    /// acknowledgement: readers see the rows before it, its row locks stay. Until the hold is dropped.
    pub fn hold_commits(&self) -> CommitHold {
        self.state().holds += 1;
        CommitHold(self.clone())
    }

    /// Locks a shard row as another transaction would; `None` if one has it already. Until the lock is dropped.
    pub fn lock_row(&self, shard: ShardId) -> Option<RowLock> {
        self.try_lock(shard)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    pub(super) fn now(&self) -> UnixMillis {
        (self.0.options.clock)()
    }

    pub(super) fn try_lock(&self, shard: ShardId) -> Option<RowLock> {
        let new = self.state().locked.insert(shard);
        new.then(|| RowLock { database: self.clone(), shard })
    }

    /// Waits for a row lock up to the limit.
    pub(super) async fn lock(&self, shard: ShardId) -> Option<RowLock> {
        let deadline = Instant::now() + self.0.options.lock_wait;
        loop {
            // Registered before the attempt, so that a release in between is not missed.
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if let Some(lock) = self.try_lock(shard) {
                return Some(lock);
            }
            timeout_at(deadline, released).await.ok()?;
        }
    }

    /// Waits until no hold is left.
    pub(super) async fn visible(&self) {
        loop {
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.state().holds == 0 {
                return;
            }
            released.await;
        }
    }
}

/// See [`MemoryDatabase::hold_commits`].
#[must_use]
pub struct CommitHold(MemoryDatabase);

impl Drop for CommitHold {
    fn drop(&mut self) {
        self.0.state().holds -= 1;
        self.0.0.released.notify_waiters();
    }
}

/// A shard row's lock. Dropping it lets others have the row.
#[must_use]
pub struct RowLock {
    database: MemoryDatabase,
    shard: ShardId,
}

impl Drop for RowLock {
    fn drop(&mut self) {
        self.database.state().locked.remove(&self.shard);
        self.database.0.released.notify_waiters();
    }
}
