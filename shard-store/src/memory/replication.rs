//! Replication between memory databases: a replica writes its source's transactions, in order, into its own tables and
//! its own log.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::database::{MemoryDatabase, Server, State};
use super::log::{Cursor, Entry, Lost};
use crate::log::LogPosition;

/// How a replica follows its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplicationOptions {
    /// From the moment that a transaction is in the source's log until it is in the replica's tables and log, by the
    /// clock of tokio.
    pub delay: Duration,
}

/// Why a server can't follow another.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplicationError {
    /// It has transactions that the source lacks: another history (R8, H22). It has to be built anew.
    #[error("{replica} has transactions that {source_name} lacks: {extra}")]
    Diverged {
        /// The replica.
        replica: String,
        /// The source.
        source_name: String,
        /// What the source lacks.
        extra: LogPosition,
    },
    /// The source's log no longer has what the replica needs.
    #[error("the log of {source_name} does not reach back to {position}")]
    Purged {
        /// The source.
        source_name: String,
        /// What the replica has.
        position: LogPosition,
    },
    /// Both would name their transactions alike (`MemoryOptions::server`): nobody could tell their histories apart.
    #[error("replica and source are both called {0}")]
    SameName(String),
    /// It never had a source, or was promoted.
    #[error("{0} has no source")]
    NoSource(String),
}

/// What a replica is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicationStatus {
    /// No source: a primary.
    None,
    /// Follows its source; or waits for it to be up.
    Running,
    /// Was stopped.
    Stopped,
    /// Stopped by itself.
    Failed(ReplicationError),
}

/// A replica's source.
pub(super) struct Replication {
    source: MemoryDatabase,
    options: ReplicationOptions,
    run: Option<Run>,
    failed: Option<ReplicationError>,
    /// The server went down while it followed.
    interrupted: bool,
}

/// The task that applies; it ends with this.
struct Run(AbortHandle);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replication").field("options", &self.options).finish_non_exhaustive()
    }
}

impl MemoryDatabase {
    /// Makes this server a replica of `source`, in place of an earlier source: read-only, with everything that the
    /// source's log has and will have. An empty server starts from a copy if the source's log does not reach back.
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// If this server's history is not a beginning of the source's; then it goes on as it was.
    pub fn replicate(
        &self,
        source: &MemoryDatabase,
        options: ReplicationOptions,
    ) -> Result<(), ReplicationError> {
        if source.0.source == self.0.source {
            return Err(ReplicationError::SameName(self.0.source.to_string()));
        }
        self.copy_if_empty(source);
        let executed = self.state().log.executed().clone();
        connect(self, source, &executed)?;
        let mut state = self.state();
        state.read_only = true;
        state.replication = Some(Replication {
            source: source.clone(),
            options,
            run: None,
            failed: None,
            interrupted: false,
        });
        self.start(&mut state);
        Ok(())
    }

    /// Stops following; what is on its way is not applied. `start_replication` goes on.
    pub fn stop_replication(&self) {
        let mut state = self.state();
        state.replication_runs += 1;
        if let Some(replication) = &mut state.replication {
            replication.run = None;
            replication.interrupted = false;
        }
    }

    /// Goes on after `stop_replication`, or after a failure.
    ///
    /// # Errors
    /// As for [`MemoryDatabase::replicate`], and if there is no source.
    pub fn start_replication(&self) -> Result<(), ReplicationError> {
        let (source, executed) = {
            let state = self.state();
            match &state.replication {
                Some(replication) => (replication.source.clone(), state.log.executed().clone()),
                None => return Err(ReplicationError::NoSource(self.0.source.to_string())),
            }
        };
        connect(self, &source, &executed)?;
        self.start(&mut self.state());
        Ok(())
    }

    /// Changes the delay, also of what is on its way.
    pub fn set_replication_delay(&self, delay: Duration) {
        let mut state = self.state();
        let Some(replication) = &mut state.replication else { return };
        replication.options.delay = delay;
        if replication.run.is_some() {
            self.start(&mut state);
        }
    }

    /// What a replica is doing.
    pub fn replication(&self) -> ReplicationStatus {
        match &self.state().replication {
            None => ReplicationStatus::None,
            Some(Replication { failed: Some(error), .. }) => ReplicationStatus::Failed(error.clone()),
            Some(Replication { run: Some(_), .. }) => ReplicationStatus::Running,
            Some(_) => ReplicationStatus::Stopped,
        }
    }

    /// Forgets the source; the server stays read-only. From here on its own transactions have its own name, so that a
    /// history that went on elsewhere shows.
    pub fn forget_source(&self) {
        self.state().replication = None;
    }

