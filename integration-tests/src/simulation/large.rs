//! A hundred nodes and ten thousand shards in one thread: who listens to whom, what a write costs in messages, and what a hit costs a
//! processor. No faults: those are for small clusters, of which there are thousands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_leader_follower::follower::FollowerHandle;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, RequestId, ShardId, Time};
use tao_schema::ops::{Answer, ReadOp, ReadRequest, WriteOp, WriteRequest};
use tao_schema::topology::{Placement, TierRef};
use tokio::time::{Instant, sleep};

use super::network::Network;
use super::plan::{ATYPES, Plan};
use super::trace::Trace;
use super::world::World;

/// A cluster of one region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Size {
    /// Shards, in as many host groups as [`Plan::large`] gives it.
    pub shards: u16,
    /// Leaders.
    pub leaders: usize,
    /// Followers.
    pub followers: usize,
}

/// What it came to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Costs {
    /// Of what.
    pub size: Size,
    /// Change streams, in all.
    pub streams: usize,
    /// Of the follower that has the most.
    pub streams_of_a_follower: usize,
    /// Of the leader that has the most.
    pub streams_of_a_leader: usize,
    /// Messages by what they are, for each second in which nobody asks for anything.
    pub messages_a_second: BTreeMap<&'static str, f64>,
    /// Messages by what they are, for each write, beyond those of the time that it takes.
    pub messages_a_write: BTreeMap<&'static str, f64>,
    /// Processor time of a read that hits, in nanoseconds, on the follower that owns the shard.
    pub hit_ns: f64,
    /// Processor time of a second in which nobody asks for anything, of all nodes and databases together, in milliseconds.
    pub idle_ms: f64,
}

/// Writes that are measured.
const WRITES: u64 = 1_000;
/// Simulated time in which nobody asks for anything.
const IDLE: Duration = Duration::from_secs(10);
/// A cluster answers for all shards so long after its start.
const START: Duration = Duration::from_secs(120);
/// Calls under way while the shards are touched for the first time.
const TOGETHER: usize = 256;

/// Starts a cluster, uses each of its shards, and measures; `hits`: reads that are timed.
///
/// # Errors
/// A call is refused for long, or a read does not show what was written before it.
pub fn costs(size: Size, hits: u64) -> Result<Costs> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let plan = Plan::large(size.shards, size.leaders, size.followers);
        let network = Network::new(plan.seed, plan.distances, Trace::new(false));
        let run = Run { counts: vec![0; size.shards.into()], world: World::start(plan, network).await };
        run.measure(size, hits).await
    })
}

struct Run {
    world: Arc<World>,
    /// Edges of each shard's one list.
    counts: Vec<u64>,
}

impl Run {
    async fn measure(mut self, size: Size, hits: u64) -> Result<Costs> {
        let placement = Placement::compute(&self.world.topology());
        let owners = self.owners(&placement)?;
        self.touch(&owners).await?;
        let network = self.world.network.clone();

        let (before, busy) = (network.trace().counts(), processor_time());
        sleep(IDLE).await;
        let idle_ms = (processor_time() - busy).as_secs_f64() * 1e3 / IDLE.as_secs_f64();
        let idle = per(&before, &network.trace().counts(), IDLE.as_secs_f64());

        let (before, began) = (network.trace().counts(), Instant::now());
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..WRITES {
            let shard = ShardId(random.random_range(0..size.shards));
            self.write(&owners[usize::from(shard.0)], shard).await?;
            self.reads_own(&owners[usize::from(shard.0)], shard)?;
        }
        // What the last of them has set going.
        sleep(Duration::from_secs(1)).await;
        let seconds = began.elapsed().as_secs_f64();
        let mut messages_a_write = per(&before, &network.trace().counts(), WRITES as f64);
        for (what, sent) in &mut messages_a_write {
            *sent -= idle.get(what).copied().unwrap_or(0.0) * seconds / WRITES as f64;
        }

        let requests: Vec<ReadRequest> = (0..size.shards).map(|shard| count_of(ShardId(shard))).collect();
        let began = processor_time();
        for _ in 0..hits {
            let shard = usize::from(random.random_range(0..size.shards));
            ensure!(
                matches!(owners[shard].try_read(&requests[shard]), Some(Ok(_))),
                "shard {shard} is not a hit"
            );
        }
        let hit_ns = (processor_time() - began).as_nanos() as f64 / hits as f64;

        let (mut by_follower, mut by_leader) = (BTreeMap::new(), BTreeMap::new());
        let open = network.open_streams();
        for (near, far) in &open {
            *by_follower.entry(*near).or_insert(0) += 1;
            *by_leader.entry(*far).or_insert(0) += 1;
        }
        Ok(Costs {
            size,
            streams: open.len(),
            streams_of_a_follower: by_follower.into_values().max().unwrap_or(0),
            streams_of_a_leader: by_leader.into_values().max().unwrap_or(0),
            messages_a_second: idle,
            messages_a_write,
            hit_ns,
            idle_ms,
        })
    }

