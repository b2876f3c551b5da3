//! gRPC services of a node: thin translations between the wire and the services of `leader-follower`.

mod follower;
mod inspect;
mod leader;
mod metadata;
mod pipeline;
mod pipelined;
mod reply_frames;
mod size;

use std::time::Duration;

use tao_schema::limits::MAX_DEADLINE;
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use pipeline::StreamOptions;

pub use follower::FollowerService;
pub use inspect::{FollowerInspect, LeaderInspect};
pub use leader::LeaderService;
pub use metadata::Metadata;
pub use pipelined::Pipelined;

/// Bounds that every service of a node keeps.
#[derive(Clone, Debug)]
pub struct ServiceLimits {
    /// Deadline of a request that names none.
    pub default_deadline: Duration,
    /// Requests of one stream that may be under way at once.
    pub stream_requests: usize,
    /// Cancelled when the node drains.
    pub drain: CancellationToken,
    /// Calls under way: a drain waits for them.
    pub calls: TaskTracker,
}

impl ServiceLimits {
    fn stream(&self) -> StreamOptions {
        StreamOptions {
            max_requests: self.stream_requests,
            default_deadline: self.default_deadline,
            drain: self.drain.clone(),
            calls: self.calls.clone(),
        }
    }

    /// Counts a unary call until the token is dropped.
    fn enter(&self) -> Result<TaskTrackerToken> {
        // Counted first: a drain that begins after the check waits for the call.
        let counted = self.calls.token();
        if self.drain.is_cancelled() {
            return Err(Error::unavailable("this node is shutting down; ask another"));
        }
        Ok(counted)
    }

    /// When a request that still has `time` is given up.
    fn deadline(&self, time: Option<Duration>) -> Instant {
        Instant::now() + time.unwrap_or(self.default_deadline).min(MAX_DEADLINE)
    }
}

fn only_between_nodes(what: &str) -> Error {
    Error::new(
        ErrorCode::InvalidArgument,
        format!("{what} goes between nodes only; applications use read and write of tao.v1.Tao"),
    )
}