    /// Forgets the source and takes writes. Whatever the source had more is lost here (H19): open new epochs first
    /// (R24), see [`MemoryDatabase::open_epochs`].
    pub fn promote(&self) {
        let mut state = self.state();
        state.replication = None;
        state.read_only = false;
    }

    /// Waits until this server has executed everything of `position`.
    pub async fn wait_executed(&self, position: &LogPosition) {
        self.when_log_moves(|state| state.log.executed().covers(position).then_some(())).await;
    }

    /// A copy of the source for a server that has nothing, if the log alone would not make one.
    fn copy_if_empty(&self, source: &MemoryDatabase) {
        let (tables, executed) = {
            let state = source.state();
            if state.log.purged().is_empty() {
                return;
            }
            // What is not visible yet comes through the log.
            let mut executed = state.log.purged().clone();
            for entry in state.log.entries().take(state.log.len().saturating_sub(state.held.len())) {
                executed.add(&entry.transaction.source, entry.transaction.sequence);
            }
            (state.tables.clone(), executed)
        };
        let mut state = self.state();
        if state.log.executed().is_empty() {
            state.tables = tables;
            state.log.restart(executed);
        }
    }

    /// A server that is down follows nobody.
    pub(super) fn interrupt_replication(state: &mut State) {
        state.replication_runs += 1;
        if let Some(replication) = &mut state.replication {
            replication.interrupted |= replication.run.take().is_some();
        }
    }

    /// Goes on where it was interrupted.
    pub(super) fn resume_replication(&self, state: &mut State) {
        if state.replication.as_ref().is_some_and(|replication| replication.interrupted) {
            self.start(state);
        }
    }

    /// Replaces the task that applies.
    fn start(&self, state: &mut State) {
        let Some(replication) = &mut state.replication else { return };
        state.replication_runs += 1;
        replication.interrupted = false;
        replication.failed = None;
        let follower = Follower {
            replica: self.weak(),
            source: replication.source.clone(),
            delay: replication.options.delay,
            run: state.replication_runs,
        };
        replication.run = Some(Run(tokio::spawn(follower.run()).abort_handle()));
    }
}

/// A place in the source's log behind everything that the replica has.
fn connect(
    replica: &MemoryDatabase,
    source: &MemoryDatabase,
    executed: &LogPosition,
) -> Result<Cursor, ReplicationError> {
    let state = source.state();
    state.log.after(executed).map_err(|lost| match lost {
        Lost::Unknown => ReplicationError::Diverged {
            replica: replica.0.source.to_string(),
            source_name: source.0.source.to_string(),
            extra: executed.without(state.log.executed()),
        },
        Lost::Purged | Lost::Broken => {
            ReplicationError::Purged { source_name: source.0.source.to_string(), position: executed.clone() }
        }
    })
}

/// The applying task. It holds no replica while it waits, so that one nobody uses goes away, and the task with it.
struct Follower {
    replica: Weak<Server>,
    source: MemoryDatabase,
    delay: Duration,
    run: u64,
}

impl Follower {
    async fn run(self) {
        loop {
            self.source.when_log_moves(|state| (!state.down).then_some(())).await;
            let Some(mut cursor) = self.connect() else { return };
            while let Ok(entry) = self.next(&mut cursor).await {
                sleep_until(entry.at + self.delay).await;
                if !self.apply(entry) {
                    return;
                }
            }
        }
    }

    /// `None`: it is over.
    fn connect(&self) -> Option<Cursor> {
        let replica = MemoryDatabase(self.replica.upgrade()?);
        let executed = replica.state().log.executed().clone();
        match connect(&replica, &self.source, &executed) {
            Ok(cursor) => Some(cursor),
            Err(error) => {
                let mut state = replica.state();
                if state.replication_runs == self.run
                    && let Some(replication) = &mut state.replication
                {
                    replication.failed = Some(error);
                }
                None
            }
        }
    }

    async fn next(&self, cursor: &mut Cursor) -> Result<Entry, Lost> {
        let read = |state: &mut State| {
            if state.down {
                return Some(Err(Lost::Broken));
            }
            state.log.read(cursor).map(|entry| entry.cloned()).transpose()
        };
        let entry = self.source.when_log_moves(read).await?;
        cursor.advance();
        Ok(entry)
    }

    /// Whether there is more to do.
    fn apply(&self, entry: Entry) -> bool {
        let Some(replica) = self.replica.upgrade().map(MemoryDatabase) else { return false };
        let mut state = replica.state();
        // A task that was stopped may still run for a moment; what it holds must not come after a promotion.
        if state.replication.is_none() || state.replication_runs != self.run {
            return false;
        }
        replica.append_replicated(&mut state, entry.transaction);
        drop(state);
        replica.wake();
        true
    }
}
