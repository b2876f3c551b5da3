//! What goes wrong, drawn from the run's chance: each fault lasts a while and undoes itself; at the end all of them do.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tao_schema::ids::{HostGroupId, ShardId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::network::End;
use super::world::World;

/// Makes things go wrong.
pub struct Faults {
    world: Arc<World>,
    running: JoinSet<()>,
    /// Faults so far.
    count: u64,
}

impl Faults {
    /// Nothing has gone wrong yet.
    pub fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), running: JoinSet::new(), count: 0 }
    }

    /// Lets things go wrong until then, and makes everything whole. Answers how many faults there were.
    pub async fn run(mut self, until: Instant) -> u64 {
        let mean = self.world.plan.between_faults.as_millis().max(1) as u64;
        loop {
            let wait = self.draw(|random| random.random_range(1..mean * 2));
            if timeout_at(until, sleep(Duration::from_millis(wait))).await.is_err() {
                break;
            }
            self.count += 1;
            self.next().await;
        }
        self.running.shutdown().await;
        heal(&self.world);
        self.count
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut rand::rngs::StdRng) -> T) -> T {
        self.world.network.draw(draw)
    }

    fn any(&self, ends: &[End]) -> End {
        ends[self.draw(|random| random.random_range(0..ends.len()))]
    }

    /// Lasts a while: mostly short, now and then long enough for every timeout.
    fn while_(&self) -> Duration {
        let most = if self.draw(|random| random.random_bool(0.8)) { 1_200 } else { 6_000 };
        Duration::from_millis(self.draw(|random| random.random_range(20..most)))
    }

    async fn next(&mut self) {
        let world = Arc::clone(&self.world);
        let nodes = world.node_ends();
        let databases: Vec<End> = world.database_ends.values().copied().collect();
        let all: Vec<End> = nodes.iter().chain(&databases).chain(&world.user_ends).copied().collect();
        let lasts = self.while_();
        match self.draw(|random| random.random_range(0..34)) {
            0..3 => self.cut(self.any(&nodes), self.any(&all), lasts),
            3 => self.isolate(self.any(&nodes), &all, lasts),
            4 => self.part_regions(lasts),
            5 => self.lossy(self.any(&nodes), self.any(&all), lasts),
            6 => self.slow(self.any(&nodes), self.any(&all), lasts),
            7..9 => self.stop(self.any(&all), lasts),
            9..13 => self.crash(self.any(&nodes), lasts),
            13..15 => self.crash_database(self.any(&databases), lasts),
            15 => self.break_connections(&all),
            16..18 => self.lag(lasts),
            18..20 => self.hold(self.any(&databases), lasts),
            20 => world.jump(self.any(&nodes), lasts * 4),
            21 => {
                let off = self.draw(|random| random.random_range(-3_600_000..3_600_000));
                let end = self.any(&databases);
                world
                    .network
                    .trace()
                    .event("wall", &[end.0.into()], || format!("{} {off}", world.network.name(end)));
                world.set_wall(end, off);
            }
            22 => self.lock_row(lasts),
            23..26 => self.promote(true).await,
            26..29 => self.promote(false).await,
            _ => self.move_shard(),
        }
    }

    fn note(&self, what: &'static str, ends: &[End], lasts: Duration) {
        let network = &self.world.network;
        let numbers: Vec<u64> = ends.iter().map(|end| end.0.into()).collect();
        network.trace().event(what, &numbers, || {
            let names: Vec<String> = ends.iter().map(|end| network.name(*end)).collect();
            format!("FAULT {} for {lasts:?}", names.join(" "))
        });
    }

    /// Does something, waits, undoes it.
    fn spawn(&mut self, lasts: Duration, undo: impl FnOnce(&Arc<World>) + Send + 'static) {
        let world = Arc::clone(&self.world);
        self.running.spawn(async move {
            sleep(lasts).await;
            undo(&world);
        });
    }

    fn cut(&mut self, one: End, two: End, lasts: Duration) {
        let both = self.draw(|random| random.random_bool(0.6));
        self.note("cut", &[one, two], lasts);
        self.world.network.cut(one, two, true);
        if both {
            self.world.network.cut(two, one, true);
        }
        self.spawn(lasts, move |world| {
            world.network.cut(one, two, false);
            world.network.cut(two, one, false);
        });
    }

    fn cut_all(&mut self, pairs: Vec<(End, End)>, lasts: Duration) {
        for (one, two) in &pairs {
            self.world.network.cut(*one, *two, true);
        }
        self.spawn(lasts, move |world| {
            for (one, two) in pairs {
                world.network.cut(one, two, false);
            }
        });
    }

    fn isolate(&mut self, one: End, all: &[End], lasts: Duration) {
        self.note("isolate", &[one], lasts);
        let others = all.iter().copied().filter(|end| *end != one);
        self.cut_all(others.flat_map(|two| [(one, two), (two, one)]).collect(), lasts);
    }

    /// Between two regions nothing goes through, in one direction or both.
    fn part_regions(&mut self, lasts: Duration) {
        let regions = self.world.user_ends.len() as u16;
        let (one, both) = self.draw(|random| (random.random_range(0..regions), random.random_bool(0.7)));
        let ends = self.world.ends_by_region();
        let inside: Vec<End> =
            ends.iter().filter(|(region, _)| *region == one).map(|(_, end)| *end).collect();
        let outside: Vec<End> =
            ends.iter().filter(|(region, _)| *region != one).map(|(_, end)| *end).collect();
        self.note("part", &inside, lasts);
        let pair = |a: &End| outside.iter().map(|b| (*a, *b)).collect::<Vec<_>>();
        let mut pairs: Vec<(End, End)> = inside.iter().flat_map(pair).collect();
        if both {
            let back: Vec<_> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
            pairs.extend(back);
        }
        self.cut_all(pairs, lasts);
    }

    fn lossy(&mut self, one: End, two: End, lasts: Duration) {
        self.note("lossy", &[one, two], lasts);
        let probability = self.draw(|random| random.random_range(0.05..0.6));
        self.world.network.lossy(one, two, probability);
        self.world.network.lossy(two, one, probability);
        self.spawn(lasts, move |world| {
            world.network.lossy(one, two, 0.0);
            world.network.lossy(two, one, 0.0);
        });
    }

    fn slow(&mut self, one: End, two: End, lasts: Duration) {
        self.note("slow", &[one, two], lasts);
        let times = self.draw(|random| random.random_range(3..100));
        self.world.network.slow(one, two, times);
        self.spawn(lasts, move |world| world.network.slow(one, two, 1));
    }

    fn stop(&mut self, end: End, lasts: Duration) {
        self.note("stop", &[end], lasts);
        self.world.network.stop(end, true);
        self.spawn(lasts, move |world| world.network.stop(end, false));
    }

    fn crash(&mut self, end: End, lasts: Duration) {
        self.note("crash", &[end], lasts);
        self.world.kill_node(end);
        self.spawn(lasts, move |world| {
            if world.network.process(end).is_none() {
                world.start_node(end);
            }
        });
    }

    fn crash_database(&mut self, end: End, lasts: Duration) {
        self.note("dbcrash", &[end], lasts);
        self.world.network.kill(end);
        self.world.databases.get(end).take_down();
        self.spawn(lasts, move |world| bring_up(world, end));
    }

    fn break_connections(&self, all: &[End]) {
        let (one, two) = (self.any(all), self.any(all));
        self.note("break", &[one, two], Duration::ZERO);
        self.world.network.break_streams(one, two);
    }

    /// Replication stops, or becomes slow.
    fn lag(&mut self, lasts: Duration) {
        let ((group, region), end) = self.any_database();
        self.note("lag", &[end], lasts);
        let database = self.world.database(group, &region);
        if self.draw(|random| random.random_bool(0.5)) {
            database.stop_replication();
            // Refused if it has another history by then; a replica without a source has nothing to start.
            self.spawn(lasts, move |_| drop(database.start_replication()));
        } else {
            database.set_replication_delay(lasts);
            self.spawn(lasts, move |world| database.set_replication_delay(world.plan.replication_delay));
        }
    }

    fn any_database(&self) -> ((HostGroupId, String), End) {
        let all: Vec<_> = self.world.database_ends.iter().collect();
        let (place, end) = all[self.draw(|random| random.random_range(0..all.len()))];
        (place.clone(), *end)
    }

    /// Commits are durable and not visible (H8), or not even durable; or the log says nothing.
    fn hold(&mut self, end: End, lasts: Duration) {
        let database = self.world.databases.get(end);
        let (what, hold) = match self.draw(|random| random.random_range(0..4)) {
            0 => ("hold-log", database.hold_tails()),
            1 => ("hold-tx", database.hold_transactions()),
            _ => ("hold", database.hold_commits()),
        };
        self.note(what, &[end], lasts);
        self.spawn(lasts, move |_| drop(hold));
    }

    /// Somebody else has a shard's row (H2).
    fn lock_row(&mut self, lasts: Duration) {
        let ((group, region), end) = self.any_database();
        let shards: Vec<ShardId> = self.world.shards_of(group);
        let Some(shard) = shards.first() else { return };
        self.note("lock", &[end], lasts);
        if let Some(lock) = self.world.database(group, &region).lock_row(*shard) {
            self.spawn(lasts, move |_| drop(lock));
        }
    }

    /// It ends by itself, however long that takes.
    fn move_shard(&self) {
        let shards: Vec<ShardId> = self.world.plan.shard_ids().collect();
        let shard = shards[self.draw(|random| random.random_range(0..shards.len()))];
        tokio::spawn(Arc::clone(&self.world).move_shard(shard));
    }

    async fn promote(&mut self, planned: bool) {
        let groups: Vec<HostGroupId> = self.world.plan.group_ids().collect();
        let group = groups[self.draw(|random| random.random_range(0..groups.len()))];
        let regions = self.world.plan.region_names();
        let region = regions[self.draw(|random| random.random_range(0..regions.len()))].clone();
        let master = self.world.master(group);
        if master == region {
            return;
        }
        if !planned {
            let end = self.world.database_ends[&(group, master)];
            // The old one is gone, or cut off and goes on by itself for a while.
            let lasts = self.while_();
            if self.draw(|random| random.random_bool(0.6)) {
                self.crash_database(end, lasts);
            }
        }
        self.world.promote(group, &region, planned).await;
    }
}

fn bring_up(world: &Arc<World>, end: End) {
    if world.network.process(end).is_none() {
        world.network.start(end);
    }
    world.databases.get(end).bring_up();
}

/// Everything runs, is connected, and follows.
fn heal(world: &Arc<World>) {
    world.network.trace().event("heal", &[], String::new);
    world.network.heal();
    for end in world.database_ends.values() {
        bring_up(world, *end);
    }
    world.mend_replication();
    for end in world.node_ends() {
        if world.network.process(end).is_none() {
            world.start_node(end);
        }
        world.learn_topology(end);
    }
}
