//! What is known of one host group's log, and how old that knowledge is (R20).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::ids::PrimaryTime;
use tao_shard_store::log::LogPosition;
use tokio::sync::Notify;

use crate::clock::SharedClock;

/// Shared between the group's tail, which writes it, and everybody who answers.
pub(in crate::leader) struct GroupHealth {
    clock: SharedClock,
    known: Mutex<Known>,
    facts: Mutex<Facts>,
    /// Everything up to here was taken in.
    position: Mutex<LogPosition>,
    /// Whether rows may be read from this region's server. Not while it is refused, or its log can't be reached.
    local_reads: AtomicBool,
    /// Whether the tail holds changes that are not known to be visible (R7).
    holding: AtomicBool,
    /// A commit of this leader may have shown what is held to be visible.
    visible: Notify,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// Everything that was committed up to then, by this machine's clock, is applied.
    at: Option<Duration>,
    /// The primary's clock in the heartbeat that proved it: not before `at`.
    time: PrimaryTime,
    /// The primary's clock in the last heartbeat of anybody that came through. The last, not the greatest: primaries that
    /// follow one another have clocks of their own.
    last: Option<PrimaryTime>,
}

/// For people: `tao lag` and the admin page.
#[derive(Clone, Debug)]
pub(in crate::leader) struct Facts {
    pub(in crate::leader) state: TailState,
    /// Region of the server whose log is followed.
    pub(in crate::leader) followed: Option<String>,
    /// Why this region's server is not used.
    pub(in crate::leader) refused: Option<String>,
    pub(in crate::leader) error: Option<String>,
}

/// How a host group's log is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TailState {
    /// Not yet: the server can't be reached, or the log is being read from some time back. Nothing is served from
    /// memory.
    Starting,
    /// Its news come in.
    Following,
    /// The connection is lost; what is in memory grows old.
    Lost,
}

impl TailState {
    /// As labels and people have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Following => "following",
            Self::Lost => "lost",
        }
    }
}

impl GroupHealth {
    pub(super) fn new(clock: SharedClock) -> Self {
        let facts = Facts { state: TailState::Starting, followed: None, refused: None, error: None };
        Self {
            clock,
            known: Mutex::default(),
            facts: Mutex::new(facts),
            position: Mutex::default(),
            // Until it is known to hold nothing that the primary lacks (H22).
            local_reads: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            visible: Notify::new(),
        }
    }

    /// Everything committed up to then is known. Take it before looking at what is vouched for: what comes in between
    /// makes that newer, never older.
    pub(in crate::leader) fn known_at(&self) -> Option<(Duration, PrimaryTime)> {
        let known = *self.known.lock();
        known.at.map(|at| (at, known.time))
    }

    /// How old the knowledge is now; `None`: nobody can tell.
    pub(in crate::leader) fn age(&self) -> Option<Duration> {
        let at = self.known.lock().at?;
        Some(self.since(at))
    }

    /// Time since a moment of this machine's clock.
    pub(in crate::leader) fn since(&self, at: Duration) -> Duration {
        self.clock.now().saturating_sub(at)
    }

    /// Nothing committed until now is later than this, by the primary's clock: the newest proof, and the time since
    /// before that was asked for. `None`: nobody can tell.
    pub(in crate::leader) fn latest(&self) -> Option<PrimaryTime> {
        let (at, time) = self.known_at()?;
        let since = u64::try_from(self.since(at).as_millis()).unwrap_or(u64::MAX);
        // Two milliseconds for what both clocks round off, and a thousandth for how differently they may run.
        Some(PrimaryTime(time.0.saturating_add(since).saturating_add(since / 1_024 + 2)))
    }

    /// Whether everything that was committed up to `time` of the primary's clock is applied.
    pub(in crate::leader) fn reaches(&self, time: PrimaryTime) -> bool {
        self.known.lock().last.is_some_and(|last| last >= time)
    }

    /// A heartbeat came through, behind everything before it; `sent`: when this node had it written, if it did.
    pub(super) fn heard(&self, time: PrimaryTime, sent: Option<Duration>) {
        let mut known = self.known.lock();
        known.last = Some(time);
        if sent.is_some() && sent >= known.at {
            known.at = sent;
            known.time = time;
        }
    }

    /// The log starts anew, or goes on in another epoch: what was proved before is void.
    pub(super) fn forget(&self) {
        *self.known.lock() = Known::default();
    }

    pub(in crate::leader) fn facts(&self) -> Facts {
        self.facts.lock().clone()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock());
    }

    /// Everything up to here was taken in.
    pub(super) fn moved(&self, position: LogPosition) {
        *self.position.lock() = position;
    }

    /// Where the log stands.
    pub(in crate::leader) fn position(&self) -> LogPosition {
        self.position.lock().clone()
    }

    pub(in crate::leader) fn local_reads(&self) -> bool {
        self.local_reads.load(Ordering::Acquire)
    }

    pub(super) fn set_local_reads(&self, allowed: bool) {
        self.local_reads.store(allowed, Ordering::Release);
    }

    pub(super) fn set_holding(&self, holding: bool) {
        self.holding.store(holding, Ordering::Release);
    }

    /// A commit of this leader is visible: so is everything of its shard before it.
    pub(in crate::leader) fn committed(&self) {
        if self.holding.load(Ordering::Acquire) {
            self.visible.notify_one();
        }
    }

    pub(super) async fn newly_visible(&self) {
        self.visible.notified().await;
    }
}
