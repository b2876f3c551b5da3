//! Shards that move from one host group to another while leaders serve them (R25).

use tao_schema::ErrorCode;
use tao_schema::ids::Seq;
use tao_schema::ops::{Freshness, Source};
use tao_schema::stream::StreamMessage;
use tao_schema::topology::Assignment;
use tao_shard_store::moves::{
    AbortImport, BeginImport, CommitImport, Committed, Copier, Fence, FenceShard, MoveId, PageLimit,
    ShardMover, Step, starting_point,
};

use super::streams::{news, subscribe};
use super::*;

const MOVE: MoveId = MoveId(1);
const TARGET: HostGroupId = HostGroupId(2);

/// What a mover does between two host groups, step by step.
struct Moving<'a> {
    world: &'a World,
    shard: ShardId,
    id: MoveId,
    to: HostGroupId,
    /// The shard's epoch on the source.
    epoch: Epoch,
    source: MemoryStore,
    target: MemoryStore,
}

impl<'a> Moving<'a> {
    /// Everything is copied from the first host group to the second.
    async fn copied(world: &'a World, shard: ShardId) -> Self {
        Self::copied_by(world, shard, (MOVE, TARGET, Epoch(1))).await
    }

    async fn copied_by(
        world: &'a World,
        shard: ShardId,
        (id, to, epoch): (MoveId, HostGroupId, Epoch),
    ) -> Self {
        let from = if to == TARGET { 0 } else { 1 };
        let [source, target] = [from, 1 - from].map(|at: usize| MemoryStore::open(&world.databases[at]));
        let (position, applied) = starting_point(&source, shard, BeatWriter::of("mover")).await.unwrap();
        let source_name = "the other".to_owned();
        let begin =
            BeginImport { shard, move_id: id, source: source_name, applied, position, continues: None };
        target.begin_import(begin).await.unwrap().accepted().unwrap();
        let this = Self { world, shard, id, to, epoch, source, target };
        this.drain(None).await;
        this
    }

    /// Copies, up to `end` of the source if there is one.
    async fn drain(&self, end: Option<Position>) {
        let progress =
            self.target.shard_moves(self.shard).await.unwrap().of(self.id).unwrap().progress.clone();
        let mut tail = self.source.raw_tail(self.shard, progress.position.clone()).await.unwrap();
        let mut copier = Copier::new(self.shard, self.id, progress);
        copier.hold(end);
        let limit = PageLimit { rows: 100, bytes: 1 << 20 };
        loop {
            match copier.next(limit).unwrap() {
                Step::Import(import) => self.target.import(import).await.unwrap().accepted().unwrap(),
                Step::ReadChunk(from) => {
                    copier.chunk(self.source.raw_page(self.shard, from, limit).await.unwrap()).unwrap();
                }
                Step::ReadLog(_) => {
                    let news = tail.next().await.unwrap();
                    copier.log(news, tail.position()).unwrap();
                }
                Step::CaughtUp => break,
            }
        }
        assert!(end.is_none_or(|end| copier.drained(end)));
    }

    async fn fence(&self) -> Fence {
        let target = self.to.to_string();
        let fence = FenceShard { shard: self.shard, move_id: self.id, epoch: self.epoch, target };
        let fence = self.source.fence(fence).await.unwrap().accepted().unwrap();
        self.drain(Some(fence.at)).await;
        fence
    }

    async fn commit(&self, fence: Fence) -> Committed {
        let executed = self.target.executed().await.unwrap();
        let commit = CommitImport {
            shard: self.shard,
            move_id: self.id,
            fence: fence.at,
            next_id: fence.next_id,
            executed,
        };
        self.target.commit_import(commit).await.unwrap().accepted().unwrap()
    }

    /// The source gives up its rows.
    async fn finalize(&self, proof: &Committed) {
        self.source.retire(proof, 100).await.unwrap().accepted().unwrap();
        while self.source.delete_range(self.shard, 100).await.unwrap().accepted().unwrap() > 0 {}
    }

    /// Rolls back behind the fence; answers the epoch that the source opens.
    async fn abort(&self) -> Epoch {
        let abort = AbortImport { shard: self.shard, move_id: self.id, source: "1".to_owned() };
        let proof = self.target.abort_import(abort).await.unwrap().accepted().unwrap();
        self.source.unfence(&proof).await.unwrap().accepted().unwrap().epoch
    }

    fn release(&self, host_group: HostGroupId, epoch: Epoch) {
        let mut next = Topology::clone(&self.world.cluster.load().topology);
        next.version += 1;
        next.assignments = vec![Assignment { shard: self.shard, host_group, epoch }];
        next.check().unwrap();
        self.world.cluster.store(Arc::new(Cluster::new(Arc::new(next))));
    }
}

impl Node {
    fn resets(&self) -> u64 {
        let reasons = ["gap", "audit", "epoch", "backwards"];
        let resets = &self.handle.metrics().resets;
        reasons.iter().map(|reason| resets.get_or_create(&ResetLabel { reason }).get()).sum()
    }

