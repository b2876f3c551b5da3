//! Edges of large batches that are presumed absent: when they are, and what happens if one is there.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tao_schema::error::ErrorCode;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectId, ShardId};
use tao_schema::limits::MAX_ASSOC_BYTES;
use tao_schema::ops::Effect;

use super::super::MySqlStore;
use super::support::{EPOCH, LIKES, commit, count, done, fleets, fresh, open, options, put, seq};
use crate::fleet::Server;
use crate::store::ShardStore as _;
use crate::write::{Inverse, StoreOp, UnitResult, WriteUnit};

/// So many that the statement which writes them has eleven places more: the last row is in it twelve times.
const MANY: u64 = 53;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_of_a_large_batch_are_presumed_absent_and_that_is_checked() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        tokio::join!(
            absent_edges_are_not_read(server),
            one_that_is_there_is_found(server),
            a_refusal_is_for_its_true_reason(server),
            what_is_deleted_is_read(server),
            the_other_side_of_a_pair_is_found(server),
            where_edges_are_there_they_are_read(server),
        );
    }))
    .await;
}

/// Edges of list 1 of shard 0.
fn puts(id2s: impl IntoIterator<Item = u64>) -> Vec<WriteUnit> {
    id2s.into_iter().map(|id2| put(0, 1, id2)).collect()
}

/// Commits a batch; answers what became of its units, and whether its edges were not read.
async fn write(store: &MySqlStore, units: Vec<WriteUnit>) -> (Vec<UnitResult>, bool) {
    let before = store.phase_times().presumed;
    let results = commit(store, units).await.unwrap();
    (results, store.phase_times().presumed > before)
}

fn effects(results: &[UnitResult]) -> Vec<Effect> {
    results.iter().map(|result| done(result).outcomes[0].effect).collect()
}

fn deletion(id2: u64) -> WriteUnit {
    let StoreOp::EdgePut { edge, .. } = put(0, 1, id2).ops[0] else { panic!("it puts an edge") };
    WriteUnit { ops: vec![StoreOp::EdgeDelete { edge, expected: None, inverse: None }], ..put(0, 1, id2) }
}

async fn absent_edges_are_not_read(server: &Server) {
    let store = fresh(server, options("presumed_absent"), 1).await;
    let (results, presumed) = write(&store, puts(0..MANY)).await;
    assert_eq!((effects(&results), presumed), (vec![Effect::Created; 53], true));
    // One of them twice.
    let (results, presumed) = write(&store, puts((MANY..2 * MANY).chain([MANY]))).await;
    assert_eq!((effects(&results)[52..].to_vec(), presumed), (vec![Effect::Created, Effect::Updated], true));
    assert_eq!((count(&store, 0, 1).await, seq(&store, 0).await.0), (2 * MANY, 2));
    // Few are read with the lock.
    assert!(!write(&store, puts(1_000..1_016)).await.1);
}

async fn one_that_is_there_is_found(server: &Server) {
    fresh(server, options("presumed_there"), 1).await;
    // The first, one in the middle, the last, and all.
    for (round, there) in [vec![0], vec![20], vec![MANY - 1], (0..MANY).collect()].into_iter().enumerate() {
        let store = open(server, options("presumed_there")).await.unwrap();
        let (list, there) = (10 + round as u64, BTreeSet::from_iter(there));
        let of_list = |id2: &u64| put(0, list, *id2);
        commit(&store, there.iter().map(of_list).collect()).await.unwrap();
        let store = open(server, options("presumed_there")).await.unwrap();
        let before = seq(&store, 0).await;
        let (results, presumed) = write(&store, (0..MANY).map(|id2| of_list(&id2)).collect()).await;
        for (id2, effect) in (0..MANY).zip(effects(&results)) {
            assert_eq!(effect == Effect::Updated, there.contains(&id2), "round {round}, edge {id2}");
        }
        assert!(!presumed);
        assert_eq!((count(&store, 0, list).await, seq(&store, 0).await), (MANY, before.next()));
    }
}

