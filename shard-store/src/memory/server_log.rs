//! [`ServerLog`] of the memory engine.

use std::sync::Arc;

use async_trait::async_trait;
use tao_schema::ids::PrimaryTime;
use tao_schema::rows::EpochStart;

use super::database::{LockKey, Rights};
use super::log::Write;
use super::replication::ReplicationStatus;
use super::store::{MemoryStore, unavailable};
use super::tail::{MemoryTail, StoreView};
use crate::log::{
    Beat, BeatWriter, Finding, LogPosition, LogTail, ServerLog, StoredTopology, Survey, TailError, TailStart,
};
use crate::store::{StoreError, StoreErrorKind};

#[async_trait]
impl ServerLog for MemoryStore {
    async fn preflight(&self) -> Result<Vec<Finding>, StoreError> {
        self.check_reachable()?;
        // A memory log has one format; what can be wrong is whose history it is.
        let finding = match self.database.replication() {
            ReplicationStatus::Failed(error) => Some(Finding {
                fatal: true,
                subject: "replication".to_owned(),
                message: format!("{error}: the replica must follow its source, or be built anew"),
            }),
            ReplicationStatus::None | ReplicationStatus::Running | ReplicationStatus::Stopped => None,
        };
        Ok(finding.into_iter().collect())
    }

    async fn open_tail(&self, start: TailStart) -> Result<Box<dyn LogTail>, TailError> {
        let view = StoreView { reachable: Arc::clone(&self.reachable), behind: Arc::clone(&self.behind) };
        let tail = MemoryTail::open(&self.database, start, view)?;
        Ok(Box::new(tail))
    }

    async fn executed(&self) -> Result<LogPosition, StoreError> {
        self.check_reachable()?;
        Ok(self.database.state().log.executed().clone())
    }

    async fn beat(&self, beat: Beat) -> Result<PrimaryTime, StoreError> {
        self.check_reachable()?;
        let time = PrimaryTime(self.database.now().0);
        let write = Write::Beat { beat, time };
        self.database.transact(Rights::Client, Vec::new(), |_, _| Ok(Some(write))).await?;
        Ok(time)
    }

    async fn survey(&self, writer: BeatWriter) -> Result<Survey, StoreError> {
        self.check_reachable()?;
        let state = self.database.state();
        let tables = &state.tables;
        let epochs = tables.epochs.iter();
        Ok(Survey {
            rows: tables.shard_rows(),
            epochs: epochs
                .map(|((shard, epoch), seq)| (*shard, EpochStart { epoch: *epoch, first_seq: *seq }))
                .collect(),
            beat: tables.beats.get(&writer.0).copied(),
        })
    }

    async fn stored_topology(&self) -> Result<Option<StoredTopology>, StoreError> {
        self.check_reachable()?;
        let state = self.database.state();
        let newest = state.tables.topologies.last_key_value();
        Ok(newest.map(|(version, toml)| StoredTopology { version: *version, toml: toml.clone() }))
    }

    async fn store_topology(&self, topology: &StoredTopology) -> Result<bool, StoreError> {
        self.check_reachable()?;
        if topology.version == 0 {
            return Err(StoreError::new(
                StoreErrorKind::Rejected,
                "a topology of version 0: they start at 1",
            ));
        }
        let lock = self.database.lock(LockKey::Topology).await;
        let lock = lock.ok_or_else(|| unavailable("the topology is being stored by another"))?;
        self.database
            .transact(Rights::Client, vec![lock], |tables, _| {
                let newest = tables.topologies.keys().next_back();
                let follows = newest.is_none_or(|newest| newest.checked_add(1) == Some(topology.version));
                Ok(follows.then(|| Write::Topology(topology.clone())))
            })
            .await
    }
}
