//! Lone writes in one round trip: when they are, what makes them go the long way, and what becomes of one in doubt.

use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{Epoch, ObjectId, ObjectType, Position, Seq, ShardId};
use tao_schema::ops::Effect;
use tao_schema::rows::{ChangeItem, ListChange, ShardState};

use super::super::statements::COMMIT;
use super::super::{MySqlStore, OneTrip, Options};
use super::support::{
    EPOCH, LIKES, Proxy, asked, commit, count, done, fleets, fresh, open, options, put, seq, session,
};
use crate::fleet::Server;
use crate::store::{ShardStore, StoreErrorKind};
use crate::write::{Batch, Inverse, StoreOp, UnitResult, WriteUnit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_write_is_one_round_trip_if_the_database_is_as_believed() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        tokio::join!(
            what_adds_is_one_round_trip(server),
            what_is_there_already_goes_the_long_way(server),
            what_another_leader_wrote_is_seen(server),
            journals_of_pairs_are_looked_for(server),
            a_row_held_by_another_is_not_waited_for_with_anything_held(server),
            a_text_in_doubt_is_settled(server),
            a_text_without_an_answer_in_time_is_settled(server),
            a_text_that_comes_late_does_nothing(server),
            what_never_comes_true_is_not_tried(server),
        );
    }))
    .await;
}

fn always(database: &str) -> Options {
    Options { one_trip: OneTrip::Always, ..options(database) }
}

/// A store that has written shard 0 last.
async fn warm(server: &Server, database: &str, shards: u16) -> MySqlStore {
    let store = fresh(server, always(database), shards).await;
    write(&store, put(0, 9_999, 1)).await;
    store
}

/// Writes one unit under a request id of its own; answers its outcome, and whether that took one round trip.
async fn write(store: &MySqlStore, unit: WriteUnit) -> (UnitResult, bool) {
    let before = store.phase_times().believed;
    let id: u64 = rand::random();
    let mut results = commit(store, vec![asked(u128::from(id), unit)]).await.unwrap();
    (results.remove(0), store.phase_times().believed > before)
}

async fn effect(store: &MySqlStore, unit: WriteUnit) -> (Effect, bool) {
    let (result, at_once) = write(store, unit).await;
    (done(&result).outcomes[0].effect, at_once)
}

/// As [`write`] of an edge; answers the list's part of the change.
async fn published(store: &MySqlStore, unit: WriteUnit) -> (ListChange, bool) {
    let before = store.phase_times().believed;
    let result =
        store.commit(Batch { units: vec![asked(rand::random::<u64>().into(), unit)] }).await.unwrap();
    let [ChangeItem::List(list)] = &result.changes[0].items[..] else { panic!("not a list: {result:?}") };
    (list.clone(), store.phase_times().believed > before)
}

fn add(shard: u16, id: Option<u64>) -> WriteUnit {
    let id = id.map(|local| ObjectId::new(ShardId(shard), local));
    let op = StoreOp::ObjectAdd { id, otype: ObjectType(1), fields: EncodedFields::new() };
    WriteUnit { ops: vec![op], ..put(shard, 1, 1) }
}

/// An edge of shard 0 with its other side on shard 1.
fn pair(id1: u64, id2: u64, together: bool) -> WriteUnit {
    let mut unit = put(0, id1, ObjectId::new(ShardId(1), id2).0);
    let StoreOp::EdgePut { inverse, .. } = &mut unit.ops[0] else { panic!("it puts an edge") };
    *inverse = Some(Inverse { atype: LIKES, together: together.then_some(EPOCH) });
    unit
}

fn deletion_of(unit: &WriteUnit) -> WriteUnit {
    let StoreOp::EdgePut { edge, inverse, .. } = &unit.ops[0] else { panic!("it puts an edge") };
    let op = StoreOp::EdgeDelete { edge: *edge, expected: None, inverse: *inverse };
    WriteUnit { ops: vec![op], ..unit.clone() }
}

