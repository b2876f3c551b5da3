//! Users: each has things that nobody else writes, writes them in one region and reads them in another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_client::{Client, Consistency, Error, ErrorCode, SessionClient, Written};
use tao_schema::ids::{ObjectId, ObjectType};

use super::ledger::{Ledger, Served, served};

/// A call outlives a failover.
const PATIENCE: Duration = Duration::from_secs(20);
/// What bounded reads ask for.
const BOUND: Duration = Duration::from_secs(1);
/// Numbers of one user's things.
const THINGS: u32 = 1_000;

/// A region as users reach it.
#[derive(Clone)]
pub struct Door {
    /// The region's name: node names start with it.
    pub region: String,
    /// Its clients.
    pub client: Client,
}

pub(super) struct Citizen {
    number: u32,
    doors: Vec<Door>,
    shards: u32,
    ledger: Arc<Ledger>,
    random: StdRng,
    /// What the user has seen, handed from region to region as text.
    session: String,
    reputation: Known,
    friends: BTreeSet<u32>,
    /// Friendships of which nobody knows whether they were made or ended.
    doubtful: BTreeSet<u32>,
    /// Friendships that were ended: a failover may lose that, too.
    parted: BTreeSet<u32>,
    /// Friendships whose last change was acknowledged while one of its sides was pending: the own count may be without it (R23),
    /// whatever was written of other pairs since.
    pending: BTreeSet<u32>,
}

/// The user's own value: what was acknowledged last, and the highest that may have been written.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: i64,
    tried: i64,
}

impl Citizen {
    pub(super) fn new(number: u32, doors: Vec<Door>, shards: u32, ledger: Arc<Ledger>, seed: u64) -> Self {
        Self {
            number,
            doors,
            shards,
            ledger,
            random: StdRng::seed_from_u64(seed),
            session: String::new(),
            reputation: Known::default(),
            friends: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            parted: BTreeSet::new(),
            pending: BTreeSet::new(),
        }
    }

