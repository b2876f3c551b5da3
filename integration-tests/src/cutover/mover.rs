//! The workers: look at the rows and decide; later, do it by compare-and-set. In between anything may happen.

use super::group::RowState;
use super::rules::Rule;
use super::state::{FIRST, State, Task};
use super::steps::{Model, Step};

impl Model {
    /// The record of a move is made, and closed. Both are small transactions beside the rows, and decide nothing.
    pub(super) fn record_steps(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let mut next = *state;
        if !state.record.open {
            if state.record.id < self.bounds.moves {
                next.record.id += 1;
                next.record.open = true;
                // After a commit that is the reverse; after an abort another try.
                next.record.source = state.topology.0;
                out.push((Step::Intent, next));
            }
            return;
        }
        let (source, target) = (state.record.source, state.record.target());
        let (from, to) = (state.row(source), state.row(target));
        let told = |group: usize| state.topology == (group, state.row(group).epoch);
        let forward = to.state == RowState::Serving && to.by == state.record.id && told(target);
        let marked = from.by == state.record.id || !self.has(Rule::FenceOnce);
        let aborted = to.state == RowState::Aborted && to.by == state.record.id;
        let back = aborted && from.state == RowState::Serving && marked && told(source);
        if !forward && !back {
            return;
        }
        if self.has(Rule::CloseWhenDurable) {
            next.groups[source].wait_for_replica();
            next.groups[target].wait_for_replica();
        }
        next.record.open = false;
        out.push((Step::Close, next));
    }

    /// What a worker may decide to do, by what it sees, and what it waits for before it does so.
    pub(super) fn pick_steps(&self, state: &State, worker: usize, out: &mut Vec<(Step, State)>) {
        let mut pick = |task: Task, waits: [Option<usize>; 2]| {
            let mut next = *state;
            for group in waits.into_iter().flatten() {
                next.groups[group].wait_for_replica();
            }
            next.workers[worker] = task;
            out.push((Step::Decide(task), next));
        };
        for group in [0, 1] {
            let row = state.row(group);
            // A promotion that was cut short is run again, too.
            let anybody = state.record.open || state.groups[group].replicas < self.bounds.failovers[group];
            if anybody && row.state == RowState::Serving && row.epoch > state.topology.1 {
                let wait = self.has(Rule::TellWhenDurable).then_some(group);
                pick(Task::Tell { group, epoch: row.epoch }, [wait, None]);
            }
        }
        if !state.record.open {
            return;
        }
        let (id, source, target) = (state.record.id, state.record.source, state.record.target());
        let (from, to) = (state.row(source), state.row(target));
        let importing = to.state == RowState::Importing && to.by == id;
        if to.by < id && to.state != RowState::Serving {
            pick(Task::Import { id }, [None; 2]);
        }
        let unfenced = from.state == RowState::Serving;
        if importing && unfenced && (from.by < id || !self.has(Rule::FenceOnce)) && self.has(Rule::Fence) {
            pick(Task::Fence { id }, [None; 2]);
        }
        let fenced = from.state == RowState::Fenced && from.by == id;
        if importing && (fenced || !self.has(Rule::Fence)) {
            let wait = self.has(Rule::FenceOnReplicas).then_some(source);
            pick(Task::Commit { id, epoch: from.epoch, seq: from.seq }, [wait, None]);
        }
        if to.by <= id && (importing || to.by < id) && to.state != RowState::Serving {
            pick(Task::Abort { id }, [None; 2]);
        }
        let aborted = to.state == RowState::Aborted && to.by == id;
        let may_unfence = aborted || (importing && !self.has(Rule::AbortBeforeUnfence));
        if may_unfence {
            let abort = (aborted && self.has(Rule::AbortOnReplicas)).then_some(target);
            let fence = self.has(Rule::UnfenceWhenDurable).then_some(source);
            match from.state {
                RowState::Fenced => pick(Task::Unfence { id }, [abort, fence]),
                RowState::Serving if from.by < id && self.has(Rule::FenceOnce) => {
                    pick(Task::Mark { id }, [abort, None]);
                }
                _ => {}
            }
        }
        let read = Task::Apply { group: source, epoch: from.epoch, seq: from.seq, data: from.data };
        if importing && (to.applied, to.applied_epoch) != (from.seq, from.epoch) {
            if self.has(Rule::ApplyCompares) {
                // It fails if anything else was applied since it read, or the row changed its state or its move. So it
                // is as good as if it had been done when it read: one step.
                let mut next = *state;
                self.apply(&mut next, read);
                out.push((Step::Applied, next));
            } else {
                pick(read, [None; 2]);
            }
        }
    }

