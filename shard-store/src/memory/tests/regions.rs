//! A primary with replicas: what their logs show, and what promotion and crashes make of them.

use tao_schema::rows::{EpochStart, ShardChange, ShardState};

use super::*;
use crate::log::{
    Beat, BeatWriter, LogPosition, LogTail, ServerLog, TailError, TailErrorKind, TailEvent, TailStart,
};

const WRITER: BeatWriter = BeatWriter(7);

/// A server of its own name, whose clock stands still.
fn server(name: &str) -> MemoryDatabase {
    let clock = Arc::new(|| UnixMillis(1_000_000));
    MemoryDatabase::new(MemoryOptions { server: name.to_owned(), clock, ..MemoryOptions::default() })
}

/// A primary `a` with both shards, and a replica `b`, that is `delay` behind it.
async fn pair(delay: Duration) -> (MemoryDatabase, MemoryDatabase) {
    let (a, b) = (server("a"), server("b"));
    MemoryStore::open(&a).create_shards(&[A, B], EPOCH).await.unwrap();
    b.replicate(&a, ReplicationOptions { delay }).unwrap();
    (a, b)
}

async fn executed(database: &MemoryDatabase) -> LogPosition {
    MemoryStore::open(database).executed().await.unwrap()
}

async fn write(database: &MemoryDatabase, local: u64) {
    done(&MemoryStore::open(database), add(A, local)).await;
}

async fn tail(database: &MemoryDatabase, start: TailStart) -> Box<dyn LogTail> {
    MemoryStore::open(database).open_tail(start).await.unwrap()
}

async fn refused(database: &MemoryDatabase, start: TailStart) -> TailErrorKind {
    match MemoryStore::open(database).open_tail(start).await {
        Ok(_) => panic!("the tail was opened"),
        Err(error) => error.kind,
    }
}

/// Seqs of shard A that a tail gives out until it has `last`.
async fn seqs(tail: &mut dyn LogTail, last: u64) -> Result<Vec<u64>, TailError> {
    let mut found = Vec::new();
    while found.last() != Some(&last) {
        for event in tail.next().await? {
            if let TailEvent::Change { change, .. } = event
                && change.shard == A
            {
                found.push(change.seq.0);
            }
        }
    }
    Ok(found)
}

#[tokio::test(start_paused = true)]
async fn a_replica_has_everything_in_order_after_its_delay() {
    let delay = Duration::from_millis(60);
    let (a, b) = pair(delay).await;
    b.wait_executed(&executed(&a).await).await;
    let began = tokio::time::Instant::now();
    let mut tail = tail(&b, TailStart::After(executed(&b).await)).await;
    for local in 1..=3 {
        write(&a, local).await;
    }
    assert!(!exists(&MemoryStore::open(&b), A, 3).await);
    assert_eq!(seqs(&mut *tail, 3).await.unwrap(), [1, 2, 3]);
    assert_eq!(began.elapsed(), delay);
    assert!(exists(&MemoryStore::open(&b), A, 3).await);
    assert_eq!(tail.position().to_string(), "memory-a-4");
    assert_eq!(executed(&b).await, executed(&a).await);
    let refused = commit(&MemoryStore::open(&b), vec![add(A, 9)]).await;
    assert_eq!(refused, Err(StoreErrorKind::Unavailable), "a replica takes no writes");
}

#[tokio::test]
async fn h8_the_log_shows_a_commit_that_nobody_sees_and_that_a_crash_loses() {
    let (a, b) = pair(Duration::ZERO).await;
    b.wait_executed(&executed(&a).await).await;
    b.stop_replication();
    let mut tail = tail(&a, TailStart::After(executed(&a).await)).await;
    let hold = a.hold_commits();
    let writer = MemoryStore::open(&a);
    let write = tokio::spawn(async move { commit(&writer, vec![add(A, 1)]).await });
    assert_eq!(seqs(&mut *tail, 1).await.unwrap(), [1]);
    let store = MemoryStore::open(&a);
    // H9: the position counts what no row shows.
    assert_eq!(store.executed().await.unwrap().to_string(), "memory-a-2");
    assert_eq!(store.survey(WRITER).await.unwrap().rows[0].seq, Seq::ZERO);

    assert_eq!(a.lose_held().len(), 1);
    assert_eq!(write.await.unwrap(), Err(StoreErrorKind::Uncertain));
    drop(hold);
    assert_eq!(tail.next().await.unwrap_err().kind, TailErrorKind::Disconnected);
    assert_eq!(refused(&a, TailStart::After(tail.position())).await, TailErrorKind::PositionLost);
    // H10: its seq is given again, to something else.
    let other = done(&store, add(A, 2)).await;
    assert_eq!(other.positions[0].seq, Seq(1));
    assert!(!exists(&store, A, 1).await);
}

