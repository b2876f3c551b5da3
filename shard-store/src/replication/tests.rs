//! What replication promises, on every server found.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, Seq, ShardId, Time};
use tao_schema::rows::{EdgeValue, EpochStart, ShardState};
use tao_schema::topology::ReplicationMode;

use super::*;
use crate::ShardStore;
use crate::fleet::{Fleet, FleetError, FleetOptions, ServerBinary, test_servers};
use crate::log::{ServerLog, TailEvent, TailStart};
use crate::mysql::{MySqlStore, Options};
use crate::store::{ReadKey, Row, ShardRow};
use crate::write::{Batch, StoreOp, UnitResult, WriteUnit};

const LIMIT: Duration = Duration::from_secs(20);
const LIKES: AssocType = AssocType(1);
const OLD: Epoch = Epoch(1);
const NEW: Epoch = Epoch(2);

async fn fleet(binary: ServerBinary, mode: ReplicationMode) -> Fleet {
    let fleet =
        Fleet::start(FleetOptions { replicas: 1, mode, ..FleetOptions::new(binary, 1) }).await.unwrap();
    fleet.replicate(&[0], &|_, _| None).await.unwrap();
    let store = store(&fleet, 0).await;
    store.create_shards(&[ShardId(0), ShardId(1)], OLD).await.unwrap();
    level(&fleet, 1, 0).await;
    fleet
}

async fn store(fleet: &Fleet, index: usize) -> MySqlStore {
    MySqlStore::open(&fleet.servers()[index].dsn().expose(), Options::default()).await.unwrap()
}

fn put(shard: u16, epoch: Epoch, id2: u64) -> Batch {
    let edge = EdgeKey { id1: ObjectId::new(ShardId(shard), 1), atype: LIKES, id2: ObjectId(id2) };
    let value = EdgeValue { time: Time(1), fields: EncodedFields::new() };
    let op = StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None };
    Batch { units: vec![WriteUnit { shard: ShardId(shard), epoch, request: None, ops: vec![op] }] }
}

/// Whether it was written.
async fn write(store: &MySqlStore, shard: u16, epoch: Epoch, id2: u64) -> Result<bool, StoreError> {
    let result = store.commit(put(shard, epoch, id2)).await?;
    Ok(matches!(result.units[0], UnitResult::Done(_)))
}

async fn count(store: &MySqlStore, shard: u16) -> u64 {
    let key = ListKey { id1: ObjectId::new(ShardId(shard), 1), atype: LIKES };
    let read = store.read(&[ReadKey::List { key, edges: 10 }]).await.unwrap();
    match &read[0].as_ref().unwrap().row {
        Row::List(list) => list.count,
        other => panic!("not a list: {other:?}"),
    }
}

async fn level(fleet: &Fleet, index: usize, with: usize) {
    let all = fleet.admin(with).unwrap().executed().await.unwrap();
    fleet.admin(index).unwrap().wait_executed(&all, LIMIT).await.unwrap();
}

fn change(shard: u16) -> EpochChange {
    EpochChange { shard: ShardId(shard), old: OLD, new: NEW }
}

