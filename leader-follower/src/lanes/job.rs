//! What waits in a lane.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tao_schema::Result;
use tao_schema::rows::ShardChange;
use tao_shard_store::write::{StoreOp, UnitDone, WriteUnit};
use tokio::time::Instant;

/// One unit of work for a lane.
pub struct Job {
    /// What to commit.
    pub unit: WriteUnit,
    /// Whose room in the queue it takes.
    pub class: Class,
    /// After this it is not started any more.
    pub deadline: Instant,
    /// Called exactly once by the lane, which must not wait in it: after the change was published. If the lane
    /// itself dies it is dropped instead, and then the outcome is unknown.
    pub done: Done,
}

/// What a lane calls with a unit's outcome.
pub type Done = Box<dyn FnOnce(Result<Committed>) + Send>;

/// A committed unit with the changes that it is part of.
#[derive(Clone, PartialEq, Debug)]
pub struct Committed {
    /// The unit's outcome.
    pub done: UnitDone,
    /// The whole change of each shard named in `done.positions`; empty for a replay or where nothing changed.
    pub changes: Vec<Arc<ShardChange>>,
}

/// Kinds of jobs, each with room of its own in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Writes of clients.
    Client,
    /// The other halves of pairs.
    Inverse,
    /// May wait a little for a batch to go with.
    Bookkeeping,
}

/// Number of classes.
pub(super) const CLASSES: usize = 3;

impl Class {
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

const WAITING: u8 = 0;
const SENT: u8 = 1;
const CANCELLED: u8 = 2;

/// A hold on a job in a lane's queue. Dropping it changes nothing: the job is done whether anybody waits or not.
#[derive(Clone, Debug)]
pub struct Ticket {
    state: Arc<AtomicU8>,
}

impl Ticket {
    pub(super) fn new() -> Self {
        Self { state: Arc::new(AtomicU8::new(WAITING)) }
    }

    /// Takes the job back. True: it was not sent to the store and never will be, so nothing was done. False: it is
    /// on its way, and its outcome unknown to whoever can't wait.
    pub fn cancel(&self) -> bool {
        self.change(WAITING, CANCELLED) || self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// False if the job was cancelled.
    pub(super) fn send(&self) -> bool {
        self.change(WAITING, SENT)
    }

    /// The store did nothing of it: it waits again.
    pub(super) fn unsend(&self) {
        self.change(SENT, WAITING);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Estimated bytes of a unit in a statement.
pub(super) fn bytes_of(unit: &WriteUnit) -> usize {
    /// Keys, numbers and the row's share of indexes.
    const FIXED: usize = 64;
    unit.ops.iter().map(|op| FIXED + data_of(op)).sum()
}

fn data_of(op: &StoreOp) -> usize {
    match op {
        StoreOp::ObjectAdd { fields, .. } => fields.len(),
        StoreOp::ObjectUpdate { set, clear, .. } => set.len() + 2 * clear.len(),
        StoreOp::EdgePut { value, .. } | StoreOp::InverseApply { value: Some(value), .. } => {
            value.fields.len()
        }
        StoreOp::ObjectDelete { .. }
        | StoreOp::EdgeDelete { .. }
        | StoreOp::EdgeChangeType { .. }
        | StoreOp::InverseApply { value: None, .. }
        | StoreOp::OutboxDone { .. } => 0,
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("unit", &self.unit).field("class", &self.class).finish_non_exhaustive()
    }
}
