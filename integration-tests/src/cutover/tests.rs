//! The design holds within the bounds, and each rule is needed.

use super::rules::{Rule, Rules};
use super::state::Violation::{self, *};
use super::steps::{Bounds, Model};

/// More states than any search here has, and less than 512 MiB.
const MOST: usize = 1_000_000;

const fn bounds(writes: usize, moves: u8, failovers: [u8; 2], lag: usize) -> Bounds {
    Bounds { writes, moves, failovers, lag }
}

/// Wide enough for every violation below, and together for every pair of these: two moves, a failover, two writes.
const SEARCHED: [Bounds; 5] = [
    bounds(1, 1, [1, 1], 2),
    bounds(1, 2, [1, 0], 2),
    bounds(1, 2, [0, 1], 2),
    bounds(2, 1, [1, 0], 2),
    bounds(2, 2, [0, 0], 1),
];

/// Without the rule, within the bounds: what goes wrong, and after how many steps.
const NEEDED: [(Rule, Bounds, Violation, usize); 25] = [
    (Rule::StateInWrites, bounds(1, 1, [0, 0], 1), AcknowledgedLost, 10),
    (Rule::EpochInWrites, bounds(1, 1, [1, 0], 1), WrongEpoch, 3),
    (Rule::WriteWhenTold, bounds(1, 1, [0, 1], 2), FailedPresent, 17),
    (Rule::Fence, bounds(0, 1, [0, 0], 1), TwoOwners, 6),
    (Rule::FenceWaits, bounds(1, 1, [0, 0], 1), AcknowledgedLost, 10),
    (Rule::FenceOnReplicas, bounds(0, 1, [1, 0], 1), EpochTwice, 9),
    (Rule::FenceOnce, bounds(0, 1, [0, 0], 1), Doubt, 8),
    (Rule::DrainToFence, bounds(1, 1, [0, 0], 1), AcknowledgedLost, 9),
    (Rule::ApplyCompares, bounds(1, 1, [0, 0], 1), AcknowledgedLost, 13),
    (Rule::Lineage, bounds(1, 1, [1, 0], 1), LostCameBack, 11),
    (Rule::CompareAndSet, bounds(0, 1, [0, 0], 1), TwoOwners, 12),
    (Rule::MoveIdInCompare, bounds(0, 2, [0, 0], 1), TwoOwners, 18),
    (Rule::AbortBeforeUnfence, bounds(0, 1, [0, 0], 1), TwoOwners, 10),
    (Rule::AbortOnReplicas, bounds(0, 1, [0, 1], 1), TwoOwners, 13),
    (Rule::ReadBack, bounds(0, 1, [0, 0], 1), TwoOwners, 9),
    (Rule::EpochFromFence, bounds(0, 1, [1, 0], 1), EpochTwice, 9),
    (Rule::UnfenceWhenDurable, bounds(0, 2, [1, 0], 2), EpochTwice, 23),
    (Rule::UnfenceOpensEpoch, bounds(2, 1, [1, 0], 2), PositionTwice, 16),
    (Rule::UnfenceSkipsEpoch, bounds(0, 1, [0, 1], 1), EpochTwice, 13),
    (Rule::TellWhenDurable, bounds(1, 1, [0, 1], 2), FailedPresent, 19),
    (Rule::TellCompares, bounds(0, 1, [1, 0], 1), Doubt, 14),
    (Rule::CloseWhenDurable, bounds(0, 1, [1, 0], 1), Doubt, 11),
    (Rule::PromotionOpensEpoch, bounds(1, 1, [1, 0], 1), LostCameBack, 11),
    (Rule::PromotionKeepsFence, bounds(0, 1, [1, 0], 1), EpochTwice, 9),
    (Rule::PromotionKeepsServing, bounds(0, 1, [0, 1], 1), Doubt, 9),
];

#[test]
fn with_all_rules_nothing_goes_wrong_and_every_move_can_be_ended() {
    for bounds in SEARCHED {
        let start = std::time::Instant::now();
        let found = Model { rules: Rules::all(), bounds }.search(MOST);
        let (states, steps, depth, settled) = (found.states, found.steps, found.depth, found.settled);
        println!(
            "{bounds:?}: {states} states, {steps} steps, depth {depth}, {settled} settled, {:?}",
            start.elapsed()
        );
        assert!(found.violation.is_none(), "{:?}", found.violation);
        // The search went somewhere: every part of the state was used.
        assert!(settled > 1000 && depth > 20, "{bounds:?} is too narrow");
    }
}

#[test]
fn without_any_one_of_the_rules_something_does() {
    for rule in Rule::ALL {
        let (_, bounds, wrong, length) = NEEDED.into_iter().find(|needed| needed.0 == rule).unwrap();
        let found = Model { rules: Rules::all().without(rule), bounds }.search(MOST);
        let Some((violation, trace)) = found.violation else { panic!("{rule:?} is not needed") };
        println!(
            "without {rule:?}: {violation:?} after {} steps, {} states\n{trace}",
            trace.len(),
            found.states
        );
        assert_eq!((violation, trace.len()), (wrong, length), "without {rule:?}");
        // With the rule the same bounds are fine, so it is the rule that makes the difference.
        let whole = Model { rules: Rules::all(), bounds }.search(MOST);
        assert!(whole.violation.is_none(), "{rule:?}: {:?}", whole.violation);
    }
}
