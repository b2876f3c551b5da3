//! What the checks are made of: servers, stores, sessions of their own, and a proxy that misbehaves on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use parking_lot::Mutex;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, RequestId, Seq, ShardId, Time};
use tao_schema::rows::EdgeValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use super::super::statements::{COMMIT, COMMIT_BLOCK};
use super::super::{MySqlStore, Options};
use crate::fleet::{Fleet, FleetOptions, Server, test_servers};
use crate::store::{ReadKey, Row, ShardStore, StoreError};
use crate::write::{Batch, RequestKey, StoreOp, UnitDone, UnitResult, WriteUnit};

pub(super) const EPOCH: Epoch = Epoch(1);
pub(super) const LIKES: AssocType = AssocType(1);

/// One server of each kind found.
pub(super) async fn fleets() -> Vec<Fleet> {
    let binaries = test_servers().unwrap();
    let starts = binaries.into_iter().map(|binary| Fleet::start(FleetOptions::new(binary, 1)));
    futures_util::future::try_join_all(starts).await.unwrap()
}

pub(super) fn options(database: &str) -> Options {
    Options { database: database.to_owned(), ..Options::default() }
}

pub(super) async fn open(server: &Server, options: Options) -> Result<MySqlStore, StoreError> {
    MySqlStore::open(&server.dsn().expose(), options).await
}

/// A store on a database of its own, with shards `0..shards`.
pub(super) async fn fresh(server: &Server, options: Options, shards: u16) -> MySqlStore {
    let store = open(server, options).await.unwrap();
    let all: Vec<_> = (0..shards).map(ShardId).collect();
    store.create_shards(&all, EPOCH).await.unwrap();
    store
}

/// A session outside the store.
pub(super) async fn session(server: &Server, database: &str) -> Conn {
    let opts = Opts::from_url(&server.dsn().expose()).unwrap();
    let mut conn = Conn::new(OptsBuilder::from_opts(opts).db_name(Some(database))).await.unwrap();
    conn.query_drop(include_str!("sql/read_committed.sql")).await.unwrap();
    conn
}

pub(super) fn put(shard: u16, id1: u64, id2: u64) -> WriteUnit {
    let edge = EdgeKey { id1: ObjectId::new(ShardId(shard), id1), atype: LIKES, id2: ObjectId(id2) };
    let value = EdgeValue { time: Time(id2 as u32), fields: EncodedFields::new() };
    let op = StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None };
    WriteUnit { shard: ShardId(shard), epoch: EPOCH, request: None, ops: vec![op] }
}

/// The same unit under a request id.
pub(super) fn asked(id: u128, unit: WriteUnit) -> WriteUnit {
    let request = Some(RequestKey { id: RequestId(id), age: std::time::Duration::ZERO });
    WriteUnit { request, ..unit }
}

pub(super) async fn commit(store: &MySqlStore, units: Vec<WriteUnit>) -> Result<Vec<UnitResult>, StoreError> {
    store.commit(Batch { units }).await.map(|result| result.units)
}

pub(super) fn done(result: &UnitResult) -> &UnitDone {
    match result {
        UnitResult::Done(done) => done,
        other => panic!("not done: {other:?}"),
    }
}

pub(super) async fn seq(store: &MySqlStore, shard: u16) -> Seq {
    let rows = store.shard_rows().await.unwrap();
    rows.iter().find(|row| row.shard == ShardId(shard)).unwrap().seq
}

pub(super) async fn count(store: &MySqlStore, shard: u16, id1: u64) -> u64 {
    let key = ListKey { id1: ObjectId::new(ShardId(shard), id1), atype: LIKES };
    let read = store.read(&[ReadKey::List { key, edges: 10 }]).await.unwrap();
    match &read[0].as_ref().unwrap().row {
        Row::List(list) => list.count,
        other => panic!("not a list: {other:?}"),
    }
}

/// Stands between a store and its server. Once told to, it passes the next COMMIT on, or swallows it, and closes the
/// connection without an answer.
pub(super) struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Plan {
    armed: AtomicBool,
    /// Whether the server gets to see the COMMIT.
    pass_on: AtomicBool,
    /// Told when the COMMIT was lost.
    lost: Notify,
    /// Waited for before the client's connection is closed.
    may_close: Notify,
    /// Whether the server gets to see the COMMIT when its client is long gone.
    late: AtomicBool,
    /// Waited for before it does.
    may_deliver: Notify,
    /// The first byte of the server's answer to it.
    delivered: Mutex<Option<oneshot::Sender<u8>>>,
}

