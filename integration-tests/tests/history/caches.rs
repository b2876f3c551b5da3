//! I4, and the report of `tao check`; I9.

use std::time::Duration;

use integration_tests::history::{
    Cached, CachedContent, Invariant, Liveness, judge_caches, judge_check, judge_liveness,
};
use serde_json::json;
use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::ops::{Answer, Demand, ReadOp};
use tao_schema::rows::ListRow;

use super::world::*;

fn world() -> World {
    let mut world = World::new();
    world.add_user(user(S1, 1), 10, at(S1, 1, 1));
    world.update_user(user(S1, 1), 11, at(S1, 1, 2));
    let there = Some((10, "b"));
    let items = vec![
        list(user(S1, 1), &[(user(S1, 2), there), (user(S1, 3), Some((20, "c")))], 0, 2),
        list(user(S1, 2), &[(user(S1, 1), there)], 0, 1),
    ];
    world.change(at(S1, 1, 3), items);
    world
}

fn cached(seq: u64, content: CachedContent) -> Cached {
    Cached { place: "follower-1".to_owned(), position: at(S1, 1, seq), content }
}

fn prefix(edges_shown: &[(tao_schema::ids::ObjectId, u32, &str)], count: u64) -> CachedContent {
    let Answer::Edges { edges, .. } = edges(edges_shown, 0) else { panic!("edges") };
    CachedContent::List(friends(user(S1, 1)), ListRow { count, version: Seq(3), edges })
}

#[test]
fn caches_that_hold_the_truth_are_accepted() {
    let world = world();
    let (bob, cid) = (user(S1, 2), user(S1, 3));
    let entries = [
        cached(3, CachedContent::Object(user(S1, 1), Some(row(Seq(2), 11)))),
        cached(3, CachedContent::Object(user(S1, 9), None)),
        cached(3, prefix(&[(cid, 20, "c")], 2)),
        cached(3, prefix(&[(cid, 20, "c"), (bob, 10, "b")], 2)),
    ];
    let found = judge_caches(&world.truth, entries, true);
    assert!(found.is_clean(), "{:#?}", found.violations);
    assert_eq!(found.checked[&Invariant::I4], 8);
}

#[test]
fn caches_that_hold_something_else_are_refused() {
    let world = world();
    let (ann, bob, cid) = (user(S1, 1), user(S1, 2), user(S1, 3));
    let wrong = [
        cached(3, CachedContent::Object(ann, Some(row(Seq(1), 10)))),
        cached(3, CachedContent::Object(ann, None)),
        cached(3, prefix(&[(bob, 10, "b")], 2)),
        cached(3, prefix(&[(cid, 20, "c"), (bob, 10, "b")], 1)),
        cached(3, prefix(&[], 3)),
    ];
    for entry in wrong {
        refused(&judge_caches(&world.truth, [entry], false), Invariant::I4);
    }
    // Right where it claims to be; but that is not the present.
    let old = || [cached(1, CachedContent::Object(ann, Some(row(Seq(1), 10))))];
    assert!(judge_caches(&world.truth, old(), false).is_clean());
    assert!(refused(&judge_caches(&world.truth, old(), true), Invariant::I4).contains("at the end"));
}

#[test]
fn reports_of_tao_check_are_judged() {
    let clean =
        json!({"cached_entries": 5, "inverses": 3, "counts": 2, "difference_count": 0, "differences": []});
    let found = judge_check(&clean);
    assert!(found.is_clean());
    assert_eq!(found.void([Invariant::I4, Invariant::I5, Invariant::I6, Invariant::I1]), [Invariant::I1]);
    let differs = |kind: &str| {
        let difference = json!({"kind": kind, "node": "n", "key": "k", "detail": "d"});
        judge_check(&json!({"cached_entries": 5, "difference_count": 1, "differences": [difference]}))
    };
    refused(&differs("cache"), Invariant::I4);
    refused(&differs("inverse"), Invariant::I5);
    refused(&differs("count"), Invariant::I6);
    refused(&judge_check(&json!({})), Invariant::I4);
}

#[test]
fn a_cluster_that_does_not_heal_is_refused() {
    let mut world = World::new();
    let get = || ReadOp::ObjectGet(user(S1, 1));
    for _ in 0..100 {
        world.read(0, get(), Demand::local(), at(S1, 1, 0), Answer::Object(None));
    }
    let wanted = Liveness {
        healthy: vec![Duration::ZERO..world.now()],
        baseline: Some(Duration::ZERO..world.now()),
        min_rate: 100.0,
        ..Liveness::default()
    };
    let found = judge_liveness(&world.history, &wanted);
    assert!(found.is_clean(), "{:#?}", found.violations);
    assert_eq!(found.checked[&Invariant::I9], 100);
    // Too little was done to mean anything.
    let busy = Liveness { min_rate: 10_000.0, ..wanted.clone() };
    refused(&judge_liveness(&world.history, &busy), Invariant::I9);
    // A tenth fails; answers are no failures.
    for code in [ErrorCode::PreconditionFailed, ErrorCode::LostEpoch, ErrorCode::NotFound] {
        world.history.operations[0].result = Err(code);
        assert!(judge_liveness(&world.history, &wanted).is_clean());
    }
    world.history.operations[0].result = Err(ErrorCode::Unavailable);
    assert!(
        refused(&judge_liveness(&world.history, &wanted), Invariant::I9)
            .contains("1 of 100 operations failed")
    );
    world.history.operations[0].result = world.history.operations[1].result.clone();
    // Slower than without faults.
    let half = world.now() / 2;
    for operation in &mut world.history.operations {
        if operation.start > half {
            operation.end += Duration::from_secs(1);
        }
    }
    let slow = Liveness { healthy: vec![half..world.now()], baseline: Some(Duration::ZERO..half), ..wanted };
    assert!(refused(&judge_liveness(&world.history, &slow), Invariant::I9).contains("99th percentile"));
}