async fn what_adds_is_one_round_trip(server: &Server) {
    let store = fresh(server, always("believed_adds"), 2).await;
    assert_eq!(effect(&store, put(0, 1, 1)).await, (Effect::Created, false), "nothing is known yet");
    assert_eq!(effect(&store, put(0, 1, 2)).await, (Effect::Created, true), "the list is known");
    assert_eq!(effect(&store, put(0, 2, 1)).await, (Effect::Created, true), "the list is new");
    assert_eq!((count(&store, 0, 1).await, count(&store, 0, 2).await, seq(&store, 0).await), (2, 1, Seq(3)));
    for local in 1..=3 {
        let (result, at_once) = write(&store, add(0, None)).await;
        assert_eq!(done(&result).outcomes[0].id, Some(ObjectId::new(ShardId(0), local)));
        assert!(at_once, "object {local}");
    }
    assert_eq!(effect(&store, add(0, Some(7))).await, (Effect::Created, true));
    // The allocator goes past it.
    assert_eq!(done(&write(&store, add(0, None)).await.0).outcomes[0].id, Some(ObjectId::new(ShardId(0), 8)));
    // A retry is answered from what was stored, whoever asks.
    let unit = asked(77, put(0, 2, 2));
    assert!(!done(&commit(&store, vec![unit.clone()]).await.unwrap()[0]).replayed);
    let other = open(server, always("believed_adds")).await.unwrap();
    for leader in [&store, &other] {
        assert!(done(&commit(leader, vec![unit.clone()]).await.unwrap()[0]).replayed);
    }
    assert_eq!((count(&store, 0, 2).await, seq(&store, 0).await), (2, Seq(9)));
}

async fn what_is_there_already_goes_the_long_way(server: &Server) {
    let store = warm(server, "believed_there", 1).await;
    assert_eq!(effect(&store, put(0, 1, 1)).await, (Effect::Created, true));
    assert_eq!(effect(&store, put(0, 1, 1)).await, (Effect::Updated, false));
    let mut once = put(0, 1, 1);
    let StoreOp::EdgePut { create_only, .. } = &mut once.ops[0] else { panic!("it puts an edge") };
    *create_only = true;
    assert!(matches!(write(&store, once).await, (UnitResult::Refused(_), false)));
    assert_eq!((count(&store, 0, 1).await, seq(&store, 0).await), (1, Seq(3)));
    assert_eq!(effect(&store, add(0, Some(5))).await, (Effect::Created, true));
    assert!(matches!(write(&store, add(0, Some(5))).await, (UnitResult::Refused(_), false)));
    // The server answered each time: the connections are as good as before.
    assert_eq!(effect(&store, put(0, 1, 2)).await, (Effect::Created, true));
    assert_eq!(count(&store, 0, 1).await, 2);
}

async fn what_another_leader_wrote_is_seen(server: &Server) {
    let store = warm(server, "believed_other", 2).await;
    let other = open(server, always("believed_other")).await.unwrap();
    write(&store, put(0, 1, 1)).await;
    // The seq is not the one believed; then it is, and the list is longer than when it was written here last.
    for (theirs, between) in [(put(0, 1, 2), None), (put(0, 1, 3), Some(put(0, 2, 1)))] {
        write(&other, theirs).await;
        let is_believed = between.is_some();
        if let Some(unit) = between {
            assert_eq!(effect(&store, unit).await, (Effect::Created, false), "the log moved on");
        }
        let before = count(&store, 0, 1).await;
        let (change, at_once) = published(&store, put(0, 1, 4 + before)).await;
        assert_eq!((change.count, at_once), (before + 1, is_believed));
        assert_eq!(count(&store, 0, 1).await, before + 1);
        // What is published is what is there, and what was there before it.
        let (next, at_once) = published(&store, put(0, 1, 10 + before)).await;
        assert_eq!((next.count, at_once), (before + 2, true));
        assert_eq!(next.prev_version.0, seq(&store, 0).await.0 - 1);
        write(&store, deletion_of(&put(0, 1, 10 + before))).await;
    }
    // A fence, and a new epoch.
    assert!(other.change_state(ShardId(0), EPOCH, ShardState::Serving, ShardState::Fenced).await.unwrap());
    let (result, _) = write(&store, put(0, 1, 50)).await;
    assert_eq!(result, UnitResult::NotOwned { found: Some((EPOCH, ShardState::Fenced)) });
    write(&store, put(1, 1, 1)).await;
    session(server, "believed_other")
        .await
        .query_drop(include_str!("sql/tail/next_epoch.sql"))
        .await
        .unwrap();
    let (result, _) = write(&store, put(1, 1, 2)).await;
    assert_eq!(result, UnitResult::NotOwned { found: Some((Epoch(EPOCH.0 + 1), ShardState::Serving)) });
    assert_eq!(count(&store, 1, 1).await, 1);
}