    /// A worker does what it is about to do, and then looks again: that it got a reply makes no difference.
    pub(super) fn act_steps(&self, state: &State, worker: usize, out: &mut Vec<(Step, State)>) {
        let task = state.workers[worker];
        let mut next = *state;
        next.workers[worker] = Task::Idle;
        match task {
            Task::Idle => return,
            Task::Import { id } => self.import(&mut next, id),
            Task::Fence { id } => {
                let source = state.record.source;
                if self.has(Rule::FenceWaits) && state.locked(source) {
                    return;
                }
                self.fence(&mut next, id);
            }
            Task::Commit { id, epoch, seq } => self.commit(&mut next, id, epoch, seq),
            Task::Abort { id } => self.abort(&mut next, id),
            Task::Unfence { id } => self.unfence(&mut next, id),
            Task::Mark { id } => self.mark(&mut next, id),
            Task::Tell { group, epoch } => {
                if next.topology.1 < epoch || !self.has(Rule::TellCompares) {
                    next.topology = (group, epoch);
                }
            }
            Task::Apply { .. } => self.apply(&mut next, task),
        }
        out.push((Step::Do(task), next));
        if let (Task::Commit { id, .. }, false) = (task, self.has(Rule::ReadBack)) {
            next.workers[worker] = Task::Unfence { id };
            out.push((Step::TakenForFailed(task), next));
        }
    }

    fn import(&self, state: &mut State, id: u8) {
        let (source, target) = Self::roles(state, id);
        let mut row = state.row(target);
        if row.by >= id || row.state == RowState::Serving {
            return;
        }
        if row.state == RowState::Fenced {
            // It was the source of the move before, and has everything up to its fence: only what followed is copied.
            (row.applied, row.applied_epoch) = (row.seq, row.epoch);
        }
        row.state = RowState::Importing;
        row.by = id;
        if !self.has(Rule::EpochFromFence) {
            row.epoch = state.row(source).epoch + 1;
        }
        state.groups[target].write(row, self.bounds.lag);
    }

    fn fence(&self, state: &mut State, id: u8) {
        let (source, _) = Self::roles(state, id);
        let mut row = state.row(source);
        let late = row.by >= id && self.has(Rule::FenceOnce);
        if row.state != RowState::Serving || late {
            return;
        }
        row.state = RowState::Fenced;
        row.by = id;
        row.seq += 1;
        state.groups[source].write(row, self.bounds.lag);
    }

    /// The decision. Everything that it compares is in the target's own rows.
    fn commit(&self, state: &mut State, id: u8, epoch: u8, seq: u8) {
        let (_, target) = Self::roles(state, id);
        let mut row = state.row(target);
        let drained = (row.applied, row.applied_epoch) == (seq, epoch);
        let drained = drained || (row.applied == seq && !self.has(Rule::Lineage));
        let same_move = row.by == id || !self.has(Rule::MoveIdInCompare);
        let as_expected = row.state == RowState::Importing && same_move;
        if (!as_expected && self.has(Rule::CompareAndSet)) || (!drained && self.has(Rule::DrainToFence)) {
            return;
        }
        row.state = RowState::Serving;
        row.by = row.by.max(id);
        row.epoch = if self.has(Rule::EpochFromFence) { epoch + 1 } else { row.epoch };
        row.seq = seq + 1;
        (row.applied, row.applied_epoch) = (0, 0);
        state.open_epoch(target, row.epoch, row.seq);
        state.groups[target].write(row, self.bounds.lag);
    }

