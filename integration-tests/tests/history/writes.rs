//! I1 and I8: what was acknowledged, what was not, and what came twice or in part.

use integration_tests::history::{Call, Invariant, Reply};
use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::ops::{Effect, WriteOp};

use super::world::*;

#[test]
fn acknowledged_writes_that_are_there_are_accepted() {
    let mut world = World::new();
    let (ann, bob) = (user(S1, 1), user(S1, 2));
    world.add_user(ann, 10, at(S1, 1, 1));
    // Two writes of one transaction: the second one is seen.
    world.change(at(S1, 1, 2), vec![object(ann, Seq(2), 12)]);
    world.wrote(vec![update(ann, 11)], &[at(S1, 1, 2)], &[(Effect::Updated, Some(ann))]);
    world.wrote(vec![update(ann, 12)], &[at(S1, 1, 2)], &[(Effect::Updated, Some(ann))]);
    // One of unknown outcome that happened, and one that did not; one that failed.
    world.failed(vec![add(bob, 20)], ErrorCode::OutcomeUnknown);
    world.failed(vec![add(user(S1, 3), 30)], ErrorCode::OutcomeUnknown);
    world.failed(vec![add(user(S1, 4), 40)], ErrorCode::Unavailable);
    world.change(at(S1, 1, 3), vec![object(bob, Seq(3), 20)]);
    world.accepted(Invariant::I1);
}

#[test]
fn a_lost_acknowledged_write_is_refused() {
    let mut world = World::new();
    world.add_user(user(S1, 1), 10, at(S1, 1, 1));
    world.wrote(vec![add(user(S1, 2), 20)], &[at(S1, 1, 2)], &[(Effect::Created, Some(user(S1, 2)))]);
    assert!(world.refused(Invariant::I1).contains("acknowledged at 1:1:2; there the log has Nowhere"));
}

/// The position is there, but with somebody else's write.
#[test]
fn an_acknowledged_write_without_effect_is_refused() {
    let mut world = World::new();
    let (ann, bob) = (user(S1, 1), user(S1, 2));
    world.add_user(ann, 10, at(S1, 1, 1));
    world.wrote(vec![add(bob, 20)], &[at(S1, 1, 1)], &[(Effect::Created, Some(bob))]);
    assert!(world.refused(Invariant::I1).contains("has nothing of Object"));
    let mut world = World::new();
    world.change(at(S1, 1, 1), vec![object(ann, Seq(1), 99)]);
    world.wrote(vec![add(ann, 10)], &[at(S1, 1, 1)], &[(Effect::Created, Some(ann))]);
    assert!(world.refused(Invariant::I1).contains("it wanted"));
}

/// A lossless promotion loses nothing; an async one loses what is listed.
#[test]
fn a_write_lost_by_a_promotion_is_refused_where_nothing_may_be_lost() {
    let mut world = World::new();
    world.add_user(user(S1, 1), 10, at(S1, 1, 1));
    world.add_user(user(S1, 2), 20, at(S1, 1, 2));
    world.epoch(S1, 2, 2);
    assert!(world.refused(Invariant::I1).contains("there the log has Lost"));
    world.rules.lossless = false;
    world.accepted(Invariant::I1);
    assert_eq!((world.judge().lost, world.truth.lost().count()), (1, 1));
}

/// Seed 60563 of the simulation: an attempt at the new primary, whose answer was lost, and one at the old primary, which
/// acknowledged it and was deposed.
#[test]
fn a_write_that_a_deposed_primary_acknowledged_may_stand_by_another_attempt() {
    let mut world = World::new();
    world.rules.lossless = false;
    let ann = user(S1, 1);
    world.add_user(ann, 10, at(S1, 1, 1));
    world.epoch(S1, 2, 1);
    world.change(at(S1, 2, 1), vec![object(ann, Seq(1), 10)]);
    world.accepted(Invariant::I1);
    // What nobody asked for is still found.
    world.change(at(S1, 2, 2), vec![object(user(S1, 2), Seq(2), 11)]);
    assert!(world.refused(Invariant::I1).contains("nobody asked for"));
}

/// Applied, the answer lost, deleted by another, and applied again by the retry (H5).
#[test]
fn a_retry_that_is_applied_twice_is_refused() {
    let (ann, bob) = (user(S1, 1), user(S1, 2));
    let mut world = World::new();
    let there = Some((10, "b"));
    world.change(at(S1, 1, 1), vec![list(ann, &[(bob, there)], 0, 1), list(bob, &[(ann, there)], 0, 1)]);
    world.change(at(S1, 1, 2), vec![list(ann, &[(bob, None)], 1, 0), list(bob, &[(ann, None)], 1, 0)]);
    world.wrote(vec![part(ann, bob)], &[at(S1, 1, 2)], &[(Effect::Deleted, None)]);
    let once = (world.truth.clone(), world.history.clone());
    world.change(at(S1, 1, 3), vec![list(ann, &[(bob, there)], 2, 1), list(bob, &[(ann, there)], 2, 1)]);
    world.wrote(vec![befriend(ann, bob, 10, "b")], &[at(S1, 1, 3)], &[(Effect::Created, None)]);
    let why = world.refused(Invariant::I1);
    assert!(why.contains("is in the log twice"), "{why}");
    assert!(why.contains("which nobody asked for"), "{why}");
    // A history that lacks writes still shows the first of it.
    world.rules.complete = false;
    assert!(world.refused(Invariant::I1).contains("is in the log twice"));
    // The retry that was told of the first effect.
    world.rules.complete = true;
    (world.truth, world.history) = once;
    world.wrote(vec![befriend(ann, bob, 10, "b")], &[at(S1, 1, 1)], &[(Effect::Created, None)]);
    world.accepted(Invariant::I1);
}

