//! Reads: from memory if it may be believed, else one step up (R11, R15, R16, R18, R21).

use std::future::Future;
use std::sync::Arc;

use tao_schema::ids::{Epoch, ListKey, Position, Seq, ShardId};
use tao_schema::limits::MAX_QUERY_LIMIT;
use tao_schema::ops::{Answer, Demand, Explain, FillKey, ReadOp, ReadReply, ReadRequest, Source};
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use super::fills::Fill;
use super::leaders::Leader;
use super::metrics::ReadResult;
use super::shards::ShardSlot;
use super::shared::{Shared, no_such_shard};
use crate::core::{Key, Lookup, MissReason, Serve, serve};

/// Fills that one read asks for at most: the first, a deeper one, and one more when a shared one was too old (R18).
const MAX_FILLS: usize = 3;
/// Of a hit.
const MEMORY: Origin<'static> = Origin { source: Source::FollowerCache, leader: None, reason: "" };

/// What memory says to a read.
enum Look {
    Done(Result<ReadReply>),
    Miss(Miss),
}

/// Why memory does not answer, and what to do about it.
#[derive(Clone, Copy, Debug)]
struct Miss {
    reason: ReadResult,
    step: Step,
}

/// Where an answer comes from, for `Explain`.
struct Origin<'a> {
    source: Source,
    /// The leader that brought it.
    leader: Option<&'a str>,
    /// Why memory did not answer.
    reason: &'a str,
}

/// The way up.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Bring the entry into memory.
    Fill(FillKey),
    /// Let the leader answer; memory can't hold or can't trust it.
    Through,
}

impl Shared {
    /// The synchronous way: a hit, or a refusal. Everything else is `None` and goes to [`Self::read`].
    #[inline]
    pub(super) fn try_read(&self, request: &ReadRequest) -> Option<Result<ReadReply>> {
        match self.look(request) {
            Look::Done(result) => {
                self.count_done(&request.op, &result);
                Some(result)
            }
            Look::Miss(_) => None,
        }
    }

