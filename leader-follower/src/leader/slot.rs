//! One shard in a leader: its core, whose log feeds it, and who listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use tao_schema::ids::{Epoch, Position, ShardId};
use tao_schema::rows::ShardState;
use tokio::time::Instant;

use super::door::Door;
use super::foreign::Foreign;
use super::handover::Handover;
use super::stream::Wake;
use crate::core::{CoreOptions, SharedShard};

/// One shard.
pub(super) struct Slot {
    pub(super) shard: ShardId,
    pub(super) core: SharedShard,
    /// Whether the log is followed: entries may be served, and subscribers are answered.
    pub(super) open: Door,
    /// Whether the log's changes go into the core: since the first that came again at a start, or the opening.
    pub(super) follows: AtomicBool,
    state: AtomicU8,
    subscribers: Mutex<Vec<Arc<Wake>>>,
    pub(super) foreign: Foreign,
    /// Whose log feeds the core.
    pub(super) handover: Handover,
    /// The first own commit that waits for one before it, and since when.
    pub(super) waiting: Mutex<Option<(Position, Instant)>>,
}

impl Slot {
    pub(super) fn new(shard: ShardId, options: CoreOptions) -> Self {
        Self {
            shard,
            core: SharedShard::new(shard, options),
            open: Door::default(),
            follows: AtomicBool::new(false),
            state: AtomicU8::new(ShardState::Serving.number()),
            subscribers: Mutex::default(),
            foreign: Foreign::default(),
            handover: Handover::default(),
            waiting: Mutex::default(),
        }
    }

    /// Whether the log is followed and has caught up.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_open()
    }

    /// Waits until it is. Cancel-safe.
    pub(super) async fn opened(&self) {
        self.open.opened().await;
    }

    /// Whether the core follows its log, or replays it: changes have a place in it.
    pub(super) fn follows(&self) -> bool {
        self.follows.load(Ordering::Acquire)
    }

    /// The state of the shard row as last seen.
    pub(super) fn state(&self) -> ShardState {
        // Only numbers of states are ever stored.
        ShardState::from_number(self.state.load(Ordering::Acquire)).unwrap_or(ShardState::Gone)
    }

    pub(super) fn set_state(&self, state: ShardState) {
        if self.state.swap(state.number(), Ordering::AcqRel) != state.number() {
            self.handover.tell();
        }
    }

    /// A writer found the shard fenced in `epoch`. Under the lock of the core: the log's news of what came after are not
    /// overwritten by this.
    pub(super) fn fenced_in(&self, epoch: Epoch) {
        self.core.with(|core| {
            if core.position().epoch == epoch {
                self.set_state(ShardState::Fenced);
            }
        });
    }

    /// The change that is not known to be visible yet.
    pub(super) fn held(&self) -> Option<Position> {
        self.core.with(|core| core.held())
    }

    /// Tells a subscriber of every change from now on.
    pub(super) fn listen(&self, wake: &Arc<Wake>) {
        let mut subscribers = self.subscribers.lock();
        if !subscribers.iter().any(|known| Arc::ptr_eq(known, wake)) {
            subscribers.push(Arc::clone(wake));
        }
    }

    pub(super) fn unlisten(&self, wake: &Arc<Wake>) {
        self.subscribers.lock().retain(|known| !Arc::ptr_eq(known, wake));
    }

    pub(super) fn wake(&self) {
        for wake in self.subscribers.lock().iter() {
            wake.mark(self.shard);
        }
    }
}
