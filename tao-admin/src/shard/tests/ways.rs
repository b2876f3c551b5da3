//! What an operator does with a move.

use tao_schema::rows::ShardState;
use tao_shard_store::fleet::test_servers;
use tao_shard_store::moves::ShardMover;

use super::bench::*;
use crate::shard::{ErrorKind, Goal, Quiet};

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
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
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
