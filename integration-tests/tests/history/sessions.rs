//! I3: sessions that go back.

use integration_tests::history::{Call, Invariant};
use tao_schema::ErrorCode;
use tao_schema::ops::{Answer, Demand, ReadOp, ReadRequest};

use super::world::*;

#[test]
fn a_session_that_goes_on_is_accepted() {
    let mut world = written_twice();
    world.read(7, get(), Demand::local(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.read(7, get(), Demand::at_least(at(S1, 1, 1)), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    // Others may be behind.
    world.read(8, get(), Demand::local(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    world.accepted(Invariant::I3);
}

#[test]
fn a_session_that_goes_back_is_refused() {
    let mut world = written_twice();
    world.read(7, get(), Demand::local(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.read(7, get(), Demand::local(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    assert!(world.refused(Invariant::I3).contains("session 7 had seen 1:1:2"));
}

/// What it wrote counts as seen, of other keys of the shard, too.
#[test]
fn a_session_that_does_not_see_its_write_is_refused() {
    let mut world = written_twice();
    let other = user(S1, 2);
    world.read(1, ReadOp::ObjectGet(other), Demand::local(), at(S1, 1, 1), Answer::Object(None));
    world.refused(Invariant::I3);
}

/// Reads that were under way together may be answered in any order.
#[test]
fn overlapping_reads_promise_each_other_nothing() {
    let mut world = written_twice();
    world.read(7, get(), Demand::local(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.read(7, get(), Demand::local(), at(S1, 1, 1), shows(user(S1, 1), 1, 10));
    let first = world.history.operations.len() - 2;
    let start = world.history.operations[first].start;
    world.history.operations[first + 1].start = start;
    world.read(7, get(), Demand::local(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.accepted(Invariant::I3);
}

#[test]
fn a_session_that_was_told_of_a_loss_starts_again() {
    let mut world = written_twice();
    world.rules.lossless = false;
    world.read(7, get(), Demand::local(), at(S1, 1, 2), shows(user(S1, 1), 2, 11));
    world.epoch(S1, 2, 2);
    let demand = Demand::at_least(at(S1, 1, 2));
    let silent = (world.truth.clone(), world.history.clone());
    let read = Call::Read(ReadRequest { demand, ..ReadRequest::local(get()) });
    world.did(7, read, Err(ErrorCode::LostEpoch));
    world.read(7, get(), Demand::local(), at(S1, 2, 1), shows(user(S1, 1), 1, 10));
    world.accepted(Invariant::I2);
    // Without being told it may not.
    (world.truth, world.history) = silent;
    world.read(7, get(), Demand::local(), at(S1, 2, 1), shows(user(S1, 1), 1, 10));
    world.refused(Invariant::I3);
}
