//! Every step that anybody can take.

use std::fmt;

use super::rules::{Rule, Rules};
use super::state::{GroupId, State, Task};

/// How far a search goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Writes that clients issue, at most [`super::state::MAX_WRITES`].
    pub writes: usize,
    /// Moves, one after the other, at most 2.
    pub moves: u8,
    /// Promotions of the two host groups.
    pub failovers: [u8; 2],
    /// Last transactions that a replica may lack, below [`super::group::MAX_LAG`].
    pub lag: usize,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// Rules in force.
    pub rules: Rules,
    /// Bounds of the search.
    pub bounds: Bounds,
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Step {
    /// INTENT: the record of a move is made.
    Intent,
    /// The record is closed.
    Close,
    /// A worker looks, waits for what it must, and decides.
    Decide(Task),
    /// A worker does what it decided; the reply may be lost, for it looks again anyway.
    Do(Task),
    /// The reply is lost, and the worker takes that for a failure (without `ReadBack`).
    TakenForFailed(Task),
    /// A worker dies, or gives up.
    Crash(Task),
    /// Changes of the source are applied to the target.
    Applied,
    /// A leader takes on an assignment.
    Adopt(GroupId, u8),
    /// A write locks the row.
    Begin(u8),
    /// It commits, and the client is told.
    Acknowledge(u8),
    /// Its connection is lost after COMMIT was sent.
    Disconnect(u8),
    /// It is rolled back.
    RollBack(u8),
    /// It commits, and nobody hears of it.
    CommitUnheard(u8),
    /// The leader looks whether it was committed.
    ReadBack(u8, bool),
    /// The client is told "unknown".
    GiveUp(u8),
    /// A primary is lost; so many rows of its log live on.
    Promote { group: GroupId, kept: u8, of: u8 },
}

impl Model {
    /// Whether a rule is in force.
    pub fn has(&self, rule: Rule) -> bool {
        self.rules.has(rule)
    }

    /// The beginning.
    pub fn start(&self) -> State {
        State::new(self.bounds.failovers)
    }

    /// Everything that can happen next.
    pub fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        out.clear();
        self.record_steps(state, out);
        for worker in distinct(&state.workers) {
            if state.workers[worker] == Task::Idle {
                self.pick_steps(state, worker, out);
                continue;
            }
            self.act_steps(state, worker, out);
            let mut next = *state;
            next.workers[worker] = Task::Idle;
            out.push((Step::Crash(state.workers[worker]), next));
        }
        for leader in distinct(&state.leaders) {
            self.leader_steps(state, leader, out);
        }
        for group in [0, 1] {
            self.promotions(state, group, out);
        }
        for (_, next) in out.iter_mut() {
            for worker in [0, 1] {
                if self.void(next, next.workers[worker]) {
                    next.workers[worker] = Task::Idle;
                }
            }
            next.sort();
        }
    }
}

/// One of each kind.
fn distinct<T: PartialEq>(pair: &[T; 2]) -> std::ops::Range<usize> {
    if pair[0] == pair[1] { 0..1 } else { 0..2 }
}

impl Step {
    /// Whether it is a fault that nothing may depend on.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Promote { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |group: &GroupId| ["S", "T"][*group];
        match self {
            Self::Intent => f.write_str("INTENT: a move begins"),
            Self::Close => f.write_str("the move is closed"),
            Self::Decide(task) => write!(f, "a worker looks and decides on {task:?}"),
            Self::Do(task) => write!(f, "{task:?} arrives"),
            Self::TakenForFailed(task) => {
                write!(f, "{task:?} arrives, its reply is lost and taken for a failure")
            }
            Self::Crash(task) => write!(f, "the worker about to {task:?} dies"),
            Self::Applied => f.write_str("the target applies what the source has"),
            Self::Adopt(group, epoch) => write!(f, "a leader learns of {}@{epoch}", name(group)),
            Self::Begin(write) => write!(f, "write {write} locks the row"),
            Self::Acknowledge(write) => write!(f, "write {write} is committed and acknowledged"),
            Self::Disconnect(write) => write!(f, "write {write} sends COMMIT and loses its connection"),
            Self::RollBack(write) => write!(f, "write {write} is rolled back"),
            Self::CommitUnheard(write) => write!(f, "write {write} is committed, unheard"),
            Self::ReadBack(write, true) => write!(f, "write {write} is found, and acknowledged"),
            Self::ReadBack(write, false) => write!(f, "write {write} is not found: failed"),
            Self::GiveUp(write) => write!(f, "write {write} ends as unknown"),
            Self::Promote { group, kept, of } => {
                write!(f, "FAULT: {}'s primary dies, its replica has {kept} of {of} rows", name(group))
            }
        }
    }
}
