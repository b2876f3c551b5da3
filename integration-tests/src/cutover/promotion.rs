//! A primary is lost, and its replica takes over (R24) with what it has: everything (lossless mode, or luck) or less.

use super::group::RowState;
use super::rules::Rule;
use super::state::{GroupId, State, Told, Transaction};
use super::steps::{Model, Step};

impl Model {
    /// The group's primary is gone for good, and each of the prefixes of its log that its replica may have is tried.
    pub(super) fn promotions(&self, state: &State, group: GroupId, out: &mut Vec<(Step, State)>) {
        if state.groups[group].replicas == 0 {
            return;
        }
        for kept in state.groups[group].survivors() {
            let mut next = *state;
            next.groups[group].promote(kept);
            note_lost(state, &mut next, group);
            for leader in next.leaders.iter_mut().filter(|leader| leader.holds(group)) {
                // Its transaction ended with the server.
                let (Transaction::Open(write) | Transaction::Adrift(write)) = leader.transaction else {
                    continue;
                };
                leader.transaction = match state.writes[usize::from(write)].told {
                    Told::Nothing => Transaction::Uncertain(write),
                    _ => Transaction::None,
                };
            }
            self.open_epochs(&mut next, group);
            out.push((Step::Promote { group, kept, of: *state.groups[group].survivors().end() }, next));
        }
    }

    /// Before the new primary takes anything, its row is written anew.
    fn open_epochs(&self, state: &mut State, group: GroupId) {
        let mut row = state.row(group);
        let named = state.topology.0 == group;
        let stays = match row.state {
            RowState::Serving => named || self.has(Rule::PromotionKeepsServing),
            // As the topology says, without the rule.
            RowState::Fenced => named && !self.has(Rule::PromotionKeepsFence),
            _ => return,
        };
        match (row.state, stays) {
            (RowState::Serving, true) if !self.has(Rule::PromotionOpensEpoch) => return,
            (RowState::Serving, true) => {
                row.epoch += 1;
                state.open_epoch(group, row.epoch, row.seq + 1);
            }
            (RowState::Serving, false) => {
                row.seq += 1;
                row.state = RowState::Fenced;
            }
            (_, true) => {
                row.epoch += 1;
                row.seq += 1;
                row.state = RowState::Serving;
                state.open_epoch(group, row.epoch, row.seq);
            }
            (_, false) => return,
        }
        // All replicas that could still be promoted follow the new primary from here on.
        state.groups[group].write(row, self.bounds.lag);
        state.groups[group].wait_for_replica();
    }
}

/// Writes that were committed in this group, and that it no longer has while no other owns the shard, are lost. That is what
/// an asynchronous replica costs with or without a move. Rows that a move brought here are not: they must not get lost.
fn note_lost(before: &State, after: &mut State, group: GroupId) {
    if before.row(1 - group).state == RowState::Serving {
        return;
    }
    let gone = before.row(group).data & !after.row(group).data;
    for (index, write) in after.writes.iter_mut().enumerate() {
        if gone & (1 << index) != 0 && usize::from(write.committed.0) == group {
            write.lost = true;
        }
    }
}