    /// Writes and reads until told to stop.
    pub(super) async fn live(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let writer = self.random.random_range(0..self.doors.len());
            // Mostly elsewhere: at home the answer is in the memory that the write went through.
            let reader = (writer + self.random.random_range(0..self.doors.len())) % self.doors.len();
            match self.random.random_range(0..10) {
                0..4 => self.update(writer, reader).await,
                4..7 => self.befriend(writer, reader).await,
                7 => self.part(writer, reader).await,
                _ => self.watch_others(reader).await,
            }
        }
    }

    fn id(&self, thing: u32) -> ObjectId {
        ObjectId::named(ObjectType(1), self.number * THINGS + thing, self.shards)
    }

    fn resume(&self, door: usize) -> SessionClient {
        let client = &self.doors[door].client;
        if self.session.is_empty() {
            return client.session();
        }
        client.resume_session(&self.session).expect("a session reads what it wrote")
    }

    /// Notes what became of a write; whether it was acknowledged.
    fn wrote<T>(&self, what: &str, began: Instant, result: &Result<T, Error>) -> Option<bool> {
        match result {
            Ok(_) => {
                self.ledger.wrote(began.elapsed());
                Some(true)
            }
            Err(error) => {
                self.ledger.failed(what, error);
                let unknown = matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::RetryTooLate);
                (!unknown).then_some(false)
            }
        }
    }

    /// A read with a token failed. One whose token is lost has been told so: what it stood for may be gone, and the user
    /// starts again with what is there (R19).
    fn failed(&mut self, what: &str, error: &Error) {
        self.ledger.failed(what, error);
        if error.code == ErrorCode::LostEpoch {
            self.ledger.told_of_loss();
            self.session.clear();
            self.reputation.acknowledged = 0;
            self.doubtful.append(&mut self.friends);
            self.doubtful.append(&mut self.parted);
        }
    }

    async fn update(&mut self, writer: usize, reader: usize) {
        let session = self.resume(writer);
        let me = self.id(0);
        let value = self.reputation.tried + 1;
        self.reputation.tried = value;
        let began = Instant::now();
        let done = if self.reputation.acknowledged == 0 {
            // Whether an attempt of unknown outcome made it, it is there afterwards.
            let call = session.object_add("user").id(me).set("reputation", value).timeout(PATIENCE);
            match call.send().await {
                Err(error) if error.code == ErrorCode::PreconditionFailed => {
                    let call = session.object_update(me, "user").set("reputation", value).timeout(PATIENCE);
                    self.wrote("object_update", began, &call.send().await)
                }
                added => self.wrote("object_add", began, &added),
            }
        } else {
            let call = session.object_update(me, "user").set("reputation", value).timeout(PATIENCE);
            self.wrote("object_update", began, &call.send().await)
        };
        if done == Some(true) {
            self.reputation.acknowledged = value;
            self.ledger.acknowledge(self.number, value);
        }
        self.session = session.export();
        self.read_own(reader).await;
    }

    async fn read_own(&mut self, reader: usize) {
        let (session, me) = (self.resume(reader), self.id(0));
        let began = Instant::now();
        match session.object_get(me).timeout(PATIENCE).send_explained().await {
            Ok(answered) => {
                let Known { acknowledged, tried } = self.reputation;
                let shown = answered.value.map_or(0, |user| user.int("reputation").unwrap_or(-1));
                let served = served(answered.explain.as_ref(), &self.doors[reader].region);
                self.ledger.read("token_object", served, began.elapsed());
                if !(acknowledged..=tried).contains(&shown) {
                    self.ledger.violation(format!(
                        "user {} read {shown} of its own in {}, acknowledged {acknowledged}, tried {tried}: {:?}",
                        self.number, self.doors[reader].region, answered.explain
                    ));
                }
                // What was shown once may not be taken back: it was committed.
                self.reputation.acknowledged = shown.max(acknowledged);
            }
            Err(error) => return self.failed("object_get with token", &error),
        }
        self.session = session.export();
    }

    async fn befriend(&mut self, writer: usize, reader: usize) {
        let other = self.random.random_range(1..THINGS / 10);
        let session = self.resume(writer);
        let (me, friend) = (self.id(0), self.id(other));
        let began = Instant::now();
        let call = session.assoc_add(me, "friend", friend).time(other).timeout(PATIENCE).send().await;
        let pending = self.pends(other, &call);
        match self.wrote("assoc_add", began, &call) {
            Some(true) => {
                self.friends.insert(other);
                self.doubtful.remove(&other);
            }
            Some(false) => {}
            None => {
                self.doubtful.insert(other);
            }
        }
        self.session = session.export();
        self.read_friendship(reader, other, !pending).await;
    }

    async fn part(&mut self, writer: usize, reader: usize) {
        let Some(other) = self.friends.iter().copied().nth(self.random.random_range(0..8)) else { return };
        let session = self.resume(writer);
        let (me, friend) = (self.id(0), self.id(other));
        let began = Instant::now();
        // From the other end: the order of the pair is the same.
        let call = session.assoc_delete(friend, "friend", me).timeout(PATIENCE).send().await;
        let pending = self.pends(other, &call);
        match self.wrote("assoc_delete", began, &call) {
            Some(true) => {
                self.friends.remove(&other);
                self.doubtful.remove(&other);
                self.parted.insert(other);
            }
            Some(false) => {}
            None => {
                self.friends.remove(&other);
                self.doubtful.insert(other);
            }
        }
        self.session = session.export();
        self.read_friendship(reader, other, !pending).await;
    }

    /// Whether one side of a friendship that was changed is still to come.
    fn pends(&mut self, other: u32, call: &Result<Written, Error>) -> bool {
        let Ok(written) = call else { return false };
        if written.inverse_pending {
            self.pending.insert(other);
        } else {
            self.pending.remove(&other);
        }
        written.inverse_pending
    }

    /// The edge from both ends, and the count of the own list. Of a pair whose other side is pending the session has a
    /// position of one side only.
    async fn read_friendship(&mut self, reader: usize, other: u32, both: bool) {
        let session = self.resume(reader);
        let region = self.doors[reader].region.clone();
        let (me, friend) = (self.id(0), self.id(other));
        let ends = [("token_edge", me, friend), ("token_inverse", friend, me)];
        let certain = !self.doubtful.contains(&other) && both;
        for (kind, from, to) in ends {
            let began = Instant::now();
            match session.assoc_get(from, "friend", [to]).timeout(PATIENCE).send_explained().await {
                Ok(answered) => {
                    let there = !answered.value.is_empty();
                    self.ledger.read(kind, served(answered.explain.as_ref(), &region), began.elapsed());
                    if certain && there != self.friends.contains(&other) {
                        self.ledger.violation(format!(
                            "user {}: friendship {from} to {to} read as {there} in {region}: {:?}",
                            self.number, answered.explain
                        ));
                    }
                }
                Err(error) => return self.failed("assoc_get with token", &error),
            }
        }
        let began = Instant::now();
        match session.assoc_count(me, "friend").timeout(PATIENCE).send_explained().await {
            Ok(answered) if both => {
                let least = self.friends.difference(&self.pending).count() as u64;
                let open: BTreeSet<u32> = self.doubtful.union(&self.pending).copied().collect();
                let most = self.friends.union(&open).count() as u64;
                let count = answered.value.count;
                self.ledger.read("token_count", served(answered.explain.as_ref(), &region), began.elapsed());
                if !(least..=most).contains(&count) {
                    self.ledger.violation(format!(
                        "user {}: {count} friends read in {region}, should be {least} to {most}: {:?}",
                        self.number, answered.explain
                    ));
                }
            }
            Ok(_) => {}
            Err(error) => return self.failed("assoc_count with token", &error),
        }
        self.session = session.export();
    }

    /// Somebody else's value, at most so old; and one however old.
    async fn watch_others(&mut self, reader: usize) {
        let other = self.random.random_range(0..=self.number);
        let id = ObjectId::named(ObjectType(1), other * THINGS, self.shards);
        let door = &self.doors[reader];
        let began = Instant::now();
        let known = began.checked_sub(BOUND).and_then(|then| self.ledger.acknowledged_by(other, then));
        let call = door.client.object_get(id).consistency(Consistency::Bounded(BOUND)).timeout(PATIENCE);
        match call.send_explained().await {
            Ok(answered) => {
                let shown = answered.value.map_or(0, |user| user.int("reputation").unwrap_or(-1));
                self.ledger.read("bounded", served(answered.explain.as_ref(), &door.region), began.elapsed());
                if known.is_some_and(|known| shown < known) {
                    self.ledger.violation(format!(
                        "bounded read of user {other} in {}: {shown}, but {known:?} was acknowledged {BOUND:?} before: {:?}",
                        door.region, answered.explain
                    ));
                }
            }
            Err(error) => self.ledger.failed("bounded object_get", &error),
        }
        let began = Instant::now();
        match door.client.object_get(id).timeout(PATIENCE).send_explained().await {
            Ok(answered) => {
                let served: Served = served(answered.explain.as_ref(), &door.region);
                self.ledger.read("local", served, began.elapsed());
            }
            Err(error) => self.ledger.failed("local object_get", &error),
        }
    }
}
