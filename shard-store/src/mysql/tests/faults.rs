//! Servers and connections that go away at the worst moment (R4).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tao_schema::ids::{AssocType, ObjectId, Seq, ShardId};
use tao_schema::rows::ShardState;

use super::super::{MySqlStore, Options, batch_write};
use super::support::{EPOCH, Proxy, asked, commit, count, done, fleets, fresh, options, put, seq};
use crate::apply::{Admission, Lock, LockedShard, Locks, Lookup, ReadSet, Tombstone, UnixMillis, Workspace};
use crate::fleet::{Fleet, Server};
use crate::store::{ShardStore, StoreErrorKind};
use crate::write::{Inverse, StoreOp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_settled() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        tokio::join!(
            a_lost_answer_is_found(server),
            a_lost_commit_is_known_to_be_lost(server),
            a_late_answer_is_never_taken_for_another(server),
            a_tombstone_that_is_purged_meanwhile_fails_no_commit(server)
        );
    }))
    .await;
}

/// A store behind a proxy, on a database with one shard.
async fn behind_proxy(server: &Server, options: Options) -> (Proxy, MySqlStore) {
    fresh(server, options.clone(), 1).await;
    let proxy = Proxy::start(server.port()).await;
    let store = proxy.open(server, options).await;
    (proxy, store)
}

async fn a_lost_answer_is_found(server: &Server) {
    let (proxy, store) = behind_proxy(server, options("lost_answer")).await;
    proxy.lose_next_commit(true);
    let (results, ()) = tokio::join!(commit(&store, vec![asked(7, put(0, 1, 2))]), async {
        proxy.lost().await;
        proxy.close();
    });
    assert!(!done(&results.unwrap()[0]).replayed);
    assert_eq!((seq(&store, 0).await, count(&store, 0, 1).await), (Seq(1), 1));
    let again = commit(&store, vec![asked(7, put(0, 1, 2))]).await.unwrap();
    assert!(done(&again[0]).replayed);
    assert_eq!(seq(&store, 0).await, Seq(1));

    // A state is changed by the same rules.
    proxy.lose_next_commit(true);
    let (serving, fenced) = (ShardState::Serving, ShardState::Fenced);
    let shard = ShardId(0);
    let (changed, ()) = tokio::join!(store.change_state(shard, EPOCH, serving, fenced), async {
        proxy.lost().await;
        proxy.close();
    });
    assert!(changed.unwrap());
    assert_eq!(seq(&store, 0).await, Seq(2));
}

async fn a_lost_commit_is_known_to_be_lost(server: &Server) {
    let (proxy, store) = behind_proxy(server, options("lost_commit")).await;
    proxy.lose_next_commit(false);
    let (results, ()) = tokio::join!(commit(&store, vec![asked(7, put(0, 1, 2))]), async {
        proxy.lost().await;
        proxy.close();
    });
    let error = results.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("rolled back"), "{error}");
    assert_eq!((seq(&store, 0).await, count(&store, 0, 1).await), (Seq(0), 0));
    let again = commit(&store, vec![asked(7, put(0, 1, 2))]).await.unwrap();
    assert!(!done(&again[0]).replayed);
}

/// A statement that ran out of time still has an answer under way: its connection must not be used again.
async fn a_late_answer_is_never_taken_for_another(server: &Server) {
    let short = Options { statement_timeout: Duration::from_millis(1_100), ..options("late_answer") };
    let store = fresh(server, short, 1).await;
    let mut lease = store.inner.writers.get().await.unwrap();
    assert!(lease.reused, "the connection that made the shard is idle");
    let failure = lease.plain("sleep", include_str!("sql/sleep.sql")).await.unwrap_err();
    assert!(failure.error.message.contains("no answer within"), "{}", failure.error);
    lease.roll_back().await;
    let lease = store.inner.writers.get().await.unwrap();
    assert!(!lease.reused, "a connection with an answer under way was given out again");
}

/// A purge takes no shard's lock: between a commit's read and its delete the tombstone can go.
async fn a_tombstone_that_is_purged_meanwhile_fails_no_commit(server: &Server) {
    let store = fresh(server, options("purged"), 2).await;
    let now = UnixMillis(1);
    let mut locks = Locks::default();
    for shard in [ShardId(0), ShardId(1)] {
        let state = ShardState::Serving;
        locks.insert(shard, Lock::Held(LockedShard { shard, epoch: EPOCH, seq: Seq(0), state, next_id: 1 }));
    }
    let mut unit = put(0, 1, ObjectId::new(ShardId(1), 2).0);
    let atype = AssocType(9);
    let StoreOp::EdgePut { edge, inverse, .. } = &mut unit.ops[0] else { panic!("it puts an edge") };
    *inverse = Some(Inverse { atype, together: Some(EPOCH) });
    let other = edge.reversed(atype);
    let units = [unit];
    let admission = Admission::of(&units, &locks, |_, _| Lookup::New);
    let mut workspace = Workspace::new(&locks, &ReadSet::of(&units, &admission, &locks), now);
    // It was read; the database does not have it any more.
    workspace.load_tombstone(other, Tombstone { epoch: EPOCH, seq: Seq(0), at: now });
    let plan = workspace.run(&units, admission);
    assert_eq!(plan.tombstones.deletes, [other]);
    let mut lease = store.inner.writers.get().await.unwrap();
    let mut last =
        batch_write::write(&store.inner, &mut lease, (&plan, false), 7, now).await.unwrap().unwrap();
    lease.send(&mut last).await.unwrap();
    lease.roll_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_that_was_committed() {
    join_all(fleets().await.into_iter().map(server_dies)).await;
}

async fn server_dies(mut fleet: Fleet) {
    let server = fleet.servers()[0].clone();
    let short = Options {
        connect_timeout: Duration::from_secs(1),
        writer_wait_timeout: Duration::from_secs(1),
        resolve_timeout: Duration::from_millis(1_500),
        ..options("killed")
    };
    let (proxy, store) = behind_proxy(&server, short).await;

    // It dies after the COMMIT and is back before anybody asks: committed.
    proxy.lose_next_commit(true);
    let writing = tokio::spawn({
        let store = store.clone();
        async move { commit(&store, vec![asked(1, put(0, 1, 1))]).await }
    });
    proxy.lost().await;
    fleet.kill(0).await.unwrap();
    fleet.restart(0).await.unwrap();
    proxy.close();
    assert!(!done(&writing.await.unwrap().unwrap()[0]).replayed);
    assert_eq!((seq(&store, 0).await, count(&store, 0, 1).await), (Seq(1), 1));

    // It dies after the COMMIT and stays away: nobody knows, and that is what is said.
    proxy.lose_next_commit(true);
    let writing = tokio::spawn({
        let store = store.clone();
        async move { commit(&store, vec![asked(2, put(0, 1, 2))]).await }
    });
    proxy.lost().await;
    fleet.kill(0).await.unwrap();
    proxy.close();
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Uncertain, "{error}");

    // While it is down every call says so at once.
    let start = Instant::now();
    for error in
        [commit(&store, vec![put(0, 1, 3)]).await.unwrap_err(), store.shard_rows().await.unwrap_err()]
    {
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?} to say that it is down", start.elapsed());

    // It is back: a retry finds what was committed, and writing goes on.
    fleet.restart(0).await.unwrap();
    let again = commit(&store, vec![asked(2, put(0, 1, 2)), put(0, 1, 3)]).await.unwrap();
    assert!(done(&again[0]).replayed && !done(&again[1]).replayed);
    assert_eq!((seq(&store, 0).await, count(&store, 0, 1).await), (Seq(3), 3));
}
