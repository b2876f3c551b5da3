//! What a server must be set to for its log to be followed.

use super::super::Inner;
use crate::log::Finding;
use crate::store::StoreError;

/// See [`crate::log::ServerLog::preflight`].
pub(super) async fn preflight(inner: &Inner) -> Result<Vec<Finding>, StoreError> {
    let _ = inner;
    Ok(Vec::new())
}
