//! Orders that make no sense, and servers that are not as they must be: each has its outcome (`docs/moves.md`).

use std::time::Duration;

use tao_schema::ids::{HostGroupId, ShardId};
use tao_schema::topology::FIRST_EPOCH;
use tao_shard_store::ShardStore;
use tao_shard_store::fleet::test_servers;
use tao_shard_store::moves::{
    BeginImport, Copied, Import, MoveId, MoveTable, PageLimit, ShardMover, starting_point,
};

use super::bench::*;
use crate::region::Limits;
use crate::shard::{ErrorKind, Goal, MoveOptions, Mover, Quiet, Settings, Step};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_by_name() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..20).await;
        let mover = bench.mover().await;
        let refused = |shard: u16, to: u16, options: MoveOptions| {
            let mover = &mover;
            async move { mover.begin(ShardId(shard), HostGroupId(to), Goal::There, options).await.unwrap_err() }
        };
        for (shard, to, options, what) in [
            (99, 2, options(), "no shard 99: they are 0 to 7"),
            (4, 9, options(), "no host group 9; there are 1, 2"),
            (4, 1, options(), "is in host group 1 already"),
            (4, 2, MoveOptions { max_pause_ms: 1, ..options() }, "max-pause is 1 ms: from 10 to 60000"),
        ] {
            let error = refused(shard, to, options).await;
            assert!(error.kind == ErrorKind::Usage && error.message.contains(what), "{binary}: {error}");
        }
        // A second mover, for the order and for the work.
        bench.begin(Goal::Ready).await;
        let error = refused(4, 2, options()).await;
        assert!(error.kind == ErrorKind::Refused && error.message.contains("being moved already"), "{error}");
        let stays = Settings { stay: true, ..settings() };
        let first = Mover::open(bench.topology.clone(), stays).await.unwrap();
        let work = tokio::spawn(async move { first.run(SHARD, &Quiet).await });
        while mover.status(SHARD).await.unwrap().state != "READY" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let polite = Settings { take_over: false, ..settings() };
        let second = Mover::open(bench.topology.clone(), polite).await.unwrap();
        let error = second.run(SHARD, &Quiet).await.unwrap_err();
        assert!(error.kind == ErrorKind::Unavailable && error.message.contains("is at it"), "{error}");
        // Taken over, the first one stops.
        mover.order(SHARD, |orders| orders.goal = Goal::Aborted).await.unwrap();
        assert!(work.await.unwrap().unwrap().over);
        assert_eq!(bench.owner().await.0, A, "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_strangers_on_the_target_are_found_and_never_served() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..50).await;
        bench.begin(Goal::Ready).await;
        bench.run(&Quiet).await.unwrap();
        // Somebody writes to the target behind the mover's back: as an import, with rows of no log.
        let target = bench.store(1, 0).await;
        let found = target.shard_moves(SHARD).await.unwrap();
        let record = found.moves.last().unwrap().clone();
        let source = bench.store(0, 0).await;
        let edges = Copied::up_to(MoveTable::Assoc, [0; 3]);
        let page = source.raw_page(SHARD, edges, PageLimit { rows: 1, bytes: usize::MAX }).await.unwrap();
        let row = &page.rows[0];
        let mut progress = record.progress.clone();
        progress.step += 1;
        let stray = Import {
            shard: SHARD,
            move_id: record.move_id,
            step: record.progress.step,
            puts: Vec::new(),
            deletes: vec![row.key()],
            progress,
        };
        target.import(stray).await.unwrap().accepted().unwrap();
        let mover = bench.mover().await;
        let error = mover.verify(SHARD, &Quiet).await.unwrap_err();
        assert!(
            error.kind == ErrorKind::Refused && error.message.contains("missing Assoc"),
            "{binary}: {error}"
        );
        let status = mover.status(SHARD).await.unwrap();
        assert_eq!((status.notes.rows_different, status.serving), (1, A), "{status:?}");
        mover.order(SHARD, |orders| orders.goal = Goal::There).await.unwrap();
        assert_eq!(
            mover.run(SHARD, &Quiet).await.unwrap_err().kind,
            ErrorKind::Refused,
            "{binary}: it cut over"
        );
        assert_eq!(bench.owner().await.0, A);
        mover.order(SHARD, |orders| orders.goal = Goal::Aborted).await.unwrap();
        assert!(mover.run(SHARD, &Quiet).await.unwrap().over, "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_or_behind_keeps_a_move_from_beginning_and_ends_a_cutover() {
    for binary in test_servers().unwrap() {
        let mut bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..50).await;
        bench.begin(Goal::Ready).await;
        bench.run(&Quiet).await.unwrap();
        // The source's replica stands still after the fence: the cutover is taken back, and the source opened only when the
        // replica has the fence.
        let replica = bench.fleet.server(0, 1).unwrap().index();
        let mover = bench.mover().await;
        mover
            .order(SHARD, |orders| {
                orders.goal = Goal::There;
                orders.options.max_pause_ms = 1_000;
                orders.options.cutovers = 1;
            })
            .await
            .unwrap();
        let stops = StopsReplica { fleet: &bench.fleet, replica, at: Step::BeforeFence };
        let limits = Limits { catch_up: Duration::from_secs(1), ..Limits::default() };
        let short = Settings { patience: Duration::from_secs(2), limits, ..settings() };
        let impatient = Mover::open(bench.topology.clone(), short).await.unwrap();
        impatient.run(SHARD, &stops).await.unwrap_err();
        let row = bench.store(0, 0).await.shard_moves(SHARD).await.unwrap().row.unwrap();
        assert_eq!(
            row.state,
            tao_schema::rows::ShardState::Fenced,
            "{binary}: opened although a replica lacks the fence"
        );
        bench.fleet.start_replication(replica).await.unwrap();
        mover.order(SHARD, |orders| orders.options = options()).await.unwrap();
        let there = mover.run(SHARD, &Quiet).await.unwrap_or_else(|error| panic!("{binary}: {error}"));
        assert_eq!(there.serving, B, "{binary}: {there:?}");
        assert!(there.notes.rollbacks >= 1 && there.notes.recopies == 0, "{there:?}");
        bench.owner().await;
        // A replica that is away keeps another move from beginning.
        let other = ShardId(2);
        bench.fleet.kill(bench.fleet.server(1, 1).unwrap().index()).await.unwrap();
        let error = mover.begin(other, B, Goal::There, options()).await.unwrap_err();
        assert!(
            error.kind == ErrorKind::Refused && error.message.contains("host group 2 in there"),
            "{binary}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_purged_makes_the_copy_begin_anew() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..50).await;
        bench.begin(Goal::There).await;
        let dies = DiesAt::new(Step::Copied, 1);
        bench.run(&dies).await.unwrap_err();
        // A place that the source's log never had stands for one that it no longer has.
        let target = bench.store(1, 0).await;
        let record = target.shard_moves(SHARD).await.unwrap().moves.last().unwrap().clone();
        let mut progress = record.progress.clone();
        progress.step += 1;
        progress.position = "0-99-999999999".parse().unwrap();
        if binary.to_string().contains("MySQL") {
            progress.position = "99999999-2222-3333-4444-555555555555:1-9".parse().unwrap();
        }
        let (step, move_id) = (record.progress.step, record.move_id);
        let lost = Import { shard: SHARD, move_id, step, puts: Vec::new(), deletes: Vec::new(), progress };
        target.import(lost).await.unwrap().accepted().unwrap();
        let there = bench.run(&Quiet).await.unwrap();
        assert_eq!((there.serving, there.notes.recopies), (B, 1), "{binary}: {there:?}");
        assert_eq!(bench.edges().await.len(), 49, "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_move_keep_one_from_beginning() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..20).await;
        // A move that is in no book.
        let (source, target) = (bench.store(0, 0).await, bench.store(1, 0).await);
        let (position, applied) =
            starting_point(&source, SHARD, tao_shard_store::log::BeatWriter::of("t")).await.unwrap();
        let begin = BeginImport {
            shard: SHARD,
            move_id: MoveId(1),
            source: "1".to_owned(),
            applied,
            position,
            continues: None,
        };
        target.begin_import(begin).await.unwrap().accepted().unwrap();
        let error = bench.mover().await.begin(SHARD, B, Goal::There, options()).await.unwrap_err();
        let under_way = error.message.contains("move 1 of shard 4 is under way");
        assert!(error.kind == ErrorKind::Refused && under_way, "{binary}: {error}");
        // A shard that somebody has made there, and written to.
        let other = ShardId(2);
        target.create_shards(&[other], FIRST_EPOCH).await.unwrap();
        let error = bench.mover().await.begin(other, B, Goal::There, options()).await.unwrap_err();
        let stranger =
            error.message.contains("has a row of shard 2, Serving in epoch 1, that no move brought there");
        assert!(error.kind == ErrorKind::Refused && stranger, "{binary}: {error}");
    }
}

/// Stops a replica when a step comes.
struct StopsReplica<'a> {
    fleet: &'a tao_shard_store::fleet::Fleet,
    replica: usize,
    at: Step,
}

#[async_trait::async_trait]
impl crate::shard::Watch for StopsReplica<'_> {
    async fn step(&self, step: Step) -> anyhow::Result<()> {
        if step == self.at {
            self.fleet.stop_replication(self.replica).await?;
        }
        Ok(())
    }
}
