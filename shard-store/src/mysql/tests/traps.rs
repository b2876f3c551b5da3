// tidy: names SQL because it expects messages that quote the statement that is refused
//! What a log may hold and a tail can't follow: refused, each by its name, and the next tail starts behind it (R9).

use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectId, ObjectType, Seq, ShardId};

use super::super::dialect::Flavour;
use super::super::{MySqlStore, Options};
use super::recorded::up_to_now;
use super::support::{EPOCH, commit, fleets, fresh, open, options, put, session};
use crate::fleet::Server;
use crate::log::{Beat, BeatWriter, ServerLog, TailErrorKind, TailEvent, TailStart};
use crate::store::ShardStore;
use crate::write::{Batch, StoreOp, WriteUnit};

/// What a trap is made of, before and after, and what is said of it.
struct Trap {
    set: &'static str,
    then: &'static str,
    reset: &'static str,
    said: &'static str,
}

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("sql/tail/", $name, ".sql"))
    };
}

const NOTHING: &str = "";

/// On both servers.
const TRAPS: &[Trap] = &[
    Trap {
        set: sql!("image_minimal"),
        then: sql!("put_in_place"),
        reset: sql!("image_full"),
        said: "binlog_row_image",
    },
    Trap {
        set: sql!("metadata_minimal"),
        then: sql!("put"),
        reset: sql!("metadata_full"),
        said: "binlog_row_metadata",
    },
    Trap {
        set: sql!("statement_format"),
        then: sql!("put"),
        reset: sql!("row_format"),
        said: "UPDATE shard",
    },
    Trap { set: NOTHING, then: sql!("truncate"), reset: NOTHING, said: "TRUNCATE TABLE object" },
    Trap {
        set: sql!("elsewhere"),
        then: sql!("truncate_from_elsewhere"),
        reset: sql!("back"),
        said: "TRUNCATE TABLE `traps`",
    },
    Trap { set: NOTHING, then: sql!("add_column"), reset: NOTHING, said: "ALTER TABLE object" },
    Trap {
        set: NOTHING,
        then: sql!("put"),
        reset: NOTHING,
        said: "table `object`: its columns are not those",
    },
    Trap { set: NOTHING, then: sql!("drop_column"), reset: NOTHING, said: "ALTER TABLE object" },
    Trap { set: NOTHING, then: sql!("sign_column"), reset: NOTHING, said: "ALTER TABLE object" },
    Trap { set: NOTHING, then: sql!("put"), reset: NOTHING, said: "column `version` is signed" },
    Trap { set: NOTHING, then: sql!("unsign_column"), reset: NOTHING, said: "ALTER TABLE object" },
    Trap { set: NOTHING, then: sql!("put_alone"), reset: NOTHING, said: "rows without their shard row" },
    Trap { set: NOTHING, then: sql!("put_other_version"), reset: NOTHING, said: "whose version is not that" },
    Trap {
        set: NOTHING,
        then: sql!("put_edge_without_count"),
        reset: NOTHING,
        said: "edges without their count row",
    },
    Trap { set: NOTHING, then: sql!("put_two_phases"), reset: NOTHING, said: "XA transaction" },
    Trap { set: NOTHING, then: sql!("skip_a_seq"), reset: NOTHING, said: "a gap" },
    Trap { set: NOTHING, then: sql!("set_state_alone"), reset: NOTHING, said: "without an advance of seq" },
    Trap { set: NOTHING, then: sql!("delete_shard_row"), reset: NOTHING, said: "the shard row was deleted" },
];

const OF_MARIADB: &[Trap] = &[
    Trap {
        set: sql!("compress_mariadb"),
        then: sql!("put"),
        reset: sql!("compress_mariadb_off"),
        said: "log_bin_compress",
    },
    Trap {
        set: sql!("metadata_no_log"),
        then: sql!("put"),
        reset: sql!("metadata_full"),
        said: "binlog_row_metadata",
    },
    Trap { set: NOTHING, then: sql!("compress_column"), reset: NOTHING, said: "ALTER TABLE object" },
    Trap { set: NOTHING, then: sql!("put"), reset: NOTHING, said: "column `data` has not the type" },
    Trap { set: NOTHING, then: sql!("uncompress_column"), reset: NOTHING, said: "ALTER TABLE object" },
];

