//! The logs that a leader follows: one task for each host group, for as long as the leader lives (R6-R10, R17, R20).
//!
//! It reads the log of this region's server from some time back, until a nonce that it had written on the primary has
//! come through; then the group's shards are open. From then on every change goes into the shard's core, heartbeats
//! say how old the knowledge is, and an audit looks for what the log did not bring. A server that can't be followed
//! safely is refused; a region whose server is refused or away follows the primary's log instead.

mod audit;
mod beats;
mod call;
mod feed;
mod follow;
mod health;
mod receive;
mod servers;
mod start;

use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::HostGroupId;
use tao_shard_store::log::{SharedDatabase, TailError, TailErrorKind};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(super) use self::beats::Beats;
pub(super) use self::health::GroupHealth;
pub use self::health::TailState;
use self::servers::Server;
use super::metrics::GroupMetrics;
use super::routes::Routes;
use super::shards::Shards;
use crate::clock::SharedClock;
use crate::ports::RemoteDatabases;

/// Times and bounds of following logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailOptions {
    /// How far back a log is read at the start, so that rings are full (R17).
    pub back: Duration,
    /// Between two heartbeats.
    pub beat_every: Duration,
    /// A heartbeat that has not come back for so long is followed by one of another row: on a lossless primary a later
    /// commit may free it.
    pub nudge_after: Duration,
    /// Between two audits (R8).
    pub audit_every: Duration,
    /// A change that a primary may not have committed yet is looked for in the shard rows after this time (R7).
    pub confirm_after: Duration,
    /// One call to a server takes at most this.
    pub attempt: Duration,
    /// First and longest pause before a server is tried again.
    pub backoff: (Duration, Duration),
    /// When this region's server could not be followed for so long, the primary's log is followed instead.
    pub fallback_after: Duration,
    /// At the start a region waits so long for its replica to have applied a new heartbeat, then goes on without: its
    /// knowledge has no age then.
    pub replica_patience: Duration,
    /// A nonce that the server's tables show, and that the log does not bring for so long, is lost in it (H11).
    pub log_patience: Duration,
    /// An own commit waits so long for those before it (R6).
    pub gap_patience: Duration,
    /// A shard that the topology moved here waits so long for both logs to come to the fence, before it starts anew from
    /// this group's rows (R25).
    pub handover_patience: Duration,
}

impl Default for TailOptions {
    fn default() -> Self {
        Self {
            back: Duration::from_secs(60),
            beat_every: Duration::from_millis(250),
            nudge_after: Duration::from_millis(500),
            audit_every: Duration::from_secs(10),
            confirm_after: Duration::from_millis(5),
            attempt: Duration::from_secs(2),
            backoff: (Duration::from_millis(50), Duration::from_secs(2)),
            fallback_after: Duration::from_secs(5),
            replica_patience: Duration::from_secs(5),
            log_patience: Duration::from_secs(10),
            gap_patience: Duration::from_secs(3),
            handover_patience: Duration::from_secs(3),
        }
    }
}

/// Follows one host group's log.
pub(super) struct GroupTail {
    pub(super) id: HostGroupId,
    pub(super) local: SharedDatabase,
    pub(super) remote: Arc<dyn RemoteDatabases>,
    pub(super) routes: Arc<Routes>,
    pub(super) shards: Arc<Shards>,
    pub(super) health: Arc<GroupHealth>,
    pub(super) metrics: Arc<GroupMetrics>,
    pub(super) clock: SharedClock,
    pub(super) options: TailOptions,
    pub(super) stop: CancellationToken,
    pub(super) beats: Beats,
    /// The log told of a shard that another group's feeds.
    pub(super) arrived: Notify,
    /// The rows are to be looked at now: a shard waits to be opened.
    pub(super) audit_wanted: Notify,
}

/// Why a log is not followed any more.
#[derive(Debug)]
enum Ended {
    /// The connection is gone; what was given out stands.
    Disconnected(String),
    /// The server's log can't be gone on with: every shard starts anew (R8, R9).
    Anew(Cause, String),
    /// Another server is to be followed.
    Elsewhere,
}

/// Why shards start anew; a label of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    /// The log no longer has what follows, or is another one.
    PositionLost,
    /// It holds what can't be understood.
    NotUnderstood,
    /// It does not bring what the tables show (H11).
    Blind,
    /// The server has what the primary lacks (H22), or is set in a way that can't be followed.
    Refused,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::PositionLost => "position_lost",
            Self::NotUnderstood => "not_understood",
            Self::Blind => "blind",
            Self::Refused => "refused",
        }
    }

    /// Whether somebody has to look at it. A refusal was called out when it was found.
    const fn alarms(self) -> bool {
        !matches!(self, Self::PositionLost | Self::Refused)
    }
}

impl GroupTail {
    /// What a group's tail and its answers share.
    pub(super) fn health(clock: &SharedClock) -> Arc<GroupHealth> {
        Arc::new(GroupHealth::new(Arc::clone(clock)))
    }

    /// Follows the log until the leader stops. What is under way then is left to its own end.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.follow_forever() => {}
        }
    }

    async fn follow_forever(&self) {
        let (mut pause, longest) = self.options.backoff;
        let mut failing: Option<Instant> = None;
        loop {
            match self.start_somewhere(failing).await {
                Ok(mut followed) => {
                    (pause, failing) = (self.options.backoff.0, None);
                    let (cause, why) = self.keep_following(&mut followed).await;
                    self.start_over(cause, &why);
                }
                Err(error) => {
                    failing.get_or_insert_with(Instant::now);
                    if error.kind == TailErrorKind::NotUnderstood {
                        self.alarm("not_understood", &error.message);
                    }
                    tracing::warn!(host_group = %self.id, %error, "the log can't be followed yet");
                    self.health.note(|facts| facts.error = Some(error.message));
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    /// Whatever was cached may be wrong: all of it goes, here and at the followers.
    fn start_over(&self, cause: Cause, why: &str) {
        self.metrics.start_over(cause.name());
        if cause.alarms() {
            self.alarm(cause.name(), why);
        } else {
            tracing::warn!(host_group = %self.id, why, "the log starts anew");
        }
        self.health.forget();
        self.health.note(|facts| {
            facts.state = TailState::Starting;
            facts.error = Some(why.to_owned());
        });
        self.log_lost();
        for slot in self.shards.fed_by(self.id) {
            self.shards.close(slot, true);
        }
    }

    /// What this log told of shards that another group's feeds may have a hole from here on.
    fn log_lost(&self) {
        for slot in self.shards.all() {
            slot.handover.log_lost(self.id);
        }
    }

    /// Something that must not be, and that a person has to look at.
    fn alarm(&self, what: &'static str, why: &str) {
        self.metrics.alarm(what);
        tracing::error!(host_group = %self.id, what, why, "ALARM");
    }

    /// Whether changes of the followed server are visible as soon as its log has them (R7).
    fn is_primary(&self, server: &Server) -> bool {
        match (&server.region, self.routes.master_elsewhere(self.id)) {
            // This region's own.
            (None, master) => master.is_none(),
            (Some(region), master) => master.as_ref() == Some(region),
        }
    }
}

/// What an error of a tail leads to.
fn ended(error: TailError) -> Ended {
    match error.kind {
        TailErrorKind::Disconnected => Ended::Disconnected(error.message),
        TailErrorKind::PositionLost => Ended::Anew(Cause::PositionLost, error.message),
        TailErrorKind::NotUnderstood => Ended::Anew(Cause::NotUnderstood, error.message),
    }
}
