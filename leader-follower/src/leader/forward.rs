//! Calls that this region can't answer: to the leaders of the shard's master region (R15, R18, R18a).
//!
//! A call is sent on once: it is marked, and a leader that is not the master refuses it. Two leaders that take each
//! other for the master find out at once (H33).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::ShardId;
use tao_schema::ops::{FillReply, FillRequest, ReadReply, ReadRequest, WriteRequest};
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::units::{Translated, translate};
use crate::core::{Answered, Key, key_of};
use crate::ports::{LeaderPeer, WriteAnswer};

/// Leaders that one call is tried at.
const TRIES: usize = 2;
/// An answer must still come back to the caller: it is given this much before the deadline, or an eighth of what is
/// left.
const MARGIN: Duration = Duration::from_millis(50);

impl Inner {
    /// The whole read, by the master region.
    pub(super) async fn read_up(
        &self,
        request: &ReadRequest,
        reason: &'static str,
        deadline: Instant,
    ) -> Result<ReadReply> {
        self.metrics.forwarded("read", reason);
        let request = ReadRequest { forwarded: true, ..request.clone() };
        let ask = |peer: Arc<dyn LeaderPeer>, until| {
            let request = request.clone();
            async move { peer.read(request, until).await }
        };
        let mut reply = self.ask_up(request.op.shard(), deadline, ask).await?;
        if let Some(explain) = &mut reply.explain {
            explain.path.insert(0, self.routes.name.clone());
            reason.clone_into(&mut explain.reason);
        }
        Ok(reply)
    }

    /// One entry, from the master region.
    pub(super) async fn fill_up(
        &self,
        request: FillRequest,
        reason: &'static str,
        deadline: Instant,
    ) -> Result<FillReply> {
        self.metrics.forwarded("fill", reason);
        let request = FillRequest { forwarded: true, ..request };
        let ask = |peer: Arc<dyn LeaderPeer>, until| {
            let request = request.clone();
            async move { peer.fill(request, until).await }
        };
        self.ask_up(request.key.shard(), deadline, ask).await
    }

    async fn ask_up<T, C>(
        &self,
        shard: ShardId,
        deadline: Instant,
        call: impl Fn(Arc<dyn LeaderPeer>, Instant) -> C,
    ) -> Result<T>
    where
        C: Future<Output = Result<T>>,
    {
        let _permit = self.forward_permit()?;
        let ends = before(deadline);
        let mut last = None;
        let peers = self.routes.up(shard);
        let tries = peers.len().min(TRIES);
        for (at, peer) in peers.into_iter().take(TRIES).enumerate() {
            let until = share(ends, tries - at);
            let name = peer.name().to_owned();
            let late = || Err(Error::unavailable(format!("leader {name} did not answer in time")));
            match timeout_at(until, call(peer, until)).await.unwrap_or_else(|_| late()) {
                Ok(reply) => return Ok(reply),
                Err(error) if matches!(error.code, ErrorCode::Unavailable | ErrorCode::DeadlineExceeded) => {
                    last = Some(error);
                }
                Err(error) => {
                    self.heard(&error);
                    return Err(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| nobody(shard)))
    }

    /// A write, ordered by the master region; then this node's memory knows it, too.
    ///
    /// A second leader is asked, with the same request id, when nothing was done or when it is not known what was (R3).
    /// Once an attempt's outcome is unknown, a later failure does not make it known (R4).
    pub(super) async fn write_up(
        &self,
        shard: ShardId,
        request: WriteRequest,
        deadline: Instant,
    ) -> Result<WriteAnswer> {
        self.metrics.forwarded("write", "not master");
        let _permit = self.forward_permit()?;
        let (began, ends) = (Instant::now(), before(deadline));
        let (mut unknown, mut last) = (None, None);
        let peers = self.routes.up(shard);
        let tries = peers.len().min(TRIES);
        for (at, peer) in peers.into_iter().take(TRIES).enumerate() {
            let until = share(ends, tries - at);
            // Honest, so that a retry that comes too late to be recognised is refused (R3).
            let age = request.age.saturating_add(began.elapsed());
            let sent = WriteRequest { age, forwarded: true, ..request.clone() };
            let answered = timeout_at(until, peer.write(sent, until)).await;
            let error = match answered.unwrap_or_else(|_| Err(unanswered(peer.name(), &request))) {
                Ok(answer) => {
                    if let Err(error) = self.note(&request, &answer) {
                        // It has happened all the same; the master's graph schema knows more than this node's.
                        tracing::error!(%error, write = %request.id, "a write that happened can't be noted");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.heard(&error);
            let again = matches!(error.code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown);
            if error.code == ErrorCode::OutcomeUnknown {
                unknown.get_or_insert_with(|| error.clone());
            }
            last = Some(error);
            if !again {
                break;
            }
        }
        Err(unknown.or(last).unwrap_or_else(|| nobody(shard)))
    }

    fn forward_permit(&self) -> Result<SemaphorePermit<'_>> {
        self.forwards.try_acquire().map_err(|_| {
            let message = format!(
                "{} calls are on their way to other regions, that is the limit: try again later",
                self.options.forwards
            );
            Error::new(ErrorCode::Overloaded, message)
        })
    }

    /// Whoever says that it is not the master knows another topology: one of us is behind.
    fn heard(&self, error: &Error) {
        if error.code == ErrorCode::NotOwner {
            self.routes.stale_topology.notify_one();
        }
    }

    /// Makes this node's next answers know the write: by its changes where they came, else by floors (R15, R18a). Key
    /// by key: an operation that found nothing to do has no part in the change of its neighbours, and what it was told
    /// holds too.
    fn note(&self, request: &WriteRequest, answer: &WriteAnswer) -> Result<()> {
        let mut applied: Vec<Key> = Vec::with_capacity(answer.changes.len());
        for change in &answer.changes {
            let Some(slot) = self.shards.slot(change.shard) else { continue };
            let entries = self.shards.entries();
            if slot.core.with(|core| core.on_answer(change, entries)) == Answered::Applied {
                applied.extend(change.items.iter().map(key_of));
            }
        }
        let Translated { mut keys, .. } = translate(&self.schema, request.ops.clone(), |_| None)?;
        keys.extend(answer.reply.outcomes.iter().filter_map(|outcome| outcome.id).map(Key::Object));
        for key in keys.into_iter().filter(|key| !applied.contains(key)) {
            let position = answer.reply.positions.iter().find(|position| position.shard == key.shard());
            if let Some(position) = position
                && let Some(slot) = self.shards.slot(position.shard)
            {
                // Of an epoch that the log has not told of yet, too: the core keeps it until then.
                slot.core.with(|core| core.promise(key, *position, self.shards.entries()));
            }
        }
        Ok(())
    }
}

/// Timeouts nest: whoever asked must still get the answer.
fn before(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - MARGIN.min(left / 8)
}

/// When an attempt ends that has `tries - 1` others behind it: a leader that does not answer must leave time for one
/// that does.
fn share(ends: Instant, tries: usize) -> Instant {
    let now = Instant::now();
    let left = ends.saturating_duration_since(now);
    if tries > 1 { now + left * 2 / 3 } else { ends }
}

fn unanswered(leader: &str, request: &WriteRequest) -> Error {
    let message = format!(
        "leader {leader} did not answer write {} in time: it may or may not have happened; retry with the same id",
        request.id
    );
    Error::new(ErrorCode::OutcomeUnknown, message)
}

fn nobody(shard: ShardId) -> Error {
    Error::unavailable(format!("no leader of shard {shard} is known in its master region"))
}