const OF_MYSQL: &[Trap] = &[Trap {
    set: sql!("compress_mysql"),
    then: sql!("put"),
    reset: sql!("compress_mysql_off"),
    said: "binlog_transaction_compression",
}];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_followed_is_refused_by_name() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        let store = fresh(server, options("traps"), 2).await;
        let mut admin = session(server, "traps").await;
        commit(&store, vec![object(0, 1, 10), put(0, 1, 1)]).await.unwrap();
        // The mark that a tail would go back to.
        store.beat(Beat { writer: BeatWriter(1), nonce: 1 }).await.unwrap();
        let own = match store.inner.dialect.flavour {
            Flavour::MariaDb => OF_MARIADB,
            Flavour::MySql => OF_MYSQL,
        };
        for trap in own.iter().chain(TRAPS) {
            is_refused(&store, &mut admin, trap).await;
        }
        a_transaction_over_the_limit_is_refused(server).await;
    }))
    .await;
}

fn object(shard: u16, local: u64, bytes: usize) -> WriteUnit {
    let op = StoreOp::ObjectAdd {
        id: Some(ObjectId::new(ShardId(shard), local)),
        otype: ObjectType(1),
        fields: EncodedFields(vec![1; bytes].into()),
    };
    WriteUnit { shard: ShardId(shard), epoch: EPOCH, request: None, ops: vec![op] }
}

async fn run(conn: &mut Conn, text: &str) {
    if !text.is_empty() {
        conn.query_drop(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

async fn is_refused(store: &MySqlStore, admin: &mut Conn, trap: &Trap) {
    run(admin, trap.set).await;
    let executed = store.executed().await.unwrap();
    let mut tail = store.open_tail(TailStart::After(executed.clone())).await.unwrap();
    run(admin, trap.then).await;
    run(admin, trap.reset).await;
    let following = async {
        loop {
            match tail.next().await {
                Ok(events) => assert!(events.is_empty(), "{}: told {events:?}", trap.then),
                Err(error) => return error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(30), following).await.expect(trap.then);
    assert_eq!(error.kind, TailErrorKind::NotUnderstood, "{error}");
    assert!(error.message.contains(trap.said), "{}: {error}", trap.said);
    assert_eq!(tail.next().await.unwrap_err(), error, "a tail that has ended stays so");
    assert_eq!(tail.position(), executed, "what was not understood does not count");

    // A minute back would be before it; the next tail starts behind, and goes on.
    let mut tail = store.open_tail(TailStart::Back(Duration::from_secs(60))).await.unwrap();
    up_to_now(store, tail.as_mut()).await;
}

async fn a_transaction_over_the_limit_is_refused(server: &Server) {
    let store = fresh(server, options("limited"), 2).await;
    let small = Options { tail_transaction_bytes: 64 << 10, ..options("limited") };
    let limited = open(server, small).await.unwrap();
    let executed = store.executed().await.unwrap();
    let mut tail = limited.open_tail(TailStart::After(executed)).await.unwrap();
    // Bookkeeping of ours counts, too, if it is news; the sizes of many rows add up.
    let units: Vec<_> = (1..=100).map(|local| object(1, local, 1_000)).collect();
    store.commit(Batch { units }).await.unwrap();
    let error = tail.next().await.unwrap_err();
    assert_eq!(error.kind, TailErrorKind::NotUnderstood, "{error}");
    assert!(error.message.contains("more than a tail takes"), "{error}");

    let mut tail = limited.open_tail(TailStart::Back(Duration::from_secs(60))).await.unwrap();
    commit(&store, vec![put(1, 1, 1)]).await.unwrap();
    let told = up_to_now(&store, tail.as_mut()).await;
    let [TailEvent::Change { change, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(change.seq, Seq(2));
}
