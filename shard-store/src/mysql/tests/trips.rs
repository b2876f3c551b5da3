//! Texts of several statements: what the server makes of them, and where it stops.

use futures_util::future::join_all;
use mysql_async::Value;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::Seq;

use super::super::connection::{CommitFailure, Lease};
use super::super::statements::{
    ADVANCE_SHARDS, ASSERT_AFFECTED, LOCK_SHARD_WAIT, PUT_COUNTS, PUT_REQUESTS, READ_OBJECT,
};
use super::super::trip::Trip;
use super::support::{asked, commit, count, done, fleets, fresh, options, put, seq, session};
use crate::fleet::Server;
use crate::write::StoreOp;

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("sql/trip/", $name, ".sql")).trim_end()
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_of_several_statements_is_one_after_the_other_until_one_fails() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        tokio::join!(
            values_come_back_as_they_went(server),
            nothing_behind_a_failure_is_done(server),
            batches_of_every_size_are_whole(server),
            what_is_too_long_for_a_text_goes_alone(server),
        );
    }))
    .await;
}

/// Bytes that mean something to SQL, to strings of C, or to nobody.
fn bytes(random: &mut StdRng, longest: usize) -> Vec<u8> {
    const MARKED: &[u8] = b"\x00'\"\\\x1a;?`%\n\xff\xc3{}-";
    let mut bytes = vec![0; random.random_range(0..=longest)];
    random.fill_bytes(&mut bytes);
    for byte in &mut bytes {
        if random.random_bool(0.5) {
            *byte = MARKED[random.random_range(0..MARKED.len())];
        }
    }
    bytes
}

fn row(random: &mut StdRng, id: u64, data: Vec<u8>) -> Vec<Value> {
    let mut nonce = [0; 16];
    random.fill_bytes(&mut nonce);
    let number = [i64::MIN, i64::MAX, -1, 0, random.random()][random.random_range(0..5)];
    let negative = if random.random_bool(0.2) { Value::NULL } else { number.into() };
    let time = [0, u32::MAX, random.random()][random.random_range(0..3)];
    let atype = [0, u16::MAX, random.random()][random.random_range(0..3)];
    let state: u8 = random.random();
    let values = [
        id.into(),
        negative,
        time.into(),
        atype.into(),
        state.into(),
        Value::Bytes(nonce.to_vec()),
        Value::Bytes(data),
    ];
    values.map(plain).to_vec()
}

/// A number that both kinds can hold comes as either.
fn plain(value: Value) -> Value {
    match value {
        Value::UInt(number) => i64::try_from(number).map_or(Value::UInt(number), Value::Int),
        other => other,
    }
}

/// Every type of column that the store has: inserted, overwritten, compared, and read in both protocols.
async fn values_come_back_as_they_went(server: &Server) {
    let store = fresh(server, options("trip_values"), 1).await;
    session(server, "trip_values").await.query_drop(sql!("create_values")).await.unwrap();
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut lease = store.inner.writers.get().await.unwrap();
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let mut datas = vec![Vec::new(), b"\x00".to_vec(), b"', 1); -- ".to_vec(), all, vec![0xa7; 1 << 20]];
    datas.extend((0..60).map(|_| bytes(&mut random, 200)));
    for (at, data) in datas.into_iter().enumerate() {
        // Some ids again, so that rows are overwritten as well.
        let id = if at % 5 == 0 { u64::MAX } else { u64::MAX / 2 + at as u64 % 20 };
        let mut one = row(&mut random, id, data);
        if let Some(old) = read_back(&mut lease, id).await.pop() {
            // Not overwritten by the statement.
            one[2..5].clone_from_slice(&old[2..5]);
        }
        let mut other = row(&mut random, 7, vec![b'\'']);
        if let Some(old) = read_back(&mut lease, 7).await.pop() {
            other[2..5].clone_from_slice(&old[2..5]);
        }
        let mut trip = Trip::default();
        trip.push_text("put", sql!("put_values"), &[one.clone(), other.clone()].concat()).unwrap();
        trip.push_text("equal", sql!("equal_values"), &one).unwrap();
        trip.push_text("read", sql!("values"), &[7.into()]).unwrap();
        let answers = lease.send(&mut trip).await.unwrap();
        assert_eq!(answers[1][0].get::<u64, _>(0), Some(1), "seed {seed}: not equal to {one:?}");
        assert_eq!(answers[2][0].get::<Vec<u8>, _>(6), Some(vec![b'\'']), "seed {seed}");
        assert_eq!(read_back(&mut lease, id).await, [one], "seed {seed}");
        assert_eq!(read_back(&mut lease, 7).await, [other], "seed {seed}");
    }
    lease.commit().await.unwrap();
}

/// Through a prepared statement: binary, so numbers come as numbers.
async fn read_back(lease: &mut Lease, id: u64) -> Vec<Vec<Value>> {
    let rows = lease.rows_of("read", sql!("values"), (id,)).await.unwrap();
    let wanted = |values: Vec<Value>| values.into_iter().map(plain).collect();
    rows.into_iter().map(|row| wanted(row.unwrap())).collect()
}

