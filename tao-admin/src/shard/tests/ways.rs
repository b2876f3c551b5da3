//! What an operator does with a move.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use parking_lot::Mutex;
use tao_schema::rows::ShardState;
use tao_shard_store::fleet::test_servers;
use tao_shard_store::moves::ShardMover;

use super::bench::*;
use crate::shard::{
    Caps, ErrorKind, Goal, MoveError, MoveOptions, MoveStatus, Orders, PlannedMove, Quiet, Step, Watch,
    move_all, rebalance,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_moves_under_writes_comes_back_and_is_finalized() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..400).await;
        let writer = Writer::start(&bench, 1_000).await;
        bench.begin(Goal::There).await;
        let there = bench.run(&Quiet).await.unwrap();
        assert_eq!(
            (there.state, there.serving, there.notes.rows_different),
            ("REVERSIBLE", B, 0),
            "{there:?}"
        );
        assert!(there.notes.rows_compared > 800 && there.notes.cutovers == 1, "{there:?}");
        println!(
            "{binary}: pause {:.1} ms, predicted {:.1} ms, {:?}",
            there.notes.pause_ms.unwrap(),
            there.notes.predicted_ms.unwrap(),
            there.notes.pause
        );
        let (owner, epoch) = bench.owner().await;
        assert_eq!(owner, B);
        // Writes on the target, then back: nothing is lost.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mover = bench.mover().await;
        mover.order(SHARD, |orders| orders.goal = Goal::Back).await.unwrap();
        let back = mover.run(SHARD, &Quiet).await.unwrap();
        assert_eq!((back.state, back.serving), ("REVERSIBLE", A), "{back:?}");
        assert!(bench.owner().await.1 > epoch);
        let acknowledged = writer.stop().await;
        assert!(acknowledged.len() > 50, "{binary}: only {} writes", acknowledged.len());
        let edges = bench.edges().await;
        assert!(acknowledged.is_subset(&edges), "{binary}: acknowledged writes are missing");
        // The other side follows; once finalized it has nothing.
        let same = mover.verify(SHARD, &Quiet).await.unwrap();
        assert!(same.notes.rows_compared > 800, "{same:?}");
        mover.order(SHARD, |orders| orders.finalize = true).await.unwrap();
        let over = mover.run(SHARD, &Quiet).await.unwrap();
        assert!(over.over && over.state == "FINALIZED" && over.next_steps.is_empty(), "{over:?}");
        let left = bench.store(1, 0).await;
        assert_eq!(left.rows_of_range(SHARD).await.unwrap().total(), 0, "{binary}");
        assert_eq!(left.shard_moves(SHARD).await.unwrap().row.unwrap().state, ShardState::Gone);
        // And it may go again.
        bench.begin(Goal::There).await;
        assert_eq!(bench.run(&Quiet).await.unwrap().serving, B, "{binary}");
        assert_eq!(bench.edges().await, edges, "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_waits_at_ready_is_paused_and_given_up() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..100).await;
        bench.begin(Goal::Ready).await;
        let ready = bench.run(&Quiet).await.unwrap();
        assert_eq!((ready.state, ready.serving), ("READY", A), "{ready:?}");
        assert!(ready.notes.predicted_ms.is_some() && ready.verified_age_s.is_some());
        assert!(ready.next_steps.iter().any(|step| step == "tao shard cutover 4"), "{:?}", ready.next_steps);
        let mover = bench.mover().await;
        // Given up: the source as before, nothing left on the target.
        mover.order(SHARD, |orders| orders.goal = Goal::Aborted).await.unwrap();
        let over = mover.run(SHARD, &Quiet).await.unwrap();
        assert!(over.over && over.state == "ABORTED", "{over:?}");
        assert_eq!(bench.owner().await.0, A);
        assert_eq!(bench.store(1, 0).await.rows_of_range(SHARD).await.unwrap().total(), 0, "{binary}");
        let error = mover.run(SHARD, &Quiet).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
        // Once it has moved, it can't be given up.
        bench.begin(Goal::There).await;
        bench.run(&Quiet).await.unwrap();
        mover.order(SHARD, |orders| orders.goal = Goal::Aborted).await.unwrap();
        let error = mover.run(SHARD, &Quiet).await.unwrap_err();
        assert!(error.kind == ErrorKind::Stopped && error.message.contains("reverse"), "{error}");
        assert_eq!(bench.owner().await.0, B, "{binary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_in_the_middle_of_the_copy_does_nothing_until_it_ends() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..400).await;
        // So slow that the order comes in the middle.
        let slow = MoveOptions { max_chunk_rows: 20, max_rows_per_second: 100, ..options() };
        let mover = bench.mover().await;
        mover.begin(SHARD, B, Goal::There, slow).await.unwrap();
        let stands = Stands::at([Step::Chunk]);
        let work = stands.run(bench.mover().await);
        stands.reached().await;
        mover.order(SHARD, |orders| orders.paused = true).await.unwrap();
        stands.go_on();
        let target = bench.store(1, 0).await;
        let progress =
            || async { target.shard_moves(SHARD).await.unwrap().moves.last().unwrap().progress.clone() };
        // The worker sees the order within a second, then what is stored stays as it is.
        let mut last = progress().await;
        let mut since = Instant::now();
        let start = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = progress().await;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{binary}: it goes on");
        }
        let paused = mover.status(SHARD).await.unwrap();
        let why = paused.throttled.as_ref().map(|why| why.reason.as_str());
        assert_eq!((paused.state, why), ("COPYING", Some("paused by an operator")), "{binary}: {paused:?}");
        assert!(paused.copied.is_some_and(|copied| copied < 1.0), "{binary}: {paused:?}");
        assert!(paused.next_steps.contains(&"tao shard resume 4".to_owned()), "{:?}", paused.next_steps);
        // What is written meanwhile comes with the log. The same worker goes on.
        fill(&bench, 400..500).await;
        mover
            .order(SHARD, |orders| {
                orders.paused = false;
                orders.options = options();
            })
            .await
            .unwrap();
        let there = work.await.unwrap().unwrap();
        assert_eq!((there.serving, there.notes.recopies), (B, 0), "{binary}: {there:?}");
        assert!(there.notes.throttled_ms.contains_key("max-rows-per-second"), "{binary}: {there:?}");
        assert_eq!(bench.edges().await.len(), 499, "{binary}");
    }
}

