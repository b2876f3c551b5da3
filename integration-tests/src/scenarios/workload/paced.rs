//! Calls by the clock: so many reads and writes a second, in the mix of TAO's paper (figure 3).

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::Pace;
use super::user::User;

/// Who is later than this has lost those calls: they are not made up for, and the achieved rate shows it.
const LATE: Duration = Duration::from_secs(1);
/// A user that is told to rest looks up within this.
const LOOK: Duration = Duration::from_millis(200);

/// When a user's next calls are due.
pub(super) struct Clock {
    reads: Train,
    writes: Train,
}

/// Moments at one distance; none without a distance.
struct Train {
    every: Option<Duration>,
    next: Instant,
}

impl Clock {
    /// A user's share of all calls. Users begin at different moments.
    pub(super) fn new(pace: Pace, users: u32, random: &mut StdRng) -> Self {
        let mut train = |rate: u32| {
            let every = (rate > 0).then(|| Duration::from_secs_f64(f64::from(users) / f64::from(rate)));
            let first = every.unwrap_or_default().mul_f64(random.random());
            Train { every, next: Instant::now() + first }
        };
        Self { reads: train(pace.reads), writes: train(pace.writes) }
    }
}

impl Train {
    fn due(&self) -> Option<Instant> {
        self.every.map(|_| self.next)
    }

    fn went(&mut self) {
        self.next += self.every.unwrap_or_default();
        self.next = self.next.max(Instant::now() - LATE);
    }
}

impl User {
    /// The next call, when it is due; or nothing, if that is long.
    pub(super) async fn beat(&mut self, clock: &mut Clock) {
        let write = match (clock.reads.due(), clock.writes.due()) {
            (Some(read), Some(write)) => write <= read,
            (None, Some(_)) => true,
            _ => false,
        };
        let train = if write { &mut clock.writes } else { &mut clock.reads };
        let due = train.due().unwrap_or_else(|| Instant::now() + LOOK);
        let soon = Instant::now() + LOOK;
        tokio::time::sleep_until(due.min(soon)).await;
        if due > soon || train.every.is_none() {
            return;
        }
        train.went();
        if write {
            self.write_as_published().await;
        } else {
            self.read_as_published().await;
        }
    }

    async fn read_as_published(&mut self) {
        match self.random.random_range(0..1_000) {
            0..157 => self.get_edges().await,
            157..566 => self.range().await,
            566..594 => self.time_range().await,
            594..711 => self.count().await,
            _ => self.get_object().await,
        }
    }

    /// The published shares add up to 100.9 percent.
    async fn write_as_published(&mut self) {
        match self.random.random_range(0..1_009) {
            0..175 => self.befriend().await,
            175..350 => self.follow().await,
            350..525 => self.answer().await,
            525..566 => self.part().await,
            566..608 => self.unfollow().await,
            608..617 => self.retype().await,
            617..782 => self.allocate().await,
            782..989 => self.update_self().await,
            _ => self.delete_post().await,
        }
    }
}
