//! The suite of moves on the memory engine, and a lost answer at each step of a cutover.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::rows::ShardState;

use super::*;
use crate::conformance::{
    End, Failure, MoveFactory, Promotions, Side, Verdict, assert_moves, assert_promoted_moves,
};
use crate::log::{LogPosition, ServerLog};
use crate::moves::{
    AbortImport, Answer, BeginImport, CommitImport, Copied, FenceShard, Import, MoveId, Progress, ShardMover,
};
use crate::replication::EpochChange;

struct Two;

#[async_trait]
impl MoveFactory for Two {
    async fn open(&self, _shard: ShardId) -> Result<(End, End), Failure> {
        let end = || {
            let store = Arc::new(MemoryStore::open(&MemoryDatabase::new(MemoryOptions::default())));
            End { store: store.clone(), mover: store.clone(), log: store }
        };
        Ok((end(), end()))
    }
}

#[tokio::test]
async fn the_memory_engine_moves_shards() {
    assert_moves(&Two).await;
}

/// Two servers of a host group; the one at `primary` is it.
struct Pair {
    servers: [MemoryDatabase; 2],
    primary: AtomicUsize,
}

impl Pair {
    fn new(name: &str) -> Self {
        let server = |place: &str| {
            let server = format!("{name}{place}");
            MemoryDatabase::new(MemoryOptions { server, ..MemoryOptions::default() })
        };
        let servers = [server("1"), server("2")];
        servers[1].replicate(&servers[0], ReplicationOptions::default()).unwrap();
        Self { servers, primary: AtomicUsize::new(0) }
    }

    /// Primary and replica.
    fn both(&self) -> [&MemoryDatabase; 2] {
        let primary = self.primary.load(Ordering::SeqCst);
        [&self.servers[primary], &self.servers[1 - primary]]
    }

    async fn level(&self) {
        let [primary, replica] = self.both();
        let all = MemoryStore::open(primary).executed().await.unwrap();
        replica.wait_executed(&all).await;
    }
}

struct TwoPairs([Pair; 2]);

#[async_trait]
impl Promotions for TwoPairs {
    async fn end(&self, side: Side, primary: bool) -> Result<End, Failure> {
        let [first, second] = self.0[side as usize].both();
        let store = Arc::new(MemoryStore::open(if primary { first } else { second }));
        Ok(End { store: store.clone(), mover: store.clone(), log: store })
    }

    async fn level(&self, side: Side) -> Verdict {
        self.0[side as usize].level().await;
        Ok(())
    }

    async fn promote(&self, side: Side, owned: &[EpochChange], everything: bool) -> Verdict {
        let pair = &self.0[side as usize];
        let [old, new] = pair.both();
        old.set_read_only(true);
        if everything {
            pair.level().await;
        }
        new.forget_source();
        let epochs: Vec<_> = owned.iter().map(|change| (change.shard, change.old, change.new)).collect();
        new.open_epochs(&epochs).await?;
        new.promote();
        if everything {
            old.replicate(new, ReplicationOptions::default())?;
        }
        pair.primary.fetch_xor(1, Ordering::SeqCst);
        Ok(())
    }

    async fn cut_off(&self, side: Side) -> Verdict {
        self.0[side as usize].both()[1].stop_replication();
        Ok(())
    }
}

#[tokio::test]
async fn the_memory_engine_moves_shards_while_primaries_are_replaced() {
    assert_promoted_moves(&TwoPairs([Pair::new("a"), Pair::new("b")])).await;
}

const MOVE: MoveId = MoveId(1);

/// A call whose answer is lost, once with its effect and once without, and then the same call until it is answered.
async fn insist<T: PartialEq + std::fmt::Debug, F: Future<Output = Result<Answer<T>, StoreError>>>(
    store: &MemoryStore,
    call: impl Fn() -> F,
) -> T {
    store.fail_next_commit(CommitFault::UncertainLost);
    assert_eq!(call().await.unwrap_err().kind, StoreErrorKind::Uncertain);
    store.fail_next_commit(CommitFault::UncertainCommitted);
    assert_eq!(call().await.unwrap_err().kind, StoreErrorKind::Uncertain);
    match call().await.unwrap() {
        Answer::AlreadyDone(value) => value,
        other => panic!("expected that it was done already, got {other:?}"),
    }
}

#[tokio::test]
async fn every_call_whose_answer_was_lost_is_found_out_by_repeating_it() {
    let [source, target] = [0; 2].map(|_| MemoryStore::open(&MemoryDatabase::new(MemoryOptions::default())));
    source.create_shards(&[A], EPOCH).await.unwrap();
    let at = |seq| Position { shard: A, epoch: EPOCH, seq: Seq(seq) };
    let begin = BeginImport {
        shard: A,
        move_id: MOVE,
        source: "a".to_owned(),
        applied: at(0),
        position: LogPosition::none(),
        continues: None,
    };
    insist(&target, || target.begin_import(begin.clone())).await;
    let progress = Progress { copied: Copied::ALL, applied: at(1), position: LogPosition::none(), step: 1 };
    let import = Import { shard: A, move_id: MOVE, step: 0, puts: vec![], deletes: vec![], progress };
    insist(&target, || target.import(import.clone())).await;
    let fence = FenceShard { shard: A, move_id: MOVE, epoch: EPOCH, target: "b".to_owned() };
    let fence = insist(&source, || source.fence(fence.clone())).await;
    assert_eq!(fence.at.seq, Seq(1));
    let commit = CommitImport {
        shard: A,
        move_id: MOVE,
        fence: fence.at,
        next_id: fence.next_id,
        executed: LogPosition::none(),
    };
    let proof = insist(&target, || target.commit_import(commit.clone())).await;
    assert_eq!((proof.at().epoch, proof.at().seq), (Epoch(2), Seq(2)));
    // And the way back of another move, on the other side.
    let other = MoveId(2);
    insist(&source, || async {
        let abort = AbortImport { shard: B, move_id: other, source: "a".to_owned() };
        source.abort_import(abort).await
    })
    .await;
    insist(&source, || source.retire(&proof, 10)).await;
    let row = source.shard_moves(A).await.unwrap().row.unwrap();
    assert_eq!(row.state, ShardState::Gone);
}
