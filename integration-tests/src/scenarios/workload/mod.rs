//! Users at work: every operation and every demand, on things that they share, in all regions.
//!
//! What they see is not judged here: it is recorded, and judged against the primaries' logs. Every value that is written is
//! unique in the run. The number of things is bounded, so that an hour of work leaves no more behind than a minute.

mod paced;
mod reads;
mod user;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_client::{Error, ErrorCode};
use tao_schema::ids::{ObjectId, ObjectType};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::meter::Meter;
use crate::soak::Door;

/// What a user waits for one call, retries included: what availability is measured with.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// Things that a user may write: his own user object's number, and so many posts.
const POSTS: u32 = 4;
/// Comments below one post.
const COMMENTS: u32 = 48;
/// Ends of edges that lead to nobody in particular.
const STRANGERS: u32 = 400;
/// Unexpected errors that are kept with their text.
const KEPT: usize = 20;

/// What users do.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadOptions {
    /// How many work at once.
    pub users: u32,
    /// The longest pause of a user between two calls; each is random.
    pub pause: Duration,
    /// Where all their randomness starts.
    pub seed: u64,
    /// The number of the first user's session in the history; the others count on.
    pub first_session: u32,
    /// How much they do, in place of pauses by chance.
    pub pace: Option<Pace>,
}

/// So many calls a second, whatever each of them takes, as far as the number of users allows. Reads and writes are mixed as
/// TAO's paper says of its own, and reads demand nothing of their age.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// By all users together.
    pub reads: u32,
    /// By all users together.
    pub writes: u32,
}

/// Running users. They work until [`Workload::pause`], go on with their sessions at [`Workload::resume`], and end with the
/// handle.
pub struct Workload {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
    go: watch::Sender<bool>,
}

/// What all users share.
struct Shared {
    doors: Vec<Door>,
    shards: u32,
    users: u32,
    /// Text that makes values of this workload differ from those of others on the same cluster.
    name: String,
    pause: Duration,
    pace: Option<Pace>,
    meter: Arc<Meter>,
    unexpected: Mutex<Vec<String>>,
    resting: Mutex<u32>,
    rests: Notify,
}

impl Workload {
    /// Users who start to work at once, in the regions of `doors`.
    pub fn start(doors: Vec<Door>, shards: u32, meter: Arc<Meter>, options: &WorkloadOptions) -> Self {
        let mut random = StdRng::seed_from_u64(options.seed);
        let shared = Arc::new(Shared {
            doors,
            shards,
            users: options.users,
            name: format!("{:x}", random.random::<u32>()),
            pause: options.pause,
            pace: options.pace,
            meter,
            unexpected: Mutex::default(),
            resting: Mutex::new(0),
            rests: Notify::new(),
        });
        let (go, gone) = watch::channel(true);
        let mut tasks = JoinSet::new();
        for number in 0..options.users {
            let session = options.first_session + number;
            let user = user::User::new(number, session, Arc::clone(&shared), random.random());
            tasks.spawn(user.live(gone.clone()));
        }
        Self { tasks, shared, go }
    }

    /// Returns when no user has a call under way. They keep their sessions.
    pub async fn pause(&self) {
        self.go.send_replace(false);
        loop {
            let rested = self.shared.rests.notified();
            if *self.shared.resting.lock() >= self.shared.users {
                return;
            }
            rested.await;
        }
    }

    /// Users go on.
    pub fn resume(&self) {
        self.shared.meter.begin();
        self.go.send_replace(true);
    }

    /// Errors that no fault excuses, such as refusals of what is right, with their text.
    pub fn unexpected(&self) -> Vec<String> {
        self.shared.unexpected.lock().clone()
    }

    /// Users end; a call under way is given up, as a client that is killed gives it up.
    pub async fn abandon(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Shared {
    fn user(&self, number: u32) -> ObjectId {
        ObjectId::named(ObjectType(1), number, self.shards)
    }

    fn post(&self, user: u32, number: u32) -> ObjectId {
        ObjectId::named(ObjectType(2), user * POSTS + number, self.shards)
    }

    fn comment(&self, number: u32) -> ObjectId {
        ObjectId::named(ObjectType(3), number, self.shards)
    }

    fn stranger(&self, number: u32) -> ObjectId {
        ObjectId::named(ObjectType(4), number, self.shards)
    }

    /// Notes how a call ended.
    fn note(&self, region: &str, name: &'static str, write: bool, began: Instant, error: Option<&Error>) {
        let outcome = error.map_or(Ok(()), |error| Err(error.code));
        self.meter.note(region, name, write, began, outcome);
        let Some(error) = error else { return };
        // What users ask is within the schema and the limits, and nothing that they read is damaged.
        let excused = error.retryable()
            || matches!(
                error.code,
                ErrorCode::PreconditionFailed
                    | ErrorCode::NotFound
                    | ErrorCode::LostEpoch
                    | ErrorCode::RetryTooLate
            );
        if !excused {
            let mut unexpected = self.unexpected.lock();
            if unexpected.len() < KEPT {
                unexpected.push(format!("{name} in {region}: {}: {error}", error.code));
            }
        }
    }
}
