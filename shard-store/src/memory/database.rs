//! The server that several [`MemoryStore`](super::MemoryStore)s share.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use tao_schema::ids::ShardId;
use tao_schema::planted::{Bug, planted};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::log::{Entry, Log, Transaction, Write};
use super::replication::Replication;
use super::store::{check_writable, unavailable};
use super::tables::Tables;
use crate::apply::UnixMillis;
use crate::store::{StoreError, StoreErrorKind};

/// Tells the time for retention, and of heartbeats.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// How a memory database behaves.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Tells this server's transactions from those of others of its host group: one with this name is
    /// `memory-name-sequence` in a position; without a name `memory-sequence`. Of letters and digits, at most 24;
    /// everything else becomes `_`.
    pub server: String,
    /// The time: for what is kept only for a while, and in heartbeats.
    pub clock: Clock,
    /// How long a transaction waits for a row lock when it waits at all.
    pub lock_wait: Duration,
    /// Transactions that the log keeps; older ones are purged.
    pub log_transactions: usize,
}

impl Default for MemoryOptions {
    /// No name; the machine's clock; one second, as on MySQL (R1); 20,000 transactions.
    fn default() -> Self {
        Self {
            server: String::new(),
            clock: Arc::new(system_time),
            lock_wait: Duration::from_secs(1),
            log_transactions: 20_000,
        }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("server", &self.server)
            .field("lock_wait", &self.lock_wait)
            .field("log_transactions", &self.log_transactions)
            .finish_non_exhaustive()
    }
}

