//! What goes wrong with a server, on demand.

use tao_schema::ids::ShardId;

use super::database::MemoryDatabase;
use super::tables::Tables;
use crate::log::LogPosition;
use crate::store::{StoreError, StoreErrorKind};

/// What a hold stops, just before it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Point {
    Commit,
    Visible,
    Tail,
}

/// Stops something until it is dropped. Several holds end with the last of them.
#[must_use]
pub struct Hold {
    database: MemoryDatabase,
    point: Point,
}

impl MemoryDatabase {
    /// Holds every batch from now on after its rows were locked and read and before COMMIT is sent, as when its leader
    /// is stopped (H4): nothing of it is durable, and a caller that goes away leaves nothing.
    pub fn hold_transactions(&self) -> Hold {
        self.hold(Point::Commit)
    }

    /// Holds every commit from now on between durable and visible, as a primary does that waits for its replica's
    /// acknowledgement (H8): readers see the rows before it and its row locks stay, while the log, tails and replicas
    /// have it already, and [`executed`](crate::log::ServerLog::executed) counts it (H9).
    pub fn hold_commits(&self) -> Hold {
        self.hold(Point::Visible)
    }

    /// Holds what tails give out. Replication goes on.
    pub fn hold_tails(&self) -> Hold {
        self.hold(Point::Tail)
    }

    fn hold(&self, point: Point) -> Hold {
        *holds(&mut self.state(), point) += 1;
        Hold { database: self.clone(), point }
    }

    /// All open tails end as disconnected, and replicas connect again.
    pub fn break_tails(&self) {
        self.state().log.break_readers();
        self.wake();
    }

    /// The next transaction's place in this server's log can't be understood, now or later: a tail that comes by ends
    /// there. One that the same store opens afterwards with `Back` starts behind it, as on MySQL; one with `After` comes
    /// by again. Rows are written as they should, and replicas get it.
    pub fn damage_next(&self, why: &str) {
        self.state().damage = Some(why.into());
    }

    /// Tails of this server's log pass the next transaction without a word, as if somebody had written it with logging
    /// switched off (H9, H11). Rows are written as they should, and replicas get it.
    pub fn omit_next(&self) {
        self.state().omit = true;
    }

    /// Forgets the log before `position`. Tails that have yet to give it out lose their position.
    pub fn purge_log_before(&self, position: &LogPosition) {
        self.state().log.purge_before(position);
        self.wake();
    }

    /// The server crashes: calls fail, tails end, and commits that were not visible yet are uncertain to their callers.
    pub fn take_down(&self) {
        let mut state = self.state();
        state.down = true;
        state.forget_waiting();
        Self::interrupt_replication(&mut state);
        state.log.break_readers();
        drop(state);
        self.wake();
    }

    /// The server is back. What was durable is visible now, acknowledged or not (H8: a restart commits what the binlog
    /// has).
    pub fn bring_up(&self) {
        let mut state = self.state();
        state.down = false;
        state.publish_held();
        self.resume_replication(&mut state);
        drop(state);
        self.wake();
    }

    /// A crash in which the transactions that were not visible yet are lost, although tails have shown them: whoever
    /// waits for one is told that its fate is uncertain. Their sequence numbers, of shards and of positions, are given
    /// again (H10). Answers what was lost. The server stays up.
    pub fn lose_held(&self) -> LogPosition {
        let mut state = self.state();
        let before = state.log.executed().clone();
        let keep = state.log.len().saturating_sub(state.held.len());
        state.log.truncate(keep);
        state.lose_held();
        let lost = before.without(state.log.executed());
        drop(state);
        self.wake();
        lost
    }

    /// A crash of a server that does not flush its log (`sync_binlog` is not 1): its last `transactions` are lost, those
    /// that were visible and acknowledged, too. Their sequence numbers are given again (H10). Answers what was lost.
    ///
    /// # Errors
    /// `Rejected` if the log does not reach back to the first transaction, so that the tables before can't be made
    /// again: nothing was lost.
    pub fn lose_last(&self, transactions: usize) -> Result<LogPosition, StoreError> {
        let mut state = self.state();
        if !state.log.purged().is_empty() {
            let message = "the log of the memory database was purged: what it lost can't be taken back";
            return Err(StoreError::new(StoreErrorKind::Rejected, message));
        }
        let before = state.log.executed().clone();
        let keep = state.log.len().saturating_sub(transactions);
        state.log.truncate(keep);
        state.lose_held();
        let mut tables = Tables::default();
        for entry in state.log.entries() {
            tables.write(&entry.transaction.write);
        }
        state.tables = tables;
        let lost = before.without(state.log.executed());
        drop(state);
        self.wake();
        Ok(lost)
    }

    /// Shards that have a row here, visible or not.
    pub fn shards(&self) -> Vec<ShardId> {
        self.state().tables.shards.keys().copied().collect()
    }
}

fn holds(state: &mut super::database::State, point: Point) -> &mut usize {
    match point {
        Point::Commit => &mut state.begin_holds,
        Point::Visible => &mut state.commit_holds,
        Point::Tail => &mut state.tail_holds,
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.database.state();
        *holds(&mut state, self.point) -= 1;
        if state.commit_holds == 0 && !state.down {
            state.publish_held();
        }
        drop(state);
        self.database.wake();
    }
}