#[tokio::test]
async fn a_planned_switch_loses_nothing_and_the_old_primary_follows() {
    for binary in test_servers().unwrap() {
        let fleet = fleet(binary.clone(), ReplicationMode::Async).await;
        let (old, new) = (fleet.admin(0).unwrap(), fleet.admin(1).unwrap());
        let (old_store, new_store) = (store(&fleet, 0).await, store(&fleet, 1).await);
        for id2 in 1..=20 {
            assert!(write(&old_store, 0, OLD, id2).await.unwrap());
        }
        let before = new.executed().await.unwrap();
        assert!(new.replicate_from(&SourceAddress::of("mysql://a:b@127.0.0.1:1").unwrap()).await.is_ok());
        assert!(!new.role().await.unwrap().following.unwrap().connected, "{binary}: a wrong source");
        new.wait_connected(Duration::from_millis(200)).await.unwrap_err();
        new.replicate_from(&SourceAddress::of(&fleet.servers()[0].dsn().expose()).unwrap()).await.unwrap();
        let refused = old.replicate_from(&SourceAddress::of("mysql://a:b@127.0.0.1:1").unwrap()).await;
        assert_eq!(refused.unwrap_err().kind, StoreErrorKind::Rejected, "an open server must not follow");

        let shut = old.set_read_only(true).await.unwrap();
        assert!(shut.covers(&before));
        assert_eq!(write(&old_store, 0, OLD, 99).await.unwrap_err().kind, StoreErrorKind::Unavailable);
        new.wait_executed(&shut, LIMIT).await.unwrap();
        new.stop_replication(true, LIMIT).await.unwrap();
        assert!(new.open_epochs(&[change(0)], 1_000).await.is_err(), "it still has a source");
        new.forget_source().await.unwrap();
        assert_eq!(new.executed().await.unwrap(), shut, "{binary}");

        let opened = new.open_epochs(&[change(0), change(1)], 1_000).await.unwrap();
        let start = EpochStart { epoch: NEW, first_seq: Seq(21) };
        let other = EpochStart { epoch: NEW, first_seq: Seq(1) };
        let serving: BTreeMap<_, _> = [(ShardId(0), NEW), (ShardId(1), NEW)].into();
        let starts = vec![(ShardId(0), start), (ShardId(1), other)];
        assert_eq!(opened, OpenedEpochs { opened: starts, left: vec![], serving: serving.clone() });
        let again = new.open_epochs(&[change(0), change(1)], 1_000).await.unwrap();
        assert_eq!(again, OpenedEpochs { serving, ..OpenedEpochs::default() }, "once is enough");
        let other = EpochChange { old: Epoch(7), new: Epoch(8), ..change(0) };
        assert_eq!(new.open_epochs(&[other], 0).await.unwrap_err().kind, StoreErrorKind::Rejected);
        assert!(write(&new_store, 0, NEW, 21).await.is_err(), "{binary}: still shut");
        new.set_read_only(false).await.unwrap();
        assert!(write(&new_store, 0, NEW, 21).await.unwrap(), "{binary}");
        assert!(!write(&new_store, 0, OLD, 22).await.unwrap(), "{binary}: the old epoch was written");

        fleet.follow(0, 1, None).await.unwrap();
        level(&fleet, 0, 1).await;
        assert_eq!(count(&old_store, 0).await, 21, "{binary}");
        tails_tell_the_epoch(&old_store, &shut, start).await;
        // And back again, which nobody prepared.
        let shut = new.set_read_only(true).await.unwrap();
        old.wait_executed(&shut, LIMIT).await.unwrap();
        old.stop_replication(true, LIMIT).await.unwrap();
        old.forget_source().await.unwrap();
        fleet.open(0).await.unwrap();
        fleet.follow(1, 0, None).await.unwrap();
        assert!(write(&old_store, 0, NEW, 22).await.unwrap(), "{binary}");
        level(&fleet, 1, 0).await;
        assert_eq!(count(&new_store, 0).await, 22, "{binary}");
    }
}

/// The log of the old primary, now a replica, has the promotion as every log has it.
async fn tails_tell_the_epoch(store: &MySqlStore, after: &LogPosition, start: EpochStart) {
    let mut tail = store.open_tail(TailStart::After(after.clone())).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        let events = tokio::time::timeout(LIMIT, tail.next()).await.unwrap().unwrap();
        told.extend(events);
    }
    let other = EpochStart { epoch: NEW, first_seq: Seq(1) };
    let epoch = |shard, start| TailEvent::Epoch { shard: ShardId(shard), start };
    assert_eq!(told[..2], [epoch(0, start), epoch(1, other)]);
    let rows = store.shard_rows().await.unwrap();
    let serving = ShardRow { shard: ShardId(0), epoch: NEW, seq: Seq(21), state: ShardState::Serving };
    assert_eq!(rows[0], serving);
}

#[tokio::test]
async fn a_server_from_before_there_were_moves_is_promoted_as_ever() {
    for binary in test_servers().unwrap() {
        let fleet = Fleet::start(FleetOptions::new(binary.clone(), 1)).await.unwrap();
        store(&fleet, 0).await.create_shards(&[ShardId(0)], OLD).await.unwrap();
        let opts = OptsBuilder::from_opts(Opts::from_url(&fleet.servers()[0].dsn().expose()).unwrap());
        let mut conn = Conn::new(opts.db_name(Some("tao"))).await.unwrap();
        conn.query_drop(include_str!("test_no_moves.sql")).await.unwrap();
        let opened = fleet.admin(0).unwrap().open_epochs(&[change(0)], 0).await.unwrap();
        assert_eq!(opened.serving, [(ShardId(0), NEW)].into(), "{binary}");
    }
}

