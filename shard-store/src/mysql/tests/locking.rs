//! Locks of several leaders, with real concurrency: H1-H4.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row};
use tao_schema::ids::{Seq, ShardId};
use tao_schema::rows::ShardState;

use super::super::Options;
use super::super::statements::LOCK_SHARD_WAIT;
use super::support::{EPOCH, commit, count, done, fleets, fresh, open, options, put, seq, session};
use crate::fleet::Server;
use crate::store::ShardStore as _;
use crate::write::UnitResult;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_taken_by_row_and_given_back() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        // What a server does whose administrator said nothing: the store must see to it by itself (R1).
        let mut admin = session(server, "mysql").await;
        admin.query_drop(include_str!("sql/administrator.sql")).await.unwrap();
        admin.query_drop(include_str!("sql/repeatable_read.sql")).await.unwrap();
        tokio::join!(
            h1_a_fence_that_commits_meanwhile_is_seen(server),
            h2_a_batch_does_not_wait_for_other_shards(server),
            h3_an_absent_key_that_is_locked_locks_no_gap(server),
            h3_neighbouring_absent_keys_do_not_deadlock(server),
            h3_a_lock_wait_that_timed_out_holds_nothing(server),
            h4_a_zombie_loses_its_locks(server),
        );
    }))
    .await;
}

/// A batch meets a row that a fence holds: its unit is busy, never advanced; after the fence it is not owned.
async fn h1_a_fence_that_commits_meanwhile_is_seen(server: &Server) {
    let store = fresh(server, options("h1"), 8).await;
    let mut fence = session(server, "h1").await;
    fence.query_drop(include_str!("sql/begin.sql")).await.unwrap();
    fence.query_drop(include_str!("sql/fence_shard_one.sql")).await.unwrap();
    let results = commit(&store, vec![put(0, 1, 2), put(1, 1, 2), put(2, 1, 2)]).await.unwrap();
    assert_eq!(results[1], UnitResult::Busy);
    assert_eq!((done(&results[0]).positions[0].seq, done(&results[2]).positions[0].seq), (Seq(1), Seq(1)));

    // A batch of one waits, and sees what the fence has committed.
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { commit(&store, vec![put(1, 1, 2)]).await }
    });
    fence.query_drop(super::super::statements::COMMIT.body()).await.unwrap();
    let results = waiting.await.unwrap().unwrap();
    assert_eq!(results[0], UnitResult::NotOwned { found: Some((EPOCH, ShardState::Fenced)) });
    assert_eq!((seq(&store, 1).await, count(&store, 1, 1).await), (Seq(1), 0));
}

/// Eight rows: few enough that an optimiser would rather read the whole table, and so lock it (H2).
async fn h2_a_batch_does_not_wait_for_other_shards(server: &Server) {
    let store = fresh(server, options("h2"), 8).await;
    let mut other = session(server, "h2").await;
    other.query_drop(include_str!("sql/begin.sql")).await.unwrap();
    let _: Vec<Row> = other.query(include_str!("sql/hold_shard_one.sql")).await.unwrap();
    let start = Instant::now();
    let results = commit(&store, vec![put(5, 1, 2), put(2, 1, 2)]).await.unwrap();
    assert_eq!((done(&results[0]).positions[0].seq, done(&results[1]).positions[0].seq), (Seq(1), Seq(1)));
    let results = commit(&store, vec![put(0, 1, 2)]).await.unwrap();
    assert_eq!(done(&results[0]).positions[0].seq, Seq(1));
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "waited {:?} for a row not touched",
        start.elapsed()
    );
}

/// A leader that finds no row holds nothing: others insert beside it.
async fn h3_an_absent_key_that_is_locked_locks_no_gap(server: &Server) {
    let one = fresh(server, options("h3_gap"), 2).await;
    let other = open(server, options("h3_gap")).await.unwrap();
    let mut lease = one.inner.writers.get().await.unwrap();
    let rows = lease.rows(&LOCK_SHARD_WAIT, Params::Positional(vec![5u16.into()])).await.unwrap();
    assert!(rows.is_empty());
    other.create_shards(&[ShardId(7)], EPOCH).await.unwrap();
    lease.commit().await.unwrap();
}

/// Two leaders insert edges, counts and requests between the same keys, on different shards.
async fn h3_neighbouring_absent_keys_do_not_deadlock(server: &Server) {
    let one = fresh(server, options("h3"), 2).await;
    let other = open(server, options("h3")).await.unwrap();
    // The last keys of shard 0 and the first of shard 1 lie in one gap.
    let last = (1 << 48) - 1_000;
    let rounds = (0..30).map(|round| {
        let (one, other) = (one.clone(), other.clone());
        async move {
            let down = commit(&one, vec![put(0, last - round, round)]);
            let up = commit(&other, vec![put(1, 1_000 - round, round)]);
            tokio::try_join!(down, up)
        }
    });
    let all = try_join_all(rounds).await.unwrap();
    let of = |shard: usize| {
        let results = all.iter().map(|(down, up)| [down, up][shard]);
        results.filter(|results| matches!(results[0], UnitResult::Done(_))).count() as u64
    };
    assert_eq!((seq(&one, 0).await, seq(&one, 1).await), (Seq(of(0)), Seq(of(1))));
    assert_eq!((of(0), of(1)), (30, 30));
}

async fn h3_a_lock_wait_that_timed_out_holds_nothing(server: &Server) {
    let store = fresh(server, options("h3_wait"), 2).await;
    let mut other = session(server, "h3_wait").await;
    other.query_drop(include_str!("sql/begin.sql")).await.unwrap();
    let _: Vec<Row> = other.query(include_str!("sql/hold_shard_one.sql")).await.unwrap();
    let results = commit(&store, vec![put(1, 1, 2)]).await.unwrap();
    assert_eq!(results[0], UnitResult::Busy);
    let taken: Vec<Row> = other.query(include_str!("sql/take_shard_zero.sql")).await.unwrap();
    assert_eq!(taken.len(), 1);
}

/// A leader that stopped inside a transaction: the server ends its session after `wait_timeout`.
async fn h4_a_zombie_loses_its_locks(server: &Server) {
    let wait_timeout = Duration::from_secs(2);
    let zombie = fresh(server, Options { writer_wait_timeout: wait_timeout, ..options("h4") }, 1).await;
    // Before the lock: opening may take longer than the zombie's session lasts.
    let other = open(server, options("h4")).await.unwrap();
    let mut lease = zombie.inner.writers.get().await.unwrap();
    let rows = lease.rows(&LOCK_SHARD_WAIT, Params::Positional(vec![0u16.into()])).await.unwrap();
    assert_eq!(rows.len(), 1);
    let start = Instant::now();
    let mut busy = 0;
    while commit(&other, vec![put(0, 1, 2)]).await.unwrap()[0] == UnitResult::Busy {
        busy += 1;
        assert!(start.elapsed() < 4 * wait_timeout, "the zombie still holds its row");
    }
    assert!(busy > 0, "the zombie held nothing");
    assert_eq!(seq(&other, 0).await, Seq(1));
    // The zombie wakes up: its session is gone, and what it says is not heard.
    assert!(lease.commit().await.is_err());
}
