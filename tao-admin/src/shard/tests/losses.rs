//! What a move stands on goes away in the middle of it: a server with its newest writes, the book, room on a disk, a table's form.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tao_schema::rows::ShardState;
use tao_shard_store::fleet::{FleetOptions, can_mount, test_servers};
use tao_shard_store::moves::ShardMover;

use super::bench::*;
use crate::region::{Limits, PromoteOptions, promote};
use crate::shard::{ErrorKind, Goal, Mover, Quiet, Settings, Step, Without};

/// One that soon says that it can't go on.
async fn impatient(bench: &Bench) -> Mover {
    let limits = Limits { catch_up: Duration::from_secs(3), ..Limits::default() };
    let short = Settings { patience: Duration::from_secs(3), limits, ..settings() };
    Mover::open(bench.topology.clone(), short).await.unwrap()
}

/// The shard's row on a host group's first server, whatever became of the others.
async fn state(bench: &Bench, group: usize) -> ShardState {
    bench.store(group, 0).await.shard_moves(SHARD).await.unwrap().row.unwrap().state
}

impl Bench {
    /// Starts a primary that was killed; nobody else took its place.
    async fn revive(&mut self, index: usize) {
        self.fleet.restart(index).await.unwrap();
        self.fleet.open(index).await.unwrap();
    }

    /// Another region's server takes the place of a primary that is dead, without what it has not got.
    async fn take_over(&self, group: usize) {
        let id = [A, B][group];
        let options = PromoteOptions {
            region: REGIONS[1],
            groups: &[id],
            force: true,
            accept_loss: true,
            as_async: false,
            dry_run: false,
            limits: Limits::default(),
            through: &|_, _| None,
        };
        let newest = self.mover().await.topology().await.unwrap();
        promote(newest, &options, &|_, _, _| Ok(())).await.unwrap();
        // The old one is for ever away.
        let gone = Without { host_group: id, region: REGIONS[0].to_owned() };
        let mover = self.mover().await;
        mover.order(SHARD, |orders| orders.options.without = vec![gone.clone()]).await.unwrap();
    }
}