#[tokio::test]
async fn h10_a_server_that_does_not_flush_reuses_the_seqs_of_what_it_acknowledged() {
    let (a, b) = pair(Duration::ZERO).await;
    for local in 1..=3 {
        write(&a, local).await;
    }
    b.wait_executed(&executed(&a).await).await;
    b.stop_replication();
    let mut tail = tail(&a, TailStart::After("memory-a-1".parse().unwrap())).await;
    assert_eq!(seqs(&mut *tail, 3).await.unwrap(), [1, 2, 3]);
    assert_eq!(a.lose_last(2).unwrap().len(), 2);
    let store = MemoryStore::open(&a);
    assert!(exists(&store, A, 1).await && !exists(&store, A, 2).await);
    // H22: the replica has what its source lost, and says so rather than to follow it.
    assert_eq!(refused(&a, TailStart::After(tail.position())).await, TailErrorKind::PositionLost);
    assert!(
        matches!(b.start_replication(), Err(ReplicationError::Diverged { extra, .. }) if extra.len() == 2)
    );
    // The same numbers, other writes: by its position this server is what it was, and nothing tells the difference.
    for local in 4..=5 {
        write(&a, local).await;
    }
    let mut again = self::tail(&a, TailStart::After(tail.position())).await;
    write(&a, 6).await;
    assert_eq!(seqs(&mut *again, 4).await.unwrap(), [4]);
    assert!(!exists(&store, A, 3).await && exists(&store, A, 5).await);
}

#[tokio::test]
async fn h19_a_lossy_promotion_gives_seqs_again_in_a_new_epoch() {
    let (a, b) = pair(Duration::ZERO).await;
    write(&a, 1).await;
    b.wait_executed(&executed(&a).await).await;
    b.stop_replication();
    write(&a, 2).await;
    let old = MemoryStore::open(&a);
    let lost = executed(&a).await.without(&executed(&b).await);

    let mut tail = tail(&b, TailStart::After(executed(&b).await)).await;
    let steps = [(A, EPOCH, Epoch(2)), (B, EPOCH, Epoch(2))];
    assert_eq!(b.open_epochs(&steps).await.unwrap_err().kind, StoreErrorKind::Rejected, "it has a source");
    b.forget_source();
    assert_eq!(b.open_epochs(&steps).await.unwrap(), 2);
    assert_eq!(b.open_epochs(&steps).await.unwrap(), 0, "a second run finds nothing to do");
    b.promote();
    let new = MemoryStore::open(&b);
    let start =
        |shard, seq| TailEvent::Epoch { shard, start: EpochStart { epoch: Epoch(2), first_seq: Seq(seq) } };
    assert_eq!(tail.next().await.unwrap(), [start(A, 2), start(B, 1)]);

    let stale = commit(&new, vec![add(A, 3)]).await.unwrap().remove(0);
    assert_eq!(stale, UnitResult::NotOwned { found: Some((Epoch(2), ShardState::Serving)) });
    let allocate = StoreOp::ObjectAdd { id: None, otype: ObjectType(1), fields: Default::default() };
    let unit = WriteUnit { shard: A, epoch: Epoch(2), request: None, ops: vec![allocate] };
    let first = done(&new, unit).await;
    assert_eq!(first.positions[0].seq, Seq(2), "as the write that was lost");
    // H6: ids that a lost write has given to a client are not given again.
    assert!(first.outcomes[0].id.unwrap().local() > 1 << 20);
    assert_eq!(seqs(&mut *tail, 2).await.unwrap(), [2]);
    let epochs = new.survey(WRITER).await.unwrap().epochs;
    let starts: Vec<_> = epochs.iter().filter(|(shard, _)| *shard == A).map(|(_, start)| *start).collect();
    let begin = |epoch, seq| EpochStart { epoch: Epoch(epoch), first_seq: Seq(seq) };
    assert_eq!(starts, [begin(1, 1), begin(2, 2)]);

    // H20: the old primary still takes writes of the old epoch, and is kept out when it comes back (R24).
    write(&a, 4).await;
    assert!(exists(&old, A, 4).await);
    match a.replicate(&b, ReplicationOptions::default()) {
        Err(ReplicationError::Diverged { extra, .. }) => assert!(extra.covers(&lost) && extra.len() == 2),
        other => panic!("expected a divergence, got {other:?}"),
    }
    assert_eq!(a.replication(), ReplicationStatus::None);
    assert_eq!(executed(&b).await.to_string(), "memory-a-2,memory-b-2");
}