    pub(super) async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        let miss = match self.look(&request) {
            Look::Done(result) => {
                self.count_done(&request.op, &result);
                return result;
            }
            Look::Miss(miss) => miss,
        };
        self.metrics.read(&request.op, miss.reason);
        self.check_running()?;
        let shard = request.op.shard();
        let slot = self.touch(shard)?;
        self.shards.used(slot);
        self.shards.want(shard, slot);
        tokio::time::timeout_at(deadline, self.climb(slot, &request, miss, deadline))
            .await
            .unwrap_or_else(|_| Err(too_late(&request.op)))
    }

    #[inline]
    fn count_done(&self, op: &ReadOp, result: &Result<ReadReply>) {
        self.metrics.read(op, if result.is_ok() { ReadResult::Hit } else { ReadResult::Refused });
    }

    #[inline]
    fn look(&self, request: &ReadRequest) -> Look {
        let op = &request.op;
        if let Err(error) = self.schema.check_read(op) {
            return Look::Done(Err(error));
        }
        let shard = op.shard();
        let Some(slot) = self.shards.get(shard) else {
            if !self.shards.exists(shard) {
                return Look::Done(Err(no_such_shard(shard)));
            }
            return Look::Miss(Miss { reason: ReadResult::NotContinuous, step: Step::Through });
        };
        let key = key_of(op);
        match slot.core.lookup(&*self.entries, &key, request.demand.at_least) {
            Lookup::Hit { entry, as_of } => match serve(&entry, op, self.query_limit(op)) {
                Serve::Answer(answer) => {
                    self.shards.used(slot);
                    Look::Done(Ok(self.reply(request, answer, as_of, MEMORY)))
                }
                Serve::NeedEdges(edges) => {
                    let step = Step::Fill(deeper(key, edges));
                    Look::Miss(Miss { reason: ReadResult::TooDeep, step })
                }
                Serve::Through => Look::Miss(Miss { reason: ReadResult::TooDeep, step: Step::Through }),
            },
            Lookup::Miss(reason) => Look::Miss(self.miss(op, reason)),
        }
    }

    fn miss(&self, op: &ReadOp, reason: MissReason) -> Miss {
        let (reason, fill) = match reason {
            MissReason::NoStream => (ReadResult::NotContinuous, false),
            MissReason::Absent => (ReadResult::Absent, true),
            MissReason::Stale { .. } => (ReadResult::TooOld, true),
            MissReason::OtherEpoch { .. } | MissReason::Lost { .. } => {
                self.ask_for_topology();
                (ReadResult::OtherEpoch, false)
            }
        };
        let step = if fill { Step::Fill(self.first_fill(op)) } else { Step::Through };
        Miss { reason, step }
    }

    async fn climb(
        &self,
        slot: &ShardSlot,
        request: &ReadRequest,
        miss: Miss,
        deadline: Instant,
    ) -> Result<ReadReply> {
        let op = &request.op;
        let reason = miss.reason.name();
        let mut step = miss.step;
        for _ in 0..MAX_FILLS {
            let Step::Fill(key) = step else { break };
            let need = self.need(slot, request);
            let filled = match self.fill(slot, key, need, deadline).await {
                // The floor is of an epoch that has lost it; the user asked for less.
                Err(error) if error.code == ErrorCode::LostEpoch && need != request.demand.at_least => break,
                filled => filled?,
            };
            match filled {
                Fill::Ready(filled) => match serve(&filled.entry, op, self.query_limit(op)) {
                    Serve::Answer(answer) => {
                        let from = Origin { source: filled.source, leader: Some(&*filled.leader), reason };
                        return Ok(self.reply(request, answer, filled.position, from));
                    }
                    // It was asked for, and is not there: edges so large that a fill stops before them.
                    Serve::NeedEdges(edges) if asked(key) >= edges => step = Step::Through,
                    Serve::NeedEdges(edges) => step = Step::Fill(deeper(key_of(op), edges)),
                    Serve::Through => step = Step::Through,
                },
                // Another caller's fill did not satisfy this token: one more, then up (R18).
                Fill::TooOld => {}
                Fill::Unusable => step = Step::Through,
            }
        }
        self.through(slot, request, reason, deadline).await
    }

    /// What an answer must at least know: the read's token and the key's floor (R15).
    fn need(&self, slot: &ShardSlot, request: &ReadRequest) -> Option<Position> {
        let shard = request.op.shard();
        let seq = slot.core.floor(&key_of(&request.op));
        let known = slot.core.position().epoch;
        let epoch = if known == Epoch(0) { self.leaders.epoch(shard) } else { Some(known) };
        match (request.demand.at_least, epoch) {
            // Of another epoch than the floor: only the leader knows whether that one reached it, or lost it (R19), so
            // it must see the token itself. What a user was promised goes before what this node has shown to anybody.
            (Some(token), epoch) if token.seq >= seq || epoch != Some(token.epoch) => Some(token),
            (_, Some(epoch)) if seq > Seq::ZERO => Some(Position { shard, epoch, seq }),
            (token, _) => token,
        }
    }

    /// Asks the leader for the answer itself. Nothing stays in memory but the promise not to go back behind it.
    async fn through(
        &self,
        slot: &ShardSlot,
        request: &ReadRequest,
        reason: &str,
        deadline: Instant,
    ) -> Result<ReadReply> {
        self.metrics.reads_through.inc();
        let need = self.need(slot, request);
        let (mut reply, leader) = match self.ask_read(request, need, deadline).await {
            // The floor is of an epoch that has lost it; the user asked for less.
            Err(error) if error.code == ErrorCode::LostEpoch && need != request.demand.at_least => {
                self.ask_read(request, request.demand.at_least, deadline).await?
            }
            answered => answered?,
        };
        if let Some(seq) = shown(&reply) {
            self.raise_floor(slot, key_of(&request.op), seq);
        }
        if request.explain {
            let above = reply.explain.take();
            let source = above.as_ref().map_or(Source::LeaderCache, |above| above.source);
            let names = above.map(|above| above.path).filter(|path| !path.is_empty());
            let mut path = vec![self.node.clone()];
            path.extend(names.unwrap_or_else(|| vec![leader.name.to_string()]));
            reply.explain = Some(Explain { source, path, reason: reason.to_owned(), rule: String::new() });
        }
        Ok(reply)
    }

    async fn ask_read(
        &self,
        request: &ReadRequest,
        need: Option<Position>,
        deadline: Instant,
    ) -> Result<(ReadReply, Arc<Leader>)> {
        let up =
            ReadRequest { demand: Demand { at_least: need, ..request.demand.clone() }, ..request.clone() };
        let call = |leader: Arc<Leader>| {
            let up = up.clone();
            async move { leader.peer.read(up, deadline).await }
        };
        let (reply, leader) = self.ask(request.op.shard(), call).await?;
        check_fresh(reply.position, need, &leader)?;
        Ok((reply, leader))
    }

    /// A call that may be repeated, at the leaders of `shard`, one after the other while nothing was done.
    pub(super) async fn ask<T, F>(
        &self,
        shard: ShardId,
        call: impl Fn(Arc<Leader>) -> F,
    ) -> Result<(T, Arc<Leader>)>
    where
        F: Future<Output = Result<T>>,
    {
        let mut avoid = Vec::new();
        let mut last = None;
        for _ in 0..self.options.attempts {
            let leader = match self.leaders.first(shard, &avoid) {
                Ok(leader) => leader,
                Err(none) => return Err(last.unwrap_or(none)),
            };
            let permit = leader.read_permit()?;
            let result = call(Arc::clone(&leader)).await;
            drop(permit);
            self.leaders.observe(&leader, &result);
            match result {
                Ok(value) => return Ok((value, leader)),
                Err(error) => {
                    match error.code {
                        ErrorCode::NotOwner => self.ask_for_topology(),
                        ErrorCode::Unavailable => {}
                        _ => return Err(error),
                    }
                    avoid.push(Arc::clone(&leader.name));
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("a call was tried at no leader")))
    }

    #[inline]
    fn reply(
        &self,
        request: &ReadRequest,
        answer: Answer,
        position: Position,
        from: Origin<'_>,
    ) -> ReadReply {
        let explain = request.explain.then(|| Explain {
            source: from.source,
            path: std::iter::once(&*self.node).chain(from.leader).map(str::to_owned).collect(),
            reason: from.reason.to_owned(),
            rule: String::new(),
        });
        ReadReply { position, answer, explain, time: None }
    }

    #[inline]
    fn query_limit(&self, op: &ReadOp) -> u32 {
        list_of(op)
            .and_then(|list| self.schema.assoc_type(list.atype))
            .map_or(MAX_QUERY_LIMIT, |def| def.query_limit)
    }

    /// What the first fill of an absent entry asks for.
    fn first_fill(&self, op: &ReadOp) -> FillKey {
        let usual = self.options.list_fill_edges;
        let edges = match op {
            ReadOp::ObjectGet(id) => return FillKey::Object(*id),
            ReadOp::AssocRange { pos, limit, .. } => usual.max(pos.saturating_add(*limit)),
            ReadOp::AssocTimeRange { limit, .. } => usual.max(*limit),
            // A list is short most of the time: then its edges come with its count, and answer the next reads, too.
            ReadOp::AssocGet { .. } | ReadOp::AssocCount(_) => usual,
        };
        deeper(key_of(op), edges.min(self.query_limit(op)))
    }
}

