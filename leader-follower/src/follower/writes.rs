//! Writes: checked here, ordered by the leader, and noted on the way back (R3, R15, R18, R18a).

use std::sync::Arc;

use tao_schema::ids::{EdgeKey, ObjectId, RequestId, ShardId};
use tao_schema::ops::{Outcome, WriteOp, WriteReply, WriteRequest};
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use super::shared::{Shared, no_such_shard};
use crate::core::{Answered, Key, key_of};
use crate::ports::WriteAnswer;

impl Shared {
    /// Refuses what no leader could do, and says which shard orders the rest.
    pub(super) fn check_write(&self, request: &WriteRequest) -> Result<ShardId> {
        self.schema.check_write(request)?;
        let shard = self.schema.ordering_shard(request)?;
        let touched = request.ops.iter().flat_map(|op| self.keys_of(op, None)).map(|key| key.shard());
        for shard in touched.chain([shard]) {
            if !self.shards.exists(shard) {
                return Err(no_such_shard(shard));
            }
        }
        Ok(shard)
    }

    /// Brings a checked write to its leader. Runs to its end whatever becomes of the caller.
    pub(super) async fn forward(
        &self,
        shard: ShardId,
        request: WriteRequest,
        deadline: Instant,
    ) -> Result<WriteReply> {
        let started = Instant::now();
        let mut patience = self.patience(deadline);
        loop {
            match self.try_leaders(shard, &request, started, deadline).await {
                Err(error) if self.waits(&error, &mut patience).await => self.metrics.write_retries.inc(),
                done => return done,
            };
        }
    }

    /// A second leader is asked, with the same request id, when nothing was done or when it is not known what was
    /// (R3). Once an attempt's outcome is unknown, a later failure does not make it known: the first may still be on
    /// its way to the database (R4).
    async fn try_leaders(
        &self,
        shard: ShardId,
        request: &WriteRequest,
        started: Instant,
        deadline: Instant,
    ) -> Result<WriteReply> {
        let mut avoid = Vec::new();
        let mut unknown: Option<Error> = None;
        let mut last: Option<Error> = None;
        for attempt in 0..self.options.attempts {
            let Ok(leader) = self.leaders.first(shard, &avoid) else { break };
            if attempt > 0 {
                self.metrics.write_retries.inc();
            }
            let permit = match leader.write_permit() {
                Ok(permit) => permit,
                Err(error) => {
                    last = Some(error);
                    break;
                }
            };
            // Honest, so that a retry that comes too late to be recognised is refused (R3).
            let age = request.age.saturating_add(started.elapsed());
            let call = leader.peer.write(WriteRequest { age, ..request.clone() }, deadline);
            let result = tokio::time::timeout_at(deadline, call)
                .await
                .unwrap_or_else(|_| Err(unanswered(&leader.name, request.id)));
            drop(permit);
            self.leaders.observe(&leader, &result);
            let error = match result {
                Ok(answer) => {
                    self.note(&request.ops, &answer);
                    return Ok(answer.reply);
                }
                Err(error) => error,
            };
            avoid.push(Arc::clone(&leader.name));
            if error.code == ErrorCode::OutcomeUnknown {
                unknown.get_or_insert_with(|| error.clone());
            }
            let again = matches!(error.code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown);
            last = Some(error);
            if !again || Instant::now() >= deadline {
                break;
            }
        }
        Err(unknown.or(last).unwrap_or_else(|| no_leader(shard)))
    }

    /// Makes this node's next answers know the write: by its changes where they came, else by floors. Key by key: an
    /// operation that found nothing to do has no part in the change of its neighbours, and what it was told holds too.
    fn note(&self, ops: &[WriteOp], answer: &WriteAnswer) {
        let mut applied: Vec<Key> = Vec::with_capacity(answer.changes.len());
        for change in &answer.changes {
            let Some(slot) = self.shards.touch(change.shard) else { continue };
            match slot.core.with(|core| core.on_answer(change, &*self.entries)) {
                Answered::Applied => applied.extend(change.items.iter().map(key_of)),
                // No news to this lineage.
                Answered::OlderEpoch => {}
                // The core keeps what was promised in it until the stream tells of the epoch.
                Answered::NewerEpoch => self.ask_for_topology(),
            }
        }
        for (op, outcome) in ops.iter().zip(&answer.reply.outcomes) {
            for key in self.keys_of(op, Some(outcome)) {
                let shard = key.shard();
                let position = answer.reply.positions.iter().find(|position| position.shard == shard);
                if let Some(position) = position
                    && !applied.contains(&key)
                    && let Some(slot) = self.shards.touch(shard)
                {
                    self.has_shown(slot, key, *position);
                }
            }
        }
    }

    /// The cache keys that an operation changes, on both sides of a pair.
    fn keys_of(&self, op: &WriteOp, outcome: Option<&Outcome>) -> impl Iterator<Item = Key> + use<> {
        let both = |edge: EdgeKey| {
            let other = self.schema.canonical(edge).ok().and_then(|canonical| {
                let inverse = canonical.edge.reversed(canonical.inverse?);
                Some([canonical.edge.list(), inverse.list()])
            });
            other
                .map_or([Some(Key::List(edge.list())), None], |lists| lists.map(|list| Some(Key::List(list))))
        };
        let object = |id: Option<ObjectId>| [[id.map(Key::Object), None], [None; 2]];
        let keys = match op {
            WriteOp::ObjectAdd { id, .. } => object(id.or_else(|| outcome?.id)),
            WriteOp::ObjectUpdate { id, .. } | WriteOp::ObjectDelete { id, .. } => object(Some(*id)),
            WriteOp::AssocAdd { edge, .. } | WriteOp::AssocDelete { edge, .. } => [both(*edge), [None; 2]],
            WriteOp::AssocChangeType { edge, new_atype, .. } => {
                [both(*edge), both(EdgeKey { atype: *new_atype, ..*edge })]
            }
        };
        keys.into_iter().flatten().flatten()
    }
}

fn unanswered(leader: &str, id: RequestId) -> Error {
    let message = format!(
        "leader {leader} did not answer write {id} in time: it may or may not have happened; retry with the same id"
    );
    Error::new(ErrorCode::OutcomeUnknown, message)
}

fn no_leader(shard: ShardId) -> Error {
    Error::unavailable(format!("no leader of shard {shard} is known; the topology may be out of date"))
}
