//! The tail of a server that is as it must be.

use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{Epoch, ObjectId, ObjectType, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};

use super::super::MySqlStore;
use super::recorded::up_to_now;
use super::support::{EPOCH, commit, done, fleets, fresh, options, put, session};
use crate::fleet::Server;
use crate::log::{Beat, BeatWriter, LogTail, ServerLog, TailEvent, TailStart};
use crate::store::ShardStore;
use crate::write::{Batch, StoreOp, WriteUnit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tail_tells_what_happens() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        heartbeats_come_through_and_leave_marks(server).await;
        a_tail_resumes_behind_any_transaction_and_file(server).await;
        what_is_not_awaited_is_not_lost(server).await;
        numbers_have_no_sign(server).await;
        a_transaction_of_many_events_is_one_change(server).await;
        states_and_epochs_are_told(server).await;
        what_is_not_ours_is_passed_over(server).await;
    }))
    .await;
}

async fn from_now(store: &MySqlStore) -> Box<dyn LogTail> {
    let executed = store.executed().await.unwrap();
    store.open_tail(TailStart::After(executed)).await.unwrap()
}

/// Shard, seq and number of items.
fn told(events: &[TailEvent]) -> Vec<(u16, u64, usize)> {
    let change = |event: &TailEvent| match event {
        TailEvent::Change { change, .. } => Some((change.shard.0, change.seq.0, change.items.len())),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

fn add(shard: u16, local: u64, data: Vec<u8>) -> WriteUnit {
    let fields = EncodedFields(data.into());
    let op =
        StoreOp::ObjectAdd { id: Some(ObjectId::new(ShardId(shard), local)), otype: ObjectType(1), fields };
    WriteUnit { shard: ShardId(shard), epoch: EPOCH, request: None, ops: vec![op] }
}

async fn heartbeats_come_through_and_leave_marks(server: &Server) {
    let store = fresh(server, options("beats"), 2).await;
    assert_eq!(store.survey(BeatWriter(7)).await.unwrap().beat, None);
    let beat = Beat { writer: BeatWriter(7), nonce: u64::MAX };
    let time = store.beat(beat).await.unwrap();
    commit(&store, vec![put(0, 1, 1), put(1, 1, 1)]).await.unwrap();
    let survey = store.survey(BeatWriter(7)).await.unwrap();
    assert_eq!(survey.beat, Some((u64::MAX, time)));
    assert_eq!(survey.rows, store.shard_rows().await.unwrap());
    let start = EpochStart { epoch: EPOCH, first_seq: Seq(1) };
    assert_eq!(survey.epochs, vec![(ShardId(0), start), (ShardId(1), start)]);

    // No mark is a minute old: the oldest one is as far back as one can go. It stands before the commit (R17).
    let mut tail = store.open_tail(TailStart::Back(Duration::from_secs(60))).await.unwrap();
    assert_eq!(told(&up_to_now(&store, tail.as_mut()).await), vec![(0, 1, 1), (1, 1, 1)]);
    assert!(store.executed().await.unwrap().covers(&tail.position()));
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(clock.as_millis().abs_diff(u128::from(time.0)) < 60_000, "{time:?} is not in milliseconds");
}

/// GTIDs say where a tail is, not names and positions of files: the first ROTATE of a stream has junk behind its name, and
/// those of a file's end pair the old position with the new name.
async fn a_tail_resumes_behind_any_transaction_and_file(server: &Server) {
    let store = fresh(server, options("resume"), 1).await;
    let mut admin = session(server, "resume").await;
    let mut tail = from_now(&store).await;
    let first = tail.position();
    for id2 in 1..=6 {
        commit(&store, vec![put(0, 1, id2)]).await.unwrap();
        if id2 % 2 == 0 {
            admin.query_drop(include_str!("sql/tail/rotate.sql")).await.unwrap();
        }
    }
    let mut seqs = Vec::new();
    let mut positions = vec![first];
    while seqs.len() < 6 {
        seqs.extend(told(&tail.next().await.unwrap()).into_iter().map(|(_, seq, _)| seq));
        positions.push(tail.position());
    }
    assert_eq!(seqs, (1..=6).collect::<Vec<_>>());
    for position in positions {
        let mut again = store.open_tail(TailStart::After(position)).await.unwrap();
        let rest = told(&up_to_now(&store, again.as_mut()).await);
        let expected: Vec<_> = (7 - rest.len() as u64..=6).map(|seq| (0, seq, 1)).collect();
        assert_eq!(rest, expected);
    }
    assert_eq!(told(&up_to_now(&store, tail.as_mut()).await), vec![]);
}

async fn what_is_not_awaited_is_not_lost(server: &Server) {
    let store = fresh(server, options("cancelled"), 1).await;
    let mut tail = from_now(&store).await;
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for id2 in 1..=30 {
                commit(&store, vec![put(0, 1, id2)]).await.unwrap();
            }
        })
    };
    let mut seqs = Vec::new();
    while seqs.len() < 30 {
        // Given up again and again, between any two events.
        if let Ok(events) = tokio::time::timeout(Duration::from_micros(300), tail.next()).await {
            seqs.extend(told(&events.unwrap()).into_iter().map(|(_, seq, _)| seq));
        }
    }
    assert_eq!(seqs, (1..=30).collect::<Vec<_>>());
    writing.await.unwrap();
}

