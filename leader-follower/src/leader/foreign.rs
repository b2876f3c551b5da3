//! What others write to a shard: their inverses stay in the outbox until somebody drains it (R23).

use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::ids::Seq;
use tokio::time::Instant;

/// Seqs that may wait for their own commit to be told; one more, and the shard counts as written by others.
const UNCLAIMED: usize = 64;

/// What the log brought of a shard that this leader has not (yet) heard of from its own lanes.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unclaimed: Vec<(Seq, Instant)>,
    /// Another leader writes here, or an own commit's outcome was not known.
    found: bool,
    /// Own commits up to here.
    own: Seq,
    /// The last seq heard of, from the log or from an own commit.
    heard: Option<Seq>,
}

impl Foreign {
    /// Others may have written what will never be told here.
    pub(super) fn suspect(&self) {
        self.state.lock().found = true;
    }

    /// Seqs begin again below what was (R19).
    pub(super) fn begin_again(&self) {
        *self.state.lock() = State { found: true, ..State::default() };
    }

    /// The log brought `seq`.
    pub(super) fn note(&self, seq: Seq) {
        let mut state = self.state.lock();
        state.heard = state.heard.max(Some(seq));
        if seq <= state.own {
            return;
        }
        if state.unclaimed.len() >= UNCLAIMED {
            state.unclaimed.clear();
            state.found = true;
        }
        state.unclaimed.push((seq, Instant::now()));
    }

    /// An own lane committed `seq`. Seqs have no holes (R2), so one that neither the log nor a lane has told of before it
    /// is somebody else's; the log will bring it when `own` has passed it, too late to tell.
    pub(super) fn claim(&self, seq: Seq) {
        let mut state = self.state.lock();
        state.found |= state.heard.is_none_or(|heard| seq > heard.next());
        state.heard = state.heard.max(Some(seq));
        state.own = state.own.max(seq);
        state.unclaimed.retain(|(known, _)| *known != seq);
    }

    /// Whether others have written since the last call, `settle` being how long an own commit's answer may be behind
    /// the log.
    pub(super) fn take(&self, settle: Duration) -> bool {
        let mut state = self.state.lock();
        let before = state.unclaimed.len();
        state.unclaimed.retain(|(_, since)| since.elapsed() < settle);
        let old = state.unclaimed.len() < before;
        std::mem::take(&mut state.found) || old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn own_commits_are_nobody_elses_whichever_way_they_are_heard_of_first() {
        let foreign = Foreign::default();
        foreign.claim(Seq(14));
        assert!(foreign.take(SETTLE), "nothing is known of what came before the first");
        foreign.note(Seq(14));
        foreign.note(Seq(15));
        foreign.claim(Seq(15));
        foreign.claim(Seq(16));
        tokio::time::advance(SETTLE * 2).await;
        assert!(!foreign.take(SETTLE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_claims_is_foreign_once_its_time_is_over() {
        let foreign = Foreign::default();
        foreign.note(Seq(14));
        assert!(!foreign.take(SETTLE), "the own lane may still say so");
        tokio::time::advance(SETTLE).await;
        assert!(foreign.take(SETTLE));
        assert!(!foreign.take(SETTLE), "said once");
    }

    /// Seed 720 of the simulation: the log comes late, an own commit behind the stranger's is told of before it.
    #[test]
    fn a_hole_before_an_own_commit_is_foreign_though_the_log_comes_later() {
        let foreign = Foreign::default();
        foreign.note(Seq(14));
        foreign.claim(Seq(14));
        foreign.claim(Seq(16));
        assert!(foreign.take(SETTLE));
        foreign.note(Seq(15));
        foreign.note(Seq(16));
        assert!(!foreign.take(SETTLE), "said once");
    }
}