async fn a_refusal_is_for_its_true_reason(server: &Server) {
    let store = fresh(server, options("presumed_refused"), 1).await;
    commit(&store, puts([7])).await.unwrap();
    for (round, bytes) in [(1, 1), (2, MAX_ASSOC_BYTES + 1)] {
        let store = open(server, options("presumed_refused")).await.unwrap();
        let mut once = put(0, 1, 7);
        let StoreOp::EdgePut { create_only, value, .. } = &mut once.ops[0] else { panic!("it puts an edge") };
        *create_only = true;
        value.fields = EncodedFields(vec![0; bytes].into());
        let mut units = puts(round * 100..round * 100 + MANY);
        units.push(once);
        let (results, presumed) = write(&store, units).await;
        let UnitResult::Refused(error) = &results[53] else { panic!("not refused: {:?}", results[53]) };
        assert_eq!((error.code, presumed), (ErrorCode::PreconditionFailed, false), "{bytes}: {error}");
        assert_eq!(effects(&results[..53]), vec![Effect::Created; 53]);
        assert_eq!(count(&store, 0, 1).await, 1 + round * MANY);
    }
}

async fn what_is_deleted_is_read(server: &Server) {
    let store = fresh(server, options("presumed_deleted"), 1).await;
    commit(&store, puts([7, 8])).await.unwrap();
    let mut units = vec![deletion(7), put(0, 1, 7), deletion(8), deletion(9)];
    units.extend(puts(100..100 + MANY));
    let (results, presumed) = write(&store, units).await;
    let first = [Effect::Deleted, Effect::Created, Effect::Deleted, Effect::Nothing];
    assert_eq!((effects(&results[..4]), presumed), (first.to_vec(), true));
    assert_eq!(count(&store, 0, 1).await, 1 + MANY);
}

/// Its ordering side was deleted, and the other side does not know yet.
async fn the_other_side_of_a_pair_is_found(server: &Server) {
    fresh(server, options("presumed_pairs"), 2).await;
    let pair = |id2: u64, together: bool| {
        let mut unit = put(0, 1, ObjectId::new(ShardId(1), id2).0);
        let StoreOp::EdgePut { inverse, .. } = &mut unit.ops[0] else { panic!("it puts an edge") };
        *inverse = Some(Inverse { atype: LIKES, together: together.then_some(EPOCH) });
        unit
    };
    let store = open(server, options("presumed_pairs")).await.unwrap();
    assert!(write(&store, (0..30).map(|id2| pair(id2, true)).collect()).await.1);
    let mut alone = pair(5, false);
    let StoreOp::EdgePut { edge, inverse, .. } = alone.ops[0] else { panic!("it puts an edge") };
    alone.ops = vec![StoreOp::EdgeDelete { edge, expected: None, inverse }];
    commit(&store, vec![alone]).await.unwrap();
    assert_eq!((count(&store, 0, 1).await, count(&store, 1, 5).await), (29, 1));
    let units = (30..60).chain([5]).map(|id2| pair(id2, true)).collect();
    let (results, presumed) = write(&store, units).await;
    assert_eq!((effects(&results), presumed), (vec![Effect::Created; 31], false));
    assert_eq!(
        (count(&store, 0, 1).await, count(&store, 1, 5).await, count(&store, 1, 40).await),
        (60, 1, 1)
    );
    assert!(store.outbox(ShardId(0), None, 10).await.unwrap().is_empty());
}

/// A batch that is done twice is a waste: it is tried once in a while.
async fn where_edges_are_there_they_are_read(server: &Server) {
    let store = fresh(server, options("presumed_trust"), 1).await;
    let mut presumed = Vec::new();
    for round in 0..3 {
        presumed.push(write(&store, puts(100 * round..100 * round + MANY)).await.1);
    }
    for _ in 0..3 {
        presumed.push(write(&store, puts(0..MANY)).await.1);
    }
    assert_eq!(presumed, [true, true, true, false, false, false]);
    let mut tries = Vec::new();
    for round in 10..400 {
        tries.push(write(&store, puts(100 * round..100 * round + 20)).await.1);
    }
    let often = tries.iter().filter(|presumed| **presumed).count();
    assert!(!tries[10] && tries[389] && often < 200, "{often} of {}", tries.len());
}
