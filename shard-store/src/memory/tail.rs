//! A tail of a memory database's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::database::{MemoryDatabase, State};
use super::log::{Cursor, Lost, Transaction};
use crate::log::{LogPosition, LogTail, TailError, TailErrorKind, TailEvent, TailStart};
use tao_schema::planted::{Bug, planted};

/// Transactions in one answer.
const MOST_TRANSACTIONS: usize = 256;

/// See [`crate::log::ServerLog::open_tail`].
pub(super) struct MemoryTail {
    database: MemoryDatabase,
    cursor: Cursor,
    position: LogPosition,
    store: StoreView,
}

/// What a tail shares with the store that opened it.
pub(super) struct StoreView {
    /// Whether it still reaches the server.
    pub(super) reachable: Arc<AtomicBool>,
    /// Where the next tail starts at the earliest.
    pub(super) behind: Arc<Mutex<LogPosition>>,
}

impl MemoryTail {
    pub(super) fn open(
        database: &MemoryDatabase,
        start: TailStart,
        store: StoreView,
    ) -> Result<Self, TailError> {
        let state = database.state();
        if state.down || !store.reachable.load(Ordering::SeqCst) {
            return Err(ended(database, Lost::Broken));
        }
        let start = match start {
            TailStart::Back(_) if planted(Bug::StartAtPresent) => {
                TailStart::After(state.log.executed().clone())
            }
            start => start,
        };
        let (cursor, position) = match start {
            TailStart::After(position) => {
                let cursor = state.log.after(&position).map_err(|lost| ended(database, lost))?;
                (cursor, position)
            }
            TailStart::Back(time) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                state.log.back(millis, &store.behind.lock())
            }
        };
        drop(state);
        Ok(Self { database: database.clone(), cursor, position, store })
    }
}

#[async_trait]
impl LogTail for MemoryTail {
    async fn next(&mut self) -> Result<Vec<TailEvent>, TailError> {
        let Self { database, cursor, position, store } = self;
        // Everything happens in one look at the state, without waiting in between: cancel-safe.
        database
            .when_log_moves(|state| {
                if state.down || !store.reachable.load(Ordering::SeqCst) {
                    return Some(Err(ended(database, Lost::Broken)));
                }
                take(database, state, cursor, (position, &store.behind)).transpose()
            })
            .await
    }

    fn position(&self) -> LogPosition {
        self.position.clone()
    }
}

fn take(
    database: &MemoryDatabase,
    state: &State,
    cursor: &mut Cursor,
    (position, behind): (&mut LogPosition, &Mutex<LogPosition>),
) -> Result<Option<Vec<TailEvent>>, TailError> {
    let (mut events, mut moved) = (Vec::new(), false);
    for _ in 0..MOST_TRANSACTIONS {
        let held = state.tail_holds > 0;
        let entry = match state.log.read(cursor) {
            Ok(Some(entry)) if !held => entry,
            Ok(_) => break,
            // Given out before the error comes.
            Err(_) if !events.is_empty() => break,
            Err(lost) => return Err(ended(database, lost)),
        };
        if let Some(why) = &entry.damage {
            if !events.is_empty() {
                break;
            }
            let Transaction { source, sequence, .. } = &*entry.transaction;
            let mut past = position.clone();
            past.add(source, *sequence);
            *behind.lock() = past;
            let message = format!("{}: {why}, after {position}", database.0.source);
            return Err(TailError::new(TailErrorKind::NotUnderstood, message));
        }
        position.add(&entry.transaction.source, entry.transaction.sequence);
        if !entry.omitted {
            events.extend(entry.events());
        }
        cursor.advance();
        moved = true;
    }
    // Also without a word: who waits for a position must see it.
    Ok(moved.then_some(events))
}

pub(super) fn ended(database: &MemoryDatabase, lost: Lost) -> TailError {
    let source = &database.0.source;
    match lost {
        Lost::Broken => {
            TailError::new(TailErrorKind::Disconnected, format!("{source}: the connection is gone"))
        }
        Lost::Purged => TailError::new(
            TailErrorKind::PositionLost,
            format!("{source}: the log does not reach back to the position"),
        ),
        Lost::Unknown => TailError::new(
            TailErrorKind::PositionLost,
            format!("{source}: the position has transactions that this server never had"),
        ),
    }
}