/// Counts moves that are under way, and dies once if it is told to.
struct Busy {
    now: AtomicIsize,
    most: AtomicIsize,
    dies: DiesAt,
}

#[async_trait]
impl Watch for Busy {
    async fn step(&self, step: Step) -> Result<()> {
        if step == Step::Importing {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
        }
        self.dies.step(step).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_group_is_drained_two_shards_at_a_time_and_by_whoever_goes_on() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..60).await;
        let mover = bench.mover().await;
        let orders = Orders { finalize: true, ..Orders::there(options()) };
        let caps = Caps { per_group: 2, at_once: 4 };
        let (mut ended, mut failed, mut at_once) = (0, 0, 0);
        // The first one dies with its third comparison: what it had begun besides comes to its end, and nothing else is begun.
        for dies in [3, 0] {
            let plan = rebalance(&mover.topology().await.unwrap(), Some(A), &[]).unwrap();
            let busy = Busy {
                now: AtomicIsize::new(0),
                most: AtomicIsize::new(0),
                dies: DiesAt::new(Step::Verifying, dies),
            };
            let told = Mutex::new(Vec::new());
            let tell = |one: &PlannedMove, end: &Result<MoveStatus, MoveError>| {
                busy.now.fetch_sub(1, Ordering::Relaxed);
                told.lock().push((*one, end.is_ok()));
            };
            let done = move_all(&mover, &plan.moves, &orders, caps, &busy, &tell).await;
            assert_eq!(done.is_err(), dies > 0, "{binary}: {done:?}");
            let told = told.into_inner();
            ended += told.iter().filter(|(_, well)| *well).count();
            failed += told.iter().filter(|(_, well)| !well).count();
            at_once = at_once.max(busy.most.into_inner());
        }
        assert_eq!((ended, failed), (4, 1), "{binary}: four shards, of which one ended twice");
        assert_eq!(at_once, 2, "{binary}");
        let newest = mover.topology().await.unwrap();
        assert!(newest.all_assignments().iter().all(|place| place.host_group == B), "{binary}");
        assert!(rebalance(&newest, Some(A), &[]).unwrap().moves.is_empty(), "{binary}");
        assert!(mover.list(10).await.unwrap().iter().all(|one| one.state == "FINALIZED"), "{binary}");
        assert_eq!(bench.store(0, 0).await.rows_of_range(SHARD).await.unwrap().total(), 0, "{binary}");
        assert_eq!((bench.owner().await.0, bench.edges().await.len()), (B, 59), "{binary}");
    }
}
