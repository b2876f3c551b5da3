//! What runs beside a log that is followed: heartbeats, the audit, the look for held changes in the shard rows, and
//! the question whether the right server is followed (R7, R8, R20, H11, H22).

use std::convert::Infallible;
use std::time::Duration;

use tao_schema::ids::ShardId;
use tao_schema::rows::ShardState;
use tao_shard_store::log::SharedDatabase;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::call::bounded;
use super::feed::Feed;
use super::servers::Server;
use super::{Cause, Ended, GroupTail};

/// Between two looks at the topology.
const TOPOLOGY_LOOK: Duration = Duration::from_millis(50);

impl GroupTail {
    /// Writes nonces on the primary until the leader stops. Never waits for the log.
    pub(in crate::leader) async fn beat_forever(self: std::sync::Arc<Self>) {
        let mut ticks = interval(self.options.beat_every);
        // Late beats are not made up for: one is as good as two.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut master = self.routes.master_elsewhere(self.id);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.beats.wanted() => {}
                // Nobody has an age after a promotion until a heartbeat of the new primary is through (R20): the first
                // one is written as soon as the topology names it.
                () = self.another_master(&mut master) => {}
                _ = ticks.tick() => {}
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.beat() => {}
            }
            let age = self.health.age();
            self.metrics.age(age);
            self.metrics.master(self.routes.master_elsewhere(self.id).is_none());
        }
    }

    /// Waits until the topology names another master region. The view is a plain pointer that nobody announces changes of:
    /// it is looked at.
    async fn another_master(&self, known: &mut Option<String>) {
        loop {
            let now = self.routes.master_elsewhere(self.id);
            if now != *known {
                *known = now;
                return;
            }
            sleep(TOPOLOGY_LOOK).await;
        }
    }

    async fn beat(&self) {
        let beat = self.beats.send(self.clock.now());
        let failed = match self.primary() {
            Some(primary) => {
                let call = {
                    let primary = primary.clone();
                    bounded(self.options.attempt, async move { primary.beat(beat).await })
                };
                let mut call = std::pin::pin!(call);
                let beaten = match timeout(self.options.nudge_after, &mut call).await {
                    Ok(beaten) => beaten,
                    Err(_) => {
                        self.nudge(primary);
                        call.await
                    }
                };
                beaten.err().map(|error| error.message)
            }
            None => Some("the primary is in a region whose servers are not known here".to_owned()),
        };
        self.beats.sent(beat, failed);
    }

    /// A heartbeat of another row, which nothing waits for. A lossless primary lets a commit go when a replica has
    /// acknowledged it *or a later one*; acknowledgements that were lost with a connection are never repeated, for the
    /// replica has the transactions already. If all that could come later waits too - each lane behind its own commit,
    /// this node's heartbeat behind its row - nothing later comes, and all of it waits for ever (R5). This one comes.
    fn nudge(&self, primary: SharedDatabase) {
        let beat = self.beats.spare();
        tracing::debug!(host_group = %self.id, "a heartbeat does not come back: a later commit may free it");
        let limit = self.options.attempt;
        tokio::spawn(async move { bounded(limit, async move { primary.beat(beat).await }).await });
    }

    /// Looks after what is held: it is published as soon as the shard row shows it.
    pub(super) async fn confirm(&self, server: &Server, feed: &Feed) -> Infallible {
        let (mut pause, longest) = self.options.backoff;
        loop {
            feed.holding().await;
            let due = Instant::now() + self.options.confirm_after;
            // An own commit's answer usually comes first.
            while feed.is_holding() {
                tokio::select! {
                    biased;
                    () = sleep_until(due) => break,
                    () = self.health.newly_visible() => self.settle(feed),
                }
            }
            if !feed.is_holding() {
                continue;
            }
            let (database, held) = (server.database.clone(), Vec::from_iter(feed.held()));
            // Every leader but the one that wrote asks this after each write: for what it holds, not for all that the server has.
            match bounded(self.options.attempt, async move { database.shard_rows_of(&held).await }).await {
                Ok(rows) => {
                    for row in &rows {
                        if let Some(slot) = self.shards.slot(row.shard) {
                            self.shards.visible(slot, row);
                        }
                    }
                    self.settle(feed);
                    pause = self.options.backoff.0;
                }
                Err(error) => {
                    tracing::warn!(host_group = %self.id, %error, "held changes can't be looked for");
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    /// Audits, until the log must be followed elsewhere or anew.
    pub(super) async fn watch(&self, server: &Server) -> Ended {
        let mut before = self.health.position();
        let mut due = Instant::now() + self.options.audit_every;
        loop {
            // Roles change more often than audits are due.
            tokio::select! {
                biased;
                () = self.audit_wanted.notified() => due = Instant::now(),
                () = sleep(self.options.beat_every) => {}
                () = sleep_until(due) => {}
            }
            if !self.is_right(server) {
                return Ended::Elsewhere;
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + self.options.audit_every;
            match (self.examine().await, &server.region) {
                (Ok(Some(why)), None) => return Ended::Anew(Cause::Refused, why),
                (Ok(None), Some(_)) if self.home_has(&before).await => return Ended::Elsewhere,
                (Ok(_), _) => {}
                (Err(error), _) => {
                    tracing::debug!(host_group = %self.id, %error, "this region's server can't be examined");
                }
            }
            if server.region.is_some() {
                self.health.set_local_reads(false);
            }
            before = self.health.position();
            let rows = match self.rows_of(server).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(host_group = %self.id, %error, "the shard rows can't be read");
                    continue;
                }
            };
            let since = self.beats.upcoming();
            self.beats.audit(rows);
            if let Some(why) = self.blind(server, since).await {
                return Ended::Anew(Cause::Blind, why);
            }
        }
    }

    /// Whether this is a server that should be followed by the present topology.
    fn is_right(&self, server: &Server) -> bool {
        server.region.is_none() || self.routes.master_elsewhere(self.id) == server.region
    }

    /// Whether this region's server has come as far as the log was when it was last looked at.
    async fn home_has(&self, position: &tao_shard_store::log::LogPosition) -> bool {
        let local = self.local.clone();
        let executed = bounded(self.options.attempt, async move { local.executed().await }).await;
        executed.is_ok_and(|executed| executed.covers(position))
    }

    async fn rows_of(
        &self,
        server: &Server,
    ) -> Result<Vec<tao_shard_store::store::ShardRow>, tao_shard_store::StoreError> {
        let closed: Vec<ShardId> =
            self.shards.fed_by(self.id).filter(|slot| !slot.is_open()).map(|slot| slot.shard).collect();
        let rows = if closed.is_empty() {
            let database = server.database.clone();
            bounded(self.options.attempt, async move { database.shard_rows().await }).await?
        } else {
            // What is opened by its row learns its history first: positions of epochs before are not lost (R19).
            let (database, writer) = (server.database.clone(), self.beats.writer());
            let survey = bounded(self.options.attempt, async move { database.survey(writer).await }).await?;
            self.learn(&survey, &closed);
            survey.rows
        };
        let followed = |row: &tao_shard_store::store::ShardRow| {
            let slot = self.shards.slot(row.shard);
            slot.is_some_and(|slot| slot.handover.is_fed_by(self.id))
                && matches!(row.state, ShardState::Serving | ShardState::Fenced)
        };
        Ok(rows.into_iter().filter(followed).collect())
    }

    /// Waits for a nonce written from `since` on. If the server's tables show one, and its log does not bring any for
    /// long, the log does not bring everything (H11). A replica that is behind shows none: it is not blind, but late.
    async fn blind(&self, server: &Server, since: u64) -> Option<String> {
        let ends = Instant::now() + self.options.log_patience;
        while !self.beats.seen_since(since) {
            if Instant::now() < ends {
                sleep(self.options.beat_every).await;
                continue;
            }
            if !self.shows(server, since).await {
                return None;
            }
            // Shown just now, perhaps: once more.
            sleep(self.options.log_patience).await;
            if !self.beats.seen_since(since) {
                let patience = self.options.log_patience;
                return Some(format!(
                    "the server's tables show a heartbeat that its log has not brought for {patience:?}"
                ));
            }
        }
        None
    }

    /// Whether the server's tables show a nonce written from `since` on.
    pub(super) async fn shows(&self, server: &Server, since: u64) -> bool {
        let (database, writer) = (server.database.clone(), self.beats.writer());
        let survey = bounded(self.options.attempt, async move { database.survey(writer).await }).await;
        let nonce = survey.ok().and_then(|survey| survey.beat).map(|(nonce, _)| nonce);
        nonce.is_some_and(|nonce| self.beats.is_since(nonce, since))
    }
}