    async fn critical(&self, list: ListKey) -> (Answer, Position) {
        let demand = Demand { freshness: Freshness::Critical, ..Demand::local() };
        let request = ReadRequest { demand, ..ReadRequest::local(ReadOp::AssocCount(list)) };
        let reply = self.handle.read(request, soon()).await.unwrap();
        (reply.answer, reply.position)
    }

    async fn source(&self, list: ListKey, at_least: Option<Position>) -> Source {
        self.read(ReadOp::AssocCount(list), at_least).await.unwrap().explain.unwrap().source
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_moves_and_no_cache_token_or_subscriber_notices() {
    let world = World::new().await;
    let (one, two) = (world.start("leader-1").await, world.start("leader-2").await);
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    let token = one.write(add(a, FOLLOWS, b, 1)).await.unwrap().reply.positions[0];
    assert_eq!((one.count(list(a, FOLLOWS)).await, two.count(list(a, FOLLOWS)).await), (1, 1));
    let mut stream = subscribe(&one, shard, Some(token)).await;
    assert!(matches!(news(&mut stream).await, StreamMessage::Subscribed { .. }));
    let moving = Moving::copied(&world, shard).await;
    let fence = moving.fence().await;
    let written = one.handle.clone();
    let written =
        tokio::spawn(
            async move { written.write(request(add(a, FOLLOWS, object(shard, 3), 2)), soon()).await },
        );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!written.is_finished(), "a write under the fence waits");
    // Reads don't.
    assert_eq!(one.count(list(a, FOLLOWS)).await, 1);
    moving.commit(fence).await;
    moving.release(TARGET, Epoch(2));
    let at = written.await.unwrap().unwrap().reply.positions[0];
    assert_eq!(at, Position { shard, epoch: Epoch(2), seq: Seq(fence.at.seq.0 + 2) });

    let told =
        [news(&mut stream).await, news(&mut stream).await, news(&mut stream).await, news(&mut stream).await];
    let [
        StreamMessage::Change(fenced),
        StreamMessage::Epoch { start, .. },
        StreamMessage::Change(opened),
        last,
    ] = told
    else {
        panic!("{told:?}")
    };
    assert_eq!((fenced.seq, start.epoch, start.first_seq), (fence.at.seq, Epoch(2), opened.seq));
    assert!(matches!(last, StreamMessage::Change(change) if change.position() == at));
    for node in [&one, &two] {
        until("vouched for by the target's log", async || {
            node.source(list(a, FOLLOWS), Some(at)).await == Source::LeaderCache
        })
        .await;
        assert_eq!(node.count(list(a, FOLLOWS)).await, 2);
        assert_eq!(node.source(list(a, FOLLOWS), Some(token)).await, Source::LeaderCache);
        assert_eq!(node.critical(list(a, FOLLOWS)).await, (Answer::Count { count: 2, version: at.seq }, at));
        assert_eq!(node.resets(), 0, "a cache was dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_targets_log_tells_early_waits_for_the_topology_and_the_fence() {
    let mut world = World::new().await;
    world.options.tail.handover_patience = Duration::from_secs(30);
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    node.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    assert_eq!(node.count(list(a, FOLLOWS)).await, 1);
    let moving = Moving::copied(&world, shard).await;
    node.stores[0].store.set_reachable(false);
    let fence = moving.fence().await;
    moving.commit(fence).await;
    // Written by a leader that is ahead of this one.
    let target = MemoryStore::open(&world.databases[1]);
    let op = tao_shard_store::write::StoreOp::EdgePut {
        edge: EdgeKey { id1: a, atype: FOLLOWS, id2: object(shard, 4) },
        value: tao_schema::rows::EdgeValue { time: Time(9), fields: EncodedFields::new() },
        create_only: false,
        expected: None,
        inverse: None,
    };
    let unit = tao_shard_store::write::WriteUnit { shard, epoch: Epoch(2), request: None, ops: vec![op] };
    target.commit(Batch { units: vec![unit] }).await.unwrap();
    moving.release(TARGET, Epoch(2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The source's log is behind: nothing that it proves, nor what the target's does, may be served for the present.
    let (slot, place) =
        (node.handle.inner.slot(shard).unwrap(), node.handle.inner.routes.place(shard).unwrap());
    assert_eq!(
        (place.group.id, slot.state(), node.handle.inner.age(&place, &slot)),
        (TARGET, ShardState::Serving, None)
    );
    let late = Instant::now() + Duration::from_millis(200);
    let within = Demand { freshness: Freshness::Within(Duration::from_secs(60)), ..Demand::local() };
    let read = ReadRequest { demand: within, ..ReadRequest::local(ReadOp::AssocCount(list(a, FOLLOWS))) };
    assert_code(node.handle.read(read, late).await, ErrorCode::NotOwner);
    node.stores[0].store.set_reachable(true);
    until("the logs met", async || node.count(list(a, FOLLOWS)).await == 2).await;
    assert_eq!(node.resets(), 0, "a cache was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_lost_behind_its_commit_costs_the_cache_not_the_shard() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    node.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    let moving = Moving::copied(&world, shard).await;
    node.stores[0].store.set_reachable(false);
    let fence = moving.fence().await;
    moving.commit(fence).await;
    moving.release(TARGET, Epoch(2));
    let before = Instant::now();
    node.write(add(a, FOLLOWS, object(shard, 3), 2)).await.unwrap();
    assert!(before.elapsed() < world.options.tail.handover_patience * 2, "{:?}", before.elapsed());
    until("opened from the target's rows", async || {
        node.source(list(a, FOLLOWS), None).await == Source::LeaderCache
    })
    .await;
    assert_eq!(node.count(list(a, FOLLOWS)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_rollback_writes_go_on_at_the_source() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    node.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    assert_eq!(node.count(list(a, FOLLOWS)).await, 1);
    let moving = Moving::copied(&world, shard).await;
    let fence = moving.fence().await;
    // Until the log has told of the fence, writes are sent back.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let short = Instant::now() + Duration::from_millis(300);
    let refused = assert_code(
        node.handle.write(request(add(a, FOLLOWS, object(shard, 3), 2)), short).await,
        ErrorCode::NotOwner,
    );
    assert!(refused.message.contains("changes hands"), "{refused}");
    let opened = moving.abort().await;
    assert_eq!(opened, Epoch(3));
    moving.release(HostGroupId(1), opened);
    let at = node.write(add(a, FOLLOWS, object(shard, 4), 3)).await.unwrap().reply.positions[0];
    assert_eq!(at, Position { shard, epoch: opened, seq: Seq(fence.at.seq.0 + 2) });
    assert_eq!((node.count(list(a, FOLLOWS)).await, node.resets()), (2, 0));
}

/// Seed 100452 of the simulation: its log knows nothing of the epoch in between, and neither did the leader's history.
#[tokio::test(start_paused = true)]
async fn a_shard_that_comes_back_before_anybody_noticed_has_lost_nothing() {
    let world = World::new().await;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    let token = node.write(add(a, FOLLOWS, b, 1)).await.unwrap().reply.positions[0];
    assert_eq!(node.count(list(a, FOLLOWS)).await, 1);
    let there = Moving::copied(&world, shard).await;
    let proof = there.commit(there.fence().await).await;
    there.finalize(&proof).await;
    let back = Moving::copied_by(&world, shard, (MoveId(2), HostGroupId(1), Epoch(2))).await;
    back.commit(back.fence().await).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    back.release(HostGroupId(1), Epoch(3));
    until("served from memory again", async || {
        node.source(list(a, FOLLOWS), None).await == Source::LeaderCache
    })
    .await;
    // Of an epoch that ended, and of one that this leader never saw.
    let between = Position { shard, epoch: Epoch(2), seq: Seq(token.seq.0 + 2) };
    for lineage in [token, between] {
        let demand = Demand { lineage: vec![lineage], ..Demand::at_least(token) };
        let read = ReadRequest { demand, ..ReadRequest::local(ReadOp::AssocCount(list(a, FOLLOWS))) };
        let reply = node.handle.read(read, soon()).await.unwrap();
        assert!(matches!(reply.answer, Answer::Count { count: 1, .. }) && reply.position.epoch == Epoch(3));
    }
    let lost = Position { seq: Seq(between.seq.0 + 5), ..between };
    let demand = Demand { lineage: vec![lost], ..Demand::local() };
    let read = ReadRequest { demand, ..ReadRequest::local(ReadOp::AssocCount(list(a, FOLLOWS))) };
    assert_code(node.handle.read(read, soon()).await, ErrorCode::LostEpoch);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_wait_than_may() {
    let mut world = World::new().await;
    world.options.holds = 1;
    let node = world.start("leader-1").await;
    let shard = world.shard_of("leader-1", 0);
    let (a, b) = (object(shard, 1), object(shard, 2));
    node.write(add(a, FOLLOWS, b, 1)).await.unwrap();
    let moving = Moving::copied(&world, shard).await;
    let fence = moving.fence().await;
    let waiting = node.handle.clone();
    let waiting =
        tokio::spawn(
            async move { waiting.write(request(add(a, FOLLOWS, object(shard, 3), 2)), soon()).await },
        );
    until("one waits", async || node.handle.metrics().holding.get() == 1).await;
    assert_code(node.write(add(a, FOLLOWS, object(shard, 4), 3)).await, ErrorCode::Overloaded);
    moving.commit(fence).await;
    moving.release(TARGET, Epoch(2));
    waiting.await.unwrap().unwrap();
    assert_eq!(node.handle.metrics().holding.get(), 0);
}
