//! The suite on the memory engine, and what only this engine can show: faults on demand.

mod moves;
mod regions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tao_schema::error::ErrorCode;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ObjectId, ObjectType, RequestId, Seq, ShardId, Time};
use tao_schema::rows::EdgeValue;

use super::*;
use crate::apply::UnixMillis;
use crate::conformance::{Factory, Handles, assert_all, assert_random};
use crate::store::{ReadKey, Row, ShardStore, StoreError, StoreErrorKind};
use crate::write::{Batch, Inverse, REQUEST_RETENTION, RequestKey, StoreOp, UnitDone, UnitResult, WriteUnit};

struct Memory;

#[async_trait]
impl Factory for Memory {
    async fn open(&self, _shards: &[ShardId]) -> Result<Handles, StoreError> {
        let database = MemoryDatabase::new(MemoryOptions::default());
        let open = || Arc::new(MemoryStore::open(&database));
        Ok(Handles { one: open(), other: open(), log: open() })
    }
}

#[tokio::test]
async fn the_memory_engine_conforms() {
    assert_all(&Memory).await;
}

#[tokio::test]
async fn many_random_runs_match_the_oracle() {
    let first: u64 = rand::random::<u32>().into();
    println!("seeds {first} to {}", first + 9);
    for seed in first..first + 10 {
        assert_random(&Memory, seed).await;
    }
}

const A: ShardId = ShardId(1);
const B: ShardId = ShardId(2);
const EPOCH: Epoch = Epoch(1);

/// A database with two shards, and two leaders on it.
struct Bench {
    database: MemoryDatabase,
    one: Arc<MemoryStore>,
    other: Arc<MemoryStore>,
    now: Arc<AtomicU64>,
}

/// A lock wait that no test sees the end of.
const FOR_EVER: Duration = Duration::from_secs(3_600);

async fn bench() -> Bench {
    bench_with(MemoryOptions::default().lock_wait).await
}

async fn bench_with(lock_wait: Duration) -> Bench {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let database = MemoryDatabase::new(MemoryOptions {
        clock: Arc::new(move || UnixMillis(clock.load(Ordering::SeqCst))),
        lock_wait,
        ..MemoryOptions::default()
    });
    let [one, other] = [0, 1].map(|_| Arc::new(MemoryStore::open(&database)));
    one.create_shards(&[A, B], EPOCH).await.unwrap();
    Bench { database, one, other, now }
}

fn add(shard: ShardId, local: u64) -> WriteUnit {
    let id = Some(ObjectId::new(shard, local));
    let op = StoreOp::ObjectAdd { id, otype: ObjectType(1), fields: Default::default() };
    WriteUnit { shard, epoch: EPOCH, request: None, ops: vec![op] }
}

fn request(id: u128, age: Duration, unit: WriteUnit) -> WriteUnit {
    WriteUnit { request: Some(RequestKey { id: RequestId(id), age }), ..unit }
}

async fn commit(store: &MemoryStore, units: Vec<WriteUnit>) -> Result<Vec<UnitResult>, StoreErrorKind> {
    store.commit(Batch { units }).await.map(|result| result.units).map_err(|error| error.kind)
}

async fn done(store: &MemoryStore, unit: WriteUnit) -> UnitDone {
    match commit(store, vec![unit]).await.unwrap().remove(0) {
        UnitResult::Done(done) => done,
        other => panic!("expected a unit that is done, got {other:?}"),
    }
}

async fn exists(store: &MemoryStore, shard: ShardId, local: u64) -> bool {
    let key = ReadKey::Object(ObjectId::new(shard, local));
    match store.read(&[key]).await.unwrap().remove(0).unwrap().row {
        Row::Object(row) => row.is_some(),
        other => panic!("expected an object, got {other:?}"),
    }
}

async fn seq(store: &MemoryStore, shard: ShardId) -> Seq {
    let rows = store.shard_rows().await.unwrap();
    rows.into_iter().find(|row| row.shard == shard).unwrap().seq
}

