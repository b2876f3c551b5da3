//! Random histories: a database with a lagging replica, its log that is ahead of what is committed, promotions that lose
//! nothing or much, two leaders of which one is seen in the log alone, a follower, and everything that goes wrong
//! between them. What is checked, after every step:
//!
//! 1. every entry equals the log of its node's epoch at the seq that it is claimed to be right at;
//! 2. a reader is never shown less than had been shown, or acknowledged, when it began to read (Local reads included),
//!    except for what a promotion has lost; and never told that a position is satisfied that is lost;
//! 3. a watermark never falls within a lineage, unless the shard was forgotten; trust is never there below what a
//!    subscription promised;
//! 4. once everything is delivered, leader and follower know the whole log, and keep what they are given.
//!
//! Without any one rule a history is found that breaks one of these.

mod readers;
mod wire;
mod world;

use super::super::rules::Rule;
use world::{Violation, World};

/// Steps of one history before everything is delivered.
const STEPS: u64 = 70;
const SEEDS: u64 = 2_000;
/// Histories that a missing rule may hide in.
const MUTANT_SEEDS: u64 = 20_000;

#[test]
fn random_histories_stay_right() {
    for seed in 0..SEEDS {
        if let Err(violation) = history(seed, None, false) {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// The defence is never needed; and caches bear a store whose list versions start again at 0 with an emptied list: an
/// entry with version 0 is an empty list, and counts by its `as_of` (H13).
#[test]
fn histories_stay_right_without_the_defence_and_with_versions_that_start_again() {
    for seed in 0..SEEDS / 4 {
        for versions_restart in [false, true] {
            if let Err(violation) = history(seed, Some(Rule::Consistency), versions_restart) {
                panic!("seed {seed}, versions_restart {versions_restart}: {violation}");
            }
        }
    }
}

/// Rules whose absence a history of this kind can show. The others: in [`super::rules`], for `AheadWaits` and `NeverBack`
/// cover each other here; in [`super::tailed`] and [`super::epochs`], for a leader that is behind shows nothing wrong, and
/// every history comes whole; and in [`super::threads`].
const SHOWN: [Rule; 26] = [
    Rule::RingReaches,
    Rule::RollForward,
    Rule::FillState,
    Rule::OldChanges,
    Rule::AbsenceCounts,
    Rule::PreviousVersion,
    Rule::AbsoluteCount,
    Rule::Boundary,
    Rule::AnswerFloor,
    Rule::ShownFloor,
    Rule::StoreFloor,
    Rule::AskFloor,
    Rule::Collapse,
    Rule::WholeChange,
    Rule::AnswerIsFill,
    Rule::Contiguous,
    Rule::LostTrust,
    Rule::CatchUp,
    Rule::ResetVoids,
    Rule::ForgetVoids,
    Rule::HeartbeatSeq,
    Rule::FillLineage,
    Rule::VisibleOnly,
    Rule::EpochEnds,
    Rule::EpochFlush,
    Rule::FloorsEnd,
];

#[test]
fn without_a_rule_a_history_goes_wrong() {
    let missed: Vec<Rule> = SHOWN.into_iter().filter(|rule| first_violation(*rule).is_none()).collect();
    assert!(missed.is_empty(), "no violation in {MUTANT_SEEDS} histories without {missed:?}");
}

fn first_violation(without: Rule) -> Option<u64> {
    let found = (0..MUTANT_SEEDS).find_map(|seed| Some((seed, history(seed, Some(without), false).err()?)));
    if let Some((seed, violation)) = &found {
        println!("without {without:?}: seed {seed}: {violation}");
    }
    found.map(|(seed, _)| seed)
}

fn history(seed: u64, without: Option<Rule>, versions_restart: bool) -> Result<(), Violation> {
    let mut world = World::new(seed, without, versions_restart);
    for _ in 0..STEPS {
        world.step()?;
    }
    world.settle()
}
