//! A worker dies at each named step; another goes on with what the servers have.

use tao_shard_store::fleet::{ServerBinary, test_servers};

use super::bench::*;
use crate::shard::{Goal, Quiet, Step};

/// Runs with a worker that dies at a step, then with one that does not. Answers whether the first one came there.
async fn dies_and_goes_on(bench: &Bench, step: Step) -> bool {
    let dies = DiesAt::new(step, 1);
    let first = bench.run(&dies).await;
    assert_eq!(first.is_err(), dies.died(), "{step:?}: {first:?}");
    if dies.died() {
        let status = bench.run(&Quiet).await.unwrap_or_else(|error| panic!("after {step:?}: {error}"));
        // Also where nothing but the note was left to do.
        let settled = ["REVERSIBLE", "FINALIZED", "ABORTED"];
        assert!(settled.contains(&status.state), "{step:?}: {status:?}");
    }
    dies.died()
}

/// Steps of the way there, and those after which the move is rolled back by whoever comes.
const THERE: [Step; 17] = [
    Step::Planned,
    Step::Importing,
    Step::Chunk,
    Step::Copied,
    Step::Verifying,
    Step::Ready,
    Step::BeforeFence,
    Step::AfterFence,
    Step::FenceReplicated,
    Step::Drained,
    Step::BeforeCommit,
    Step::AfterCommit,
    Step::CommitReplicated,
    Step::BeforeRelease,
    Step::AfterRelease,
    Step::BeforeBeginReverse,
    Step::AfterBeginReverse,
];

/// All of them with one shard, which goes from one host group to the other and back.
async fn back_and_forth(binary: ServerBinary) {
    let bench = Bench::start(binary.clone()).await;
    fill(&bench, 1..60).await;
    let writer = Writer::start(&bench, 1_000).await;
    for step in THERE {
        let to = bench.begin_away().await;
        assert!(dies_and_goes_on(&bench, step).await, "{binary}: {step:?} does not come");
        assert_eq!(bench.owner().await.0, to, "{binary}: {step:?}");
        bench.finalize().await;
    }
    let acknowledged = writer.stop().await;
    assert!(acknowledged.is_subset(&bench.edges().await), "{binary}: acknowledged writes are missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_died_anywhere_on_the_way_there_is_replaced() {
    for binary in test_servers().unwrap() {
        back_and_forth(binary).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_goes_on_wherever_it_ended() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..60).await;
        let writer = Writer::start(&bench, 1_000).await;
        let back = [
            Step::BeforeAbort,
            Step::AfterAbort,
            Step::AbortReplicated,
            Step::BeforeUnfence,
            Step::AfterUnfence,
            Step::BeforeRelease,
            Step::AfterRelease,
        ];
        for step in back {
            let before = bench.owner().await.1;
            let to = bench.begin_away().await;
            // Fenced: whoever comes rolls back, and dies at it; the third one does all of it, and cuts over anew.
            let fenced = DiesAt::new(Step::Drained, 1);
            bench.run(&fenced).await.unwrap_err();
            assert!(fenced.died(), "{binary}");
            assert!(dies_and_goes_on(&bench, step).await, "{binary}: {step:?} does not come");
            let status = bench.mover().await.status(SHARD).await.unwrap();
            assert!(status.notes.cutovers >= 2, "{binary}: {step:?}: {status:?}");
            assert_eq!(status.notes.recopies, 0, "{binary}: what was copied is kept");
            let (owner, epoch) = bench.owner().await;
            // One attempt's fence + 2, then the next one's fence + 1.
            assert!(owner == to && epoch.0 >= before.0 + 3, "{binary}: {step:?}: {epoch:?} after {before:?}");
            bench.finalize().await;
        }
        let acknowledged = writer.stop().await;
        assert!(acknowledged.is_subset(&bench.edges().await), "{binary}: acknowledged writes are missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_and_an_end_go_on_wherever_they_ended() {
    for binary in test_servers().unwrap() {
        let bench = Bench::start(binary.clone()).await;
        fill(&bench, 1..60).await;
        for step in [Step::Turned, Step::Drained, Step::AfterCommit, Step::Retire, Step::Delete, Step::Close]
        {
            bench.begin(Goal::There).await;
            bench.run(&Quiet).await.unwrap();
            let mover = bench.mover().await;
            mover.order(SHARD, |orders| orders.goal = Goal::Back).await.unwrap();
            mover.order(SHARD, |orders| orders.finalize = true).await.unwrap();
            assert!(dies_and_goes_on(&bench, step).await, "{binary}: {step:?} does not come");
            let over = bench.mover().await.status(SHARD).await.unwrap();
            assert!(over.over && over.state == "FINALIZED", "{binary}: {step:?}: {over:?}");
            assert_eq!(bench.owner().await.0, A, "{binary}: {step:?}");
            assert_eq!(bench.edges().await.len(), 59, "{binary}: {step:?}");
        }
        // An order to give up, with each of its steps.
        for step in [Step::BeforeAbort, Step::AfterAbort, Step::AfterUnfence, Step::Delete, Step::Close] {
            bench.begin(Goal::Ready).await;
            bench.run(&Quiet).await.unwrap();
            let mover = bench.mover().await;
            mover.order(SHARD, |orders| orders.goal = Goal::Aborted).await.unwrap();
            assert!(dies_and_goes_on(&bench, step).await, "{binary}: {step:?} does not come");
            let over = mover.status(SHARD).await.unwrap();
            assert!(over.over && over.state == "ABORTED", "{binary}: {step:?}: {over:?}");
            assert_eq!(bench.owner().await.0, A, "{binary}: {step:?}");
        }
    }
}
