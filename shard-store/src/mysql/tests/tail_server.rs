// tidy: names SQL because it expects messages that tell an administrator what to set
//! What becomes of a tail when server, connection or log are not as they should be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectId, ObjectType, ShardId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::log::connect;
use super::super::{MySqlStore, Options};
use super::recorded::up_to_now;
use super::support::{EPOCH, commit, fleets, fresh, open, options, put, session};
use crate::fleet::{Fleet, Server};
use crate::log::{
    Beat, BeatWriter, LogPosition, LogTail, ServerLog, TailError, TailErrorKind, TailEvent, TailStart,
};
use crate::store::ShardStore;
use crate::write::{Batch, StoreOp, WriteUnit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_ends_by_its_cause_and_another_goes_on() {
    let mut fleets = fleets().await;
    join_all(fleets.iter_mut().map(|fleet| async {
        let server = fleet.servers()[0].clone();
        findings_name_the_setting_and_how_to_set_it(&server).await;
        the_second_of_one_id_ends_the_first(&server).await;
        a_slow_reader_keeps_its_place(&server).await;
        damaged_events_are_not_understood(&server).await;
        a_position_that_was_purged_or_never_was_is_lost(&server).await;
        a_server_that_comes_back_is_followed_again(fleet).await;
    }))
    .await;
}

async fn from_now(store: &MySqlStore) -> Box<dyn LogTail> {
    let executed = store.executed().await.unwrap();
    store.open_tail(TailStart::After(executed)).await.unwrap()
}

async fn end_of(tail: &mut dyn LogTail) -> TailError {
    let following = async {
        loop {
            if let Err(error) = tail.next().await {
                return error;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), following).await.expect("the tail goes on")
}

async fn refusal(store: &MySqlStore, start: TailStart) -> TailError {
    match store.open_tail(start).await {
        Err(error) => error,
        Ok(mut tail) => end_of(tail.as_mut()).await,
    }
}

async fn findings_name_the_setting_and_how_to_set_it(server: &Server) {
    let store = fresh(server, options("preflight"), 1).await;
    assert_eq!(store.preflight().await.unwrap(), vec![]);
    let mut admin = session(server, "preflight").await;
    admin.query_drop(include_str!("sql/tail/sync_binlog_unsafe.sql")).await.unwrap();
    admin.query_drop(include_str!("sql/tail/metadata_minimal.sql")).await.unwrap();
    let findings = store.preflight().await.unwrap();
    let subjects: Vec<_> = findings.iter().map(|finding| (finding.subject.as_str(), finding.fatal)).collect();
    let expected = [("binlog_row_image", true), ("binlog_row_metadata", true), ("sync_binlog", true)];
    assert_eq!(subjects, expected);
    for part in ["binlog_row_image is NOBLOB, must be FULL: ", "SET GLOBAL binlog_row_image = FULL"] {
        assert!(findings[0].message.contains(part), "{}", findings[0].message);
    }
    admin.query_drop(include_str!("sql/tail/sync_binlog_safe.sql")).await.unwrap();
    admin.query_drop(include_str!("sql/tail/metadata_full.sql")).await.unwrap();

    admin.query_drop(include_str!("sql/tail/reader_account.sql")).await.unwrap();
    let dsn = format!("mysql://follower:secret@127.0.0.1:{}", server.port());
    let follower = MySqlStore::open(&dsn, options("preflight")).await.unwrap();
    let findings = follower.preflight().await.unwrap();
    let fatal: Vec<_> = findings.iter().filter(|finding| finding.fatal).collect();
    assert!(fatal.len() == 1 && fatal[0].message.contains("GRANT REPLICATION SLAVE"), "{findings:?}");
    let error = refusal(&follower, TailStart::Back(Duration::ZERO)).await;
    assert_eq!(error.kind, TailErrorKind::Disconnected, "{error}");
    assert!(error.message.contains("needs REPLICATION SLAVE"), "{error}");
}

/// A server takes two tails of one id for one replica that has come back: so every tail has an id of its own.
async fn the_second_of_one_id_ends_the_first(server: &Server) {
    let store = fresh(server, options("ids"), 1).await;
    let now = TailStart::After(store.executed().await.unwrap());
    let mut first = connect::open(&store.inner, now.clone(), 4_000_000_001).await.unwrap();
    let mut second = connect::open(&store.inner, now.clone(), 4_000_000_001).await.unwrap();
    let error = end_of(&mut first).await;
    assert_eq!(error.kind, TailErrorKind::Disconnected, "{error}");
    assert!(error.message.contains("same server id"), "{error}");
    let mut third = store.open_tail(now).await.unwrap();
    commit(&store, vec![put(0, 1, 1)]).await.unwrap();
    assert_eq!(up_to_now(&store, &mut second).await.len(), 1);
    // And the heartbeat up to which the second one read.
    assert_eq!(up_to_now(&store, third.as_mut()).await.len(), 2);
}

fn large(local: u64) -> WriteUnit {
    let op = StoreOp::ObjectAdd {
        id: Some(ObjectId::new(ShardId(0), local)),
        otype: ObjectType(1),
        fields: EncodedFields(vec![1; 900_000].into()),
    };
    WriteUnit { shard: ShardId(0), epoch: EPOCH, request: None, ops: vec![op] }
}

/// More than fits the connection's buffers waits for longer than the server would by its own setting.
async fn a_slow_reader_keeps_its_place(server: &Server) {
    let store = fresh(server, options("slow"), 1).await;
    let mut admin = session(server, "slow").await;
    admin.query_drop(include_str!("sql/administrator.sql")).await.unwrap();
    admin.exec_drop(include_str!("sql/tail/write_timeout.sql"), (1,)).await.unwrap();
    let mut tail = from_now(&store).await;
    for batch in 0..4 {
        let units = (1..=5).map(|n| large(batch * 5 + n)).collect();
        store.commit(Batch { units }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(up_to_now(&store, tail.as_mut()).await.len(), 4);
    admin.exec_drop(include_str!("sql/tail/write_timeout.sql"), (60,)).await.unwrap();
}

async fn a_position_that_was_purged_or_never_was_is_lost(server: &Server) {
    let store = fresh(server, options("purged"), 1).await;
    let mut admin = session(server, "purged").await;
    let begin = store.executed().await.unwrap();
    store.beat(Beat { writer: BeatWriter(1), nonce: 1 }).await.unwrap();
    commit(&store, vec![put(0, 1, 1)]).await.unwrap();
    admin.query_drop(include_str!("sql/tail/rotate.sql")).await.unwrap();
    let kept = store.executed().await.unwrap();
    commit(&store, vec![put(0, 1, 2)]).await.unwrap();
    let logs: Vec<mysql_async::Row> = admin.query(include_str!("sql/tail/logs.sql")).await.unwrap();
    let last: String = logs.last().unwrap().get(0).unwrap();
    let purge = include_str!("sql/tail/purge.sql").replace("{file}", &last);
    admin.query_drop(purge).await.unwrap();

    for lost in [begin, LogPosition::none()] {
        let error = refusal(&store, TailStart::After(lost)).await;
        assert_eq!(error.kind, TailErrorKind::PositionLost, "{error}");
    }
    let mut never = store.executed().await.unwrap();
    let source = never.sources().next().unwrap().0.to_owned();
    never.add(&source, 1 << 40);
    let error = refusal(&store, TailStart::After(never)).await;
    assert_eq!(error.kind, TailErrorKind::PositionLost, "{error}");
    assert!(error.message.contains("has not executed"), "{error}");

    let mut tail = store.open_tail(TailStart::After(kept)).await.unwrap();
    assert_eq!(up_to_now(&store, tail.as_mut()).await.len(), 1);
    // The mark that would be far enough back is purged: as far back as the log reaches.
    let mut tail = store.open_tail(TailStart::Back(Duration::from_secs(60))).await.unwrap();
    commit(&store, vec![put(0, 1, 3)]).await.unwrap();
    assert!(!up_to_now(&store, tail.as_mut()).await.is_empty());
}

async fn a_server_that_comes_back_is_followed_again(fleet: &mut Fleet) {
    let server = fleet.servers()[0].clone();
    let store = fresh(&server, options("back"), 1).await;
    let mut tail = from_now(&store).await;
    commit(&store, vec![put(0, 1, 1)]).await.unwrap();
    up_to_now(&store, tail.as_mut()).await;
    fleet.kill(0).await.unwrap();
    let error = end_of(tail.as_mut()).await;
    assert_eq!(error.kind, TailErrorKind::Disconnected, "{error}");
    let after = TailStart::After(tail.position());
    let error = refusal(&store, after.clone()).await;
    assert_eq!(error.kind, TailErrorKind::Disconnected, "{error}");
    fleet.restart(0).await.unwrap();
    commit(&store, vec![put(0, 1, 2)]).await.unwrap();
    let mut tail = store.open_tail(after).await.unwrap();
    let told = up_to_now(&store, tail.as_mut()).await;
    let [TailEvent::Change { change, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(change.seq.0, 2);
}

/// What a [`Damager`] does to the next packets from the server.
const NOTHING: u8 = 0;
/// Changes the last byte of an event: its checksum, which the driver takes off unread.
const FLIP: u8 = 1;
/// Makes an event say that it is longer than it is, over which the driver panics.
const LENGTHEN: u8 = 2;

/// Stands between a tail and its server.
struct Damager {
    address: SocketAddr,
    plan: Arc<AtomicU8>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Damager {
    async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(AtomicU8::new(NOTHING));
        let of_connections = plan.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                tokio::spawn(pass(client, server, of_connections.clone()));
            }
        });
        Self { address, plan, accepting }
    }
}

impl Drop for Damager {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, plan: Arc<AtomicU8>) {
    let (mut up, mut down) = ([0u8; 16 << 10], [0u8; 16 << 10]);
    loop {
        tokio::select! {
            got = client.read(&mut up) => {
                let Ok(length @ 1..) = got else { return };
                if server.write_all(&up[..length]).await.is_err() { return }
            }
            got = server.read(&mut down) => {
                let Ok(length @ 1..) = got else { return };
                // A packet begins with its length (3 bytes) and number; an event's header has its length at byte 9. The
                // tail was quiet, so a packet begins here.
                match plan.load(Ordering::SeqCst) {
                    FLIP => down[length - 1] ^= 1,
                    LENGTHEN => down[4 + 1 + 9 + 1] ^= 0x40,
                    _ => {}
                }
                if client.write_all(&down[..length]).await.is_err() { return }
            }
        }
    }
}

async fn damaged_events_are_not_understood(server: &Server) {
    let store = fresh(server, options("damage"), 1).await;
    let damager = Damager::start(server.port()).await;
    let port = format!(":{}/", server.port());
    let dsn = server.dsn().expose().replace(&port, &format!(":{}/", damager.address.port()));
    for (id2, plan, said) in [(1, FLIP, "wrong checksum"), (2, LENGTHEN, "the driver can't read")] {
        let through: MySqlStore = MySqlStore::open(&dsn, Options { ..options("damage") }).await.unwrap();
        let mut tail = from_now(&through).await;
        // All that a server says at the start has come: the next is a transaction.
        let beat = Beat { writer: BeatWriter(1), nonce: id2 };
        open(server, options("damage")).await.unwrap().beat(beat).await.unwrap();
        assert!(!tail.next().await.unwrap().is_empty());
        damager.plan.store(plan, Ordering::SeqCst);
        commit(&store, vec![put(0, 1, id2)]).await.unwrap();
        let error = end_of(tail.as_mut()).await;
        damager.plan.store(NOTHING, Ordering::SeqCst);
        assert_eq!(error.kind, TailErrorKind::NotUnderstood, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
}
