//! Which server's log is followed: this region's own, unless it is refused or away; then the primary's (R8, H22).

use tao_shard_store::StoreError;
use tao_shard_store::log::{LogPosition, LogTail, SharedDatabase, TailError, TailErrorKind, TailStart};
use tokio::time::{Instant, sleep};

use super::call::{bounded, bounded_tail, unreachable};
use super::feed::Feed;
use super::{Cause, GroupTail, TailState};
use crate::core::ShardCore;
use tao_schema::planted::{Bug, planted};

/// A server of the host group.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) database: SharedDatabase,
    /// Its region; `None`: this one.
    pub(super) region: Option<String>,
}

/// A log that is being followed.
pub(super) struct Followed {
    pub(super) server: Server,
    pub(super) tail: Box<dyn LogTail>,
    pub(super) feed: Feed,
}

/// What came of an attempt to go on from a position.
enum Resumed {
    Tail(Box<dyn LogTail>),
    /// Not yet, or not there: nothing is lost.
    NotNow(String),
    /// Never there.
    Lost(Cause, String),
}

impl GroupTail {
    pub(super) fn local_server(&self) -> Server {
        Server { database: self.local.clone(), region: None }
    }

    /// The primary, if it is in another region and can be reached by SQL from here.
    pub(super) fn primary_elsewhere(&self) -> Option<Server> {
        let region = self.routes.master_elsewhere(self.id)?;
        let database = self.remote.server(self.id, &region)?;
        Some(Server { database, region: Some(region) })
    }

    /// Where heartbeats are written.
    pub(super) fn primary(&self) -> Option<SharedDatabase> {
        match self.routes.master_elsewhere(self.id) {
            None => Some(self.local.clone()),
            Some(region) => self.remote.server(self.id, &region),
        }
    }

    /// Whether this region's server may be followed and read. If not, it is refused, by name.
    pub(super) async fn examine(&self) -> Result<Option<String>, StoreError> {
        let local = self.local.clone();
        let findings = bounded(self.options.attempt, async move { local.preflight().await }).await?;
        let fatal = findings.iter().find(|finding| finding.fatal);
        let refused = match fatal {
            Some(finding) => Some(format!("{}: {}", finding.subject, finding.message)),
            None => self.errant().await?,
        };
        self.note_refusal(refused.clone());
        Ok(refused)
    }

    /// Transactions of this region's server that the primary lacks: its rows would be served as if they had happened
    /// (H22). `None` also if the primary can't be asked: a region must start when its master is gone.
    async fn errant(&self) -> Result<Option<String>, StoreError> {
        let Some(primary) = self.primary_elsewhere() else { return Ok(None) };
        let local = self.local.clone();
        // Own first: whatever it has executed by then, the primary has executed before.
        let ours = bounded(self.options.attempt, async move { local.executed().await }).await?;
        let there = primary.database.clone();
        let Ok(theirs) = bounded(self.options.attempt, async move { there.executed().await }).await else {
            return Ok(None);
        };
        let extra = ours.without(&theirs);
        Ok((!extra.is_empty() && !planted(Bug::SurvivorAhead)).then(|| {
            let region = primary.region.unwrap_or_default();
            format!("this region's server has transactions that the primary in {region} lacks: {extra}; rebuild it")
        }))
    }

    fn note_refusal(&self, refused: Option<String>) {
        let before = self.health.facts().refused;
        if let (None, Some(why)) = (&before, &refused) {
            self.alarm("refused", why);
        }
        self.metrics.refused(refused.is_some());
        self.health.set_local_reads(refused.is_none());
        self.health.note(|facts| facts.refused = refused);
    }

    /// Starts with this region's server; or, when that is refused or has been away for long, with the primary.
    pub(super) async fn start_somewhere(&self, failing: Option<Instant>) -> Result<Followed, TailError> {
        let (refused, error) = match self.examine().await {
            Ok(None) => match self.start(self.local_server()).await {
                Ok(followed) => return Ok(followed),
                Err(error) => (false, error),
            },
            Ok(Some(why)) => (true, TailError::new(TailErrorKind::Disconnected, why)),
            Err(error) => (false, unreachable(error)),
        };
        let long = failing.is_some_and(|since| since.elapsed() >= self.options.fallback_after);
        match self.primary_elsewhere() {
            Some(primary) if refused || long => {
                self.health.set_local_reads(false);
                self.start(primary).await
            }
            _ => Err(error),
        }
    }