async fn journals_of_pairs_are_looked_for(server: &Server) {
    let store = warm(server, "believed_pairs", 2).await;
    write(&store, put(1, 9_999, 1)).await;
    // Both sides at once.
    let (result, at_once) = write(&store, pair(1, 2, true)).await;
    assert!(at_once && done(&result).pending.is_empty() && done(&result).positions.len() == 2, "{result:?}");
    assert_eq!(count(&store, 1, 2).await, 1);
    // One side, and the other is left to the outbox, from where it is brought over.
    let (result, at_once) = write(&store, pair(3, 4, false)).await;
    assert!(at_once);
    let [pending] = &done(&result).pending[..] else { panic!("one is pending: {result:?}") };
    let bring = |value, origin| {
        let op = StoreOp::InverseApply { edge: pending.inverse, value, origin };
        WriteUnit { request: None, ops: vec![op], ..put(1, 1, 1) }
    };
    let before = store.phase_times().believed;
    commit(&store, vec![bring(pending.value.clone(), pending.origin)]).await.unwrap();
    assert_eq!((store.phase_times().believed, count(&store, 1, 4).await), (before + 1, 1));
    // A journal of the pair is there: an outbox row of its deletion.
    write(&store, deletion_of(&pair(3, 4, false))).await;
    assert_eq!(
        effect(&store, pair(3, 4, true)).await,
        (Effect::Created, false),
        "its outbox row was overlooked"
    );
    assert!(store.outbox(ShardId(0), None, 10).await.unwrap().is_empty());
    // A tombstone that is newer than what comes.
    write(&store, deletion_of(&pair(1, 2, true))).await;
    let old = Position { seq: Seq(1), ..pending.origin };
    let StoreOp::EdgePut { edge, value, .. } = &pair(1, 2, true).ops[0] else { panic!("it puts an edge") };
    let op = StoreOp::InverseApply { edge: edge.reversed(LIKES), value: Some(value.clone()), origin: old };
    let late = WriteUnit { request: None, ops: vec![op], ..put(1, 1, 1) };
    let results = commit(&store, vec![late]).await.unwrap();
    assert_eq!(done(&results[0]).outcomes[0].effect, Effect::Nothing);
    assert_eq!(count(&store, 1, 2).await, 0);
}

async fn a_row_held_by_another_is_not_waited_for_with_anything_held(server: &Server) {
    let store = warm(server, "believed_held", 2).await;
    write(&store, put(1, 1, 1)).await;
    let mut other = session(server, "believed_held").await;
    begin_and_hold_one(&mut other).await;
    // The pair's ordering side is held by the text when it meets the other's row; nothing of it stays.
    let (result, at_once) = write(&store, pair(5, 6, true)).await;
    assert!(!at_once && done(&result).pending.len() == 1, "{result:?}");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { write(&store, put(1, 1, 2)).await.0 }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let taken: Vec<Row> = other.query(include_str!("sql/take_shard_zero.sql")).await.unwrap();
    assert_eq!(taken.len(), 1);
    other.query_drop(COMMIT.body()).await.unwrap();
    assert_eq!(done(&waiting.await.unwrap()).outcomes[0].effect, Effect::Created);
    // While a text is under way its row is locked for others: it is counted under the lock, not beside it.
    let mut lease = store.inner.writers.get().await.unwrap();
    let held = super::super::statements::HOLD_SHARD.body();
    let row = store.shard_rows().await.unwrap().into_iter().find(|row| row.shard == ShardId(1)).unwrap();
    let values = [1, u64::from(row.epoch.0), row.seq.0, u64::from(row.state.number()), 1];
    let text = values.iter().fold(held.to_owned(), |text, value| text.replacen('?', &value.to_string(), 1));
    lease.plain("hold", &text).await.unwrap();
    let locked = other.query_drop(include_str!("sql/take_shard_one.sql")).await;
    assert!(locked.is_err(), "another could lock the row that the text holds");
    lease.roll_back().await;
}

async fn begin_and_hold_one(other: &mut Conn) {
    other.query_drop(include_str!("sql/begin.sql")).await.unwrap();
    let _: Vec<Row> = other.query(include_str!("sql/hold_shard_one.sql")).await.unwrap();
}

/// Its COMMIT is lost on the way, or the answer, and the connection with it.
async fn a_text_in_doubt_is_settled(server: &Server) {
    fresh(server, options("believed_doubt"), 1).await;
    let proxy = Proxy::start(server.port()).await;
    let store = proxy.open(server, always("believed_doubt")).await;
    for (round, pass_on) in [(1, true), (2, false)] {
        write(&store, put(0, 2, round)).await;
        proxy.lose_next_commit(pass_on);
        let unit = asked(u128::from(round), put(0, 1, round));
        let (results, ()) = tokio::join!(commit(&store, vec![unit.clone()]), async {
            proxy.lost().await;
            proxy.close();
        });
        // Its request was found, or it was done now.
        assert_eq!(done(&results.unwrap()[0]).replayed, pass_on);
        assert_eq!((count(&store, 0, 1).await, seq(&store, 0).await), (round, Seq(2 * round)), "{pass_on}");
        assert!(done(&commit(&store, vec![unit]).await.unwrap()[0]).replayed);
    }
}

