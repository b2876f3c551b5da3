//! What is to be done, by the rows of both servers and by what was ordered. Pure: the whole argument for going on after a crash.
//!
//! Before COMMIT whoever comes rolls back what is fenced; after it, forward. What was decided is in the target's record of the
//! attempt, never in the book.

use tao_schema::rows::ShardState;
use tao_shard_store::moves::{MoveEntry, MoveRecord, Outcome, Role, ShardMoves};

use super::terms::{Goal, Orders};

/// What is there.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// The book's entry.
    pub(super) entry: MoveEntry,
    /// What the source's primary has of the shard.
    pub(super) source: ShardMoves,
    /// What the target's has.
    pub(super) target: ShardMoves,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// It is paused.
    Wait,
    /// Look at everything, and make the target's row.
    Begin,
    /// Copy, follow, compare: up to READY, which is what was ordered.
    Keep,
    /// The same, then fence, drain, commit.
    CutOver,
    /// End this attempt; the source serves. Then another attempt, unless the move was given up.
    RollBack,
    /// The target serves: tell everybody, and begin the stream back.
    RollForward,
    /// The target serves, and the source follows it: go on following.
    Follow,
    /// Source and target change places: the stream back becomes the move.
    Turn,
    /// The source gives up its rows.
    Finalize,
    /// The rows contradict each other, or an order: nothing is safe to do.
    Stop(String),
}

impl Sight {
    /// The target's record of the attempt.
    pub(super) fn here(&self) -> Option<&MoveRecord> {
        self.target.of(self.entry.at.attempt).filter(|record| record.role == Role::Target)
    }

    /// The source's.
    pub(super) fn there(&self) -> Option<&MoveRecord> {
        self.source.of(self.entry.at.attempt).filter(|record| record.role == Role::Source)
    }

    /// The stream back, on the source, while it can be used.
    pub(super) fn back(&self) -> Option<&MoveRecord> {
        let record = self.source.of(self.entry.at.back?)?;
        (record.role == Role::Target && record.outcome == Outcome::Running).then_some(record)
    }

    /// Whether the target serves by this attempt.
    pub(super) fn committed(&self) -> bool {
        self.here().is_some_and(|record| record.outcome == Outcome::Committed)
    }

    fn source_state(&self) -> Option<ShardState> {
        self.source.row.map(|row| row.state)
    }

    /// Whether the move is to be given up; allowed only as long as the shard never left home.
    fn given_up(&self, orders: &Orders) -> bool {
        orders.goal == Goal::Aborted && self.entry.at.source == self.entry.home
    }

    /// What to do next.
    pub(super) fn act(&self, orders: &Orders) -> Act {
        match self.here().map(|record| record.outcome) {
            Some(Outcome::Committed | Outcome::Retired) => self.after_commit(orders),
            // Nobody may use this attempt any more, and the end of it may be half done.
            Some(Outcome::Aborted) => Act::RollBack,
            Some(Outcome::Running) => self.before_commit(orders),
            // A fence without a target: its server lost the import (a failover). Or an order to give up before anything was done.
            None if self.there().is_some() || self.given_up(orders) => Act::RollBack,
            None if orders.paused => Act::Wait,
            None => Act::Begin,
        }
    }

    fn before_commit(&self, orders: &Orders) -> Act {
        match self.there().map(|record| record.outcome) {
            // A cutover that somebody began and did not end.
            Some(Outcome::Running | Outcome::Aborted) => return Act::RollBack,
            Some(Outcome::Committed | Outcome::Retired) => {
                return Act::Stop(
                    "the source knows of a commit that the target does not: the target lost its decision"
                        .to_owned(),
                );
            }
            None => {}
        }
        if self.given_up(orders) {
            return Act::RollBack;
        }
        if orders.goal == Goal::Aborted {
            return moved();
        }
        if self.source_state() != Some(ShardState::Serving) {
            return Act::Stop(format!(
                "the shard is {:?} on the source, in host group {}, and this move did not do that",
                self.source_state(),
                self.entry.at.source
            ));
        }
        if orders.paused {
            return Act::Wait;
        }
        let wanted = match orders.goal {
            Goal::There => self.entry.at.target != self.entry.home,
            Goal::Back => self.entry.at.target == self.entry.home,
            Goal::Ready | Goal::Aborted => false,
        };
        if wanted { Act::CutOver } else { Act::Keep }
    }

    fn after_commit(&self, orders: &Orders) -> Act {
        if self.source_state() == Some(ShardState::Gone) {
            return Act::Finalize;
        }
        if self.back().is_none() {
            return Act::RollForward;
        }
        if orders.paused {
            return Act::Wait;
        }
        let at_home = self.entry.at.target == self.entry.home;
        match orders.goal {
            Goal::Aborted => moved(),
            Goal::Back if !at_home => Act::Turn,
            Goal::There if at_home => Act::Turn,
            Goal::Ready | Goal::There | Goal::Back if orders.finalize => Act::Finalize,
            Goal::Ready | Goal::There | Goal::Back => Act::Follow,
        }
    }
}

fn moved() -> Act {
    Act::Stop(
        "the shard has moved, and can't be given up any more: `tao shard reverse` brings it back".to_owned(),
    )
}
