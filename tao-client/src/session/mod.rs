//! Sessions: a user reads his own writes, and never sees older data than before.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tao_schema::ids::{Position, PrimaryTime, ShardId};
use tao_schema::ops::{Demand, Freshness};
use tao_schema::planted::{Bug, planted};
use tao_schema::session::{GroupTime, Place, Session};
use tao_schema::{Error, Result};
use tokio::time::Instant;

use crate::client::Client;
use crate::consistency::{Consistency, in_master_region};

/// Longest time that a session may be bound to the master region.
pub const MAX_STICK: Duration = Duration::from_secs(600);

/// A client that remembers what its user has seen: the same calls as [`Client`], but every reply's positions are noted,
/// and every read asks for at least those of its shard (R19). So the user reads his own writes and never goes back,
/// also when another node or another region answers. Clones share what was seen.
///
/// ```
/// # tao_client::testing::run(async |client: tao_client::Client| {
/// let session = client.session();
/// let ann = session.object_add("user").set("name", "Ann").send().await?.id;
/// // Hand it to another process that you trust. For browsers there is `tao_client::cookie`.
/// let text = session.export();
///
/// let session = client.resume_session(&text)?;
/// assert!(session.object_get(ann).send().await?.is_some(), "his own write is there, on any node");
/// # Ok(())
/// # });
/// ```
#[derive(Clone)]
pub struct SessionClient {
    client: Client,
    state: Arc<SessionState>,
}

/// How a session reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionOptions {
    /// Of reads that do not choose their own.
    pub consistency: Consistency,
    /// The classic policy: for so long after each write of the session all its reads go to the master region; at most
    /// [`MAX_STICK`]. Not needed for reading one's own writes: positions do that, and let reads stay here as soon as the data
    /// is here. It adds what they can't know: effects of the write that reach other shards later.
    pub stick_to_master: Option<Duration>,
    /// What a recorder ([`crate::Options::recorder`]) calls the session; 0: nothing. Says nothing to anybody else.
    pub recorded_as: u32,
}

/// What the handles of one session share.
pub(crate) struct SessionState {
    options: SessionOptions,
    inner: Mutex<Inner>,
}

struct Inner {
    seen: Session,
    master_until: Option<Instant>,
    /// Shards that answered `LostEpoch` to what was seen of them.
    lost: BTreeSet<ShardId>,
}

impl Client {
    /// A new session: it has seen nothing yet.
    pub fn session(&self) -> SessionClient {
        SessionClient::new(self, Session::new(), SessionOptions::default())
    }

    /// A new session with options.
    ///
    /// # Errors
    /// `InvalidArgument` if an option makes no sense.
    pub fn session_with(&self, options: SessionOptions) -> Result<SessionClient> {
        options.validate()?;
        Ok(SessionClient::new(self, Session::new(), options))
    }

    /// Goes on with a session that [`SessionClient::export`] wrote. The text is not signed: accept it only from whom you
    /// trust; [`crate::cookie`] is for others.
    ///
    /// # Errors
    /// `InvalidArgument` if the text is no session.
    pub fn resume_session(&self, text: &str) -> Result<SessionClient> {
        self.resume_session_with(text, SessionOptions::default())
    }

    /// As [`Client::resume_session`], with options.
    ///
    /// # Errors
    /// `InvalidArgument` if the text is no session, or an option makes no sense.
    pub fn resume_session_with(&self, text: &str, options: SessionOptions) -> Result<SessionClient> {
        options.validate()?;
        Ok(SessionClient::new(self, text.parse()?, options))
    }
}

impl SessionOptions {
    /// Whether the options make sense.
    ///
    /// # Errors
    /// `InvalidArgument`; the message names the option.
    pub fn validate(&self) -> Result<()> {
        if self.stick_to_master.is_some_and(|stick| stick > MAX_STICK) {
            return Err(Error::invalid("session options: stick_to_master is above 600 s"));
        }
        if matches!(self.consistency, Consistency::AtLeast(_)) {
            return Err(Error::invalid(
                "session options: a position is for one read, not for all of a session",
            ));
        }
        Ok(())
    }
}

impl SessionClient {
    pub(crate) fn new(client: &Client, seen: Session, options: SessionOptions) -> Self {
        let inner = Inner { seen, master_until: None, lost: BTreeSet::new() };
        let state = Arc::new(SessionState { options, inner: Mutex::new(inner) });
        let mut client = client.clone();
        client.session = Some(Arc::clone(&state));
        Self { client, state }
    }

