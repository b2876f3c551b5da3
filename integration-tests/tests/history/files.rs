//! Runs on disk come back as they were, and are judged in parts as in one.

use std::path::Path;
use std::sync::Arc;

use integration_tests::history::{Invariant, RunFiles, Spill};
use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::ops::{Answer, Demand, Effect, ReadOp};

use super::world::*;

/// Pairs across shards, reads of both, sessions, an error, a heartbeat, an epoch.
fn world() -> World {
    let (ann, bob) = (user(S1, 1), user(S2, 2));
    let mut world = World::new();
    world.add_user(ann, 10, at(S1, 1, 1));
    world.add_user(bob, 20, at(S2, 1, 1));
    world.beat(100);
    let there = Some((10, "b"));
    world.change(at(S1, 1, 2), vec![list(ann, &[(bob, there)], 0, 1)]);
    world.change(at(S2, 1, 2), vec![list(bob, &[(ann, there)], 0, 1)]);
    world.wrote(vec![befriend(bob, ann, 10, "b")], &[at(S1, 1, 2), at(S2, 1, 2)], &[(Effect::Created, None)]);
    world.epoch(S2, 2, 3);
    let token = Demand::at_least(at(S2, 1, 2));
    let range = ReadOp::AssocRange { list: friends(bob), pos: 0, limit: 5 };
    world.read(1, range, token, at(S2, 2, 2), edges(&[(ann, 10, "b")], 2));
    let count = Answer::Count { count: 1, version: Seq(2) };
    world.read(2, ReadOp::AssocCount(friends(ann)), Demand::local(), at(S1, 1, 2), count);
    world.failed(vec![add(user(S2, 9), 90)], ErrorCode::OutcomeUnknown);
    world
}

fn spilled(world: &World, folder: &Path, parts: u16) -> RunFiles {
    let mut spill = Spill::create(folder, parts, Arc::clone(&world.rules.schema)).unwrap();
    world.history.operations.iter().for_each(|operation| spill.take(operation));
    spill.finish("by hand", &world.truth, &world.rules).unwrap()
}

#[test]
fn a_run_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    RunFiles::save(folder.path(), "by hand", &world.history, &world.truth, &world.rules).unwrap();
    let run = RunFiles::open(folder.path()).unwrap();
    assert_eq!((run.name(), run.parts()), ("by hand", 1));
    let operations = run.operations(0).unwrap();
    assert_eq!(format!("{operations:?}"), format!("{:?}", world.history.operations));
    assert_eq!(format!("{:?}", run.truth().unwrap()), format!("{:?}", world.truth));
    let (now, later) = (world.judge(), run.judge(None).unwrap());
    assert!(now.is_clean(), "{:#?}", now.violations);
    assert_eq!(format!("{later:?}"), format!("{now:?}"));
}

/// The same facts are checked in one part and in many, and the same violation is found.
#[test]
fn parts_judge_what_the_whole_judges() {
    let mut world = world();
    let whole = world.judge();
    let folder = tempfile::tempdir().unwrap();
    let judged = |world: &World, parts| spilled(world, folder.path(), parts).judge(None).unwrap();
    for parts in [2, 3] {
        let found = judged(&world, parts);
        assert!(found.is_clean(), "{:#?}", found.violations);
        assert_eq!((found.checked, found.unjudged), (whole.checked.clone(), whole.unjudged));
    }
    world.read(1, ReadOp::ObjectGet(user(S2, 2)), Demand::local(), at(S2, 1, 2), Answer::Object(None));
    let found = judged(&world, 2);
    let invariants: Vec<_> = found.violations.iter().map(|violation| violation.invariant).collect();
    // The content is wrong, and the session had seen epoch 2.
    assert_eq!(invariants, [Invariant::I4, Invariant::I3]);
    assert_eq!(world.judge().violations.len(), 2);
}

#[test]
fn damaged_files_are_no_run() {
    let folder = tempfile::tempdir().unwrap();
    assert!(RunFiles::open(folder.path()).is_err());
    let run = spilled(&world(), folder.path(), 1);
    let path = folder.path().join("part-000.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    assert!(format!("{:#}", run.judge(None).unwrap_err()).contains("part-000.jsonl line 6"));
}
