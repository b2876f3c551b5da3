use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ObjectId, RequestId, Seq, ShardId, Time};
use tao_schema::rows::{EdgeValue, ShardChange, ShardState};
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::ShardStore as _;
use tao_shard_store::memory::{CommitFault, MemoryDatabase, MemoryOptions, MemoryStore};
use tao_shard_store::store::ReadKey;
use tao_shard_store::write::{RequestKey, StoreOp, WriteUnit};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::*;

const EPOCH: Epoch = Epoch(1);
const LIST: AssocType = AssocType(1);

#[derive(Default)]
struct Log {
    changes: Mutex<Vec<Arc<ShardChange>>>,
    strays: Mutex<Vec<ShardId>>,
}

impl CommitSink for Log {
    fn committed(&self, change: &Arc<ShardChange>) {
        self.changes.lock().push(Arc::clone(change));
    }

    fn not_owned(&self, shard: ShardId, _found: Option<(Epoch, ShardState)>) {
        self.strays.lock().push(shard);
    }
}

impl Log {
    fn seqs(&self, shard: u16) -> Vec<u64> {
        self.changes.lock().iter().filter(|one| one.shard == ShardId(shard)).map(|one| one.seq.0).collect()
    }
}

/// One lane on a memory database with shards 0 to 3.
struct Bench {
    database: MemoryDatabase,
    store: Arc<MemoryStore>,
    log: Arc<Log>,
    lanes: Lanes,
    tasks: JoinSet<()>,
}

type Answer = oneshot::Receiver<Result<Committed>>;

async fn bench(options: LaneOptions) -> Bench {
    let database = MemoryDatabase::new(MemoryOptions::default());
    let store = Arc::new(MemoryStore::open(&database));
    let shards: Vec<ShardId> = (0..4).map(ShardId).collect();
    store.create_shards(&shards, EPOCH).await.unwrap();
    let (log, mut tasks) = (Arc::new(Log::default()), JoinSet::new());
    let (shared, sink): (SharedStore, Arc<dyn CommitSink>) = (Arc::clone(&store) as _, Arc::clone(&log) as _);
    let lanes = Lanes::start(&shared, &sink, options, &Arc::default(), &mut tasks);
    Bench { database, store, log, lanes, tasks }
}

fn put(shard: u16, id2: u64) -> WriteUnit {
    let edge = edge(shard, id2);
    let value = EdgeValue { time: Time(1), fields: EncodedFields::new() };
    let op = StoreOp::EdgePut { edge, value, create_only: true, expected: None, inverse: None };
    WriteUnit { shard: ShardId(shard), epoch: EPOCH, request: None, ops: vec![op] }
}

fn edge(shard: u16, id2: u64) -> EdgeKey {
    EdgeKey { id1: ObjectId::new(ShardId(shard), 1), atype: LIST, id2: ObjectId(id2) }
}

fn named(mut unit: WriteUnit, id: u128) -> WriteUnit {
    unit.request = Some(RequestKey { id: RequestId(id), age: Duration::ZERO });
    unit
}

impl Bench {
    fn submit(&self, unit: WriteUnit, class: Class, wait: Duration) -> Result<(Ticket, Answer)> {
        let (sender, answer) = oneshot::channel();
        let done = Box::new(move |result| sender.send(result).expect("the test waits for the answer"));
        let ticket = self.lanes.submit(Job { unit, class, deadline: Instant::now() + wait, done })?;
        Ok((ticket, answer))
    }

    fn write(&self, unit: WriteUnit) -> Answer {
        self.submit(unit, Class::Client, Duration::from_secs(30)).unwrap().1
    }

    async fn count(&self, shard: u16) -> u64 {
        let key = ReadKey::List { key: edge(shard, 0).list(), edges: 0 };
        let snapshot = self.store.read(&[key]).await.unwrap().remove(0).unwrap();
        match snapshot.row {
            tao_shard_store::store::Row::List(list) => list.count,
            other => panic!("a list was asked for, got {other:?}"),
        }
    }
}

async fn done(answer: Answer) -> u64 {
    let committed = answer.await.unwrap().unwrap();
    committed.done.positions[0].seq.0
}