#[tokio::test]
async fn a_diverged_primary_is_seen_and_rebuilt() {
    for binary in test_servers().unwrap() {
        let mut fleet = fleet(binary.clone(), ReplicationMode::Async).await;
        let old_store = store(&fleet, 0).await;
        assert!(write(&old_store, 0, OLD, 1).await.unwrap());
        level(&fleet, 1, 0).await;
        fleet.stop_replication(1).await.unwrap();
        let common = fleet.admin(0).unwrap().executed().await.unwrap();
        for id2 in 2..=3 {
            assert!(write(&old_store, 0, OLD, id2).await.unwrap());
        }
        fleet.kill(0).await.unwrap();
        let new = fleet.admin(1).unwrap();
        new.stop_replication(true, LIMIT).await.unwrap();
        new.forget_source().await.unwrap();
        new.open_epochs(&[change(0), change(1)], 0).await.unwrap();
        fleet.open(1).await.unwrap();
        assert!(write(&store(&fleet, 1).await, 0, NEW, 9).await.unwrap());

        fleet.restart(0).await.unwrap();
        let error = fleet.follow(0, 1, None).await.unwrap_err();
        let FleetError::Diverged { extra, .. } = error else { panic!("{binary}: {error}") };
        let has = fleet.admin(0).unwrap().executed().await.unwrap();
        assert_eq!((extra.len(), has.without(&extra)), (2, common), "{binary}: {extra}");

        // Rebuilt under another id: it wrote much of what it is now sent, and would skip that under its old one.
        fleet.reseed(0, 1, None, LIMIT).await.unwrap();
        assert_eq!(count(&store(&fleet, 0).await, 0).await, 2, "{binary}");
        assert!(!fleet.admin(0).unwrap().executed().await.unwrap().covers(&extra), "{binary}");
        assert!(fleet.reseed(1, 1, None, LIMIT).await.is_err());
    }
}

#[tokio::test]
async fn h21_a_lossless_commit_waits_for_a_replica_and_is_not_seen_before() {
    for binary in test_servers().unwrap() {
        let mut fleet = fleet(binary.clone(), ReplicationMode::Lossless).await;
        // More patient than a leader: a commit shall wait until its replica is back, however slow the machine.
        let patient = Options { statement_timeout: 2 * LIMIT, ..Options::default() };
        let store = MySqlStore::open(&fleet.servers()[0].dsn().expose(), patient).await.unwrap();
        assert!(write(&store, 0, OLD, 1).await.unwrap(), "{binary}: with a replica it takes writes");
        for crash in [false, true] {
            if crash {
                fleet.kill(1).await.unwrap();
            } else {
                fleet.stop_replication(1).await.unwrap();
            }
            let before = count(&store, 0).await;
            let writer = store.clone();
            let id2 = 2 + before;
            let waiting = tokio::spawn(async move { write(&writer, 0, OLD, id2).await });
            committing(&fleet).await;
            assert!(!waiting.is_finished(), "{binary}: acknowledged without a replica");
            assert_eq!(count(&store, 0).await, before, "{binary}: seen before a replica had it");
            if crash {
                fleet.restart(1).await.unwrap();
            } else {
                fleet.start_replication(1).await.unwrap();
            }
            assert!(waiting.await.unwrap().unwrap(), "{binary}");
            assert_eq!(count(&store, 0).await, before + 1);
        }
        let sides = (fleet.admin(0).unwrap().lossless().await, fleet.admin(1).unwrap().lossless().await);
        assert!(sides.0.unwrap().waits && sides.1.unwrap().acknowledges, "{binary}");
        fleet.admin(0).unwrap().set_mode(ReplicationMode::Async, Side::Primary).await.unwrap();
        assert_eq!(fleet.admin(0).unwrap().lossless().await.unwrap(), Lossless::default());
        fleet.stop_replication(1).await.unwrap();
        assert!(write(&store, 0, OLD, 99).await.unwrap(), "{binary}: async waits for nobody");
    }
}

/// Waits until a commit of the primary waits for a replica.
async fn committing(fleet: &Fleet) {
    let mut conn = Conn::new(Opts::from_url(&fleet.servers()[0].dsn().expose()).unwrap()).await.unwrap();
    let start = Instant::now();
    loop {
        let found: Vec<(String, u64)> = conn.query(include_str!("test_waiting.sql")).await.unwrap();
        if found.iter().any(|(_, sessions)| *sessions > 0) {
            return;
        }
        assert!(start.elapsed() < LIMIT, "no commit waits: {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
