//! Reads: from memory if it may be believed and proves what is demanded, else one step up (R11, R15, R16, R18-R21).

use tao_schema::ids::{Epoch, ListKey, ObjectId};
use tao_schema::limits::MAX_QUERY_LIMIT;
use tao_schema::ops::{Explain, FillKey, ReadOp, ReadReply, ReadReplyRef, ReadRequest, Source};
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use self::demand::{Held, Proof};
use super::age::micros;
use super::metrics::ReadResult;
use super::shards::ShardSlot;
use super::shared::{Shared, no_such_shard};
use crate::core::{self, Key, Lookup, MissReason, Serve};

mod demand;
mod up;

/// Looks at memory until one was not disturbed by a heartbeat; those come a few times a second.
const LOOKS: usize = 3;

/// Reads whose entries are fetched together, at most.
const TOGETHER: usize = 64;
/// Of fewer, each waits about as long as for itself.
const WORTH_IT: usize = 3;

/// What memory says to a read.
enum Look<R> {
    Done(Result<R>),
    Miss(Miss),
}

/// Why memory does not answer, and what to do about it.
#[derive(Clone, Copy, Debug)]
struct Miss {
    reason: ReadResult,
    step: Step,
    /// The shard's epoch when memory was asked; zero if memory has no say in the answer.
    epoch: Epoch,
}

/// The way up.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Bring the entry into memory.
    Fill(FillKey),
    /// Let the leader answer; memory can't hold it, or can't prove what the read demands of it.
    Through,
}

impl Miss {
    const fn through(reason: ReadResult) -> Self {
        Self { reason, step: Step::Through, epoch: Epoch(0) }
    }
}

