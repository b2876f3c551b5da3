//! When all is whole and quiet: does everything work again, and what do the judges say of it all?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tao_schema::ids::{HostGroupId, ShardId};
use tao_shard_store::memory::{MemoryDatabase, MemoryStore};
use tao_shard_store::{ShardStore as _, StoreError};
use tokio::time::{Instant, sleep};

use super::network::End;
use super::users::{Notes, User};
use super::world::World;
use crate::history::truth::Collected;
use crate::history::{
    Cached, Call, History, Invariant, Judgement, Operation, Reply, Rules, ShardTables, Violation, judge,
    judge_caches, judge_tables, read_tables,
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// What was written last may still be on its way to replicas and caches for so long (I4: two seconds after the writes).
const SETTLE: Duration = Duration::from_secs(2);
/// A log must be read to its end in this time.
const READING: Duration = Duration::from_secs(10);

/// Waits until the cluster works again, reads everything everywhere, and judges the whole run.
pub async fn verdict(world: &Arc<World>, notes: &Notes, until: Instant) -> Judgement {
    let mut found = Judgement::default();
    let whole = works_again(world, until).await;
    found.count(Invariant::I9, 1);
    if let Err(missing) = &whole {
        let message = format!("not whole again when the quiet time is over: {missing}");
        found.blame(Violation { invariant: Invariant::I9, message, slice: Vec::new() });
    }
    sleep(SETTLE).await;
    let first = notes.lock().len();
    for region in 0..world.user_ends.len() as u16 {
        let here = world.follower_ends.iter().filter(|(at, _)| *at == region).map(|(_, end)| *end);
        let followers: Vec<End> = here.collect();
        User::new(world, notes, 1_000 + u32::from(region), region).look_at_everything(&followers).await;
    }
    sleep(LOOK).await;
    let history = History { operations: notes.lock().clone() };
    match world.truth(READING).await {
        Ok(collected) => found.absorb(judged(world, &history, &collected, first, whole.is_ok()).await),
        Err(error) => {
            let message = format!("the primaries' logs can't be read: {error:#}");
            found.blame(Violation { invariant: Invariant::I1, message, slice: Vec::new() });
        }
    }
    found
}

async fn judged(
    world: &World,
    history: &History,
    collected: &Collected,
    first: usize,
    whole: bool,
) -> Judgement {
    let truth = &collected.truth;
    let rules =
        Rules { schema: Arc::clone(&world.schema), complete: true, lossless: !world.plan.mode.is_async() };
    let mut found = judge(history, truth, &rules);
    match all_tables(world).await {
        Ok(tables) => {
            let topology = world.topology();
            let group = |shard| topology.assignment(shard).map(|place| place.host_group);
            // Of shards that moved nobody knows where they were when a promotion lost something.
            let together = |one, other| {
                let moved = world.moves.touched(one) || world.moves.touched(other);
                group(one) == group(other) && !moved
            };
            found.absorb(judge_tables(truth, &tables, &rules, together));
            let last = BTreeMap::from_iter(tables.iter().map(|(shard, tables)| (*shard, tables.position)));
            if whole {
                found.absorb(judge_looks(&history.operations[first..], &last));
            }
        }
        Err(error) => {
            let message = format!("a primary's tables can't be read: {error}");
            found.blame(Violation { invariant: Invariant::I9, message, slice: Vec::new() });
        }
    }
    found.absorb(judge_caches(truth, caches(world), whole));
    found
}

/// What everybody is shown when all is quiet is the newest there is (I4), and everybody is shown it (I9).
fn judge_looks(looks: &[Operation], last: &BTreeMap<ShardId, tao_schema::ids::Position>) -> Judgement {
    let mut found = Judgement::default();
    for look in looks {
        let Call::Read(request) = &look.call else { continue };
        let wrong = match &look.result {
            Ok(Reply::Read(reply)) => {
                found.count(Invariant::I4, 1);
                let newest = last.get(&request.op.shard());
                (newest != Some(&reply.position)).then(|| {
                    let what = format!(
                        "{:?} is answered at {}, the primary is at {newest:?}",
                        request.op, reply.position
                    );
                    (Invariant::I4, what)
                })
            }
            other => Some((Invariant::I9, format!("{:?} is answered with {other:?}", request.op))),
        };
        if let Some((invariant, what)) = wrong {
            let message = format!("all is quiet, and at {} {what}", look.place);
            found.blame(Violation { invariant, message, slice: Vec::new() });
        }
    }
    found
}

async fn all_tables(world: &World) -> Result<BTreeMap<ShardId, ShardTables>, StoreError> {
    let mut all = BTreeMap::new();
    for group in world.plan.group_ids() {
        let store = MemoryStore::open(&primary(world, group));
        all.extend(read_tables(&store, world.shards_of(group)).await?);
    }
    Ok(all)
}

fn primary(world: &World, group: HostGroupId) -> MemoryDatabase {
    world.database(group, &world.master(group))
}

/// Everything that any cache would serve.
fn caches(world: &World) -> Vec<Cached> {
    let mut all = Vec::new();
    for shard in world.plan.shard_ids() {
        for (_, end) in &world.leader_ends {
            let held = world.leaders.get(*end).map(|leader| leader.cached(shard)).unwrap_or_default();
            all.extend(held.iter().map(|entry| Cached::of(world.network.name(*end), entry)));
        }
        for (_, end) in &world.follower_ends {
            let held = world.follower(*end).map(|follower| follower.dump(shard)).unwrap_or_default();
            all.extend(held.iter().map(|entry| Cached::of(world.network.name(*end), entry)));
        }
    }
    all
}

/// Every leader follows its logs, and nothing waits for its other side.
async fn works_again(world: &Arc<World>, until: Instant) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match missing(world, began.elapsed()).await {
            None => return Ok(()),
            Some(missing) if Instant::now() >= until => return Err(missing),
            Some(_) => sleep(LOOK).await,
        }
    }
}

/// What is not as it should be. What a leader knew before it was quiet does not count: its server may just have gone.
async fn missing(world: &Arc<World>, quiet: Duration) -> Option<String> {
    for (_, end) in &world.leader_ends {
        let name = world.network.name(*end);
        let Some(leader) = world.leaders.get(*end) else { return Some(format!("{name} does not run")) };
        let status = leader.status();
        if status.shards.len() < usize::from(world.plan.shards) {
            return Some(format!("{name} has {} shards open: {:?}", status.shards.len(), status.groups));
        }
        let young = |age: Option<Duration>| age.is_some_and(|age| age < quiet.min(world.plan.leader.max_age));
        if let Some(group) = status.groups.iter().find(|group| !young(group.age)) {
            return Some(format!("{name} does not know how old its knowledge is: {group:?}"));
        }
    }
    let moving = world.moves.under_way();
    if moving > 0 {
        return Some(format!("{moving} shards are still on their way to another host group"));
    }
    let returning = world.returning.load(Ordering::Relaxed);
    if returning > 0 {
        return Some(format!("{returning} primaries that were passed over are still to be built anew"));
    }
    for group in world.plan.group_ids() {
        let store = MemoryStore::open(&primary(world, group));
        for shard in world.shards_of(group) {
            match store.outbox(shard, None, 1).await {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return Some(format!("a pair waits in the outbox of shard {shard}: {rows:?}")),
                Err(error) => return Some(format!("the primary of shard {shard}: {error}")),
            }
        }
    }
    None
}