    fn abort(&self, state: &mut State, id: u8) {
        let (_, target) = Self::roles(state, id);
        let mut row = state.row(target);
        let same_move = row.by == id || !self.has(Rule::MoveIdInCompare);
        let importing = row.state == RowState::Importing && same_move;
        // Before IMPORT: so that a late one finds it.
        let not_begun = row.by < id && row.state != RowState::Serving;
        if importing || not_begun || !self.has(Rule::CompareAndSet) {
            row.state = RowState::Aborted;
            row.by = row.by.max(id);
            state.groups[target].write(row, self.bounds.lag);
        }
    }

    fn unfence(&self, state: &mut State, id: u8) {
        let (source, _) = Self::roles(state, id);
        let mut row = state.row(source);
        if row.state == RowState::Fenced && (row.by == id || !self.has(Rule::MoveIdInCompare)) {
            row.state = RowState::Serving;
            row.seq += 1;
            if self.has(Rule::UnfenceOpensEpoch) {
                row.epoch += if self.has(Rule::UnfenceSkipsEpoch) { 2 } else { 1 };
                state.open_epoch(source, row.epoch, row.seq);
            }
            state.groups[source].write(row, self.bounds.lag);
        }
    }

    /// Never fenced: a late FENCE of this move finds that it is over.
    fn mark(&self, state: &mut State, id: u8) {
        let (source, _) = Self::roles(state, id);
        let mut row = state.row(source);
        if row.state == RowState::Serving && row.by < id {
            row.by = id;
            state.groups[source].write(row, self.bounds.lag);
        }
    }

    /// The changes up to the position that was read, or a new copy.
    fn apply(&self, state: &mut State, read: Task) {
        let Task::Apply { group, epoch, seq, data } = read else { return };
        let mut row = state.row(1 - group);
        let beyond =
            state.first_seq_after(row.applied_epoch, epoch).is_some_and(|first| first <= row.applied);
        let anew = beyond && row.applied > 0 && self.has(Rule::Lineage);
        // Without the comparison it writes whatever there is now; older images of rows replace newer ones.
        let blind = !self.has(Rule::ApplyCompares);
        row.data = if anew || blind { data } else { row.data | data };
        (row.applied, row.applied_epoch) = (seq, epoch);
        state.groups[1 - group].write(row, self.bounds.lag);
    }

    /// A task that can't do anything any more, whatever happens: the worker may as well forget it. That makes states equal
    /// which differ in nothing that matters.
    pub(super) fn void(&self, state: &State, task: Task) -> bool {
        let ever = |group: usize, id: u8, wanted: RowState| {
            let mut rows = state.groups[group].rows();
            rows.any(|row| row.by < id || (row.by == id && row.state == wanted))
        };
        let compares = self.has(Rule::CompareAndSet) && self.has(Rule::MoveIdInCompare);
        match task {
            Task::Idle | Task::Apply { .. } => false,
            Task::Tell { epoch, .. } => self.has(Rule::TellCompares) && epoch <= state.topology.1,
            Task::Import { id } => !ever(Self::roles(state, id).1, id, RowState::Absent),
            Task::Fence { id } | Task::Mark { id } => {
                self.has(Rule::FenceOnce) && !ever(Self::roles(state, id).0, id, RowState::Absent)
            }
            Task::Commit { id, .. } => {
                compares
                    && self.has(Rule::ReadBack)
                    && !ever(Self::roles(state, id).1, id, RowState::Importing)
            }
            Task::Abort { id } => compares && !ever(Self::roles(state, id).1, id, RowState::Importing),
            Task::Unfence { id } => {
                compares && self.has(Rule::FenceOnce) && !ever(Self::roles(state, id).0, id, RowState::Fenced)
            }
        }
    }

    /// Source and target of a move, which a worker knows by the id.
    fn roles(state: &State, id: u8) -> (usize, usize) {
        let source = if id == state.record.id { state.record.source } else { FIRST };
        (source, 1 - source)
    }
}