    /// What the user has seen, as text: see [`tao_schema::session::Session`] for the form.
    pub fn export(&self) -> String {
        self.state.inner.lock().seen.to_string()
    }

    /// Notes what another session has seen: of the same user on another device, or of whom he talks to.
    pub fn merge(&self, other: &Session) {
        self.state.inner.lock().seen.merge(other);
    }

    /// What the user has seen.
    pub fn seen(&self) -> Session {
        self.state.inner.lock().seen.clone()
    }

    /// Forgets what was seen of one shard. After [`crate::ErrorCode::LostEpoch`]: a failover has lost something that this user
    /// wrote or saw there. Every read of the shard says so, until the application has told him, and calls this.
    pub fn forget(&self, shard: ShardId) {
        let mut inner = self.state.inner.lock();
        inner.seen.forget(shard);
        inner.lost.remove(&shard);
    }

    /// [`SessionClient::forget`] for every shard that has said [`crate::ErrorCode::LostEpoch`] to this session; tells which.
    pub fn forget_lost(&self) -> Vec<ShardId> {
        let mut inner = self.state.inner.lock();
        let lost = std::mem::take(&mut inner.lost);
        lost.iter().for_each(|shard| inner.seen.forget(*shard));
        lost.into_iter().collect()
    }

    /// Sends all reads of this session to the master region for so long; at most [`MAX_STICK`]. Never shortens.
    pub fn stick_to_master(&self, time: Duration) {
        self.state.stick(time);
    }

    /// How long reads still go to the master region.
    pub fn master_left(&self) -> Option<Duration> {
        let until = self.state.inner.lock().master_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl SessionState {
    /// See [`SessionOptions::recorded_as`].
    pub(crate) const fn recorded_as(&self) -> u32 {
        self.options.recorded_as
    }

    /// What a read of this shard demands. `chosen`: what the call says.
    pub(crate) fn demand(&self, shard: ShardId, place: Option<Place>, chosen: Option<Freshness>) -> Demand {
        let inner = self.inner.lock();
        let mut demand = inner.seen.demand(shard, place);
        let freshness = chosen.unwrap_or(self.options.consistency.freshness());
        let sticks = inner.master_until.is_some_and(|until| Instant::now() < until);
        demand.freshness = if sticks { in_master_region(freshness) } else { freshness };
        demand
    }

    /// Notes the answer to a read: what it demanded is proved by it.
    pub(crate) fn note_read(&self, demanded: &Demand, answered: Position, time: Option<GroupTime>) {
        let mut inner = self.inner.lock();
        inner.seen.proved(demanded, answered);
        if !planted(Bug::ReadsLeaveNoTrace) {
            inner.seen.observe_at(answered, time, wall_clock());
        }
    }

    /// Notes a write that happened, or (without positions) one that may have happened.
    pub(crate) fn note_write(&self, positions: impl IntoIterator<Item = (Position, Option<GroupTime>)>) {
        let now = wall_clock();
        let mut inner = self.inner.lock();
        for (position, time) in positions {
            inner.seen.observe_at(position, time, now);
        }
        drop(inner);
        if let Some(time) = self.options.stick_to_master {
            self.stick(time);
        }
    }

    /// Notes that what was seen of a shard is lost.
    pub(crate) fn note_lost(&self, shard: ShardId) {
        let mut inner = self.inner.lock();
        // Else it was a token that the call brought along.
        if inner.seen.at_least(shard).is_some() {
            inner.lost.insert(shard);
        }
    }

    fn stick(&self, time: Duration) {
        let until = Instant::now() + time.min(MAX_STICK);
        let mut inner = self.inner.lock();
        inner.master_until = inner.master_until.max(Some(until));
    }
}

/// The time that a reply told, if it can be said whose clock it is. A reply from an epoch that the topology does not have
/// is from another primary than it names.
pub(crate) fn group_time(
    position: Position,
    time: Option<PrimaryTime>,
    place: Option<Place>,
) -> Option<GroupTime> {
    let place = place.filter(|place| place.epoch == position.epoch)?;
    Some(GroupTime { group: place.group, time: time? })
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Deref for SessionClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for SessionClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionClient").field("seen", &self.state.inner.lock().seen).finish()
    }
}
