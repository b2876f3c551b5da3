//! Answers against the log: content, tokens, ages, losses.

use std::time::Duration;

use integration_tests::history::{Call, Invariant};
use tao_schema::ErrorCode;
use tao_schema::ids::{PrimaryTime, Time};
use tao_schema::ops::{Answer, Demand, Freshness, ReadOp, ReadRequest};

use super::world::*;

#[test]
fn right_answers_are_accepted() {
    let mut world = written_twice();
    world.read(0, get(), Demand::local(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.read(0, get(), Demand::at_least(at(S1, 1, 2)), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.accepted(Invariant::I2);
    world.accepted(Invariant::I4);
}

#[test]
fn a_stale_token_read_is_refused() {
    let mut world = written_twice();
    world.read(0, get(), Demand::at_least(at(S1, 1, 2)), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    assert!(world.refused(Invariant::I2).contains("demanded 1:1:2 and was answered at 1:1:1"));
}

/// The reply claims the token's position, but shows what was before it.
#[test]
fn old_content_under_a_new_position_is_refused() {
    let mut world = written_twice();
    world.read(0, get(), Demand::at_least(at(S1, 1, 2)), at(S1, 1, 2), shows(user(S1, 1), 1, 10));
    assert!(world.refused(Invariant::I2).contains("the log says object"));
}

#[test]
fn a_stale_negative_is_refused() {
    let mut world = written_twice();
    world.read(0, get(), Demand::local(), at(S1, 1, 2), Answer::Object(None));
    assert!(world.refused(Invariant::I4).contains("shows no object at 1:1:2"));
}

#[test]
fn a_resurrected_delete_is_refused() {
    let mut world = written_twice();
    world.change(at(S1, 1, 3), vec![no_object(user(S1, 1))]);
    let delete = tao_schema::ops::WriteOp::ObjectDelete { id: user(S1, 1), expected: None };
    world.wrote(vec![delete], &[at(S1, 1, 3)], &[(tao_schema::ops::Effect::Deleted, Some(user(S1, 1)))]);
    world.read(0, get(), Demand::local(), at(S1, 1, 3), Answer::Object(None));
    world.accepted(Invariant::I4);
    world.read(0, get(), Demand::local(), at(S1, 1, 3), shows(user(S1, 1), 2, 11));
    world.refused(Invariant::I4);
}

/// Epoch 2 began at seq 2: what epoch 1 wrote there is lost, whatever epoch 2 has there (H19).
#[test]
fn confused_epochs_are_refused() {
    let mut world = written_twice();
    world.rules.lossless = false;
    world.epoch(S1, 2, 2);
    world.update_user(user(S1, 1), 20, at(S1, 2, 2));
    let token = Demand::at_least(at(S1, 1, 2));
    let read = Call::Read(ReadRequest { demand: token.clone(), ..ReadRequest::local(get()) });
    world.did(0, read, Err(ErrorCode::LostEpoch));
    // Before the loss, the lost state was right.
    world.read(0, get(), Demand::local(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.read(0, get(), Demand::at_least(at(S1, 1, 1)), at(S1, 2, 2), shows(user(S1, 1), 2, 20));
    world.accepted(Invariant::I2);
    assert_eq!(world.judge().lost, 1);

    world.read(0, get(), token, at(S1, 2, 2), shows(user(S1, 1), 2, 20));
    assert!(world.refused(Invariant::I2).contains("demanded 1:1:2 and was answered at 1:2:2"));
}

#[test]
fn a_loss_that_is_none_is_refused() {
    let mut world = written_twice();
    let demand = Demand::at_least(at(S1, 1, 2));
    let read = Call::Read(ReadRequest { demand, ..ReadRequest::local(get()) });
    world.did(0, read, Err(ErrorCode::LostEpoch));
    assert!(world.refused(Invariant::I2).contains("was told that its token is lost"));
}

#[test]
fn an_answer_at_a_position_that_never_was_is_refused() {
    let mut world = written_twice();
    world.read(0, get(), Demand::local(), at(S1, 1, 3), shows(user(S1, 1), 2, 11));
    assert!(world.refused(Invariant::I1).contains("no log has such a position"));
}

#[test]
fn an_answer_that_is_older_than_its_age_is_refused() {
    let within = Demand { freshness: Freshness::Within(Duration::from_secs(1)), ..Demand::local() };
    let mut world = written_twice();
    world.read(0, get(), within.clone(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.accepted(Invariant::I2);
    world.wait(Duration::from_secs(2));
    world.read(0, get(), within, at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    assert!(world.refused(Invariant::I2).contains("1:1:2 was known that long before"));
    let critical = Demand { freshness: Freshness::Critical, ..Demand::local() };
    let mut world = written_twice();
    world.read(0, get(), critical, at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.refused(Invariant::I2);
}

/// A replica shows what its primary still holds back: that proves no more than the change before it.
#[test]
fn what_a_replica_shows_early_is_not_demanded_of_the_primary() {
    let critical = Demand { freshness: Freshness::Critical, ..Demand::local() };
    let mut world = World::new();
    world.add_user(user(S1, 1), 10, at(S1, 1, 1));
    // Nobody has acknowledged it: so it may not be visible on the primary yet.
    world.failed(vec![update(user(S1, 1), 11)], ErrorCode::OutcomeUnknown);
    world.change(at(S1, 1, 2), vec![object(user(S1, 1), tao_schema::ids::Seq(2), 11)]);
    world.read(0, get(), Demand::local(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.read(1, get(), critical.clone(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.accepted(Invariant::I2);
    world.read(2, get(), critical.clone(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.read(1, get(), critical, at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    assert!(world.refused(Invariant::I2).contains("1:1:2 was known that long before"));
}

/// What a session folded: everything before that time.
#[test]
fn an_answer_below_a_folded_floor_is_refused() {
    let floor = |seconds: u64| Demand { not_before: Some(PrimaryTime(seconds * 1_000)), ..Demand::local() };
    let mut world = World::new();
    world.add_user(user(S1, 1), 10, at(S1, 1, 1));
    world.beat(100);
    world.update_user(user(S1, 1), 11, at(S1, 1, 2));
    world.beat(200);
    world.read(0, get(), floor(150), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.read(0, get(), floor(250), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.accepted(Invariant::I2);
    world.read(0, get(), floor(250), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    assert!(world.refused(Invariant::I2).contains("demanded all up to 250000"));
}

/// Three friends of Ann, one of them re-timed, one gone.
fn friendly() -> World {
    let mut world = World::new();
    let ann = user(S1, 1);
    let (bob, cid, dan) = (user(S1, 2), user(S1, 3), user(S1, 4));
    let change = |seq: u64, other, edge: Option<(u32, &str)>, counts: (u64, u64), versions: (u64, u64)| {
        let own = list(ann, &[(other, edge)], versions.0, counts.0);
        (at(S1, 1, seq), vec![own, list(other, &[(ann, edge)], versions.1, counts.1)])
    };
    let mut write = |op, (position, items): (_, Vec<_>), effect| {
        world.change(position, items);
        world.wrote(vec![op], &[position], &[(effect, None)]);
    };
    use tao_schema::ops::Effect::{Created, Deleted, Updated};
    write(befriend(ann, bob, 10, "b"), change(1, bob, Some((10, "b")), (1, 1), (0, 0)), Created);
    write(befriend(cid, ann, 20, "c"), change(2, cid, Some((20, "c")), (2, 1), (1, 0)), Created);
    write(befriend(ann, dan, 30, "d"), change(3, dan, Some((30, "d")), (3, 1), (2, 0)), Created);
    write(befriend(ann, bob, 25, "b2"), change(4, bob, Some((25, "b2")), (3, 1), (3, 1)), Updated);
    write(part(dan, ann), change(5, dan, None, (2, 0), (4, 3)), Deleted);
    world
}

#[test]
fn lists_are_compared_at_every_position() {
    let ann = friends(user(S1, 1));
    let (bob, cid, dan) = (user(S1, 2), user(S1, 3), user(S1, 4));
    let range = |pos, limit| ReadOp::AssocRange { list: ann, pos, limit };
    let times = |high, low| ReadOp::AssocTimeRange { list: ann, high: Time(high), low: Time(low), limit: 5 };
    let get =
        |id2s: &[_]| ReadOp::AssocGet { list: ann, id2s: id2s.to_vec(), high: None, low: Some(Time(21)) };
    let mut world = friendly();
    let mut reads = |op, seq, answer| {
        world.read(0, op, Demand::local(), at(S1, 1, seq), answer);
    };
    // Out of order on purpose: followers lag.
    reads(range(0, 9), 5, edges(&[(bob, 25, "b2"), (cid, 20, "c")], 5));
    reads(range(1, 1), 3, edges(&[(cid, 20, "c")], 3));
    reads(range(0, 2), 4, edges(&[(dan, 30, "d"), (bob, 25, "b2")], 4));
    reads(range(7, 2), 4, edges(&[], 4));
    reads(times(29, 20), 4, edges(&[(bob, 25, "b2"), (cid, 20, "c")], 4));
    reads(times(20, 29), 4, edges(&[], 4));
    reads(get(&[cid, bob, bob]), 5, edges(&[(bob, 25, "b2")], 5));
    reads(ReadOp::AssocCount(ann), 5, Answer::Count { count: 2, version: tao_schema::ids::Seq(5) });
    reads(
        ReadOp::AssocCount(friends(user(S1, 9))),
        5,
        Answer::Count { count: 0, version: tao_schema::ids::Seq(0) },
    );
    world.accepted(Invariant::I4);
    world.accepted(Invariant::I6);
}

#[test]
fn wrong_lists_are_refused() {
    let ann = friends(user(S1, 1));
    let (bob, cid, dan) = (user(S1, 2), user(S1, 3), user(S1, 4));
    let wrong = [
        edges(&[(bob, 25, "b2")], 5),                                 // one is missing
        edges(&[(cid, 20, "c"), (bob, 25, "b2")], 5),                 // in another order
        edges(&[(dan, 30, "d"), (bob, 25, "b2"), (cid, 20, "c")], 5), // a deleted one is back
        edges(&[(bob, 25, "b"), (cid, 20, "c")], 5),                  // with old data
        edges(&[(bob, 25, "b2"), (cid, 20, "c")], 4),                 // with an old version
    ];
    for answer in wrong {
        let mut world = friendly();
        world.read(
            0,
            ReadOp::AssocRange { list: ann, pos: 0, limit: 9 },
            Demand::local(),
            at(S1, 1, 5),
            answer,
        );
        world.refused(Invariant::I4);
    }
    for (count, version) in [(3, 5), (2, 4)] {
        let mut world = friendly();
        let answer = Answer::Count { count, version: tao_schema::ids::Seq(version) };
        world.read(0, ReadOp::AssocCount(ann), Demand::local(), at(S1, 1, 5), answer);
        world.refused(Invariant::I6);
    }
}

/// The log's own count is off, and a list change that does not follow the one before it.
#[test]
fn a_log_that_contradicts_itself_is_refused() {
    let (ann, bob) = (user(S1, 1), user(S1, 2));
    for (prev_version, count) in [(0, 2), (7, 1)] {
        let mut world = World::new();
        world.rules.complete = false;
        world.change(at(S1, 1, 1), vec![list(ann, &[(bob, Some((10, "b")))], prev_version, count)]);
        world.refused(Invariant::I6);
    }
}