#[test]
fn a_failed_write_that_happened_is_refused() {
    let mut world = World::new();
    world.change(at(S1, 1, 1), vec![object(user(S1, 1), Seq(1), 10)]);
    world.failed(vec![add(user(S1, 1), 10)], ErrorCode::Unavailable);
    let why = world.refused(Invariant::I1);
    assert!(why.contains("failed for certain, and is in the log"), "{why}");
}

/// Both saw version 1; only one may have changed it.
#[test]
fn a_lost_update_is_refused() {
    let ann = user(S1, 1);
    let mut world = World::new();
    world.add_user(ann, 10, at(S1, 1, 1));
    for (seq, value) in [(2, 11), (3, 12)] {
        let op = match update(ann, value) {
            WriteOp::ObjectUpdate { id, otype, set, clear, .. } => {
                WriteOp::ObjectUpdate { id, otype, set, clear, expected: Some(Seq(1)) }
            }
            other => other,
        };
        world.change(at(S1, 1, seq), vec![object(ann, Seq(seq), value)]);
        world.wrote(vec![op], &[at(S1, 1, seq)], &[(Effect::Updated, Some(ann))]);
        if seq == 2 {
            world.accepted(Invariant::I1);
        }
    }
    assert!(world.refused(Invariant::I1).contains("depended on version 1; the log has version 2"));
}

/// An acknowledgement that names both shards, and one that leaves the other side out.
#[test]
fn an_acknowledged_pair_has_both_sides() {
    let (ann, bob) = (user(S1, 1), user(S2, 2));
    let pair = |other: Option<(u32, &'static str)>| {
        let mut world = World::new();
        let there = Some((10, "b"));
        world.change(at(S1, 1, 1), vec![list(ann, &[(bob, there)], 0, 1)]);
        let items = other.map(|other| list(bob, &[(ann, Some(other))], 0, 1));
        world.change(at(S2, 1, 1), items.into_iter().collect());
        world
    };
    let op = || vec![befriend(bob, ann, 10, "b")];
    let both = [at(S1, 1, 1), at(S2, 1, 1)];
    let mut right = pair(Some((10, "b")));
    right.wrote(op(), &both, &[(Effect::Created, None)]);
    right.accepted(Invariant::I1);
    for other in [None, Some((9, "b"))] {
        let mut wrong = pair(other);
        wrong.wrote(op(), &both, &[(Effect::Created, None)]);
        assert!(wrong.refused(Invariant::I1).contains("which the pair never was"));
    }
    let mut silent = pair(None);
    silent.wrote(op(), &both[..1], &[(Effect::Created, None)]);
    assert!(silent.refused(Invariant::I1).contains("does not say that it is pending"));
    if let Ok(Reply::Write(reply)) = &mut silent.history.operations[0].result {
        reply.inverse_pending = true;
    }
    silent.accepted(Invariant::I1);
}

#[test]
fn half_a_batch_is_refused() {
    let (ann, bob) = (user(S1, 1), user(S1, 2));
    let ops = || vec![add(ann, 10), add(bob, 20)];
    let effects = [(Effect::Created, Some(ann)), (Effect::Created, Some(bob))];
    let mut whole = World::new();
    whole.change(at(S1, 1, 1), vec![object(ann, Seq(1), 10), object(bob, Seq(1), 20)]);
    whole.wrote(ops(), &[at(S1, 1, 1)], &effects);
    whole.accepted(Invariant::I8);
    // Acknowledged, and only half of it is there.
    let mut half = World::new();
    half.change(at(S1, 1, 1), vec![object(ann, Seq(1), 10)]);
    half.wrote(ops(), &[at(S1, 1, 1)], &effects);
    half.refused(Invariant::I8);
    // Of unknown outcome, in two transactions.
    let mut apart = World::new();
    apart.change(at(S1, 1, 1), vec![object(ann, Seq(1), 10)]);
    apart.change(at(S1, 1, 2), vec![object(bob, Seq(2), 20)]);
    apart.failed(ops(), ErrorCode::OutcomeUnknown);
    assert!(apart.refused(Invariant::I8).contains("at different places"));
    assert!(matches!(apart.history.operations[0].call, Call::Write(_)));
}

/// Found by simulation seed 92.
#[test]
fn what_a_batch_takes_back_itself_leaves_no_trace() {
    let (ann, bob) = (user(S1, 1), user(S1, 2));
    let ops = || vec![add(ann, 10), befriend(ann, bob, 7, "b"), part(ann, bob)];
    let effects = [(Effect::Created, Some(ann)), (Effect::Created, None), (Effect::Deleted, None)];
    let mut world = World::new();
    world.change(at(S1, 1, 1), vec![object(ann, Seq(1), 10), list(ann, &[], 0, 0), list(bob, &[], 0, 0)]);
    world.wrote(ops(), &[at(S1, 1, 1)], &effects);
    world.accepted(Invariant::I8);
    let mut kept = World::new();
    kept.change(at(S1, 1, 1), vec![object(ann, Seq(1), 10)]);
    kept.wrote(ops()[..2].to_vec(), &[at(S1, 1, 1)], &effects[..2]);
    kept.refused(Invariant::I8);
}

#[test]
fn a_change_that_nobody_asked_for_is_refused() {
    let mut world = World::new();
    world.change(at(S1, 1, 1), vec![object(user(S1, 1), Seq(1), 10)]);
    assert!(world.refused(Invariant::I1).contains("which nobody asked for"));
    world.rules.complete = false;
    assert!(world.judge().is_clean());
}