#[tokio::test]
async fn h22_a_survivor_that_is_ahead_is_refused_and_one_that_is_behind_follows() {
    let (a, b) = pair(Duration::ZERO).await;
    let (ahead, behind) = (server("ahead"), server("behind"));
    ahead.replicate(&a, ReplicationOptions::default()).unwrap();
    behind.replicate(&a, ReplicationOptions::default()).unwrap();
    write(&a, 1).await;
    for replica in [&b, &ahead, &behind] {
        replica.wait_executed(&executed(&a).await).await;
    }
    b.stop_replication();
    behind.stop_replication();
    write(&a, 2).await;
    ahead.wait_executed(&executed(&a).await).await;
    a.take_down();
    b.promote();
    let refusal = ahead.replicate(&b, ReplicationOptions::default());
    assert!(
        matches!(refusal, Err(ReplicationError::Diverged { extra, .. }) if extra.to_string() == "memory-a-3")
    );
    behind.replicate(&b, ReplicationOptions::default()).unwrap();
    write(&b, 3).await;
    behind.wait_executed(&executed(&b).await).await;
    assert!(
        exists(&MemoryStore::open(&behind), A, 3).await && !exists(&MemoryStore::open(&behind), A, 2).await
    );
    // A tail goes on at another server of the same history, and only there.
    let position = executed(&behind).await;
    assert_eq!(tail(&b, TailStart::After(position)).await.position(), executed(&b).await);
    assert_eq!(refused(&b, TailStart::After(executed(&ahead).await)).await, TailErrorKind::PositionLost);
}

#[tokio::test]
async fn h8_a_restart_makes_visible_what_was_never_acknowledged() {
    let (a, b) = pair(Duration::ZERO).await;
    let hold = a.hold_commits();
    let writer = MemoryStore::open(&a);
    let write = tokio::spawn(async move { commit(&writer, vec![add(A, 1)]).await });
    b.wait_executed(&"memory-a-2".parse().unwrap()).await;
    a.take_down();
    assert_eq!(write.await.unwrap(), Err(StoreErrorKind::Uncertain));
    assert_eq!(commit(&MemoryStore::open(&a), vec![]).await, Err(StoreErrorKind::Unavailable));
    assert!(exists(&MemoryStore::open(&b), A, 1).await);
    a.bring_up();
    assert!(exists(&MemoryStore::open(&a), A, 1).await);
    drop(hold);
    self::write(&a, 2).await;
    b.wait_executed(&executed(&a).await).await;
    assert_eq!(seq(&MemoryStore::open(&b), A).await, Seq(2), "the replica has connected again");
}

