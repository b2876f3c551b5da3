//! What a mover asks of a server beside rows: how busy it is, how long it keeps its log, the form of its tables.

use std::time::Duration;

use tao_schema::ids::ShardId;

use super::super::statements::{
    MOVE_COLUMNS, MOVE_DISK_ROOM, MOVE_FACTS, MOVE_HISTORY_LENGTH, MOVE_THREADS_RUNNING,
};
use super::super::{MySqlStore, spawned};
use super::records::{Work, ruled};
use crate::moves::rules::Ruling;
use crate::moves::{Answer, ShardMoves};
use crate::store::StoreError;

/// Some facts about a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerFacts {
    /// How long it keeps its log; `None`: until somebody deletes it.
    pub log_kept: Option<Duration>,
    /// Bytes of a row with its indexes, on average, by the server's own estimate; 0: it has none.
    pub bytes_per_row: u64,
    /// The columns of the tables that a move carries, a line each.
    pub columns: Vec<String>,
    /// Folder of its data, on its machine.
    pub data_dir: String,
    /// Name of its machine.
    pub host_name: String,
}

impl MySqlStore {
    /// Threads that execute something just now.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn threads_running(&self) -> Result<u64, StoreError> {
        let rows = self.inner.readers.query(&MOVE_THREADS_RUNNING, ()).await?;
        let found = self.inner.readers.read(&MOVE_THREADS_RUNNING, rows, |row| {
            row.bytes()?;
            // A status is text.
            Ok(String::from_utf8_lossy(&row.bytes()?).parse().unwrap_or(0))
        })?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// Length of InnoDB's history list: it grows while old reads keep what was deleted and changed since.
    ///
    /// # Errors
    /// The server does not answer, or the account may not ask: it takes the privilege PROCESS.
    pub async fn history_length(&self) -> Result<Option<u64>, StoreError> {
        let rows = self.inner.readers.query(&MOVE_HISTORY_LENGTH, ()).await?;
        let found = self.inner.readers.read(&MOVE_HISTORY_LENGTH, rows, |row| row.u64())?;
        Ok(found.first().copied())
    }

    /// Takes the locks that a fence and a commit take, behind whoever has them, reads what they read, and lets go: to know how
    /// long that takes.
    ///
    /// # Errors
    /// The server does not answer, or is a replica, or the row's lock could not be had in time.
    pub async fn lock_moves(&self, shard: ShardId) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let nothing = |_: &ShardMoves, _: bool| Ok(Ruling::Answer(Answer::Done(())));
        spawned(async move { ruled(&inner, shard, Work::Nothing, nothing).await.map(drop) }).await
    }

    /// See [`ServerFacts`].
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn server_facts(&self) -> Result<ServerFacts, StoreError> {
        let readers = &self.inner.readers;
        let rows = readers.query(&MOVE_FACTS, ()).await?;
        let facts = readers.read(&MOVE_FACTS, rows, |row| {
            let numbers = (row.u64()?, row.u64()?, row.u64()?);
            Ok((numbers, text(&row.bytes()?), text(&row.bytes()?)))
        })?;
        let ((kept, bytes, count), data_dir, host_name) = facts.into_iter().next().unwrap_or_default();
        let columns = readers.query(&MOVE_COLUMNS, ()).await?;
        let columns = readers.read(&MOVE_COLUMNS, columns, |row| row.bytes())?;
        Ok(ServerFacts {
            log_kept: (kept > 0).then(|| Duration::from_secs(kept)),
            bytes_per_row: bytes.checked_div(count).unwrap_or(0),
            columns: columns.iter().map(|line| text(line)).collect(),
            data_dir,
            host_name,
        })
    }

    /// Free bytes of the file system that holds the data, and where that is mounted; `None`: the server does not know it.
    ///
    /// # Errors
    /// The server can't be asked that: it takes MariaDB's plugin DISKS, and the privilege FILE. Or it does not answer.
    pub async fn disk_room(&self) -> Result<Option<(u64, String)>, StoreError> {
        let rows = self.inner.readers.query(&MOVE_DISK_ROOM, ()).await?;
        let found =
            self.inner.readers.read(&MOVE_DISK_ROOM, rows, |row| Ok((row.u64()?, text(&row.bytes()?))))?;
        Ok(found.into_iter().next())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
