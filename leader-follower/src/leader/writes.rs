//! Writes, from the caller's side of the lanes (R3, R4, R18a, R22).

use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{Position, Seq, ShardId};
use tao_schema::ops::{InverseState, WriteReply, WriteRequest};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardChange;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::write::{RequestKey, StoreOp, WriteUnit};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::hold::Needs;
use super::inverse::{Applied, Permit};
use super::units::{Translated, narrowed, translate};
use crate::core::Key;
use crate::fills::{Join, Waited};
use crate::lanes::{Class, Committed, Job};
use crate::ports::WriteAnswer;

/// A caller whose earlier attempt goes away joins again so often.
const ROUNDS: usize = 4;
/// The answer that an inverse is pending must still reach the caller: it is given this much before the deadline, or an
/// eighth of what is left.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);

/// A committed unit whose other sides are on their way.
struct Written {
    committed: Committed,
    carried: Vec<(ShardId, oneshot::Receiver<Applied>)>,
}

impl Inner {
    pub(super) async fn answer_write(
        self: &Arc<Self>,
        request: WriteRequest,
        deadline: Instant,
    ) -> Result<WriteAnswer> {
        self.schema.check_write(&request)?;
        for _ in 0..ROUNDS {
            let waiter = match self.writes.join(request.id) {
                Join::Lead(guard) => {
                    let result = self.order(request, deadline).await;
                    return match result {
                        Ok(answer) => {
                            let answer = Arc::new(answer);
                            guard.complete(Seq::ZERO, Arc::clone(&answer));
                            Ok(Arc::unwrap_or_clone(answer))
                        }
                        Err(error) => {
                            guard.fail(error.clone());
                            Err(error)
                        }
                    };
                }
                Join::Wait(waiter) => waiter,
                Join::Full(error) => return Err(error),
            };
            // The same request is under way already: its outcome is this one's, too (R3).
            match timeout_at(deadline, waiter.wait(Seq::ZERO)).await {
                Ok(Waited::Ready(answer)) => return Ok(replayed(&answer)),
                Ok(Waited::Failed(error)) => return Err(error),
                Ok(Waited::TooOld(_) | Waited::Abandoned) => {}
                Err(_) => return Err(unknown("an earlier attempt of this write is still under way")),
            }
        }
        Err(unknown("earlier attempts of this write keep going away"))
    }

    /// Commits through the shard's lane, then waits for the other sides; or leaves it to the master region.
    async fn order(self: &Arc<Self>, request: WriteRequest, deadline: Instant) -> Result<WriteAnswer> {
        let shard = self.schema.ordering_shard(&request)?;
        let slot = self.slot(shard)?;
        if !self.settled(&slot, Needs::Serving, deadline).await?.master {
            if request.forwarded && !planted(Bug::ForwardedForEver) {
                return Err(self.routes.not_master(shard));
            }
            return self.write_up(shard, request, deadline).await;
        }
        let together = |other| self.routes.together(shard, other);
        let Translated { ops, keys, pairs } = translate(&self.schema, request.ops, together)?;
        let permits = self.inverses.reserve(shard, pairs.len())?;
        let request = RequestKey { id: request.id, age: request.age };
        let written = self.submit(shard, Some(request), ops, permits, deadline)?.wait(deadline).await?;
        let mut answer = self.acknowledge(written, keys, &pairs, deadline).await;
        // Taken after the commit: not earlier than that.
        answer.reply.time = self.routes.group(shard).ok().and_then(|(group, _)| group.health.latest());
        Ok(answer)
    }

    /// Puts a unit into its lane. What follows a commit follows whether the caller still waits or not.
    fn submit(
        self: &Arc<Self>,
        shard: ShardId,
        request: Option<RequestKey>,
        ops: Vec<StoreOp>,
        permits: Vec<Permit>,
        deadline: Instant,
    ) -> Result<Submitted> {
        let (group, epoch) = self.routes.group(shard)?;
        let (sender, answer) = oneshot::channel();
        let inverses = Arc::clone(&self.inverses);
        let done = move |result: Result<Committed>| {
            let written = result.map(|mut committed| {
                let rows = std::mem::take(&mut committed.done.pending);
                let carry = |(row, permit): (tao_shard_store::store::PendingInverse, Permit)| {
                    (row.inverse.id1.shard(), inverses.carry(row, permit))
                };
                let carried = rows.into_iter().zip(permits).map(carry).collect();
                Written { committed, carried }
            });
            // Nobody may listen any more; the write is done all the same.
            let _ = sender.send(written);
        };
        // What has no request id is the other half of a pair: it has room of its own (R23).
        let class = if request.is_some() { Class::Client } else { Class::Inverse };
        let unit = WriteUnit { shard, epoch, request, ops };
        let ticket = group.lanes.submit(Job { unit, class, deadline, done: Box::new(done) })?;
        Ok(Submitted { ticket, answer })
    }