fn system_time() -> UnixMillis {
    // A clock before 1970 makes everything look new: kept too long rather than lost.
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// One database server in memory. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct MemoryDatabase(pub(super) Arc<Server>);

pub(super) struct Server {
    pub(super) options: MemoryOptions,
    /// Names this server's own transactions.
    pub(super) source: Arc<str>,
    state: Mutex<State>,
    /// A lock was released, or a transaction that was held before COMMIT may go on.
    released: Notify,
    /// Whoever follows the log has something to look at.
    log_moved: Notify,
}

/// What the server holds. Row locks are apart from the mutex: a transaction keeps them while it waits.
#[derive(Default)]
pub(super) struct State {
    pub(super) tables: Tables,
    pub(super) log: Log,
    /// In the log, not yet in the tables, in the order of the log: a commit is never seen before those in front of it
    /// (R8: commit order preserved).
    pub(super) held: VecDeque<Held>,
    pub(super) read_only: bool,
    pub(super) down: bool,
    pub(super) replication: Option<Replication>,
    /// Starts and stops of replication so far: what an earlier run had on its way is not applied any more.
    pub(super) replication_runs: u64,
    locked: BTreeSet<LockKey>,
    pub(super) commit_holds: usize,
    pub(super) begin_holds: usize,
    pub(super) tail_holds: usize,
    /// The next transaction's copy in this log is unreadable, because of this.
    pub(super) damage: Option<Arc<str>>,
    /// The next transaction's copy in this log says nothing.
    pub(super) omit: bool,
}

/// A transaction between durable and visible.
pub(super) struct Held {
    transaction: Arc<Transaction>,
    locks: Vec<LockKey>,
    /// Told when it is visible; dropped when it is lost or its connection is.
    done: Option<oneshot::Sender<()>>,
}

/// What can be locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum LockKey {
    Shard(ShardId),
    /// The newest topology.
    Topology,
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rights {
    /// Is refused while the server is read-only.
    Client,
    /// Is not.
    Admin,
}

impl MemoryDatabase {
    /// An empty server.
    pub fn new(options: MemoryOptions) -> Self {
        let name = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let server: String = options.server.chars().take(24).map(name).collect();
        let source = if server.is_empty() { "memory".to_owned() } else { format!("memory-{server}") };
        Self(Arc::new(Server {
            options,
            source: source.into(),
            state: Mutex::new(State::default()),
            released: Notify::new(),
            log_moved: Notify::new(),
        }))
    }

    /// Whether both are one server.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// While read-only, writes fail as unavailable and reads go on.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Locks a shard row as another transaction would; `None` if one has it already. Until the lock is dropped.
    pub fn lock_row(&self, shard: ShardId) -> Option<RowLock> {
        self.try_lock(LockKey::Shard(shard))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    pub(super) fn now(&self) -> UnixMillis {
        (self.0.options.clock)()
    }

    pub(super) fn weak(&self) -> Weak<Server> {
        Arc::downgrade(&self.0)
    }

    pub(super) fn try_lock(&self, key: LockKey) -> Option<RowLock> {
        let new = self.state().locked.insert(key);
        new.then(|| RowLock { database: self.clone(), key, kept: true })
    }

    /// Waits for a lock up to the limit.
    pub(super) async fn lock(&self, key: LockKey) -> Option<RowLock> {
        let deadline = Instant::now() + self.0.options.lock_wait;
        loop {
            // Registered before the attempt, so that a release in between is not missed.
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if let Some(lock) = self.try_lock(key) {
                return Some(lock);
            }
            timeout_at(deadline, released).await.ok()?;
        }
    }

    /// Waits until `ready` says something of the state; it is asked whenever the log moves.
    pub(super) async fn when_log_moves<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let moved = self.0.log_moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if let Some(value) = ready(&mut self.state()) {
                return value;
            }
            moved.await;
        }
    }

    /// Waits until no transaction is held before COMMIT.
    pub(super) async fn may_commit(&self) {
        loop {
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.state().begin_holds == 0 {
                return;
            }
            released.await;
        }
    }

    /// Commits what `decide` makes of the tables, under the locks: first durable (in the log), then visible. `None`:
    /// there is nothing to write. Answers whether something was written, once it is visible.
    ///
    /// Given up while it is durable and not visible, it goes on without its caller: nobody can take it back (R4).
    pub(super) async fn transact(
        &self,
        rights: Rights,
        locks: Vec<RowLock>,
        decide: impl FnOnce(&Tables, UnixMillis) -> Result<Option<Write>, StoreError> + Send,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        let visible = {
            let mut state = self.state();
            if state.down {
                return Err(unavailable("the memory database is down"));
            }
            if rights == Rights::Client {
                check_writable(&state)?;
            }
            let write = match decide(&state.tables, now) {
                Ok(Some(write)) => write,
                // Locks go after the mutex: they take it.
                rest => {
                    drop(state);
                    return rest.map(|_| false);
                }
            };
            let locks = locks.into_iter().map(RowLock::into_key).collect();
            let source = Arc::clone(&self.0.source);
            let sequence = state.log.last_of(&source) + 1;
            let (done, visible) = oneshot::channel();
            let transaction = Arc::new(Transaction { source, sequence, time: now, write });
            self.append(&mut state, Held { transaction, locks, done: Some(done) });
            visible
        };
        self.wake();
        if planted(Bug::AckBeforeCommit) {
            return Ok(true);
        }
        visible.await.map(|()| true).map_err(|_| {
            StoreError::new(StoreErrorKind::Uncertain, "the connection broke while COMMIT was under way")
        })
    }

    /// A transaction of another server. Call [`MemoryDatabase::wake`] afterwards.
    pub(super) fn append_replicated(&self, state: &mut State, transaction: Arc<Transaction>) {
        self.append(state, Held { transaction, locks: Vec::new(), done: None });
    }

    fn append(&self, state: &mut State, held: Held) {
        let (damage, omitted) = (state.damage.take(), std::mem::take(&mut state.omit));
        let transaction = Arc::clone(&held.transaction);
        state.log.push(Entry { transaction, at: Instant::now(), damage, omitted });
        state.log.purge(self.0.options.log_transactions);
        state.held.push_back(held);
        if state.commit_holds == 0 {
            state.publish_held();
        }
    }

    /// After a change of the state: tells everybody who may wait for it.
    pub(super) fn wake(&self) {
        self.0.released.notify_waiters();
        self.0.log_moved.notify_waiters();
    }
}

impl State {
    /// Everything that is durable becomes visible.
    pub(super) fn publish_held(&mut self) {
        for Held { transaction, locks, done } in self.held.drain(..) {
            self.tables.write(&transaction.write);
            for key in locks {
                self.locked.remove(&key);
            }
            if let Some(done) = done {
                // Nobody waits any more: the caller gave up.
                let _ = done.send(());
            }
        }
    }

    /// Connections break: whoever waits for a commit never hears of it.
    pub(super) fn forget_waiting(&mut self) {
        for held in &mut self.held {
            held.done = None;
        }
    }

    /// What is durable and not visible is gone.
    pub(super) fn lose_held(&mut self) {
        for held in self.held.drain(..) {
            for key in held.locks {
                self.locked.remove(&key);
            }
        }
    }
}

/// A lock. Dropping it lets others have it.
#[must_use]
pub struct RowLock {
    database: MemoryDatabase,
    key: LockKey,
    /// Whether it is this value's to release.
    kept: bool,
}

impl RowLock {
    /// The lock stays; it is released by whoever has the key.
    fn into_key(mut self) -> LockKey {
        self.kept = false;
        self.key
    }
}

impl Drop for RowLock {
    fn drop(&mut self) {
        if self.kept {
            self.database.state().locked.remove(&self.key);
            self.database.0.released.notify_waiters();
        }
    }
}