/// Without names and signs in the log, `u64::MAX` would come as -1.
async fn numbers_have_no_sign(server: &Server) {
    let store = fresh(server, options("signs"), 1).await;
    let mut admin = session(server, "signs").await;
    admin.query_drop(include_str!("sql/tail/late_shard.sql")).await.unwrap();
    let mut tail = from_now(&store).await;
    let last = ObjectId(u64::MAX);
    let op = StoreOp::ObjectAdd { id: Some(last), otype: ObjectType(u16::MAX), fields: EncodedFields::new() };
    let unit = WriteUnit { shard: last.shard(), epoch: Epoch(u32::MAX - 1), request: None, ops: vec![op] };
    let result = store.commit(Batch { units: vec![unit] }).await.unwrap();
    assert_eq!(result.changes[0].seq, Seq(u64::MAX - 2));
    let expected = TailEvent::Change { change: result.changes[0].clone(), state: ShardState::Serving };
    assert_eq!(up_to_now(&store, tail.as_mut()).await, vec![expected]);
}

/// Rows come in events of some 8 KiB; tables take turns, each announced again.
async fn a_transaction_of_many_events_is_one_change(server: &Server) {
    let store = fresh(server, options("large"), 3).await;
    let mut tail = from_now(&store).await;
    let mut units = Vec::new();
    for n in 1..=400 {
        units.push(add(n as u16 % 3, n, vec![n as u8; 600]));
        units.push(put(n as u16 % 3, n % 7, n));
    }
    units.push(add(0, 1_000, vec![7; 900_000]));
    let result = store.commit(Batch { units }).await.unwrap();
    assert!(result.units.iter().all(|unit| !done(unit).replayed));
    let expected: Vec<_> = result
        .changes
        .iter()
        .map(|change| TailEvent::Change { change: change.clone(), state: ShardState::Serving })
        .collect();
    assert!(up_to_now(&store, tail.as_mut()).await == expected, "not the changes that were answered");
}

async fn states_and_epochs_are_told(server: &Server) {
    let store = fresh(server, options("states"), 2).await;
    let mut admin = session(server, "states").await;
    let mut tail = from_now(&store).await;
    let one = ShardId(1);
    store.create_shards(&[ShardId(5)], Epoch(3)).await.unwrap();
    let (serving, fenced) = (ShardState::Serving, ShardState::Fenced);
    assert!(store.change_state(one, EPOCH, serving, fenced).await.unwrap());
    assert!(store.change_state(one, EPOCH, fenced, serving).await.unwrap());
    admin.query_drop(include_str!("sql/tail/next_epoch.sql")).await.unwrap();
    assert!(store.change_state(one, Epoch(2), serving, ShardState::Gone).await.unwrap());
    // A shard that is copied here is no news (R9).
    admin.query_drop(include_str!("sql/tail/import.sql")).await.unwrap();

    let epoch = |shard, epoch, first_seq| TailEvent::Epoch {
        shard,
        start: EpochStart { epoch: Epoch(epoch), first_seq: Seq(first_seq) },
    };
    let change = |epoch, seq, state| {
        let change = ShardChange { shard: one, epoch: Epoch(epoch), seq: Seq(seq), items: Vec::new() };
        TailEvent::Change { change: change.into(), state }
    };
    let expected = vec![
        epoch(ShardId(5), 3, 1),
        change(1, 1, fenced),
        change(1, 2, serving),
        epoch(one, 2, 3),
        change(2, 3, ShardState::Gone),
    ];
    assert_eq!(up_to_now(&store, tail.as_mut()).await, expected);
}

/// Other databases, other clusters on the same server, and statements that change no row that is there.
async fn what_is_not_ours_is_passed_over(server: &Server) {
    let store = fresh(server, options("tail"), 1).await;
    let other = fresh(server, options("tail_2"), 1).await;
    let mut admin = session(server, "tail").await;
    let mut tail = from_now(&store).await;
    let begin = tail.position();
    admin.query_drop(include_str!("sql/tail/harmless.sql")).await.unwrap();
    commit(&other, vec![put(0, 1, 1)]).await.unwrap();
    other.beat(Beat { writer: BeatWriter(1), nonce: 1 }).await.unwrap();
    // Another leader starts: its statements make nothing anew.
    fresh(server, options("tail"), 1).await;
    commit(&store, vec![put(0, 1, 1)]).await.unwrap();
    store.purge(ShardId(0), Seq(u64::MAX), Duration::ZERO).await.unwrap();
    assert_eq!(told(&up_to_now(&store, tail.as_mut()).await), vec![(0, 1, 1)]);
    assert!(tail.position().without(&begin).len() > 10, "transactions of others count");
}
