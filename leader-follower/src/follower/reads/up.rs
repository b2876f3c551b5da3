//! One step up: fills, and reads that a leader answers (R12, R15, R18, R19).

use std::future::Future;
use std::sync::Arc;

use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::ops::{Answer, Demand, Explain, FillKey, Freshness, ReadReply, ReadRequest, Source};
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use super::demand::Proof;
use super::{Miss, Step, deeper, key_of};
use crate::core::{Serve, serve};
use crate::follower::age::micros;
use crate::follower::fills::Fill;
use crate::follower::leaders::Leader;
use crate::follower::metrics::ReadResult;
use crate::follower::shards::ShardSlot;
use crate::follower::shared::{FilledEntry, Shared};

/// Fills that one read asks for at most: the first, a deeper one, and one more when a shared one was too old (R18).
const MAX_FILLS: usize = 3;

impl Shared {
    /// What memory had not, or could not prove.
    pub(super) async fn climb(
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
                        match self.proof_of_fill(slot, &request.demand, &filled, miss.epoch) {
                            Proof::Proved => {
                                return Ok(self.filled_reply(slot, request, answer, &filled, (reason, need)));
                            }
                            Proof::Up(_) => step = Step::Through,
                            Proof::Lost(error) => return Err(error),
                        }
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

    /// Whether what memory proved to the read, when it came, is still true of the fill.
    ///
    /// The epochs since may have lost what a token stands for. The age needs no other proof than memory's: the fill
    /// knows all of the key that memory knew then, for that is the key's floor. But it was the age of another lineage
    /// if the epoch has changed meanwhile.
    fn proof_of_fill(&self, slot: &ShardSlot, demand: &Demand, filled: &FilledEntry, epoch: Epoch) -> Proof {
        let of_time = demand.freshness != Freshness::Any || demand.not_before.is_some();
        if of_time && filled.position.epoch != epoch {
            return Proof::Up(ReadResult::OtherEpoch);
        }
        let token = demand.at_least.filter(|token| token.epoch != filled.position.epoch);
        match self.proof_of_lineage(slot, token.as_slice()) {
            Proof::Proved => self.proof_of_lineage(slot, &demand.lineage),
            other => other,
        }
    }

    /// What an answer must at least know: the read's token and the key's floor (R15).
    fn need(&self, slot: &ShardSlot, request: &ReadRequest) -> Option<Position> {
        let floor = slot.core.need(&key_of(&request.op));
        // A shard that was never subscribed, and never shown, has a floor of no epoch, and it is zero.
        let floor = (floor.seq > Seq::ZERO).then_some(floor);
        match (request.demand.at_least, floor) {
            (Some(token), Some(floor)) if token.epoch == floor.epoch || self.contains(slot, token) => {
                Some(Position { seq: token.seq.max(floor.seq), ..floor })
            }
            // Of another epoch than the floor: only the leader knows whether that one reached it, or lost it (R19), so
            // it must see the token itself. What a user was promised goes before what this node has shown to anybody.
            (Some(token), _) => Some(token),
            (None, floor) => floor,
        }
    }

    /// Whether the token stands in the history that this node knows.
    fn contains(&self, slot: &ShardSlot, token: Position) -> bool {
        slot.core.check_lineage(&[token]).is_ok()
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
        let raised = need != request.demand.at_least;
        let (mut reply, leader) = match self.ask_read(request, need, deadline).await {
            // The floor is of an epoch that has lost it; the user asked for less.
            Err(error) if error.code == ErrorCode::LostEpoch && raised => {
                self.ask_read(request, request.demand.at_least, deadline).await?
            }
            answered => answered?,
        };
        if let Some(seq) = shown(&reply) {
            self.has_shown(slot, key_of(&request.op), Position { seq, ..reply.position });
        }
        if request.explain {
            let above = reply.explain.take();
            let source = above.as_ref().map_or(Source::LeaderCache, |above| above.source);
            let (names, rule) = above.map(|above| (above.path, above.rule)).unwrap_or_default();
            let mut path = vec![self.node.clone()];
            if names.is_empty() {
                path.push(leader.name.to_string());
            }
            path.extend(names);
            reply.explain = Some(Explain { source, path, reason: reason.to_owned(), rule });
        }
        Ok(reply)
    }

    async fn ask_read(
        &self,
        request: &ReadRequest,
        need: Option<Position>,
        deadline: Instant,
    ) -> Result<(ReadReply, Arc<Leader>)> {
        let mut demand = request.demand.clone();
        // A token of an earlier epoch, raised to what this node has shown since: the answer must still contain it.
        demand
            .lineage
            .extend(demand.at_least.filter(|token| need.is_some_and(|need| need.epoch > token.epoch)));
        demand.at_least = need;
        let up = ReadRequest { demand, ..request.clone() };
        let call = |leader: Arc<Leader>| {
            let up = up.clone();
            async move { leader.peer.read(up, deadline).await }
        };
        let (reply, leader) = self.ask(request.op.shard(), call).await?;
        check_fresh(reply.position, need, &leader)?;
        Ok((reply, leader))
    }

    /// A call that may be repeated, at the leaders of `shard`, one after the other while nothing was done.
    pub(in crate::follower) async fn ask<T, F>(
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

    /// The answer that a fill holds.
    fn filled_reply(
        &self,
        slot: &ShardSlot,
        request: &ReadRequest,
        answer: Answer,
        filled: &FilledEntry,
        (reason, need): (&str, Option<Position>),
    ) -> ReadReply {
        let explain = request.explain.then(|| Explain {
            source: filled.source,
            path: vec![self.node.clone(), filled.leader.to_string()],
            reason: reason.to_owned(),
            rule: need.map_or_else(
                || format!("R12 fill: {}", filled.position),
                |need| format!("R12 fill: {} >= {need}", filled.position),
            ),
        });
        // The fill may have been committed after this read came: the clock is read again.
        let time = slot.known.look().not_later(micros(self.clock.now()));
        ReadReply { position: filled.position, answer, explain, time }
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
        Some(need) if position.seq < need.seq || position.epoch < need.epoch => Err(Error::unavailable(
            format!("leader {} answered at {position}, but {need} is needed: try again", leader.name),
        )),
        _ => Ok(()),
    }
}