/// No answer in time: the lock of its shard's row tells.
async fn a_text_without_an_answer_in_time_is_settled(server: &Server) {
    let short = Options { statement_timeout: Duration::from_millis(1_100), ..always("believed_slow") };
    fresh(server, options("believed_slow"), 1).await;
    let proxy = Proxy::start(server.port()).await;
    let store = proxy.open(server, short).await;
    write(&store, put(0, 1, 1)).await;
    for (id2, pass_on) in [(2, true), (3, false)] {
        let (result, at_once) = without_an_answer(&store, &proxy, put(0, 1, id2), pass_on).await;
        // What was committed raised a count from nobody knows what: its request is found.
        assert_eq!((done(&result).replayed, at_once), (pass_on, false));
        assert_eq!(
            (count(&store, 0, 1).await, seq(&store, 0).await),
            (id2, Seq(2 * id2 - 1)),
            "passed on: {pass_on}"
        );
    }
    let (result, at_once) = without_an_answer(&store, &proxy, add(0, Some(77)), true).await;
    assert_eq!((done(&result).replayed, at_once), (false, true), "without counts all is known");
}

async fn without_an_answer(
    store: &MySqlStore,
    proxy: &Proxy,
    unit: WriteUnit,
    pass_on: bool,
) -> (UnitResult, bool) {
    write(store, put(0, 2, rand::random::<u32>().into())).await;
    proxy.lose_next_commit(pass_on);
    let result = write(store, unit).await;
    proxy.lost().await;
    proxy.close();
    result
}

/// It lay in a socket while its sender gave it up, found no trace of it, and did the write the long way.
async fn a_text_that_comes_late_does_nothing(server: &Server) {
    fresh(server, options("believed_late"), 1).await;
    let proxy = Proxy::start(server.port()).await;
    let store = proxy.open(server, always("believed_late")).await;
    write(&store, put(0, 1, 1)).await;
    proxy.delay_next_commit();
    let (results, ()) = tokio::join!(commit(&store, vec![asked(2, put(0, 1, 2))]), async {
        proxy.lost().await;
        proxy.close();
    });
    let moved_on = results.map(|results| done(&results[0]).replayed);
    let before = (count(&store, 0, 1).await, seq(&store, 0).await);
    let answer = proxy.deliver().await;
    let after = (count(&store, 0, 1).await, seq(&store, 0).await);
    assert_eq!(before, after, "a text that had been given up was committed: {moved_on:?}");
    assert_eq!((moved_on.unwrap(), after), (false, (2, Seq(2))));
    assert_eq!(answer, 0xff, "the server refused it");

    // Where the long way is refused nothing keeps the text from coming: nobody knows.
    write(&store, add(0, None)).await;
    proxy.delay_next_commit();
    let fence = open(server, options("believed_late")).await.unwrap();
    let (results, ()) = tokio::join!(commit(&store, vec![asked(3, put(0, 1, 3))]), async {
        proxy.lost().await;
        let shard = ShardId(0);
        assert!(fence.change_state(shard, EPOCH, ShardState::Serving, ShardState::Fenced).await.unwrap());
        proxy.close();
    });
    let error = results.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Uncertain, "{error}");
    assert_eq!(proxy.deliver().await, 0xff);
}

/// Where edges are mostly there already the first trip is a waste: it is made once in a while.
async fn what_never_comes_true_is_not_tried(server: &Server) {
    let store = fresh(server, options("believed_trust"), 1).await;
    for id2 in 1..=8 {
        write(&store, put(0, 1, id2)).await;
    }
    assert_eq!(store.phase_times().believed, 7);
    for round in 0..40 {
        assert_eq!(effect(&store, put(0, 1, 1 + round % 8)).await, (Effect::Updated, false));
    }
    // Not as long as nearly all goes wrong; then again.
    let tries = (0..200).map(|id2| put(0, 1, 100 + id2));
    let mut at_once = Vec::new();
    for unit in tries {
        at_once.push(effect(&store, unit).await.1);
    }
    assert!(!at_once[0] && at_once[199], "{at_once:?}");
    assert_eq!(count(&store, 0, 1).await, 208);
}