impl Proxy {
    pub(super) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Plan::default());
        let of_connections = plan.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A server that is down refuses; the client sees its connection close.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                tokio::spawn(relay(client, server, of_connections.clone()));
            }
        });
        Self { address, plan, accepting }
    }

    /// A store that reaches `server` through this proxy.
    pub(super) async fn open(&self, server: &Server, options: Options) -> MySqlStore {
        let dsn = server
            .dsn()
            .expose()
            .replace(&format!(":{}/", server.port()), &format!(":{}/", self.address.port()));
        MySqlStore::open(&dsn, options).await.unwrap()
    }

    pub(super) fn lose_next_commit(&self, pass_on: bool) {
        self.plan.pass_on.store(pass_on, Ordering::SeqCst);
        self.plan.armed.store(true, Ordering::SeqCst);
    }

    /// As [`Proxy::lose_next_commit`], but the server gets it at [`Proxy::deliver`].
    pub(super) fn delay_next_commit(&self) {
        self.plan.late.store(true, Ordering::SeqCst);
        self.lose_next_commit(false);
    }

    /// Brings the server what was delayed; answers the first byte of its answer: 0 for OK, 255 for an error.
    pub(super) async fn deliver(&self) -> u8 {
        let (sender, answer) = oneshot::channel();
        *self.plan.delivered.lock() = Some(sender);
        self.plan.may_deliver.notify_one();
        answer.await.unwrap()
    }

    /// Returns when a COMMIT was lost; its client learns of it by [`Proxy::close`].
    pub(super) async fn lost(&self) {
        self.plan.lost.notified().await;
    }

    pub(super) fn close(&self) {
        self.plan.may_close.notify_one();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, plan: Arc<Plan>) {
    let (mut up, mut down) = ([0u8; 16 << 10], [0u8; 16 << 10]);
    let mut prepared = Prepared::default();
    loop {
        tokio::select! {
            got = client.read(&mut up) => {
                let Ok(length @ 1..) = got else { return };
                if prepared.commits(&up[..length]) && plan.armed.swap(false, Ordering::SeqCst) {
                    if plan.pass_on.load(Ordering::SeqCst) {
                        server.write_all(&up[..length]).await.unwrap();
                        // The last answer proves that the server has committed; nobody else gets to know.
                        assert_eq!(last_answer(&mut server).await, 0);
                    }
                    plan.lost.notify_one();
                    plan.may_close.notified().await;
                    if plan.late.swap(false, Ordering::SeqCst) {
                        drop(client);
                        plan.may_deliver.notified().await;
                        server.write_all(&up[..length]).await.unwrap();
                        let last = last_answer(&mut server).await;
                        plan.delivered.lock().take().unwrap().send(last).unwrap();
                    }
                    return;
                }
                if server.write_all(&up[..length]).await.is_err() { return }
            }
            got = server.read(&mut down) => {
                let Ok(length @ 1..) = got else { return };
                prepared.answered(&down[..length]);
                if client.write_all(&down[..length]).await.is_err() { return }
            }
        }
    }
}

/// Which statements of a connection end with COMMIT. Each is one small packet, because the client waits for the answers to what it
/// sent before.
#[derive(Default)]
struct Prepared {
    /// Whether the next answer is to a COM_STMT_PREPARE of one.
    awaited: bool,
    /// As the server numbers them.
    committing: Vec<[u8; 4]>,
}

impl Prepared {
    fn commits(&mut self, packet: &[u8]) -> bool {
        let block = COMMIT_BLOCK.body().split_once('?').unwrap().1;
        let ends = [COMMIT.body(), block].iter().any(|end| packet.ends_with(end.as_bytes()));
        match packet.get(4) {
            Some(3) => ends,
            Some(0x16) => {
                self.awaited = ends;
                false
            }
            Some(0x17) => self.committing.iter().any(|statement| packet[5..9] == *statement),
            _ => false,
        }
    }

    fn answered(&mut self, packet: &[u8]) {
        if std::mem::take(&mut self.awaited) {
            assert_eq!(packet[4], 0, "a block can't be prepared: {packet:?}");
            self.committing.push(packet[5..9].try_into().unwrap());
        }
    }
}

/// The first byte of the last answer: of the first that is an error, or of all. Behind the packet that begins rows comes one with
/// 0xfe that ends them; of every OK, affected rows and ids take one byte each.
async fn last_answer(server: &mut TcpStream) -> u8 {
    const MORE_RESULTS: u8 = 8;
    let mut in_rows = false;
    loop {
        let packet = packet(server).await;
        let ends = packet[0] == if in_rows { 0xfe } else { 0 };
        if packet[0] == 0xff || (ends && packet[3] & MORE_RESULTS == 0) {
            return packet[0];
        }
        in_rows = !ends;
    }
}

/// A packet without its head.
async fn packet(server: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    server.read_exact(&mut head).await.unwrap();
    let mut packet = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    server.read_exact(&mut packet).await.unwrap();
    packet
}