/// What the other region's server had not got yet is lost, with the server itself. What the source has lost must not live on in the
/// target; what the target has lost is copied again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_is_lost_with_what_it_had_not_passed_on() {
    for binary in test_servers().unwrap() {
        for lost in [0, 1] {
            let mut bench = Bench::start(binary.clone()).await;
            fill(&bench, 1..60).await;
            bench.begin(Goal::There).await;
            let stands = Stands::at([Step::Importing, Step::Verifying]);
            let work = stands.run(bench.mover().await);
            stands.reached().await;
            bench.level().await;
            let index = |replica| bench.fleet.server(lost, replica).unwrap().index();
            let (primary, replica) = (index(0), index(1));
            bench.fleet.stop_replication(replica).await.unwrap();
            fill(&bench, 60..90).await;
            stands.go_on();
            stands.reached().await;
            bench.fleet.kill(primary).await.unwrap();
            bench.take_over(lost).await;
            stands.go_on();
            let what = format!("{binary}: host group {} is lost", lost + 1);
            let there = work.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((there.state, there.serving), ("REVERSIBLE", B), "{what}: {there:?}");
            assert_eq!(there.notes.rows_different, 0, "{what}");
            assert_eq!(there.notes.recopies, u32::from(lost == 0), "{what}: {there:?}");
            let kept = if lost == 0 { 59 } else { 89 };
            assert_eq!(bench.edges().await.len(), kept, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_book_nothing_is_fenced_and_what_committed_is_released_later() {
    for binary in test_servers().unwrap() {
        let mut bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..60).await;
        let book = bench.fleet.server(0, 0).unwrap().index();
        bench.begin(Goal::There).await;
        let stands = Stands::at([Step::AfterCommit]);
        let work = stands.run(impatient(&bench).await);
        stands.reached().await;
        bench.fleet.kill(book).await.unwrap();
        stands.go_on();
        let error = work.await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{binary}: {error}");
        assert_eq!(state(&bench, 1).await, ShardState::Serving, "{binary}: it had committed");
        bench.revive(book).await;
        let there = bench.run(&Quiet).await.unwrap();
        assert_eq!((there.state, there.serving, there.notes.rollbacks), ("REVERSIBLE", B, 0), "{binary}");
        assert_eq!(bench.owner().await.0, B, "{binary}");
        // Back, and the book goes before INTENT: whoever serves is not fenced for a move that nobody could find.
        let mover = impatient(&bench).await;
        mover.order(SHARD, |orders| orders.goal = Goal::Back).await.unwrap();
        let stands = Stands::at([Step::Ready]);
        let work = stands.run(mover);
        stands.reached().await;
        bench.fleet.kill(book).await.unwrap();
        stands.go_on();
        let error = work.await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{binary}: {error}");
        assert_eq!(state(&bench, 1).await, ShardState::Serving, "{binary}: fenced without a book");
        bench.revive(book).await;
        assert_eq!(bench.run(&Quiet).await.unwrap().serving, A, "{binary}");
        assert_eq!((bench.owner().await.0, bench.edges().await.len()), (A, 59), "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_room_is_refused_and_one_that_runs_full_stops_the_move() {
    if let Err(why) = can_mount() {
        println!("not here: {why}");
        return;
    }
    for binary in test_servers().unwrap() {
        let sized = FleetOptions { disk_bytes: Some(1 << 30), ..FleetOptions::new(binary.clone(), 2) };
        let mut bench = Bench::on(sized).await;
        // More than fits into what is left of the last blocks of files.
        fill(&bench, 1..400).await;
        bench.begin(Goal::There).await;
        let stands = Stands::at([Step::Chunk]);
        let work = stands.run(impatient(&bench).await);
        stands.reached().await;
        let target = bench.fleet.server(1, 0).unwrap().index();
        bench.fleet.fill_disk(target).await.unwrap();
        let mover = bench.mover().await;
        let plan = mover.plan(SHARD, B, &options()).await.unwrap();
        let disk = plan.findings.iter().find(|found| found.subject == "disk").expect("there is no room");
        assert!(disk.fatal && disk.message.contains("bytes are free (measured at "), "{binary}: {disk:?}");
        stands.go_on();
        let error = work.await.unwrap().unwrap_err();
        println!("{binary}: {error}");
        assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Stopped), "{binary}: {error}");
        assert_eq!(state(&bench, 0).await, ShardState::Serving, "{binary}");
        let stores = [bench.store(0, 0).await, bench.store(0, 0).await];
        assert!(put(&stores, 400).await, "{binary}: the source takes writes as before");
        // Room again; a server that had none looks for it once a minute.
        bench.fleet.empty_disk(target).await.unwrap();
        if bench.fleet.is_running(target) {
            bench.fleet.kill(target).await.unwrap();
        }
        bench.revive(target).await;
        let there = bench.run(&Quiet).await.unwrap_or_else(|error| panic!("{binary}: {error}"));
        assert_eq!((there.serving, there.notes.rows_different), (B, 0), "{binary}: {there:?}");
        assert_eq!(bench.edges().await.len(), 400, "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_changes_under_a_move_stops_it() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..60).await;
        bench.begin(Goal::There).await;
        let stands = Stands::at([Step::Verifying]);
        let work = stands.run(bench.mover().await);
        stands.reached().await;
        let dsn = bench.fleet.server(0, 0).unwrap().dsn().expose().replace("/?", "/tao?");
        let mut conn = Conn::new(Opts::from_url(&dsn).unwrap()).await.unwrap();
        let change = include_str!("../../../../shard-store/src/mysql/tests/sql/tail/add_column.sql");
        conn.query_drop(change).await.unwrap();
        conn.disconnect().await.unwrap();
        stands.go_on();
        let error = work.await.unwrap().unwrap_err();
        let said = change.split(" ADD").next().unwrap();
        let named = error.message.contains(said) && error.message.contains("tao shard abort");
        assert!(error.kind == ErrorKind::Stopped && named, "{binary}: {error}");
        assert_eq!(bench.owner().await.0, A, "{binary}: it cut over");
        // Nobody gets past it; what was copied can be given up.
        assert_eq!(bench.run(&Quiet).await.unwrap_err().kind, ErrorKind::Stopped, "{binary}");
        let mover = bench.mover().await;
        mover.order(SHARD, |orders| orders.goal = Goal::Aborted).await.unwrap();
        let over = mover.run(SHARD, &Quiet).await.unwrap();
        assert!(over.over && over.state == "ABORTED", "{binary}: {over:?}");
        assert_eq!(bench.store(1, 0).await.rows_of_range(SHARD).await.unwrap().total(), 0, "{binary}");
        let error = mover.begin(SHARD, B, Goal::There, options()).await.unwrap_err();
        assert!(error.message.contains("the tables differ"), "{binary}: {error}");
        assert_eq!(bench.owner().await.0, A, "{binary}");
    }
}
