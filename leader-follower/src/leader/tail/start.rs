//! The start: from which position on the log is whole, and since when the cores are right (R8, R17).

use std::time::Duration;

use tao_schema::ids::ShardId;
use tao_schema::rows::EpochStart;
use tao_shard_store::log::{LogTail, Survey, TailError, TailErrorKind, TailStart};
use tokio::time::{Instant, sleep, timeout};

use super::call::{bounded, bounded_tail, unreachable};
use super::feed::Feed;
use super::servers::{Followed, Server};
use super::{GroupTail, TailState};

/// Between two looks for a nonce in the tables.
const LOOK: Duration = Duration::from_millis(10);

/// What ends the replay.
enum Until {
    /// A nonce that was written after the rows were read: everything that they show comes before it.
    Nonce(u64),
    /// No nonce can be had: the end of what the server had executed when the rows were read.
    Executed(tao_shard_store::log::LogPosition),
}

impl GroupTail {
    /// Opens the server's log some time back, and the group's shards when it has come to the present.
    ///
    /// 1. The log is open before the rows are read. It begins at a mark of the past: a position of the present may count
    ///    a transaction that nobody sees yet, and that would be missed for ever (H9).
    /// 2. A nonce that the rows show was acknowledged by the primary, and so is everything before it (R7).
    /// 3. A second nonce, written after that: when the log brings it, it has brought everything that the rows show.
    pub(super) async fn start(&self, server: Server) -> Result<Followed, TailError> {
        self.health.note(|facts| facts.state = TailState::Starting);
        self.metrics.following(false, server.region.is_some());
        let shards = self.begin();
        let (database, from) = (server.database.clone(), TailStart::Back(self.options.back));
        let mut tail =
            bounded_tail(self.options.attempt, async move { database.open_tail(from).await }).await?;
        let (survey, until) = self.prove(&server).await?;
        self.learn(&survey, &shards);
        let feed = Feed::new(tail.position());
        let proven = self.replay(&server, &mut *tail, &feed, &until).await?;
        self.open_all(&survey, &shards, proven);
        self.settle(&feed);
        self.health.moved(tail.position());
        Ok(Followed { server, tail, feed })
    }

    /// The shards that this log feeds, closed: those that no other log feeds yet and the topology has here, too.
    fn begin(&self) -> Vec<ShardId> {
        self.log_lost();
        for slot in self.routes.shards_of(self.id).into_iter().filter_map(|shard| self.shards.slot(shard)) {
            slot.handover.adopt(self.id);
        }
        let slots = self.shards.fed_by(self.id);
        let closed = slots.map(|slot| {
            self.shards.close(slot, false);
            slot.shard
        });
        closed.collect()
    }

    /// The rows of the start, and what the log must come to before they count.
    async fn prove(&self, server: &Server) -> Result<(Survey, Until), TailError> {
        let ends = Instant::now() + self.options.replica_patience;
        let first = self.beats.upcoming();
        self.beats.kick();
        loop {
            let (database, writer) = (server.database.clone(), self.beats.writer());
            let survey = bounded(self.options.attempt, async move { database.survey(writer).await })
                .await
                .map_err(unreachable)?;
            if survey.beat.is_some_and(|(nonce, _)| self.beats.is_since(nonce, first)) {
                let second = self.beats.upcoming();
                self.beats.kick();
                return Ok((survey, Until::Nonce(second)));
            }
            let failed = self.beats.failure(first);
            if failed.is_some() || Instant::now() >= ends {
                let why = failed.unwrap_or_else(|| "it is not applied here yet".to_owned());
                if self.is_primary(server) {
                    let message = format!("no heartbeat can be written on the primary: {why}");
                    return Err(TailError::new(TailErrorKind::Disconnected, message));
                }
                // A replica's log has a transaction before its tables show it: the rows are a start, of unknown age.
                tracing::warn!(host_group = %self.id, why, "started without a heartbeat of the primary");
                let database = server.database.clone();
                let executed = bounded(self.options.attempt, async move { database.executed().await });
                return Ok((survey, Until::Executed(executed.await.map_err(unreachable)?)));
            }
            sleep(LOOK).await;
        }
    }

    /// Histories first: what is replayed may be of an epoch that has ended.
    pub(super) fn learn(&self, survey: &Survey, shards: &[ShardId]) {
        for shard in shards {
            let of_shard = |(at, start): &(ShardId, EpochStart)| (at == shard).then_some(*start);
            let history: Vec<EpochStart> = survey.epochs.iter().filter_map(of_shard).collect();
            if let Some(slot) = self.shards.slot(*shard) {
                slot.core.with(|core| core.learn_history(&history));
            }
        }
    }

    /// Takes in the log's past. Answers whether it has brought a nonce that was written after the rows were read.
    async fn replay(
        &self,
        server: &Server,
        tail: &mut dyn LogTail,
        feed: &Feed,
        until: &Until,
    ) -> Result<bool, TailError> {
        let visible = !self.is_primary(server);
        let quiet = match until {
            Until::Nonce(_) => self.options.log_patience,
            // The end may have been passed without a word: positions of some servers say less than they have.
            Until::Executed(_) => self.options.attempt,
        };
        loop {
            match until {
                Until::Nonce(nonce) if self.beats.seen_since(*nonce) => return Ok(true),
                Until::Executed(executed) if tail.position().covers(executed) => return Ok(false),
                Until::Nonce(_) | Until::Executed(_) => {}
            }
            match timeout(quiet, tail.next()).await {
                Ok(events) => {
                    for event in events? {
                        self.take(feed, event, visible);
                    }
                    feed.moved(tail.position());
                }
                Err(_) => {
                    let Until::Nonce(nonce) = until else { return Ok(false) };
                    if self.shows(server, *nonce).await {
                        let why = format!(
                            "the server's tables show a heartbeat that its log has not brought for {quiet:?}"
                        );
                        self.alarm("blind", &why);
                        return Err(TailError::new(TailErrorKind::Disconnected, why));
                    }
                    if visible {
                        // Replication stopped on the way.
                        return Ok(false);
                    }
                    let why = format!("the primary's heartbeats have not come for {quiet:?}");
                    return Err(TailError::new(TailErrorKind::Disconnected, why));
                }
            }
        }
    }

    /// `proven`: everything that the rows show has been brought.
    fn open_all(&self, survey: &Survey, shards: &[ShardId], proven: bool) {
        let cluster = self.routes.cluster.load();
        for row in survey.rows.iter().filter(|row| row.state.readable() && shards.contains(&row.shard)) {
            let Some(slot) = self.shards.slot(row.shard) else { continue };
            let replayed = slot.follows();
            if !self.shards.opened(slot, row) && replayed && proven {
                let why =
                    format!("the log did not bring shard {} up to {}:{}", row.shard, row.epoch, row.seq);
                self.alarm("audit", &why);
            }
            if cluster.placement.host_group(row.shard).is_some_and(|(_, epoch)| epoch != row.epoch) {
                self.routes.stale_topology.notify_one();
            }
        }
    }
}
