//! What is asked of a server, and how it answers our statements.

use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};
use tao_schema::ids::{ObjectId, Seq, ShardId};

use super::super::Options;
use super::super::columns::JsonKeys;
use super::super::dialect::{Dialect, Flavour};
use super::super::statements::{
    DELETE_EDGES, DELETE_OBJECTS, LIST, LIST_WHOLE, LISTS_WHOLE, OBJECTS, READ_EDGE_AND_COUNT, READ_OBJECTS,
    SCAN_EDGES, SHARD_ROWS_OF, Sql,
};
use super::support::{LIKES, asked, commit, count, fleets, fresh, open, options, put, seq, session};
use crate::fleet::Server;
use crate::store::StoreErrorKind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_checked_and_statements_use_their_keys() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = &fleet.servers()[0];
        statements_find_rows_by_key(server).await;
        strange_schemas_are_refused(server).await;
        a_password_is_not_in_the_message(server).await;
        a_read_only_server_takes_no_writes(server).await;
        unsafe_settings_are_refused(server).await;
    }))
    .await;
}

/// The plan of a statement: for each table its access type, key and remarks.
async fn explain(conn: &mut Conn, dialect: &Dialect, text: &str, params: Vec<Value>) -> Vec<[String; 4]> {
    let explain = match dialect.flavour {
        Flavour::MariaDb => include_str!("sql/explain_mariadb.sql"),
        Flavour::MySql => include_str!("sql/explain_mysql.sql"),
    };
    let rows: Vec<Row> = conn.exec(format!("{explain} {text}"), Params::Positional(params)).await.unwrap();
    rows.iter()
        .map(|row| {
            ["table", "type", "key", "Extra"]
                .map(|column| row.get::<Option<String>, _>(column).flatten().unwrap_or_default())
        })
        .collect()
}

async fn statements_find_rows_by_key(server: &Server) {
    let store = fresh(server, options("plans"), 8).await;
    for batch in 0..4 {
        commit(&store, (0..500).map(|n| put(3, 1, batch * 500 + n)).collect()).await.unwrap();
    }
    let (dialect, mut conn) = (store.inner.dialect.clone(), session(server, "plans").await);
    let id1 = ObjectId::new(ShardId(3), 1).0;
    let atype = LIKES.0;
    let check = |plan: &[[String; 4]], table: &str, types: &[&str], key: &str, what: &str| {
        let step = plan.iter().find(|step| step[0] == table).unwrap_or_else(|| panic!("{what}: {plan:?}"));
        assert!(types.contains(&step[1].as_str()) && step[2] == key, "{what}: {plan:?}");
        assert!(plan.iter().all(|step| !step[3].contains("filesort")), "{what}: {plan:?}");
    };

    let (text, params) = store.inner.templates.lock_skip.of_shards(&[ShardId(2), ShardId(5)]);
    let Params::Positional(params) = params else { panic!("positional") };
    let plan = explain(&mut conn, &dialect, text, params).await;
    check(&plan, "shard", &["range"], "PRIMARY", "lock");

    let list: Vec<Value> = vec![
        id1.into(),
        atype.into(),
        3u16.into(),
        id1.into(),
        atype.into(),
        0u32.into(),
        u32::MAX.into(),
        50u32.into(),
        100u32.into(),
    ];
    let plan = explain(&mut conn, &dialect, LIST.body(), list).await;
    check(&plan, "assoc", &["range", "ref"], "by_time", "list");

    let mut scan = vec![Value::from(3u16)];
    scan.extend(super::super::scan::edge_range(tao_schema::ids::EdgeKey {
        id1: ObjectId(id1),
        atype: LIKES,
        id2: ObjectId(700),
    }));
    scan.push(10u32.into());
    let plan = explain(&mut conn, &dialect, SCAN_EDGES.body(), scan).await;
    check(&plan, "assoc", &["range"], "PRIMARY", "scan");

    let one: Vec<Value> = vec![id1.into(), atype.into(), 2u64.into(), id1.into(), atype.into()];
    let plan = explain(&mut conn, &dialect, READ_EDGE_AND_COUNT.body(), one).await;
    check(&plan, "assoc", &["const"], "PRIMARY", "edge");
    check(&plan, "assoc_count", &["const"], "PRIMARY", "count");

    let keys = |parts: &[u64]| {
        let mut keys = JsonKeys::new();
        keys.push(parts);
        vec![keys.finish()]
    };
    let by_key: [(&Sql, Vec<Value>); 7] = [
        (&SHARD_ROWS_OF, keys(&[3])),
        (&OBJECTS, keys(&[0, 3, id1])),
        (&READ_OBJECTS, keys(&[id1])),
        (&LISTS_WHOLE, keys(&[0, 3, id1, u64::from(atype), 5_000])),
        (&LIST_WHOLE, vec![id1.into(), atype.into(), 5_000u64.into(), 3u64.into()]),
        (&DELETE_OBJECTS, keys(&[id1])),
        (&DELETE_EDGES, keys(&[id1, 1, 2])),
    ];
    for (sql, params) in by_key {
        let plan = explain(&mut conn, &dialect, sql.body(), params).await;
        check(&plan, "t", &["eq_ref", "ref"], "PRIMARY", sql.name);
    }
}