    /// Goes on from where the log stands, at this region's server, or at the primary when that can't be had in time.
    /// `Some`: it can't be gone on with.
    pub(super) async fn go_on(&self, followed: &mut Followed) -> Option<(Cause, String)> {
        let began = Instant::now();
        let (mut pause, longest) = self.options.backoff;
        let home = followed.server.region.is_none();
        let patience = if home { self.options.fallback_after } else { self.options.replica_patience };
        loop {
            let position = followed.tail.position();
            let settled = followed.feed.settled();
            // Where a connection to the same server goes on, what it held is still held.
            let here = if home { &position } else { &settled };
            let (refused, why) = match self.resume_home(&position, here, home).await {
                Resumed::Tail(tail) => {
                    self.follows(followed, self.local_server(), tail);
                    return None;
                }
                Resumed::Lost(cause, why) if home || self.primary_elsewhere().is_none() => {
                    return Some((cause, why));
                }
                Resumed::Lost(_, why) => (true, why),
                Resumed::NotNow(why) => (false, why),
            };
            self.health.note(|facts| facts.error = Some(why));
            if (refused || began.elapsed() >= patience)
                && let Some(primary) = self.primary_elsewhere()
            {
                let same = followed.server.region == primary.region;
                let there = if same { &position } else { &settled };
                match self.resume(&primary, &position, there, true).await {
                    Resumed::Tail(tail) => {
                        self.health.set_local_reads(false);
                        self.follows(followed, primary, tail);
                        return None;
                    }
                    Resumed::Lost(cause, why) => return Some((cause, why)),
                    Resumed::NotNow(why) => self.health.note(|facts| facts.error = Some(why)),
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn resume_home(&self, position: &LogPosition, from: &LogPosition, was_here: bool) -> Resumed {
        match self.examine().await {
            Ok(None) => {
                let server = self.local_server();
                // Nobody brings a primary what it lacks: it was promoted without.
                let all = was_here || (self.is_primary(&server) && !planted(Bug::AwaitsWhatIsLost));
                self.resume(&server, position, from, all).await
            }
            Ok(Some(why)) => Resumed::Lost(Cause::Refused, why),
            Err(error) => Resumed::NotNow(error.message),
        }
    }

    /// Opens the server's log after `from`, if the server has everything up to `position`. `all`: one that lacks some of
    /// it has lost it; else it may still get it.
    async fn resume(
        &self,
        server: &Server,
        position: &LogPosition,
        from: &LogPosition,
        all: bool,
    ) -> Resumed {
        let database = server.database.clone();
        let executed = match bounded(self.options.attempt, async move { database.executed().await }).await {
            Ok(executed) => executed,
            Err(error) => return Resumed::NotNow(error.message),
        };
        if !executed.covers(position) {
            let lacks = format!("the server lacks {} of what was followed", position.without(&executed));
            return if all { Resumed::Lost(Cause::PositionLost, lacks) } else { Resumed::NotNow(lacks) };
        }
        let (database, after) = (server.database.clone(), TailStart::After(from.clone()));
        match bounded_tail(self.options.attempt, async move { database.open_tail(after).await }).await {
            Ok(tail) => Resumed::Tail(tail),
            Err(error) => match error.kind {
                TailErrorKind::Disconnected => Resumed::NotNow(error.message),
                TailErrorKind::PositionLost => Resumed::Lost(Cause::PositionLost, error.message),
                TailErrorKind::NotUnderstood => Resumed::Lost(Cause::NotUnderstood, error.message),
            },
        }
    }

    fn follows(&self, followed: &mut Followed, server: Server, tail: Box<dyn LogTail>) {
        self.metrics.reconnects.inc();
        if followed.server.region != server.region {
            // What the other server's log had, and nobody had seen committed, this one may never have (H8, H10).
            for slot in self.shards.fed_by(self.id) {
                slot.core.with(ShardCore::on_log_lost);
            }
            self.log_lost();
            followed.feed = Feed::new(tail.position());
            self.health.set_holding(false);
        }
        followed.server = server;
        followed.tail = tail;
        self.note_following(&followed.server);
    }

    pub(super) fn note_following(&self, server: &Server) {
        let here = self.routes.region.clone().unwrap_or_default();
        let region = server.region.clone().unwrap_or(here);
        tracing::info!(host_group = %self.id, region, "following the log");
        self.metrics.following(true, server.region.is_some());
        self.health.note(|facts| {
            facts.state = TailState::Following;
            facts.followed = Some(region);
            facts.error = None;
        });
    }
}
