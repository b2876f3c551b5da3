//! Calls to a server, bounded in time.

use std::future::Future;
use std::time::Duration;

use tao_shard_store::log::{TailError, TailErrorKind};
use tao_shard_store::{StoreError, StoreErrorKind};
use tokio::time::timeout;

/// Runs a call in a task of its own, because a store's calls must not be dropped half-way; waits for it so long.
pub(super) async fn bounded<T: Send + 'static>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match timeout(limit, tokio::spawn(call)).await {
        Ok(Ok(result)) => result,
        Ok(Err(crash)) => {
            Err(StoreError::new(StoreErrorKind::Incompatible, format!("the call crashed: {crash}")))
        }
        Err(_) => Err(StoreError::new(StoreErrorKind::Unavailable, format!("no answer within {limit:?}"))),
    }
}

/// [`bounded`], for what opens a log.
pub(super) async fn bounded_tail<T: Send + 'static>(
    limit: Duration,
    call: impl Future<Output = Result<T, TailError>> + Send + 'static,
) -> Result<T, TailError> {
    match timeout(limit, tokio::spawn(call)).await {
        Ok(Ok(result)) => result,
        Ok(Err(crash)) => {
            Err(TailError::new(TailErrorKind::NotUnderstood, format!("the call crashed: {crash}")))
        }
        Err(_) => Err(TailError::new(TailErrorKind::Disconnected, format!("no answer within {limit:?}"))),
    }
}

/// A server that does not answer is one that can't be reached.
pub(super) fn unreachable(error: StoreError) -> TailError {
    TailError::new(TailErrorKind::Disconnected, error.message)
}
