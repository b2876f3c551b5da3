//! A primary with replicas: what their logs show, and what promotion and crashes make of them.

use super::*;
use crate::log::{
    BeatWriter, LogPosition, LogTail, ServerLog, TailError, TailErrorKind, TailEvent, TailStart,
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