/// Each of a transaction's statements may be the one that fails: COMMIT is not reached, and nothing else is.
async fn nothing_behind_a_failure_is_done(server: &Server) {
    let store = fresh(server, options("trip_fails"), 2).await;
    commit(&store, vec![put(0, 1, 1)]).await.unwrap();
    let numbers = |numbers: &[u64]| numbers.iter().copied().map(Value::from).collect::<Vec<_>>();
    let list = put(0, 2, 0).ops;
    let StoreOp::EdgePut { edge, .. } = &list[0] else { panic!("it puts an edge") };
    let list = edge.list();
    let count_row = numbers(&[list.id1.0, u64::from(list.atype.0), 9, 2]);
    let twice =
        [&numbers(&[0, 1, 1])[..], &[Value::Bytes(vec![7; 16]), 1.into(), Value::Bytes(vec![])]].concat();
    let advance = numbers(&[0, 1, 2, 0, 1]);
    // What stands before the failure, what fails, and what stands behind it.
    for failing in 0..3 {
        let mut lease = store.inner.writers.get().await.unwrap();
        assert_eq!(lease.rows(&LOCK_SHARD_WAIT, (0u16,)).await.unwrap().len(), 1);
        let mut trip = Trip::default();
        trip.push(&PUT_COUNTS, &count_row).unwrap();
        if failing == 0 {
            trip.push(&PUT_REQUESTS, &twice).unwrap();
        }
        trip.push(&ADVANCE_SHARDS, &advance).unwrap();
        // Two for a row that is updated.
        trip.push(&ASSERT_AFFECTED, &[if failing == 1 { 4 } else { 2 }.into()]).unwrap();
        if failing == 2 {
            trip.push_text("nonsense", "COMMIT AND NONSENSE", &[]).unwrap();
        }
        let code = [1062, 1690, 1064][failing];
        match lease.commit_with(trip).await.unwrap_err() {
            CommitFailure::Before(failure) => assert_eq!(failure.code, Some(code), "{}", failure.error),
            CommitFailure::InDoubt(failure) => panic!("{failing}: {}", failure.error),
        }
        // The connection is as good as before: no answer is left on it.
        let rows = lease.rows(&READ_OBJECT, (1u64,)).await.unwrap();
        assert!(rows.is_empty());
        lease.roll_back().await;
        assert!(store.inner.writers.get().await.unwrap().reused, "{failing}: the connection was thrown away");
        assert_eq!((seq(&store, 0).await, count(&store, 0, 2).await), (Seq(1), 0), "{failing}");
    }
    // A failure tells nothing about COMMIT where all is one statement and no transaction is open behind it.
    let mut lease = store.inner.writers.get().await.unwrap();
    let mut trip = Trip::default();
    trip.push_text("nonsense", "COMMIT AND NONSENSE", &[]).unwrap();
    let in_doubt = matches!(lease.commit_with(trip).await.unwrap_err(), CommitFailure::InDoubt(_));
    assert_eq!(in_doubt, store.inner.dialect.has_blocks());
    lease.roll_back().await;
    // With the number that it is, the same text commits; an allocator that stays where it was counts as well.
    let mut lease = store.inner.writers.get().await.unwrap();
    let mut trip = Trip::default();
    trip.push(&ADVANCE_SHARDS, &advance).unwrap();
    trip.push(&ASSERT_AFFECTED, &[2.into()]).unwrap();
    lease.commit_with(trip).await.unwrap();
    lease.release();
    assert_eq!(seq(&store, 0).await, Seq(2));
}

/// On both sides of each bound: how much is read with the lock, how much is written with COMMIT.
async fn batches_of_every_size_are_whole(server: &Server) {
    const SHARDS: u16 = 40;
    let store = fresh(server, options("trip_sizes"), SHARDS).await;
    let mut before = [0; SHARDS as usize];
    for (round, size) in [1, 2, 4, 5, 16, 17, 40, 100].into_iter().enumerate() {
        let unit = |at: u16| put(at % SHARDS, 1, u64::from(at) + 1_000 * round as u64);
        let results = commit(
            &store,
            (0..size).map(|at| asked(u128::from(at) + 1_000 * round as u128, unit(at))).collect(),
        );
        for result in results.await.unwrap() {
            done(&result);
        }
        for at in 0..size {
            before[usize::from(at % SHARDS)] += 1;
        }
        for at in 0..size.min(SHARDS) {
            assert_eq!(count(&store, at, 1).await, before[usize::from(at)], "shard {at} after {size}");
        }
        // Everything a second time changes nothing, because the requests are known.
        let again = commit(
            &store,
            (0..size).map(|at| asked(u128::from(at) + 1_000 * round as u128, unit(at))).collect(),
        );
        assert!(again.await.unwrap().iter().all(|result| done(result).replayed), "{size}");
    }
}

/// Data on both sides of the bound, and as much as an edge may have.
async fn what_is_too_long_for_a_text_goes_alone(server: &Server) {
    let store = fresh(server, options("trip_long"), 1).await;
    for (units, bytes) in [(1, 65_535), (1, 65_536), (2, 32_768), (2, 32_769), (40, 65_536)] {
        let list = units * 100_000 + bytes as u64;
        let units = (0..units).map(|id2| {
            let mut unit = put(0, list, id2);
            let StoreOp::EdgePut { value, .. } = &mut unit.ops[0] else { panic!("it puts an edge") };
            value.fields = EncodedFields(vec![b'\''; bytes].into());
            unit
        });
        let results = commit(&store, units.collect()).await.unwrap();
        assert!(results.iter().all(|result| !done(result).replayed));
        assert_eq!(count(&store, 0, list).await, results.len() as u64);
    }
}
