//! The leaders: one write each at a time, as R2 and R4 have it.

use super::group::RowState;
use super::rules::Rule;
use super::state::{Leader, State, Told, Transaction, Violation};
use super::steps::{Model, Step};

impl Model {
    /// What a leader, its connection and its server may do next.
    pub(super) fn leader_steps(&self, state: &State, index: usize, out: &mut Vec<(Step, State)>) {
        let leader = state.leaders[index];
        match leader.transaction {
            Transaction::None => {
                self.adopt(state, index, out);
                self.begin(state, index, out);
            }
            Transaction::Open(write) => {
                let mut next = *state;
                self.commit_write(&mut next, index, write);
                next.writes[usize::from(write)].told = Told::Acknowledged;
                next.leaders[index].transaction = Transaction::None;
                out.push((Step::Acknowledge(write), next));

                next = *state;
                next.leaders[index].transaction = Transaction::Adrift(write);
                out.push((Step::Disconnect(write), next));

                next = *state;
                next.writes[usize::from(write)].told = Told::Failed;
                next.leaders[index].transaction = Transaction::None;
                out.push((Step::RollBack(write), next));
            }
            Transaction::Adrift(write) => {
                self.adopt(state, index, out);
                self.read_back(state, index, write, out);
                let mut next = *state;
                let over = match state.writes[usize::from(write)].told {
                    Told::Nothing => Transaction::Uncertain(write),
                    _ => Transaction::None,
                };
                next.leaders[index].transaction = over;
                out.push((Step::RollBack(write), next));
                self.commit_write(&mut next, index, write);
                out.push((Step::CommitUnheard(write), next));
            }
            Transaction::Uncertain(write) => {
                self.adopt(state, index, out);
                self.read_back(state, index, write, out);
                // The deadline, or the leader's end: the client is told "unknown".
                let mut next = *state;
                next.leaders[index].transaction = Transaction::None;
                out.push((Step::GiveUp(write), next));
            }
        }
    }

    /// The leader loads the topology.
    fn adopt(&self, state: &State, index: usize, out: &mut Vec<(Step, State)>) {
        let mut take = |(group, epoch): (usize, u8)| {
            let mut next = *state;
            if epoch > next.leaders[index].epoch {
                (next.leaders[index].group, next.leaders[index].epoch) = (group, epoch);
                out.push((Step::Adopt(group, epoch), next));
            }
        };
        take(state.topology);
        if !self.has(Rule::WriteWhenTold) {
            for group in [0, 1] {
                let row = state.row(group);
                if row.state == RowState::Serving && (group, row.epoch) != state.topology {
                    take((group, row.epoch));
                }
            }
        }
    }

    /// The next write takes the lock of the shard row, and looks at it (R2).
    fn begin(&self, state: &State, index: usize, out: &mut Vec<(Step, State)>) {
        let Leader { group, epoch, .. } = state.leaders[index];
        let issued = state.writes[..self.bounds.writes].iter().position(|write| write.told == Told::Unissued);
        let Some(write) = issued else { return };
        let row = state.row(group);
        let serving = row.state == RowState::Serving || !self.has(Rule::StateInWrites);
        let assigned = row.epoch == epoch || !self.has(Rule::EpochInWrites);
        if state.locked(group) || !serving || !assigned {
            return;
        }
        let mut next = *state;
        next.leaders[index].transaction = Transaction::Open(write as u8);
        next.leaders[index].at = group;
        next.writes[write].told = Told::Nothing;
        out.push((Step::Begin(write as u8), next));
    }

    fn commit_write(&self, state: &mut State, index: usize, write: u8) {
        let leader = state.leaders[index];
        let group = leader.at;
        let mut row = state.row(group);
        row.seq += 1;
        row.data |= 1 << write;
        let committed = (group as u8, row.epoch, row.seq);
        let twice =
            state.writes.iter().any(|other| (other.committed.1, other.committed.2) == (row.epoch, row.seq));
        if twice {
            state.broken = Some(Violation::PositionTwice);
        }
        // It stamps what it acknowledges with the epoch that it believes in, if it did not compare.
        let connected = leader.transaction == Transaction::Open(write);
        if connected && !self.has(Rule::EpochInWrites) && leader.epoch != row.epoch {
            state.broken = Some(Violation::WrongEpoch);
        }
        state.writes[usize::from(write)].committed = committed;
        state.groups[group].write(row, self.bounds.lag);
    }

    /// R4: on a new connection it takes the lock, where it believes the shard to be, and looks for the batch's own row.
    fn read_back(&self, state: &State, index: usize, write: u8, out: &mut Vec<(Step, State)>) {
        let group = state.leaders[index].group;
        if state.locked(group) || state.writes[usize::from(write)].told != Told::Nothing {
            return;
        }
        let found = state.row(group).data & (1 << write) != 0;
        let mut next = *state;
        next.writes[usize::from(write)].told = if found { Told::Acknowledged } else { Told::Failed };
        if let Transaction::Uncertain(_) = state.leaders[index].transaction {
            next.leaders[index].transaction = Transaction::None;
        }
        out.push((Step::ReadBack(write, found), next));
    }
}