const RETRY: Duration = Duration::from_secs(1);

#[tokio::test]
async fn r4_a_commit_whose_answer_was_lost_is_recognised() {
    let bench = bench().await;
    let attempt = |age| request(1, age, add(A, 1));
    bench.one.fail_next_commit(CommitFault::UncertainCommitted);
    let lost = commit(&bench.one, vec![attempt(Duration::ZERO)]).await;
    assert_eq!(lost, Err(StoreErrorKind::Uncertain));
    assert!(exists(&bench.one, A, 1).await);
    for store in [&bench.one, &bench.other] {
        let retry = done(store, attempt(RETRY)).await;
        assert!(retry.replayed);
        assert_eq!(retry.positions[0].seq, Seq(1));
    }
}

#[tokio::test]
async fn r4_a_commit_that_was_lost_with_its_answer_is_done_by_the_retry() {
    let bench = bench().await;
    let attempt = |age| request(1, age, add(A, 1));
    bench.one.fail_next_commit(CommitFault::UncertainLost);
    let lost = commit(&bench.one, vec![attempt(Duration::ZERO)]).await;
    assert_eq!(lost, Err(StoreErrorKind::Uncertain));
    assert!(!exists(&bench.one, A, 1).await);
    assert!(!done(&bench.one, attempt(RETRY)).await.replayed);
}