async fn failed(answer: Answer) -> Error {
    answer.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn an_idle_lane_starts_at_once_and_a_busy_one_collects() {
    let bench = bench(LaneOptions::default()).await;
    let began = Instant::now();
    assert_eq!(done(bench.write(put(1, 1))).await, 1);
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing waits for company");
    let hold = bench.database.hold_commits();
    let first = bench.write(put(1, 2));
    tokio::task::yield_now().await;
    let later: Vec<Answer> = (3..8).map(|id2| bench.write(put(1, id2))).collect();
    sleep(Duration::from_millis(5)).await;
    drop(hold);
    assert_eq!(done(first).await, 2);
    for answer in later {
        assert_eq!(done(answer).await, 3, "all five are one transaction");
    }
    assert_eq!(bench.log.seqs(1), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_unit_fails_alone() {
    const UNITS: usize = 8;
    for place in 0..UNITS {
        let bench = bench(LaneOptions::default()).await;
        let poison = put(2, 66);
        let bad = poison.clone();
        bench.store.set_poison(move |unit| *unit == bad);
        let hold = bench.database.hold_commits();
        let first = bench.write(put(1, 1));
        tokio::task::yield_now().await;
        let mut units: Vec<WriteUnit> = (1..UNITS as u64).map(|id2| put(2, id2)).collect();
        units.insert(place, poison);
        let mut answers: Vec<Answer> = units.into_iter().map(|unit| bench.write(unit)).collect();
        let poisoned = answers.remove(place);
        drop(hold);
        done(first).await;
        let mut seqs = Vec::new();
        for answer in answers {
            seqs.push(done(answer).await);
        }
        assert!(seqs.is_sorted(), "halves keep the order: {seqs:?}, the poison is number {place}");
        assert_eq!(failed(poisoned).await.code, ErrorCode::Internal);
        assert_eq!(bench.count(2).await, UNITS as u64 - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn uncertain_is_unknown_and_a_retry_has_one_effect() {
    for fault in [CommitFault::UncertainCommitted, CommitFault::UncertainLost] {
        let bench = bench(LaneOptions::default()).await;
        bench.store.fail_next_commit(fault);
        let unit = named(put(1, 1), 9);
        assert_eq!(failed(bench.write(unit.clone())).await.code, ErrorCode::OutcomeUnknown);
        assert!(bench.log.seqs(1).is_empty(), "nothing is published that is not certain (R7)");
        let again = bench.write(unit).await.unwrap().unwrap();
        assert_eq!(again.done.replayed, fault == CommitFault::UncertainCommitted);
        assert_eq!(bench.count(1).await, 1, "create_only would have refused a second effect");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_still_in_the_queue_at_its_deadline_is_certainly_not_done() {
    let bench = bench(LaneOptions::default()).await;
    let hold = bench.database.hold_commits();
    let first = bench.write(put(1, 1));
    tokio::task::yield_now().await;
    let (late, answer) = bench.submit(put(1, 2), Class::Client, Duration::from_millis(10)).unwrap();
    let (taken_back, other) = bench.submit(put(1, 3), Class::Client, Duration::from_secs(9)).unwrap();
    sleep(Duration::from_millis(15)).await;
    assert!(taken_back.cancel() && late.cancel());
    drop(hold);
    done(first).await;
    assert_eq!(failed(answer).await.code, ErrorCode::DeadlineExceeded);
    assert_eq!(failed(other).await.code, ErrorCode::DeadlineExceeded);
    assert_eq!(bench.count(1).await, 1);
    let (sent, answer) = bench.submit(put(1, 4), Class::Client, Duration::from_secs(9)).unwrap();
    done(answer).await;
    assert!(!sent.cancel(), "it was sent");
}

#[tokio::test(start_paused = true)]
async fn a_locked_row_holds_up_nobody_else() {
    let bench = bench(LaneOptions::default()).await;
    let lock = bench.database.lock_row(ShardId(1)).unwrap();
    // Alone, where the store waits for the row; and later as part of a batch.
    let first = bench.write(put(1, 1));
    sleep(Duration::from_millis(1)).await;
    let more: Vec<Answer> = (2..5).map(|id2| bench.write(put(1, id2))).collect();
    let began = Instant::now();
    done(bench.write(put(2, 1))).await;
    done(bench.write(put(3, 1))).await;
    assert!(began.elapsed() <= Duration::from_millis(50), "waited {:?} for another's lock", began.elapsed());
    let (_, impatient) = bench.submit(put(1, 9), Class::Client, Duration::from_millis(100)).unwrap();
    sleep(Duration::from_millis(1_500)).await;
    drop(lock);
    assert_eq!(done(first).await, 1);
    for answer in more {
        assert_eq!(done(answer).await, 2);
    }
    assert_eq!(failed(impatient).await.code, ErrorCode::DeadlineExceeded);
    assert_eq!(bench.log.seqs(1), [1, 2], "published in the order of the log");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_gets_no_answer_holds_up_no_other_shard() {
    let bench = bench(LaneOptions::default()).await;
    let LaneOptions { batch_patience, .. } = LaneOptions::default();
    let hold = bench.database.hold_commits();
    // Two shards in one batch, whose COMMIT gets no answer.
    let mut stuck = vec![bench.write(put(1, 1)), bench.write(put(2, 1))];
    sleep(Duration::from_millis(1)).await;
    stuck.push(bench.write(put(1, 2)));
    let other = bench.write(put(3, 1));
    sleep(batch_patience / 2).await;
    assert_eq!(bench.lanes.committing_since(ShardId(3)), None, "a commit may take its time");
    sleep(batch_patience).await;
    assert!(bench.lanes.committing_since(ShardId(3)).is_some(), "other shards go on");
    // As many batches as that, and no more: the next waits in the queue, where it can be taken back.
    stuck.extend([bench.write(put(0, 1)), bench.write(put(3, 2))]);
    sleep(batch_patience * 2).await;
    let answered =
        |answer: &mut Answer| !matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    assert!(!stuck.iter_mut().any(answered));
    drop(hold);
    assert_eq!(done(other).await, 1);
    for answer in stuck {
        done(answer).await;
    }
    assert_eq!(bench.log.seqs(1), [1, 2], "published in the order of the log");
    assert_eq!(bench.log.seqs(3), [1, 2], "published in the order of the log");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_stays_locked_ends_with_the_deadline() {
    let bench = bench(LaneOptions::default()).await;
    let _lock = bench.database.lock_row(ShardId(1)).unwrap();
    let (_, answer) = bench.submit(put(1, 1), Class::Client, Duration::from_secs(3)).unwrap();
    let error = timeout(Duration::from_secs(5), failed(answer)).await.unwrap();
    assert!(error.code == ErrorCode::DeadlineExceeded && error.message.contains("shard 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_clients_but_has_room_for_inverses() {
    let bench = bench(LaneOptions { queue_ops: 2, ..LaneOptions::default() }).await;
    let hold = bench.database.hold_commits();
    let first = bench.write(put(1, 1));
    tokio::task::yield_now().await;
    let (one, two) = (bench.write(put(1, 2)), bench.write(put(1, 3)));
    let refused = bench.submit(put(1, 4), Class::Client, Duration::from_secs(1)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Overloaded);
    let (_, inverse) = bench.submit(put(1, 5), Class::Inverse, Duration::from_secs(1)).unwrap();
    drop(hold);
    for answer in [first, one, two, inverse] {
        done(answer).await;
    }
    done(bench.write(put(1, 6))).await;
}

#[tokio::test(start_paused = true)]
async fn bookkeeping_goes_with_the_next_batch_or_alone_after_a_while() {
    let bench = bench(LaneOptions::default()).await;
    let keep = |id2| bench.submit(put(1, id2), Class::Bookkeeping, Duration::from_secs(9)).unwrap().1;
    let patient = keep(1);
    sleep(Duration::from_millis(5)).await;
    assert_eq!(done(bench.write(put(1, 2))).await, 1);
    assert_eq!(done(patient).await, 1, "one transaction with the client's write");
    let began = Instant::now();
    assert_eq!(done(keep(3)).await, 2);
    assert_eq!(began.elapsed(), LaneOptions::default().bookkeeping_wait);
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_another_epoch_is_not_written_and_the_topology_is_asked_for() {
    let bench = bench(LaneOptions::default()).await;
    let unit = WriteUnit { epoch: Epoch(2), ..put(1, 1) };
    assert_eq!(failed(bench.write(unit)).await.code, ErrorCode::NotOwner);
    assert_eq!(*bench.log.strays.lock(), [ShardId(1)]);
    assert_eq!(bench.count(1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn two_attempts_of_one_request_in_one_batch_have_one_effect() {
    let bench = bench(LaneOptions::default()).await;
    let hold = bench.database.hold_commits();
    let before = bench.write(put(2, 1));
    tokio::task::yield_now().await;
    let (one, two) = (bench.write(named(put(1, 1), 7)), bench.write(named(put(1, 1), 7)));
    drop(hold);
    done(before).await;
    assert!(!one.await.unwrap().unwrap().done.replayed);
    let two = two.await.unwrap().unwrap();
    assert!(two.done.replayed && two.changes.is_empty());
    assert_eq!(two.done.positions[0].seq, Seq(1));
}

#[tokio::test(start_paused = true)]
async fn a_closed_lane_finishes_what_it_has() {
    let mut bench = bench(LaneOptions::default()).await;
    let lock = bench.database.lock_row(ShardId(1)).unwrap();
    let (busy, parked) = (bench.write(put(1, 1)), bench.write(put(1, 2)));
    let other = bench.write(put(2, 1));
    tokio::task::yield_now().await;
    bench.lanes.close();
    let refused = bench.submit(put(2, 2), Class::Client, Duration::from_secs(1)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unavailable);
    advance(Duration::from_millis(300)).await;
    drop(lock);
    for answer in [busy, parked, other] {
        done(answer).await;
    }
    while let Some(ended) = bench.tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(bench.count(1).await, 2);
}

#[tokio::test(start_paused = true)]
async fn h5_time_in_the_queue_makes_a_request_older() {
    let bench = bench(LaneOptions::default()).await;
    let row = bench.database.lock_row(ShardId(0)).unwrap();
    let mut unit = named(put(0, 1), 7);
    unit.request = Some(RequestKey { id: RequestId(7), age: tao_shard_store::write::MAX_RETRY_AGE });
    let (sender, answer) = oneshot::channel();
    let done = Box::new(move |result| drop(sender.send(result)));
    let deadline = Instant::now() + Duration::from_secs(60);
    bench.lanes.submit(Job { unit, class: Class::Client, deadline, done }).unwrap();
    sleep(Duration::from_secs(5)).await;
    drop(row);
    // Its outcome through another leader may be forgotten by the time that it gets the row.
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::RetryTooLate);
}
