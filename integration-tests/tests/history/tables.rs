//! Tables against the log, and pairs against each other: I1, I5, I6.

use std::collections::BTreeMap;

use integration_tests::history::truth::{Seed, SeedList};
use integration_tests::history::{Invariant, Judgement, ShardTables, judge_tables};
use tao_schema::edges::Edge;
use tao_schema::ids::{EdgeKey, ObjectId, Seq, ShardId, Time};
use tao_shard_store::store::PendingInverse;

use super::world::*;

type Tables = BTreeMap<ShardId, ShardTables>;

/// Ann of shard 1 and Bob of shard 2 are friends.
fn world() -> (World, Tables) {
    let (ann, bob) = (user(S1, 1), user(S2, 2));
    let mut world = World::new();
    world.add_user(ann, 10, at(S1, 1, 1));
    world.change(at(S1, 1, 2), vec![list(ann, &[(bob, Some((10, "b")))], 0, 1)]);
    world.change(at(S2, 1, 1), vec![list(bob, &[(ann, Some((10, "b")))], 0, 1)]);
    let friend = |id2| Edge { id2, time: Time(10), fields: circle("b") };
    let tables = |owner: ObjectId, other, seq: u64| ShardTables {
        position: at(owner.shard(), 1, seq),
        content: Seed {
            objects: BTreeMap::new(),
            lists: [(friends(owner), SeedList { count: 1, version: Seq(seq), edges: vec![friend(other)] })]
                .into(),
        },
        outbox: Vec::new(),
    };
    let mut all: Tables = [(S1, tables(ann, bob, 2)), (S2, tables(bob, ann, 1))].into();
    all.get_mut(&S1).unwrap().content.objects.insert(ann, row(Seq(1), 10));
    (world, all)
}

fn judged(change: impl FnOnce(&mut World, &mut Tables)) -> Judgement {
    let (mut world, mut tables) = world();
    change(&mut world, &mut tables);
    judge_tables(&world.truth, &tables, &world.rules, |_, _| false)
}

fn own_list(tables: &mut Tables) -> &mut SeedList {
    tables.get_mut(&S1).unwrap().content.lists.get_mut(&friends(user(S1, 1))).unwrap()
}

#[test]
fn tables_that_are_what_the_log_says_are_accepted() {
    let found = judged(|_, _| ());
    assert!(found.is_clean(), "{:#?}", found.violations);
    assert!(found.void([Invariant::I1, Invariant::I5, Invariant::I6]).is_empty());
}

#[test]
fn tables_that_are_not_what_the_log_says_are_refused() {
    let objects =
        |tables: &mut Tables| tables.get_mut(&S1).map(|tables| std::mem::take(&mut tables.content.objects));
    refused(&judged(|_, tables| drop(objects(tables))), Invariant::I1);
    refused(&judged(|_, tables| own_list(tables).version = Seq(1)), Invariant::I1);
    refused(&judged(|_, tables| drop(tables.remove(&S2))), Invariant::I1);
    refused(&judged(|_, tables| tables.get_mut(&S1).unwrap().position.seq = Seq(3)), Invariant::I1);
}

#[test]
fn a_wrong_count_is_refused() {
    let found = judged(|_, tables| own_list(tables).count = 2);
    let invariants: Vec<_> = found.violations.iter().map(|violation| violation.invariant).collect();
    assert_eq!(invariants, [Invariant::I1, Invariant::I6]);
    // The log is as wrong as the table.
    let found = judged(|world, tables| {
        let cid = user(S1, 3);
        world.change(at(S1, 1, 3), vec![list(user(S1, 1), &[(cid, None)], 2, 2)]);
        tables.get_mut(&S1).unwrap().position.seq = Seq(3);
        let list = own_list(tables);
        (list.count, list.version) = (2, Seq(3));
    });
    refused(&found, Invariant::I6);
}

/// The other side is missing, or not the same, in the tables and in the log alike.
#[test]
fn half_an_edge_is_refused() {
    let found = judged(|world, tables| {
        world.change(at(S2, 1, 2), vec![list(user(S2, 2), &[(user(S1, 1), None)], 1, 0)]);
        let other = tables.get_mut(&S2).unwrap();
        other.position.seq = Seq(2);
        other.content.lists.insert(friends(user(S2, 2)), SeedList { version: Seq(2), ..SeedList::default() });
    });
    assert!(refused(&found, Invariant::I5).contains("has no other side"));
    let found = judged(|world, tables| {
        world.change(at(S2, 1, 2), vec![list(user(S2, 2), &[(user(S1, 1), Some((11, "b")))], 1, 1)]);
        let other = tables.get_mut(&S2).unwrap();
        other.position.seq = Seq(2);
        let list = other.content.lists.get_mut(&friends(user(S2, 2))).unwrap();
        (list.version, list.edges[0].time) = (Seq(2), Time(11));
    });
    assert!(refused(&found, Invariant::I5).contains("differ in time or data"));
}

/// Bob's side had it, and a promotion took it from him: known where that may be, and only for what was lost.
#[test]
fn half_an_edge_that_a_lossy_promotion_left_is_counted() {
    let lossy = |lossless, text: &str| {
        judged(|world, tables| {
            let mut own = World::new();
            let (ann, bob) = (user(S1, 1), user(S2, 2));
            own.rules.lossless = lossless;
            own.add_user(ann, 10, at(S1, 1, 1));
            own.change(at(S1, 1, 2), vec![list(ann, &[(bob, Some((10, "b")))], 0, 1)]);
            own.change(at(S2, 1, 1), vec![list(bob, &[(ann, Some((10, text)))], 0, 1)]);
            own.epoch(S2, 2, 1);
            *world = own;
            let other = tables.get_mut(&S2).unwrap();
            (other.position, other.content.lists) = (at(S2, 2, 0), BTreeMap::new());
        })
    };
    let known = lossy(false, "b");
    assert!(known.is_clean(), "{:#?}", known.violations);
    assert_eq!((known.halved, known.checked.get(&Invariant::I5)), (1, Some(&2)), "two outboxes, no pair");
    assert!(refused(&lossy(true, "b"), Invariant::I5).contains("has no other side"));
    assert!(refused(&lossy(false, "other"), Invariant::I5).contains("has no other side"));
}

#[test]
fn an_outbox_that_is_not_empty_is_refused() {
    let edge = EdgeKey { id1: user(S1, 1), atype: FRIEND, id2: user(S2, 2) };
    let waiting = PendingInverse { edge, inverse: edge.reversed(FRIEND), value: None, origin: at(S1, 1, 2) };
    let found = judged(|_, tables| tables.get_mut(&S1).unwrap().outbox.push(waiting));
    assert!(refused(&found, Invariant::I5).contains("wait in the outbox"));
}
