//! The handle to a leader: what followers and other leaders call.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use tao_schema::ops::{FillReply, FillRequest, InverseState, ReadReply, ReadRequest, WriteRequest};
use tao_schema::{Error, Result};
use tokio::time::Instant;

use super::metrics::LeaderMetrics;
use super::{Inner, stream};
use crate::ports::{ChangeStream, LeaderPeer, WriteAnswer};

/// A running leader. Cheap to clone; it runs until [`LeaderHandle::shutdown`], whoever holds handles.
#[derive(Clone)]
pub struct LeaderHandle {
    pub(super) inner: Arc<Inner>,
}

impl LeaderHandle {
    pub(super) const fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// What it counts.
    pub fn metrics(&self) -> &LeaderMetrics {
        &self.inner.metrics
    }

    /// Refuses new calls, waits for those under way and for inverses on their way, as long as the grace lasts; then
    /// empties the lanes and ends the streams. A write that was accepted is committed and answered. Whatever an
    /// inverse still lacks is in the outbox for the next leader.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        let deadline = Instant::now() + inner.options.grace;
        inner.calls.close();
        if tokio::time::timeout_at(deadline, inner.calls.wait()).await.is_err() {
            tracing::warn!(calls = inner.calls.len(), "calls are still under way after the grace");
        }
        inner.inverses.finish(deadline).await;
        inner.stop_streams.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        for group in inner.routes.groups.values() {
            group.lanes.close();
            group.reader.close();
        }
        let mut workers = std::mem::take(&mut *inner.workers.lock());
        while let Some(ended) = workers.join_next().await {
            if let Err(crash) = ended {
                tracing::error!(%crash, "a worker of the leader had crashed");
            }
        }
    }

    /// Stops at once, as a crash does: what waits is dropped, callers learn nothing. For tests of failover.
    pub async fn kill(&self) {
        let inner = &self.inner;
        inner.calls.close();
        inner.stop_streams.cancel();
        let mut workers = std::mem::take(&mut *inner.workers.lock());
        workers.shutdown().await;
        inner.inverses.finish(Instant::now()).await;
        inner.tasks.close();
        inner.tasks.wait().await;
    }

    /// Runs a call unless the leader stops; a stop waits for it.
    pub(super) async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        // Counted first: a stop that comes after the check waits, one that came before is seen.
        let _counted = self.inner.calls.token();
        if self.inner.calls.is_closed() {
            return Err(Error::unavailable(format!("leader {} is shutting down", self.inner.routes.name)));
        }
        call.await
    }
}

#[async_trait]
impl LeaderPeer for LeaderHandle {
    fn name(&self) -> &str {
        &self.inner.routes.name
    }

    async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        self.call(self.inner.answer_read(request, deadline)).await
    }

    async fn fill(&self, request: FillRequest, deadline: Instant) -> Result<FillReply> {
        self.call(self.inner.answer_fill(request, deadline)).await
    }

    async fn write(&self, request: WriteRequest, deadline: Instant) -> Result<WriteAnswer> {
        self.call(self.inner.answer_write(request, deadline)).await
    }

    async fn apply_inverse(&self, states: Vec<InverseState>, deadline: Instant) -> Result<WriteAnswer> {
        self.call(self.inner.answer_inverses(states, deadline)).await
    }

    async fn changes(&self, follower: &str) -> Result<ChangeStream> {
        self.call(async { stream::open(&self.inner, follower) }).await
    }
}

impl std::fmt::Debug for LeaderHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderHandle").field("name", &self.inner.routes.name).finish_non_exhaustive()
    }
}
