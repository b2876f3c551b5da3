//! A server becomes the primary of its group, or follows it: the steps in their order.

use std::time::Duration;

use tao_schema::topology::ReplicationMode;

use super::{ServerAdmin, Side, SourceAddress};
use crate::log::LogPosition;
use crate::store::StoreError;

/// What came of [`ServerAdmin::open_primary`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// It takes writes.
    Open,
    /// It follows another server, so it is no primary, and stays as it was. That must be ended first.
    Follows,
}

/// What came of [`ServerAdmin::follow_primary`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed {
    /// It is connected and applies what comes.
    Connected,
    /// It has these transactions, which the primary lacks (H22): it was shut and must be rebuilt.
    Diverged(LogPosition),
}

impl ServerAdmin {
    /// Opens the server as the primary of its group; `mode` is that of a group with replicas. What is so already stays so.
    ///
    /// # Errors
    /// The server does not answer or refuses.
    pub async fn open_primary(&self, mode: Option<ReplicationMode>) -> Result<Opened, StoreError> {
        if self.role().await?.following.is_some() {
            return Ok(Opened::Follows);
        }
        if let Some(mode) = mode {
            self.set_mode(mode, Side::Primary).await?;
        }
        self.set_read_only(false).await?;
        Ok(Opened::Open)
    }

    /// Makes the server the replica of `primary`, reached at `address`, and returns when it is connected, at most `limit`
    /// later. A server that was open is shut before.
    ///
    /// # Errors
    /// One of them does not answer or refuses.
    pub async fn follow_primary(
        &self,
        primary: &Self,
        address: &SourceAddress,
        mode: ReplicationMode,
        limit: Duration,
    ) -> Result<Followed, StoreError> {
        // In this order: what the primary has is read after what the replica has.
        let has = self.set_read_only(true).await?;
        let extra = has.without(&primary.executed().await?);
        if !extra.is_empty() {
            return Ok(Followed::Diverged(extra));
        }
        self.set_mode(mode, Side::Replica).await?;
        self.replicate_from(address).await?;
        self.wait_connected(limit).await?;
        Ok(Followed::Connected)
    }
}
