//! Shards that move between host groups, as the mover does it (R25): step by step, with replies that get lost, and ends that
//! another worker has to bring about.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use rand::Rng as _;
use tao_schema::ids::{HostGroupId, Position, ShardId};
use tao_schema::rows::ShardState;
use tao_schema::topology::{Assignment, Topology};
use tao_shard_store::StoreError;
use tao_shard_store::log::{BeatWriter, ServerLog as _};
use tao_shard_store::memory::MemoryStore;
use tao_shard_store::moves::{
    AbortImport, Aborted, Answer, BeginImport, CommitImport, Committed, Copier, Fence, FenceShard, MoveId,
    Outcome, PageLimit, Refusal, Role, ShardMover, Step, starting_point,
};
use tokio::time::{Instant, sleep, timeout};

use super::world::World;

/// A call takes at most this; one that takes longer may still have its effect.
const CALL: Duration = Duration::from_secs(2);
/// How long servers may take to get what their primary has.
const REPLICATED: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// Before another worker comes.
const NEXT_WORKER: Duration = Duration::from_millis(300);
/// Small, so that a copy takes many steps.
const LIMIT: PageLimit = PageLimit { rows: 3, bytes: 4_096 };

/// The moves of a run.
#[derive(Default)]
pub struct Moves {
    last: AtomicU64,
    under_way: Mutex<BTreeSet<ShardId>>,
    ever: Mutex<BTreeSet<ShardId>>,
}

impl Moves {
    /// Shards that are on their way now.
    pub fn under_way(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Whether a shard was ever to be moved.
    pub fn touched(&self, shard: ShardId) -> bool {
        self.ever.lock().contains(&shard)
    }
}

/// One attempt.
#[derive(Clone)]
struct Attempt {
    world: Arc<World>,
    shard: ShardId,
    id: MoveId,
    source: HostGroupId,
    target: HostGroupId,
}

impl World {
    /// Moves a shard to another host group, or tries to: afterwards exactly one of both has it. Does nothing while it is on
    /// its way already.
    pub async fn move_shard(self: Arc<Self>, shard: ShardId) {
        let Some(source) = self.topology().assignment(shard).map(|place| place.host_group) else { return };
        let others: Vec<HostGroupId> = self.plan.group_ids().filter(|group| *group != source).collect();
        if others.is_empty() || !self.moves.under_way.lock().insert(shard) {
            return;
        }
        self.moves.ever.lock().insert(shard);
        let target = others[self.network.draw(|random| random.random_range(0..others.len()))];
        let id = MoveId(self.moves.last.fetch_add(1, Ordering::Relaxed) + 1);
        let attempt = Attempt { world: Arc::clone(&self), shard, id, source, target };
        attempt.note("begins", &Ok(()));
        let went = attempt.go().await;
        attempt.note("went", &went);
        loop {
            let ended = attempt.end().await;
            attempt.note("ended", &ended);
            if ended.is_ok() {
                break;
            }
            sleep(NEXT_WORKER).await;
        }
        self.moves.under_way.lock().remove(&shard);
    }
}

impl Attempt {
    fn note(&self, what: &'static str, how: &Result<()>) {
        let Self { shard, id, source, target, .. } = self;
        let numbers = [id.0, u64::from(how.is_ok())];
        self.world.network.trace().event("move", &numbers, || {
            format!("{id} of shard {shard} from {source} to {target} {what}: {how:?}")
        });
    }

    fn primary(&self, group: HostGroupId) -> Arc<MemoryStore> {
        Arc::new(MemoryStore::open(&self.world.database(group, &self.world.master(group))))
    }

    /// The worker goes on; or it is gone, here and for good.
    async fn step(&self) -> Result<()> {
        let (gone, wait) =
            self.world.network.draw(|random| (random.random_bool(0.02), random.random_range(0..20)));
        sleep(Duration::from_millis(wait)).await;
        if gone {
            bail!("the worker is gone");
        }
        Ok(())
    }

    /// A call in a task of its own: given up, it may still have its effect. Its reply may get lost.
    async fn call<T, F>(&self, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let done = timeout(CALL, tokio::spawn(call)).await.context("no answer")???;
        ensure!(self.world.network.draw(|random| !random.random_bool(0.03)), "the reply was lost");
        Ok(done)
    }