impl Shared {
    /// See [`super::FollowerHandle::expect`].
    #[inline]
    pub(super) fn expect<'r>(&self, reads: impl Iterator<Item = &'r ReadOp>) {
        let mut keys = [Key::Object(ObjectId(0)); TOGETHER];
        let mut number = 0;
        for op in reads {
            keys[number] = key_of(op);
            number += 1;
            if number == TOGETHER {
                self.entries.touch(&keys);
                number = 0;
            }
        }
        if number >= WORTH_IT {
            self.entries.touch(&keys[..number]);
        }
    }

    /// The synchronous way: a hit, or a refusal. Everything else is `None` and goes to [`Self::read`]. A hit is shown where
    /// it lies.
    #[inline]
    pub(super) fn try_show<R>(
        &self,
        request: &ReadRequest,
        show: impl FnOnce(ReadReplyRef<'_>) -> R,
    ) -> Option<Result<R>> {
        match self.look(request, show) {
            Look::Done(result) => {
                self.count_done(request, &result);
                Some(result)
            }
            Look::Miss(_) => None,
        }
    }

    pub(super) async fn read(&self, request: ReadRequest, deadline: Instant) -> Result<ReadReply> {
        let miss = match self.look(&request, |reply| reply.into_owned()) {
            Look::Done(result) => {
                self.count_done(&request, &result);
                return result;
            }
            Look::Miss(miss) => miss,
        };
        self.metrics.read(&request.op, miss.reason);
        if request.demand.at_least.is_some() {
            self.metrics.token_reads_up.inc();
        }
        self.check_running()?;
        let shard = request.op.shard();
        let slot = self.touch(shard)?;
        self.shards.used(slot);
        self.shards.want(shard, slot);
        tokio::time::timeout_at(deadline, self.climb_until(slot, &request, miss, deadline))
            .await
            .unwrap_or_else(|_| Err(too_late(&request.op)))
    }

    /// Up, again for a while when no leader can answer: while another region takes over, nobody vouches for what the
    /// next topology will say (R18).
    async fn climb_until(
        &self,
        slot: &ShardSlot,
        request: &ReadRequest,
        mut miss: Miss,
        deadline: Instant,
    ) -> Result<ReadReply> {
        let mut patience = self.patience(deadline);
        loop {
            match self.climb(slot, request, miss, deadline).await {
                Err(error) if self.waits(&error, &mut patience).await => {}
                done => return done,
            }
            // The stream may have brought the new epoch meanwhile: then memory answers, or knows better what to ask.
            match self.look(request, |reply| reply.into_owned()) {
                Look::Done(result) => return result,
                Look::Miss(again) => miss = again,
            }
        }
    }

    #[inline]
    fn count_done<R>(&self, request: &ReadRequest, result: &Result<R>) {
        let hit = result.is_ok();
        self.metrics.read(&request.op, if hit { ReadResult::Hit } else { ReadResult::Refused });
        if hit && request.demand.at_least.is_some() {
            self.metrics.token_reads_local.inc();
        }
    }

    #[inline]
    fn look<R>(&self, request: &ReadRequest, show: impl FnOnce(ReadReplyRef<'_>) -> R) -> Look<R> {
        let (op, demand) = (&request.op, &request.demand);
        if let Err(error) = self.schema.check_read(op) {
            return Look::Done(Err(error));
        }
        let shard = op.shard();
        let Some(slot) = self.shards.get(shard) else {
            if !self.shards.exists(shard) {
                return Look::Done(Err(no_such_shard(shard)));
            }
            return Look::Miss(Miss::through(ReadResult::NotContinuous));
        };
        if let Some(reason) = demand::not_from_here(demand.freshness) {
            return Look::Miss(Miss::through(reason));
        }
        let key = key_of(op);
        for _ in 0..LOOKS {
            let known = slot.known.look();
            let found = slot.core.lookup(&*self.entries, &key, demand.at_least);
            if !slot.known.stands(known) {
                continue;
            }
            // After the arrival, and after the entry was read: what it shows was committed before (R20, R21, H23).
            let now = micros(self.clock.now());
            return self.judge(slot, request, found, Held { known, now }, show);
        }
        Look::Miss(Miss::through(ReadResult::Aged))
    }

    /// Whether what memory has is an answer to this read.
    #[inline]
    fn judge<R>(
        &self,
        slot: &ShardSlot,
        request: &ReadRequest,
        found: Lookup,
        held: Held,
        show: impl FnOnce(ReadReplyRef<'_>) -> R,
    ) -> Look<R> {
        let op = &request.op;
        let (entry, as_of) = match found {
            Lookup::Hit { entry, as_of } => (entry, as_of),
            Lookup::Miss(reason) => {
                return match self.missed(slot, request, reason, held) {
                    Ok(miss) => Look::Miss(miss),
                    Err(error) => Look::Done(Err(error)),
                };
            }
        };
        match self.proof(slot, &request.demand, held) {
            Proof::Proved => {}
            Proof::Up(reason) => return Look::Miss(Miss::through(reason)),
            Proof::Lost(error) => return Look::Done(Err(error)),
        }
        match core::show(&entry, op, self.query_limit(op)) {
            Serve::Answer(answer) => {
                self.shards.used(slot);
                let explain = request.explain.then(|| Explain {
                    source: Source::FollowerCache,
                    path: vec![self.node.clone()],
                    reason: String::new(),
                    rule: self.rule(slot, &request.demand, held, as_of),
                });
                let time = held.known.not_later(held.now);
                Look::Done(Ok(show(ReadReplyRef { position: as_of, answer, explain, time })))
            }
            Serve::NeedEdges(edges) => {
                let step = Step::Fill(deeper(key_of(op), edges));
                Look::Miss(Miss { reason: ReadResult::TooDeep, step, epoch: as_of.epoch })
            }
            Serve::Through => Look::Miss(Miss::through(ReadResult::TooDeep)),
        }
    }

    /// There is no entry that the read could take. One is brought here only if, with it, memory would prove the rest of
    /// the demand: a fill says nothing about time or lineage, only what it is right at.
    #[cold]
    fn missed(
        &self,
        slot: &ShardSlot,
        request: &ReadRequest,
        reason: MissReason,
        held: Held,
    ) -> Result<Miss> {
        let reason = match reason {
            MissReason::NoStream => return Ok(Miss::through(ReadResult::NotContinuous)),
            MissReason::OtherEpoch { .. } => {
                self.ask_for_topology();
                return Ok(Miss::through(ReadResult::OtherEpoch));
            }
            MissReason::Lost { .. } => {
                let token = request.demand.at_least;
                return match self.proof_of_lineage(slot, token.as_slice()) {
                    Proof::Lost(error) => Err(error),
                    Proof::Proved | Proof::Up(_) => Ok(Miss::through(ReadResult::OtherEpoch)),
                };
            }
            MissReason::Absent => ReadResult::Absent,
            MissReason::Stale { .. } => ReadResult::TooOld,
        };
        let epoch = slot.core.position().epoch;
        if !slot.known.stands(held.known) {
            return Ok(Miss::through(ReadResult::Aged));
        }
        match self.proof(slot, &request.demand, held) {
            Proof::Proved => Ok(Miss { reason, step: Step::Fill(self.first_fill(&request.op)), epoch }),
            Proof::Up(reason) => Ok(Miss::through(reason)),
            Proof::Lost(error) => Err(error),
        }
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

fn too_late(op: &ReadOp) -> Error {
    let message = format!("{} on shard {} ran out of its time at the follower", op.name(), op.shard());
    Error::new(ErrorCode::DeadlineExceeded, message)
}
