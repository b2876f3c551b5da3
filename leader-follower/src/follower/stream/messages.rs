//! What the messages of a stream do to the shards (R10, R16, R24).

use std::sync::Arc;

use tao_schema::ids::{Position, ShardId};
use tao_schema::rows::{EpochStart, ShardChange};
use tao_schema::stream::StreamMessage;
use tao_schema::{Error, ErrorCode};

use super::assignment::Phase;
use super::{Loss, Subscriptions};
use crate::core::{EpochVerdict, LostReason, StreamVerdict};

impl Subscriptions {
    pub(super) fn apply(&mut self, name: &Arc<str>, message: StreamMessage) {
        match message {
            StreamMessage::Change(change) => self.on_change(name, &change),
            StreamMessage::Heartbeat { positions, probe, ages, .. } => {
                self.on_heartbeats(name, positions, probe, ages);
            }
            StreamMessage::Subscribed { position, history } => self.on_subscribed(name, position, &history),
            StreamMessage::Epoch { shard, start } => self.on_epoch(name, shard, start),
            StreamMessage::Reset { position, history } => self.on_reset(name, position, &history),
            StreamMessage::Refused { shard, error } => self.on_refused(name, shard, &error),
        }
    }

    fn on_change(&mut self, name: &Arc<str>, change: &Arc<ShardChange>) {
        if self.phase(name, change.shard) == Some(Phase::Live) {
            let verdict = self.shared.shards.on_change(&*self.shared.entries, change);
            self.obey(change.shard, verdict);
        }
    }

    /// Whether the shard is known to have everything that this heartbeat follows.
    pub(super) fn on_heartbeat(&mut self, name: &Arc<str>, position: Position) -> bool {
        if self.phase(name, position.shard) != Some(Phase::Live) {
            return false;
        }
        let verdict = self.shared.shards.on_heartbeat(position);
        self.obey(position.shard, verdict);
        verdict == StreamVerdict::Applied
    }

    fn on_subscribed(&mut self, name: &Arc<str>, position: Position, history: &[EpochStart]) {
        // While live, it answers a question that a later reset has overtaken.
        if self.phase(name, position.shard) == Some(Phase::Awaiting) {
            self.live(position.shard);
            let verdict = self.shared.shards.on_subscribed(position, history);
            self.obey(position.shard, verdict);
        }
    }

    /// An epoch begins: the log goes on in it, and where the epoch before lost something, so did we (R24).
    fn on_epoch(&mut self, name: &Arc<str>, shard: ShardId, start: EpochStart) {
        if self.phase(name, shard) != Some(Phase::Live) {
            return;
        }
        let shared = &self.shared;
        let verdict = shared.shards.on_epoch(&*shared.entries, shard, start);
        if verdict == EpochVerdict::Known {
            return;
        }
        tracing::info!(%shard, epoch = %start.epoch, first_seq = %start.first_seq, ?verdict, "an epoch began");
        shared.metrics.stream_epochs.inc();
        // Writes go by the topology.
        shared.ask_for_topology();
        match verdict {
            EpochVerdict::Known | EpochVerdict::Continues | EpochVerdict::Flushed => self.unvouched = true,
            EpochVerdict::Gap => self.shard_lost(shard, Loss::Gap),
            // Trust was ended elsewhere: the answer of a write told of the epoch before the stream did.
            EpochVerdict::Learned => self.shard_lost(shard, Loss::Epoch),
        }
    }

    fn on_reset(&mut self, name: &Arc<str>, position: Position, history: &[EpochStart]) {
        let shard = position.shard;
        let Some(phase) = self.phase(name, shard) else { return };
        let had_nothing = self.shared.shards.subscribe_from(shard).from.is_none();
        let verdict = self.shared.shards.on_reset(position, history);
        self.live(shard);
        if verdict != StreamVerdict::Applied || (phase == Phase::Awaiting && had_nothing) {
            // To who has nothing, a reset is the normal answer.
            self.obey(shard, verdict);
            return;
        }
        self.shared.metrics.lost(Loss::Reset, 1);
        if let Some(wait) = self
            .shards
            .get_mut(&shard)
            .and_then(|it| it.trouble(&self.shared.options, (&self.shared.node, shard)))
        {
            self.park(shard, wait);
        }
    }

    /// Acts on what a core made of a message.
    fn obey(&mut self, shard: ShardId, verdict: StreamVerdict) {
        let reason = match verdict {
            StreamVerdict::Applied | StreamVerdict::Duplicate => return,
            // Trust was ended elsewhere: the answer of a write showed an epoch that this stream does not know.
            StreamVerdict::Ignored => Loss::Epoch,
            StreamVerdict::Lost(LostReason::Gap) => Loss::Gap,
            StreamVerdict::Lost(LostReason::MissedByHeartbeat) => Loss::Heartbeat,
            StreamVerdict::Lost(LostReason::Backwards) => Loss::Reset,
            StreamVerdict::Lost(LostReason::OlderEpoch) => Loss::Epoch,
            StreamVerdict::Lost(LostReason::NewerEpoch) => {
                // The answer to the next subscription brings the epoch's history.
                self.shared.ask_for_topology();
                Loss::Epoch
            }
        };
        self.shard_lost(shard, reason);
    }

    fn on_refused(&mut self, name: &Arc<str>, shard: ShardId, error: &Error) {
        if self.phase(name, shard).is_none() {
            return;
        }
        tracing::debug!(%shard, leader = %name, %error, "a leader refused a shard");
        self.end_trust(shard, Loss::Refused);
        let Some(assignment) = self.shards.get_mut(&shard) else { return };
        if error.code == ErrorCode::NotOwner {
            // Only then is another leader the better one: the writes go to the best, and it hears of them first.
            assignment.refused_by.push(Arc::clone(name));
            self.shared.ask_for_topology();
        }
        let wait = assignment
            .trouble(&self.shared.options, (&self.shared.node, shard))
            .unwrap_or(self.shared.options.backoff);
        self.park(shard, wait);
    }
}