    async fn acknowledge(
        &self,
        written: Written,
        mut keys: Vec<Key>,
        pairs: &[ShardId],
        deadline: Instant,
    ) -> WriteAnswer {
        let Written { committed: Committed { done, changes }, carried } = written;
        keys.extend(done.outcomes.iter().filter_map(|outcome| outcome.id).map(Key::Object));
        let mut answer = Answer::new(&keys);
        answer.add(&done.positions, &changes);
        let mut pending = Vec::new();
        let until = self.wait_until(deadline);
        for (shard, applied) in carried {
            match timeout_at(until, applied).await {
                Ok(Ok(applied)) => answer.add(&[applied.position], &applied.changes),
                // Not in time, or left to the outbox.
                Ok(Err(_)) | Err(_) if planted(Bug::PendingInverseUnsaid) => {}
                Ok(Err(_)) | Err(_) => pending.push(shard),
            }
        }
        answer.positions.retain(|at| !pending.contains(&at.shard));
        if done.replayed {
            // What the first attempt left behind is in the outbox or done; its answer vouches for what it names. Of an
            // attempt that changed nothing, too: a deletion may have waited for the one before it.
            let unnamed = |shard: &ShardId| !answer.positions.iter().any(|at| at.shard == *shard);
            pending.extend(pairs.iter().copied().filter(unnamed));
            answer.changes.clear();
        }
        let reply = WriteReply {
            positions: answer.positions,
            outcomes: done.outcomes,
            inverse_pending: !pending.is_empty(),
            replayed: done.replayed,
            time: None,
        };
        WriteAnswer { reply, changes: answer.changes }
    }

    fn wait_until(&self, deadline: Instant) -> Instant {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        let margin = ANSWER_MARGIN.min(left / 8);
        now + (left - margin).min(self.inverses.longest_wait())
    }

    /// Inverses from another leader. One unit each, so that a poisoned one fails alone.
    pub(super) async fn answer_inverses(
        self: &Arc<Self>,
        states: Vec<InverseState>,
        deadline: Instant,
    ) -> Result<WriteAnswer> {
        let mut failed = None;
        let mut waiting = Vec::with_capacity(states.len());
        let mut keys = Vec::with_capacity(states.len());
        for InverseState { edge, value, origin } in states {
            let shard = edge.id1.shard();
            keys.push(Key::List(edge.list()));
            let op = StoreOp::InverseApply { edge, value, origin };
            // Never sent on: whoever carries it finds the master by a newer topology (R18).
            let submitted = if self.routes.is_master(shard) {
                self.submit(shard, None, vec![op], Vec::new(), deadline)
            } else {
                Err(self.routes.not_master(shard))
            };
            match submitted {
                Ok(submitted) => waiting.push(submitted),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let mut answer = Answer::new(&keys);
        let mut outcomes = Vec::with_capacity(waiting.len());
        for submitted in waiting {
            match submitted.wait(deadline).await {
                Ok(Written { committed, .. }) => {
                    answer.add(&committed.done.positions, &committed.changes);
                    outcomes.extend(committed.done.outcomes);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            // Those that were applied are applied: the caller may send all of them again.
            Some(error) => Err(error),
            None => {
                let positions = answer.positions;
                let reply =
                    WriteReply { positions, outcomes, inverse_pending: false, replayed: false, time: None };
                Ok(WriteAnswer { reply, changes: answer.changes })
            }
        }
    }
}

/// A unit in its lane, from where its caller stands.
struct Submitted {
    ticket: crate::lanes::Ticket,
    answer: oneshot::Receiver<Result<Written>>,
}

impl Submitted {
    /// Until the outcome or the deadline. "Nothing was done" is said only when it is certain (R4).
    async fn wait(self, deadline: Instant) -> Result<Written> {
        match timeout_at(deadline, self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unknown("the writer lane has ended")),
            Err(_) if self.ticket.cancel() => Err(Error::new(
                ErrorCode::DeadlineExceeded,
                "the deadline passed in the queue of writes; nothing was done",
            )),
            Err(_) => Err(unknown("the deadline passed while the write was being committed")),
        }
    }
}

/// Positions and changes of all shards that a write touched.
struct Answer<'a> {
    keys: &'a [Key],
    positions: Vec<Position>,
    /// In the order of each shard's log.
    changes: Vec<Arc<ShardChange>>,
}

impl<'a> Answer<'a> {
    const fn new(keys: &'a [Key]) -> Self {
        Self { keys, positions: Vec::new(), changes: Vec::new() }
    }

    fn add(&mut self, positions: &[Position], changes: &[Arc<ShardChange>]) {
        for position in positions {
            match self.positions.iter_mut().find(|known| known.shard == position.shard) {
                Some(known) => *known = (*known).max(*position),
                None => self.positions.push(*position),
            }
        }
        for change in changes {
            let known = |other: &Arc<ShardChange>| other.shard == change.shard && other.seq == change.seq;
            let own = narrowed(change, self.keys);
            // A write that changed nothing has no part in its transaction's change: what it was told is then kept as
            // a floor by whoever passes it on, as for a replay.
            if !own.items.is_empty() && !self.changes.iter().any(known) {
                self.changes.push(own);
            }
        }
        self.changes.sort_by_key(|change| (change.shard, change.epoch, change.seq));
    }
}

/// The answer of another attempt of the same request: what it changed is that one's to pass on.
fn replayed(answer: &WriteAnswer) -> WriteAnswer {
    let reply = WriteReply { replayed: true, ..answer.reply.clone() };
    WriteAnswer { reply, changes: Vec::new() }
}

fn unknown(why: &str) -> Error {
    Error::new(ErrorCode::OutcomeUnknown, format!("{why}: it may or may not take effect"))
}