async fn strange_schemas_are_refused(server: &Server) {
    for (database, change, said) in [
        ("newer", include_str!("sql/later_migration.sql"), "upgrade this program"),
        ("changed", include_str!("sql/other_checksum.sql"), "checksum"),
    ] {
        fresh(server, options(database), 1).await;
        // Once more is nothing new.
        open(server, options(database)).await.unwrap();
        session(server, database).await.query_drop(change).await.unwrap();
        let error = open(server, options(database)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Incompatible, "{error}");
        assert!(error.message.contains(said) && error.message.contains(database), "{error}");
    }
}

async fn a_password_is_not_in_the_message(server: &Server) {
    // The right account: MySQL lets a stranger guess at a random authentication method.
    let dsn = server.dsn().expose();
    let account = dsn.split(':').nth(1).unwrap();
    let dsn = format!("mysql:{account}:pa55word@127.0.0.1:{}", server.port());
    let error = super::super::MySqlStore::open(&dsn, options("tao")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Incompatible, "{error}");
    assert!(!error.message.contains("pa55word") && error.message.contains("access denied"), "{error}");
}

async fn a_read_only_server_takes_no_writes(server: &Server) {
    let store = fresh(server, options("replica"), 1).await;
    commit(&store, vec![put(0, 1, 1)]).await.unwrap();
    let mut admin = session(server, "replica").await;
    admin.query_drop(include_str!("sql/administrator.sql")).await.unwrap();
    admin.exec_drop(include_str!("sql/read_only.sql"), (1,)).await.unwrap();
    // One that would be a single round trip, too.
    let error = commit(&store, vec![asked(2, put(0, 1, 2))]).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    let name = format!("127.0.0.1:{}: ", server.port());
    assert!(error.message.starts_with(&name) && error.message.contains("server is read-only"), "{error}");

    let replica = open(server, options("replica")).await.unwrap();
    assert_eq!((seq(&replica, 0).await, count(&replica, 0, 1).await), (Seq(1), 1));
    let error = open(server, options("no_such_tables")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");

    admin.exec_drop(include_str!("sql/read_only.sql"), (0,)).await.unwrap();
    commit(&store, vec![put(0, 1, 2)]).await.unwrap();
    assert_eq!(seq(&store, 0).await, Seq(2));
}

async fn unsafe_settings_are_refused(server: &Server) {
    let mut admin = session(server, "plans").await;
    admin.exec_drop(include_str!("sql/sync_binlog.sql"), (0,)).await.unwrap();
    let error = open(server, options("plans")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Incompatible, "{error}");
    assert!(error.message.contains("sync_binlog = 0"), "{error}");
    open(server, Options { allow_unsafe_durability: true, ..options("plans") }).await.unwrap();
    admin.exec_drop(include_str!("sql/sync_binlog.sql"), (1,)).await.unwrap();
}