#[tokio::test]
async fn a_tail_ends_as_its_faults_say() {
    let a = server("a");
    let store = MemoryStore::open(&a);
    store.create_shards(&[A, B], EPOCH).await.unwrap();
    let mut follower = store.open_tail(TailStart::Back(Duration::ZERO)).await.unwrap();
    write(&a, 1).await;
    assert_eq!(seqs(&mut *follower, 1).await.unwrap(), [1]);
    a.break_tails();
    assert_eq!(follower.next().await.unwrap_err().kind, TailErrorKind::Disconnected);
    let mut follower = store.open_tail(TailStart::After(follower.position())).await.unwrap();
    store.set_reachable(false);
    assert_eq!(follower.next().await.unwrap_err().kind, TailErrorKind::Disconnected);
    store.set_reachable(true);

    let mut follower = store.open_tail(TailStart::After(follower.position())).await.unwrap();
    write(&a, 2).await;
    a.damage_next("an event of unknown kind");
    write(&a, 3).await;
    write(&a, 4).await;
    assert_eq!(seqs(&mut *follower, 2).await.unwrap(), [2]);
    let error = follower.next().await.unwrap_err();
    assert_eq!(error.kind, TailErrorKind::NotUnderstood);
    assert!(error.message.contains("an event of unknown kind"), "{error}");
    // The log stays as it is: only a start behind the damage gets past it.
    let mut again = store.open_tail(TailStart::After(follower.position())).await.unwrap();
    assert_eq!(again.next().await.unwrap_err().kind, TailErrorKind::NotUnderstood);
    let mut behind = store.open_tail(TailStart::Back(Duration::from_secs(60))).await.unwrap();
    assert_eq!(seqs(&mut *behind, 4).await.unwrap(), [4]);

    let behind = executed(&a).await;
    let mut follower = store.open_tail(TailStart::After(behind.clone())).await.unwrap();
    write(&a, 5).await;
    write(&a, 6).await;
    a.purge_log_before(&executed(&a).await);
    assert_eq!(follower.next().await.unwrap_err().kind, TailErrorKind::PositionLost);
    assert_eq!(refused(&a, TailStart::After(behind)).await, TailErrorKind::PositionLost);
    write(&a, 7).await;
    let mut rest = tail(&a, TailStart::Back(Duration::from_secs(60))).await;
    assert_eq!(seqs(&mut *rest, 7).await.unwrap(), [7]);
}