/// The cache key that answers an operation.
#[inline]
const fn key_of(op: &ReadOp) -> Key {
    match op {
        ReadOp::ObjectGet(id) => Key::Object(*id),
        ReadOp::AssocGet { list, .. }
        | ReadOp::AssocCount(list)
        | ReadOp::AssocRange { list, .. }
        | ReadOp::AssocTimeRange { list, .. } => Key::List(*list),
    }
}

const fn list_of(op: &ReadOp) -> Option<ListKey> {
    match key_of(op) {
        Key::Object(_) => None,
        Key::List(list) => Some(list),
    }
}

/// A fill of `edges` edges. Rounded up, so that callers who need about the same share one fill.
fn deeper(key: Key, edges: u32) -> FillKey {
    match key {
        Key::Object(id) => FillKey::Object(id),
        Key::List(key) => {
            let edges = edges.checked_next_power_of_two().unwrap_or(edges).min(MAX_QUERY_LIMIT.max(edges));
            FillKey::List { key, edges }
        }
    }
}

/// How many edges a fill asks for.
const fn asked(key: FillKey) -> u32 {
    match key {
        FillKey::Object(_) => 0,
        FillKey::List { edges, .. } => edges,
    }
}

/// The version that a reply has shown. A list that was never written has none: nothing is older.
fn shown(reply: &ReadReply) -> Option<Seq> {
    match &reply.answer {
        Answer::Object(Some((_, row))) => Some(row.version),
        // Absence has no version: it counts by its position (R13).
        Answer::Object(None) => Some(reply.position.seq),
        Answer::Edges { version, .. } | Answer::Count { version, .. } => {
            (*version > Seq::ZERO).then_some(*version)
        }
    }
}

/// A token is a promise to a user: it is checked even against a leader that should have kept it.
fn check_fresh(position: Position, need: Option<Position>, leader: &Leader) -> Result<()> {
    match need {
        Some(need) if position.seq < need.seq => Err(Error::unavailable(format!(
            "leader {} answered at {position}, but {need} is needed: try again",
            leader.name
        ))),
        _ => Ok(()),
    }
}

fn too_late(op: &ReadOp) -> Error {
    let message = format!("{} on shard {} ran out of its time at the follower", op.name(), op.shard());
    Error::new(ErrorCode::DeadlineExceeded, message)
}
