//! One user: what comes next, where, and with which session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_client::{Client, Consistency, Error, ErrorCode, SessionClient, SessionOptions};
use tao_schema::ids::ObjectId;
use tao_schema::session::Session;
use tokio::sync::watch;

use super::paced::Clock;
use super::{POSTS, Shared};

/// Of a hundred steps, how many go on in another region.
const MOVES: u32 = 4;

pub(super) struct User {
    pub(super) number: u32,
    recorded_as: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) random: StdRng,
    /// The region where the user is.
    door: usize,
    pub(super) session: SessionClient,
    /// Counts the user's values.
    values: u64,
    /// Posts whose ids were given by their shards, oldest first.
    pub(super) allocated: VecDeque<ObjectId>,
}

impl User {
    pub(super) fn new(number: u32, recorded_as: u32, shared: Arc<Shared>, seed: u64) -> Self {
        let door = number as usize % shared.doors.len();
        let session = session(&shared.doors[door].client, recorded_as);
        let random = StdRng::seed_from_u64(seed);
        let allocated = VecDeque::new();
        Self { number, recorded_as, shared, random, door, session, values: 0, allocated }
    }

    /// Works while told so.
    pub(super) async fn live(mut self, mut go: watch::Receiver<bool>) {
        let mut clock = self.shared.pace.map(|pace| Clock::new(pace, self.shared.users, &mut self.random));
        loop {
            if !*go.borrow_and_update() {
                self.rest(1);
                // The workload's handle is gone: so is the user.
                let gone = go.wait_for(|go| *go).await.is_err();
                self.rest(-1);
                if gone {
                    return;
                }
                // Perhaps told to rest again meanwhile: looked at after this user counts as working.
                continue;
            }
            if self.random.random_range(0..100) < MOVES {
                self.move_on();
            }
            if let Some(clock) = &mut clock {
                self.beat(clock).await;
                continue;
            }
            if self.random.random_range(0..100) < 40 {
                self.write().await;
            } else {
                self.read().await;
            }
            let longest = u64::try_from(self.shared.pause.as_micros()).unwrap_or(u64::MAX);
            let pause = Duration::from_micros(self.random.random_range(0..=longest));
            tokio::time::sleep(pause).await;
        }
    }

    fn rest(&self, one: i32) {
        let mut resting = self.shared.resting.lock();
        *resting = resting.saturating_add_signed(one);
        self.shared.rests.notify_waiters();
    }

    /// Goes to another region with all that was seen, as text: no process is shared.
    fn move_on(&mut self) {
        self.door = self.random.random_range(0..self.shared.doors.len());
        let seen: Session = self.session.export().parse().expect("a session reads what it wrote");
        self.session = session(&self.shared.doors[self.door].client, self.recorded_as);
        self.session.merge(&seen);
    }

    /// A value that nobody else writes in this run.
    pub(super) fn value(&mut self) -> String {
        self.values += 1;
        format!("{}-{}-{}", self.shared.name, self.number, self.values)
    }

    /// One of the users, mostly not this one.
    pub(super) fn anybody(&mut self) -> ObjectId {
        let number = self.random.random_range(0..self.shared.users);
        self.shared.user(number)
    }

    /// One of anybody's posts.
    pub(super) fn any_post(&mut self) -> ObjectId {
        let (user, post) =
            (self.random.random_range(0..self.shared.users), self.random.random_range(0..POSTS));
        self.shared.post(user, post)
    }

    /// A demand by chance: half of the reads take what is near, with what the session has seen.
    pub(super) fn demand(&mut self) -> Consistency {
        if self.shared.pace.is_some() {
            return Consistency::Local;
        }
        match self.random.random_range(0..100) {
            0..60 => Consistency::Local,
            60..80 => Consistency::Bounded(Duration::from_millis(self.random.random_range(100..3_000))),
            80..92 => Consistency::Master,
            _ => Consistency::Critical,
        }
    }

    /// Notes how a call ended, and lets a session go on that was told of a loss: its user knows now (R19).
    pub(super) fn done<T>(
        &self,
        name: &'static str,
        write: bool,
        began: Instant,
        result: Result<T, Error>,
    ) -> Option<T> {
        let region = &self.shared.doors[self.door].region;
        self.shared.note(region, name, write, began, result.as_ref().err());
        if result.as_ref().is_err_and(|error| error.code == ErrorCode::LostEpoch) {
            self.session.forget_lost();
        }
        result.ok()
    }
}

fn session(client: &Client, recorded_as: u32) -> SessionClient {
    let options = SessionOptions { recorded_as, ..SessionOptions::default() };
    client.session_with(options).expect("the defaults make sense")
}
