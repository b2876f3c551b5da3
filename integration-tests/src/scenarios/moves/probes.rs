//! The write pause of a move, from outside: probes in every region that write to the moving shard, one write after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tao_client::{ErrorCode, SessionClient, SessionOptions};
use tao_schema::ids::{ObjectId, ObjectType, ShardId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::scenarios::meter::Meter;
use crate::soak::Door;

/// Longer than any pause that is allowed: a write that is held comes back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two writes of a probe.
const PAUSE: Duration = Duration::from_millis(5);
/// Numbers of a probe's objects begin behind those of users.
const FIRST_NUMBER: u32 = 50_000_000;
/// So many numbers for each probe: one of them falls on each shard.
const NUMBERS: u32 = 1_000_000;

/// Running probes; they end with the handle.
pub(super) struct Probes {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
    at: watch::Sender<Option<ShardId>>,
}

struct Shared {
    meter: Arc<Meter>,
    shards: u32,
    laps: Mutex<BTreeMap<u32, Lap>>,
    resting: Mutex<u32>,
    rests: Notify,
}

/// What one probe saw since the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Lap {
    writes: u64,
    failed: u64,
    last: Option<Instant>,
    longest_gap: Duration,
    slowest: Duration,
}

/// What all probes saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes that got no answer.
    pub failed: u64,
    /// The longest time between two acknowledgements, of each probe.
    pub gaps_ms: Vec<f64>,
    /// The longest time that an acknowledged write took, of each probe.
    pub slowest_ms: Vec<f64>,
}

impl Seen {
    /// The longest gap of any probe.
    pub fn gap_ms(&self) -> f64 {
        self.gaps_ms.iter().copied().fold(0.0, f64::max)
    }

    /// The slowest write of any probe.
    pub fn slowest_write_ms(&self) -> f64 {
        self.slowest_ms.iter().copied().fold(0.0, f64::max)
    }
}

impl Probes {
    /// How many are started for so many regions.
    pub(super) const fn number(regions: usize, each: u32) -> u32 {
        regions as u32 * each
    }

    /// Probes that rest: `each` at every door.
    pub(super) fn start(
        doors: &[Door],
        each: u32,
        shards: u32,
        meter: Arc<Meter>,
        first_session: u32,
    ) -> Self {
        let shared =
            Shared { meter, shards, laps: Mutex::default(), resting: Mutex::new(0), rests: Notify::new() };
        let shared = Arc::new(shared);
        let (at, told) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for number in 0..Self::number(doors.len(), each) {
            let door = &doors[number as usize % doors.len()];
            let options = SessionOptions { recorded_as: first_session + number, ..SessionOptions::default() };
            let session = door.client.session_with(options).expect("the defaults make sense");
            let region = door.region.clone();
            let probe = Probe { number, region, session, values: 0, shared: Arc::clone(&shared) };
            shared.laps.lock().insert(number, Lap::default());
            tasks.spawn(probe.live(told.clone()));
        }
        Self { tasks, shared, at }
    }

    /// They write to this shard from now on.
    pub(super) fn work(&self, shard: ShardId) {
        self.lap();
        self.at.send_replace(Some(shard));
    }

    /// What they saw since the last look.
    pub(super) fn lap(&self) -> Seen {
        let now = Instant::now();
        let mut seen = Seen::default();
        for lap in self.shared.laps.lock().values_mut() {
            // What is being waited for now counts, too.
            let open = lap.last.map_or(Duration::ZERO, |last| now - last);
            seen.writes += lap.writes;
            seen.failed += lap.failed;
            seen.gaps_ms.push(lap.longest_gap.max(open).as_secs_f64() * 1e3);
            seen.slowest_ms.push(lap.slowest.as_secs_f64() * 1e3);
            *lap = Lap { last: lap.last, ..Lap::default() };
        }
        seen
    }

    /// Returns when none has a call under way.
    pub(super) async fn rest(&self) {
        self.at.send_replace(None);
        loop {
            let rested = self.shared.rests.notified();
            if *self.shared.resting.lock() as usize >= self.tasks.len() {
                break;
            }
            rested.await;
        }
        self.shared.laps.lock().values_mut().for_each(|lap| *lap = Lap::default());
    }
}

struct Probe {
    number: u32,
    region: String,
    session: SessionClient,
    values: u64,
    shared: Arc<Shared>,
}

impl Probe {
    async fn live(mut self, mut told: watch::Receiver<Option<ShardId>>) {
        loop {
            let Some(shard) = *told.borrow_and_update() else {
                self.resting(1);
                let gone = told.wait_for(Option::is_some).await.is_err();
                self.resting(-1);
                if gone {
                    return;
                }
                continue;
            };
            self.write(shard).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn resting(&self, one: i32) {
        let mut resting = self.shared.resting.lock();
        *resting = resting.saturating_add_signed(one);
        self.shared.rests.notify_waiters();
    }

    /// The probe's own object in a shard.
    fn own(&self, shard: ShardId) -> Option<ObjectId> {
        let first = FIRST_NUMBER + self.number * NUMBERS;
        let ids =
            (first..first + NUMBERS).map(|name| ObjectId::named(ObjectType(1), name, self.shared.shards));
        ids.into_iter().find(|id| id.shard() == shard)
    }

    async fn write(&mut self, shard: ShardId) {
        let Some(id) = self.own(shard) else { return };
        self.values += 1;
        let value = format!("probe-{}-{}", self.number, self.values);
        let began = Instant::now();
        let call = self.session.object_update(id, "user").set("bio", value.as_str()).timeout(PATIENCE);
        let mut result = call.send().await.map(drop);
        if result.as_ref().is_err_and(|error| error.code == ErrorCode::NotFound) {
            let call = self.session.object_add("user").id(id).set("name", value.as_str()).timeout(PATIENCE);
            result = call.send().await.map(drop);
        }
        let code = result.as_ref().err().map(|error| error.code);
        self.shared.meter.note(&self.region, "probe", true, began, code.map_or(Ok(()), Err));
        if code == Some(ErrorCode::LostEpoch) {
            self.session.forget_lost();
        }
        let now = Instant::now();
        if let Some(lap) = self.shared.laps.lock().get_mut(&self.number) {
            if code.is_some() {
                lap.failed += 1;
                return;
            }
            lap.writes += 1;
            lap.slowest = lap.slowest.max(now - began);
            if let Some(last) = lap.last.replace(now) {
                lap.longest_gap = lap.longest_gap.max(now - last);
            }
        }
    }
}
