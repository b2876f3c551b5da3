//! [`ServerLog`] on MariaDB's and MySQL's own binlog: of a primary, or of a replica that logs what it applies.
//!
//! | file | is |
//! |---|---|
//! | `state` | heartbeats and marks, survey, executed transactions, stored topology |
//! | `preflight`, `rules` | what a server must be set to, and how |
//! | `connect` | where a tail starts; the dump connection |
//! | `tail` | the stream of events, checked, and what its errors mean |
//! | `decoder`, `query` | events to transactions; statements are judged, never skipped (R9) |
//! | `table`, `rows`, `wire` | row images, read by our own schema |
//! | `harvest`, `transaction` | rows of one transaction to changes |
//! | `raw` | rows of one shard as they are, for moves |

pub(super) mod connect;
mod decoder;
pub mod fuzzing;
mod harvest;
mod preflight;
mod query;
mod raw;
mod rows;
mod rules;
mod state;
mod table;
mod tail;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

use async_trait::async_trait;
use tao_schema::ids::PrimaryTime;

use super::MySqlStore;
use crate::log::{
    Beat, BeatWriter, Finding, LogPosition, LogTail, ServerLog, StoredTopology, Survey, TailError, TailStart,
};
use crate::store::StoreError;

pub(super) use self::state::State;

/// What can't be followed, in words that go on from "the log holds".
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::mysql) struct Bad(String);

impl Bad {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

#[async_trait]
impl ServerLog for MySqlStore {
    async fn preflight(&self) -> Result<Vec<Finding>, StoreError> {
        preflight::preflight(&self.inner).await
    }

    async fn open_tail(&self, start: TailStart) -> Result<Box<dyn LogTail>, TailError> {
        let tail = connect::open(&self.inner, start, connect::random_id()).await?;
        Ok(Box::new(tail))
    }

    async fn executed(&self) -> Result<LogPosition, StoreError> {
        state::executed(&self.inner).await
    }

    async fn beat(&self, beat: Beat) -> Result<PrimaryTime, StoreError> {
        let inner = self.inner.clone();
        super::spawned(async move { state::beat(&inner, beat).await }).await
    }

    async fn survey(&self, writer: BeatWriter) -> Result<Survey, StoreError> {
        state::survey(&self.inner, writer).await
    }

    async fn stored_topology(&self) -> Result<Option<StoredTopology>, StoreError> {
        state::stored_topology(&self.inner).await
    }

    async fn store_topology(&self, topology: &StoredTopology) -> Result<bool, StoreError> {
        let (inner, topology) = (self.inner.clone(), topology.clone());
        super::spawned(async move { state::store_topology(&inner, &topology).await }).await
    }
}