#[tokio::test]
async fn a_database_that_is_down_or_read_only_is_unavailable_and_unchanged() {
    let bench = bench().await;
    bench.one.fail_next_commit(CommitFault::Unavailable);
    assert_eq!(commit(&bench.one, vec![add(A, 1)]).await, Err(StoreErrorKind::Unavailable));
    bench.database.set_read_only(true);
    assert_eq!(commit(&bench.one, vec![add(A, 1)]).await, Err(StoreErrorKind::Unavailable));
    assert_eq!(
        bench.one.create_shards(&[ShardId(9)], EPOCH).await.unwrap_err().kind,
        StoreErrorKind::Unavailable
    );
    assert!(!exists(&bench.one, A, 1).await, "reads go on");
    bench.database.set_read_only(false);
    bench.one.set_reachable(false);
    assert_eq!(bench.one.shard_rows().await.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(commit(&bench.one, vec![add(A, 1)]).await, Err(StoreErrorKind::Unavailable));
    assert_eq!(seq(&bench.other, A).await, Seq::ZERO);
    bench.one.set_reachable(true);
    assert_eq!(done(&bench.one, add(A, 1)).await.positions[0].seq, Seq(1));
}

#[tokio::test]
async fn h8_a_commit_is_durable_before_it_is_visible() {
    let bench = bench().await;
    let hold = bench.database.hold_commits();
    let writer = Arc::clone(&bench.one);
    let write = tokio::spawn(async move { done(&writer, add(A, 1)).await });
    while bench.database.lock_row(A).is_some() {
        tokio::task::yield_now().await;
    }
    // Readers see the rows before it, others can't have its shard.
    assert!(!exists(&bench.other, A, 1).await);
    assert_eq!(seq(&bench.other, A).await, Seq::ZERO);
    let batch = vec![add(A, 2), add(A, 3)];
    assert_eq!(commit(&bench.other, batch).await.unwrap(), [UnitResult::Busy, UnitResult::Busy]);
    drop(hold);
    assert_eq!(write.await.unwrap().positions[0].seq, Seq(1));
    assert!(exists(&bench.other, A, 1).await);
    assert!(bench.database.lock_row(A).is_some());
}

#[tokio::test]
async fn h4_a_transaction_that_is_given_up_leaves_no_lock_and_no_row() {
    let bench = bench().await;
    let hold = bench.database.hold_transactions();
    let writer = Arc::clone(&bench.one);
    let write = tokio::spawn(async move { done(&writer, add(A, 1)).await });
    while bench.database.lock_row(A).is_some() {
        tokio::task::yield_now().await;
    }
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    drop(hold);
    assert_eq!(done(&bench.other, add(A, 2)).await.positions[0].seq, Seq(1));
    assert!(!exists(&bench.other, A, 1).await);
}

#[tokio::test]
async fn h2_a_batch_does_not_wait_for_a_locked_row() {
    // Were it to wait, this test would not end.
    let bench = bench_with(FOR_EVER).await;
    let _lock = bench.database.lock_row(A).unwrap();
    let results = commit(&bench.one, vec![add(A, 1), add(B, 1)]).await.unwrap();
    assert_eq!(results[0], UnitResult::Busy);
    assert!(matches!(results[1], UnitResult::Done(_)));
}

#[tokio::test]
async fn a_unit_alone_waits_up_to_the_limit() {
    let bench = bench_with(Duration::from_millis(5)).await;
    let _lock = bench.database.lock_row(A).unwrap();
    assert_eq!(commit(&bench.one, vec![add(A, 1)]).await.unwrap(), [UnitResult::Busy]);
}

#[tokio::test]
async fn a_unit_alone_goes_on_when_the_row_is_free() {
    let bench = bench_with(FOR_EVER).await;
    let lock = bench.database.lock_row(A).unwrap();
    let waiter = Arc::clone(&bench.one);
    let waits = tokio::spawn(async move { done(&waiter, add(A, 1)).await });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    drop(lock);
    assert_eq!(waits.await.unwrap().positions[0].seq, Seq(1));
}

#[tokio::test]
async fn a_pair_whose_other_shard_is_locked_goes_through_the_outbox() {
    let bench = bench_with(FOR_EVER).await;
    let _lock = bench.database.lock_row(B).unwrap();
    let edge = EdgeKey { id1: ObjectId::new(A, 1), atype: AssocType(1), id2: ObjectId::new(B, 1) };
    let op = StoreOp::EdgePut {
        edge,
        value: EdgeValue { time: Time(5), fields: Default::default() },
        create_only: false,
        expected: None,
        inverse: Some(Inverse { atype: AssocType(2), together: Some(EPOCH) }),
    };
    let done = done(&bench.one, WriteUnit { shard: A, epoch: EPOCH, request: None, ops: vec![op] }).await;
    assert_eq!((done.positions.len(), done.pending.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn h5_an_outcome_is_kept_for_the_retention_and_then_refused() {
    let bench = bench().await;
    let attempt = |age| request(1, age, add(A, 1));
    done(&bench.one, attempt(Duration::ZERO)).await;
    // Seed 44462 of the simulation: the server's wall clock is set forward, and the retry comes a moment later.
    bench.now.fetch_add(3_600_000, Ordering::SeqCst);
    for store in [&bench.one, &bench.other] {
        assert!(done(store, attempt(Duration::from_millis(100))).await.replayed);
    }
    tokio::time::advance(REQUEST_RETENTION).await;
    assert!(done(&bench.one, attempt(REQUEST_RETENTION)).await.replayed);
    tokio::time::advance(Duration::from_millis(1)).await;
    for store in [&bench.one, &bench.other] {
        match commit(store, vec![attempt(REQUEST_RETENTION)]).await.unwrap().remove(0) {
            UnitResult::Refused(error) => assert_eq!(error.code, ErrorCode::RetryTooLate),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn h33_a_poison_unit_fails_its_batch_and_shows_itself_alone() {
    let bench = bench().await;
    let poison = ObjectId::new(A, 2);
    bench.one.set_poison(move |unit| {
        unit.ops.iter().any(|op| matches!(op, StoreOp::ObjectAdd { id: Some(id), .. } if *id == poison))
    });
    assert_eq!(commit(&bench.one, vec![add(A, 1), add(A, 2)]).await, Err(StoreErrorKind::Rejected));
    assert_eq!(seq(&bench.one, A).await, Seq::ZERO);
    assert_eq!(commit(&bench.one, vec![add(A, 2)]).await, Err(StoreErrorKind::Rejected));
    assert_eq!(done(&bench.one, add(A, 1)).await.positions[0].seq, Seq(1));
}