    /// The follower of each shard, which is who clients ask.
    fn owners(&self, placement: &Placement) -> Result<Vec<FollowerHandle>> {
        let tier = TierRef { region: 0, tier: 1 };
        let owner = |shard| {
            let index = placement.owner(tier, shard)?;
            self.world.follower(self.world.follower_ends.get(usize::from(index))?.1)
        };
        self.world.plan.shard_ids().map(|shard| owner(shard).context("a shard without a follower")).collect()
    }

    /// A write and a read of each shard, as soon as its leader takes one.
    async fn touch(&mut self, owners: &[FollowerHandle]) -> Result<()> {
        let until = Instant::now() + START;
        for part in self.world.plan.shard_ids().collect::<Vec<_>>().chunks(TOGETHER) {
            try_join_all(part.iter().map(async |shard| {
                let owner = &owners[usize::from(shard.0)];
                while let Err(error) = write(owner, *shard, 1).await {
                    ensure!(error.retryable() && Instant::now() < until, "shard {shard}: {error}");
                    sleep(Duration::from_millis(200)).await;
                }
                // What is read before the follower hears of the shard's changes is not kept.
                let request = count_of(*shard);
                while owner.try_read(&request).is_none() {
                    let read = owner.read(request.clone(), Instant::now() + Duration::from_secs(2)).await;
                    read.with_context(|| format!("shard {shard} is not read"))?;
                    ensure!(Instant::now() < until, "shard {shard} is read and not kept");
                    sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            }))
            .await?;
        }
        self.counts.fill(1);
        Ok(())
    }

    async fn write(&mut self, owner: &FollowerHandle, shard: ShardId) -> Result<()> {
        let count = &mut self.counts[usize::from(shard.0)];
        *count += 1;
        write(owner, shard, *count).await.with_context(|| format!("shard {shard} is not written"))
    }

    /// Who wrote sees it at once (R18a), from memory.
    fn reads_own(&self, owner: &FollowerHandle, shard: ShardId) -> Result<()> {
        let expected = self.counts[usize::from(shard.0)];
        match owner.try_read(&count_of(shard)) {
            Some(Ok(reply)) if matches!(reply.answer, Answer::Count { count, .. } if count == expected) => {
                Ok(())
            }
            other => bail!("shard {shard}: {expected} edges were written, and this is read: {other:?}"),
        }
    }
}

/// Puts the list's edge of this number.
async fn write(owner: &FollowerHandle, shard: ShardId, number: u64) -> tao_schema::Result<()> {
    let ListKey { id1, atype } = list(shard);
    let edge = EdgeKey { id1, atype, id2: ObjectId(number) };
    let op = WriteOp::AssocAdd {
        edge,
        time: Time(number as u32),
        fields: EncodedFields::new(),
        create_only: false,
        expected: None,
    };
    let id = RequestId(u128::from(shard.0) << 64 | u128::from(number));
    let request = WriteRequest { id, age: Duration::ZERO, ops: vec![op], forwarded: false };
    owner.write(request, Instant::now() + Duration::from_secs(2)).await.map(drop)
}

fn list(shard: ShardId) -> ListKey {
    ListKey { id1: ObjectId::new(shard, 1 << 40), atype: ATYPES[0] }
}

fn count_of(shard: ShardId) -> ReadRequest {
    ReadRequest::local(ReadOp::AssocCount(list(shard)))
}

fn per(
    before: &BTreeMap<&'static str, u64>,
    after: &BTreeMap<&'static str, u64>,
    by: f64,
) -> BTreeMap<&'static str, f64> {
    let more = |what: &&'static str, count: u64| (count - before.get(what).copied().unwrap_or(0)) as f64 / by;
    after.iter().map(|(what, count)| (*what, more(what, *count))).collect()
}

/// Of this thread, which is the whole cluster.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Neither is negative: it counts from the start of the thread.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