#[tokio::test]
async fn own_commits_can_be_ahead_of_the_tail() {
    let a = server("a");
    let store = MemoryStore::open(&a);
    store.create_shards(&[A, B], EPOCH).await.unwrap();
    let mut tail = tail(&a, TailStart::After(executed(&a).await)).await;
    let hold = a.hold_tails();
    write(&a, 1).await;
    assert!(exists(&store, A, 1).await);
    let waiting = tokio::spawn(async move { seqs(&mut *tail, 1).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(hold);
    assert_eq!(waiting.await.unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn a_log_that_was_purged_still_makes_a_replica() {
    let clock = Arc::new(|| UnixMillis(1_000_000));
    let options = MemoryOptions { clock, log_transactions: 2, ..MemoryOptions::default() };
    let (a, b) = (MemoryDatabase::new(options), server("b"));
    MemoryStore::open(&a).create_shards(&[A, B], EPOCH).await.unwrap();
    for local in 1..=4 {
        write(&a, local).await;
    }
    b.replicate(&a, ReplicationOptions::default()).unwrap();
    write(&a, 5).await;
    b.wait_executed(&executed(&a).await).await;
    for local in [1, 4, 5] {
        assert!(exists(&MemoryStore::open(&b), A, local).await);
    }
    assert!(b.lose_last(1).is_err(), "what came before the log can't be made again");
    b.stop_replication();
    for local in 6..=9 {
        write(&a, local).await;
    }
    assert!(matches!(b.start_replication(), Err(ReplicationError::Purged { .. })));
    assert!(matches!(a.replicate(&a, ReplicationOptions::default()), Err(ReplicationError::SameName(_))));
}

#[tokio::test]
async fn a_tail_goes_back_by_the_primarys_clock_and_not_by_its_servers() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let options = MemoryOptions {
        server: "a".to_owned(),
        clock: Arc::new(move || UnixMillis(clock.load(Ordering::SeqCst))),
        ..MemoryOptions::default()
    };
    let a = MemoryDatabase::new(options);
    let ahead = Arc::new(|| UnixMillis(1_000_000 + 3_600_000));
    let b = MemoryDatabase::new(MemoryOptions {
        server: "b".to_owned(),
        clock: ahead,
        ..MemoryOptions::default()
    });
    MemoryStore::open(&a).create_shards(&[A, B], EPOCH).await.unwrap();
    b.replicate(&a, ReplicationOptions::default()).unwrap();
    for local in 1..=4 {
        write(&a, local).await;
        now.fetch_add(30_000, Ordering::SeqCst);
    }
    let beat = Beat { writer: WRITER, nonce: 9 };
    let time = MemoryStore::open(&a).beat(beat).await.unwrap();
    b.wait_executed(&executed(&a).await).await;
    let mut tail = tail(&b, TailStart::Back(Duration::from_secs(60))).await;
    // The heartbeat is the newest: the third write was a minute before it.
    assert_eq!(seqs(&mut *tail, 4).await.unwrap(), [3, 4]);
    assert_eq!(MemoryStore::open(&b).survey(WRITER).await.unwrap().beat, Some((9, time)));
    let replica = MemoryStore::open(&b).beat(beat).await;
    assert_eq!(replica.unwrap_err().kind, StoreErrorKind::Unavailable, "a replica writes no heartbeats");
}

#[tokio::test]
async fn r24_a_promotion_writes_every_shard_row_and_its_log_tells() {
    let a = server("a");
    let store = MemoryStore::open(&a);
    store.create_shards(&[A, B], EPOCH).await.unwrap();
    write(&a, 1).await;
    let fenced = store.change_state(A, EPOCH, ShardState::Serving, ShardState::Fenced).await.unwrap();
    assert!(fenced);
    let mut tail = tail(&a, TailStart::After(executed(&a).await)).await;
    a.set_read_only(true);
    assert_eq!(a.open_epochs(&[(A, EPOCH, Epoch(2))]).await.unwrap(), 2);
    let change = |shard, epoch, seq, state| TailEvent::Change {
        change: Arc::new(ShardChange { shard, epoch: Epoch(epoch), seq: Seq(seq), items: vec![] }),
        state,
    };
    let start =
        |shard, seq| TailEvent::Epoch { shard, start: EpochStart { epoch: Epoch(2), first_seq: Seq(seq) } };
    let told = tail.next().await.unwrap();
    // What changes its state takes a seq: A serves again. B serves still, whoever is to own it: that is a move's affair.
    assert_eq!(told, [start(A, 3), start(B, 1), change(A, 2, 3, ShardState::Serving)]);
    let other = a.open_epochs(&[(A, Epoch(7), Epoch(8))]).await;
    assert_eq!(other.unwrap_err().kind, StoreErrorKind::Rejected, "it lacks an epoch");
    let again = [(A, EPOCH, Epoch(2)), (B, EPOCH, Epoch(2))];
    assert_eq!(a.open_epochs(&again).await.unwrap(), 0, "a second run finds nothing to do");
    assert_eq!((seq(&store, A).await, seq(&store, B).await), (Seq(3), Seq(0)));
}

#[tokio::test]
async fn r7_a_heartbeat_is_seen_after_every_commit_before_it() {
    let (a, _b) = pair(Duration::ZERO).await;
    let hold = a.hold_commits();
    let (writer, beater) = (MemoryStore::open(&a), MemoryStore::open(&a));
    let write = tokio::spawn(async move { done(&writer, add(A, 1)).await });
    a.wait_executed(&"memory-a-2".parse().unwrap()).await;
    let beat = tokio::spawn(async move { beater.beat(Beat { writer: WRITER, nonce: 5 }).await });
    a.wait_executed(&"memory-a-3".parse().unwrap()).await;
    let store = MemoryStore::open(&a);
    assert_eq!(store.survey(WRITER).await.unwrap().beat, None);
    assert!(!beat.is_finished() && !write.is_finished());
    drop(hold);
    beat.await.unwrap().unwrap();
    let survey = store.survey(WRITER).await.unwrap();
    assert_eq!((survey.beat.unwrap().0, survey.rows[0].seq), (5, Seq(1)));
}