    async fn accepted<T, F>(&self, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Answer<T>, StoreError>> + Send + 'static,
    {
        Ok(self.call(call).await?.accepted()?)
    }

    async fn go(&self) -> Result<()> {
        self.begin().await?;
        self.step().await?;
        self.copy(None).await?;
        let source = self.primary(self.source);
        let row = source.shard_moves(self.shard).await?.row.context("no row on the source")?;
        let fence = FenceShard {
            shard: self.shard,
            move_id: self.id,
            epoch: row.epoch,
            target: self.target.to_string(),
        };
        let fence = self.accepted(async move { source.fence(fence).await }).await?;
        self.step().await?;
        self.everywhere(self.source, Role::Source, Outcome::Running).await?;
        self.step().await?;
        self.copy(Some(fence.at)).await?;
        self.step().await?;
        self.commit(fence).await?;
        self.step().await
    }

    async fn begin(&self) -> Result<()> {
        let (source, target) = (self.primary(self.source), self.primary(self.target));
        let known = target.shard_moves(self.shard).await?;
        let aborted = known.row.is_some_and(|row| row.state == ShardState::Aborted);
        let last = known.moves.iter().rfind(|record| record.role == Role::Target && record.began());
        let last = last.filter(|record| aborted && record.outcome == Outcome::Aborted);
        let goes_on = self.world.network.draw(|random| random.random_bool(0.5));
        let continues = last.map(|record| record.move_id).filter(|_| goes_on);
        if continues.is_none() && known.row.is_some_and(|row| left(row.state)) {
            self.clean(&target).await?;
        }
        let (shard, move_id) = (self.shard, self.id);
        let (position, applied) = starting_point(&*source, shard, BeatWriter::of("mover")).await?;
        let begin =
            BeginImport { shard, move_id, source: self.source.to_string(), applied, position, continues };
        self.accepted(async move { target.begin_import(begin).await }).await
    }

    async fn clean(&self, server: &Arc<MemoryStore>) -> Result<()> {
        loop {
            let (server, shard) = (Arc::clone(server), self.shard);
            if self.accepted(async move { server.delete_range(shard, 5).await }).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Copies all, and applies the log up to `end` or as far as it was read.
    async fn copy(&self, end: Option<Position>) -> Result<()> {
        let (source, target) = (self.primary(self.source), self.primary(self.target));
        let known = target.shard_moves(self.shard).await?;
        let progress = known.of(self.id).context("the target does not know the move")?.progress.clone();
        let mut tail = source.raw_tail(self.shard, progress.position.clone()).await?;
        let mut copier = Copier::new(self.shard, self.id, progress);
        copier.hold(end);
        loop {
            match copier.next(LIMIT)? {
                Step::Import(import) => {
                    self.step().await?;
                    let target = Arc::clone(&target);
                    self.accepted(async move { target.import(import).await }).await?;
                }
                Step::ReadChunk(from) => {
                    // One that is thrown away is asked for again.
                    copier.chunk(source.raw_page(self.shard, from, LIMIT).await?)?;
                }
                Step::ReadLog(_) => {
                    let more = timeout(CALL, tail.next()).await.context("the log says nothing")??;
                    copier.log(more, tail.position())?;
                }
                Step::CaughtUp if end.is_none_or(|end| copier.drained(end)) => return Ok(()),
                Step::CaughtUp => bail!("the copy ended before the fence"),
            }
        }
    }

    async fn commit(&self, fence: Fence) -> Result<Committed> {
        let target = self.primary(self.target);
        let executed = target.executed().await?;
        let Fence { at, next_id } = fence;
        let commit = CommitImport { shard: self.shard, move_id: self.id, fence: at, next_id, executed };
        self.accepted(async move { target.commit_import(commit).await }).await
    }

    /// Waits until every server of a group, each of which may be promoted, has seen what the move came to (H30).
    async fn everywhere(&self, group: HostGroupId, role: Role, outcome: Outcome) -> Result<()> {
        let ends = Instant::now() + REPLICATED;
        for region in self.world.plan.region_names() {
            loop {
                let server = MemoryStore::open(&self.world.database(group, &region));
                if server
                    .shard_moves(self.shard)
                    .await
                    .is_ok_and(|known| known.has_seen(self.id, role, outcome))
                {
                    break;
                }
                ensure!(Instant::now() < ends, "{region} has not got it");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Whatever the worker before came to: an end that the target's row decides.
    async fn end(&self) -> Result<()> {
        let (target, shard, move_id) = (self.primary(self.target), self.shard, self.id);
        let abort = AbortImport { shard, move_id, source: self.source.to_string() };
        match self.call(async move { target.abort_import(abort).await }).await? {
            Answer::Done(proof) | Answer::AlreadyDone(proof) => self.roll_back(proof).await,
            Answer::Refused(Refusal::Committed) => self.roll_forward().await,
            Answer::Refused(refusal) => Err(refusal.into()),
        }
    }

    async fn roll_back(&self, proof: Aborted) -> Result<()> {
        self.step().await?;
        self.everywhere(self.target, Role::Target, Outcome::Aborted).await?;
        let source = self.primary(self.source);
        let known = source.shard_moves(self.shard).await?;
        if known.of(self.id).is_some_and(|record| record.began() && record.outcome == Outcome::Running) {
            self.everywhere(self.source, Role::Source, Outcome::Running).await?;
        }
        self.accepted(async move { source.unfence(&proof).await }).await?;
        self.step().await?;
        self.everywhere(self.source, Role::Source, Outcome::Aborted).await?;
        self.release(self.source).await
    }

    async fn roll_forward(&self) -> Result<()> {
        let target = self.primary(self.target);
        let known = target.shard_moves(self.shard).await?;
        let record = known.of(self.id).context("the target does not know the move")?;
        let next_id = known.row.map_or(1, |row| row.next_id);
        // The same call answers with the proof.
        let proof = self.commit(Fence { at: record.progress.applied, next_id }).await?;
        self.everywhere(self.target, Role::Target, Outcome::Committed).await?;
        self.step().await?;
        self.release(self.target).await?;
        self.step().await?;
        let source = self.primary(self.source);
        let retiring = Arc::clone(&source);
        self.accepted(async move { retiring.retire(&proof, 2).await }).await?;
        self.step().await?;
        self.clean(&source).await
    }

    /// The topology says what the row says.
    async fn release(&self, group: HostGroupId) -> Result<()> {
        let row = self.primary(group).shard_moves(self.shard).await?.row.context("no row")?;
        ensure!(row.state == ShardState::Serving, "the shard is {:?}", row.state);
        // Nobody else comes between: nothing is waited for.
        let newest = self.world.topology();
        if newest.assignment(self.shard).is_some_and(|place| place.epoch >= row.epoch) {
            return Ok(());
        }
        let mut next = Topology::clone(&newest);
        next.version += 1;
        next.assignments.retain(|place| place.shard != self.shard);
        next.assignments.push(Assignment { shard: self.shard, host_group: group, epoch: row.epoch });
        self.world.publish(next.clone());
        self.world.store_topology(&next).await;
        Ok(())
    }
}

const fn left(state: ShardState) -> bool {
    matches!(state, ShardState::Gone | ShardState::Aborted)
}
