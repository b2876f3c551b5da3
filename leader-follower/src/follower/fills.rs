//! Misses become fills, at most one at a time for each key (R12, R15, R18).

use std::sync::Arc;

use tao_schema::Result;
use tao_schema::ids::{Position, Seq};
use tao_schema::ops::{FillKey, FillReply, FillRequest, FillRow};
use tokio::time::Instant;

use super::leaders::Leader;
use super::shards::ShardSlot;
use super::shared::{FilledEntry, Shared};
use crate::core::{Body, Discarded, Entry, Filled, Key};
use crate::fills::{FillGuard, Join, Waited};

/// Times that a caller joins again behind others whose fills were abandoned.
const MAX_JOINS: usize = 8;

/// What came of a fill. `None` in the table: it may not be used at all (R12).
pub(super) type Shareable = Option<FilledEntry>;

/// What a caller got.
pub(super) enum Fill {
    /// An entry that satisfies the caller.
    Ready(FilledEntry),
    /// What came is older than the caller needs.
    TooOld,
    /// What came is not of this lineage, or of a shard that is not readable there.
    Unusable,
}

impl Shared {
    /// Brings an entry that is right at least at `need`, alone or behind another caller.
    pub(super) async fn fill(
        &self,
        slot: &ShardSlot,
        key: FillKey,
        need: Option<Position>,
        deadline: Instant,
    ) -> Result<Fill> {
        let need_seq = need.map_or(Seq::ZERO, |need| need.seq);
        for _ in 0..MAX_JOINS {
            match self.fills.join(key) {
                Join::Full(error) => return Err(error),
                Join::Lead(guard) => return self.lead(slot, guard, key, need, deadline).await,
                Join::Wait(waiter) => {
                    self.metrics.fills_shared.inc();
                    match waiter.wait(need_seq).await {
                        Waited::Ready(Some(filled)) => return Ok(Fill::Ready(filled)),
                        Waited::Ready(None) => return Ok(Fill::Unusable),
                        Waited::TooOld(_) => return Ok(Fill::TooOld),
                        Waited::Failed(error) => return Err(error),
                        Waited::Abandoned => {}
                    }
                }
            }
        }
        Ok(Fill::Unusable)
    }

    async fn lead(
        &self,
        slot: &ShardSlot,
        guard: FillGuard<FillKey, Shareable>,
        key: FillKey,
        need: Option<Position>,
        deadline: Instant,
    ) -> Result<Fill> {
        self.metrics.fills.inc();
        let started = Instant::now();
        let call = |leader: Arc<Leader>| async move {
            leader.peer.fill(FillRequest { key, at_least: need, forwarded: false }, deadline).await
        };
        let (reply, leader) = match self.ask(key.shard(), call).await {
            Ok(answered) => answered,
            Err(error) => {
                // Whoever asked for more than the others would failed alone: a forged token must not fail them, too (H33).
                // They join again, and one of them asks for what they need.
                let others = slot.core.need(&key_of(key));
                if need.is_some_and(|need| need.epoch != others.epoch || need.seq > others.seq) {
                    drop(guard);
                } else {
                    guard.fail(error.clone());
                }
                return Err(error);
            }
        };
        self.metrics.fill_seconds.observe(started.elapsed().as_secs_f64());
        let source = reply.source;
        let filled = self.store(slot, key, reply).map(|(entry, position)| FilledEntry {
            entry,
            position,
            source,
            leader: Arc::clone(&leader.name),
        });
        // Stored before the key is free: whoever misses from here on starts a new fill.
        let position = filled.as_ref().map(|filled| filled.position);
        guard.complete(position.map_or(Seq::ZERO, |position| position.seq), filled.clone());
        Ok(match (filled, need) {
            (None, _) => Fill::Unusable,
            (Some(filled), Some(need)) if filled.position.seq < need.seq => Fill::TooOld,
            (Some(filled), _) => Fill::Ready(filled),
        })
    }
}

/// The cache key that a fill brings.
const fn key_of(key: FillKey) -> Key {
    match key {
        FillKey::Object(id) => Key::Object(id),
        FillKey::List { key, .. } => Key::List(key),
    }
}

impl Shared {
    /// Hands a fill to the shard's core, which decides whether it is kept and what it is right at.
    fn store(&self, slot: &ShardSlot, key: FillKey, reply: FillReply) -> Option<(Entry, Position)> {
        let (key, body) = match (key, reply.row) {
            (FillKey::Object(id), FillRow::Object(row)) => (Key::Object(id), Body::Object(row)),
            (FillKey::List { key, .. }, FillRow::List(list)) => (Key::List(key), Body::List(list)),
            (FillKey::Object(_), FillRow::List(_)) | (FillKey::List { .. }, FillRow::Object(_)) => {
                tracing::error!(?key, "a leader answered a fill with a row of another kind");
                return None;
            }
        };
        let (filled, here) = slot.core.with(|core| {
            let filled = core.on_fill(key, reply.position, reply.state, body, &*self.entries);
            (filled, core.position())
        });
        match filled {
            Filled::Stored(entry) | Filled::AnswerOnly(entry, _) => {
                // In this core's epoch, whatever the fill's was: its seq was found to be of this lineage.
                let position = Position { seq: entry.as_of(), ..here };
                Some((entry, position))
            }
            Filled::Discarded(Discarded::NewerEpoch) => {
                self.ask_for_topology();
                None
            }
            Filled::Discarded(Discarded::OlderEpoch | Discarded::Unreadable(_)) => None,
        }
    }
}
