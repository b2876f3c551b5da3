//! The subscriber's side: a follower, or a leader behind another, keeping up with a stream (R10, R16).

use std::sync::Arc;

use tao_schema::ids::{Position, Seq};
use tao_schema::rows::ShardChange;

use super::Entries;
use super::epochs::Lineage;
use super::rules::Rule;
use super::shard::{ShardCore, Trust};

/// What a message of the stream did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamVerdict {
    /// It is part of this cache now.
    Applied,
    /// It was known already.
    Duplicate,
    /// No subscription is open: the rest of one that was lost. Nothing was done.
    Ignored,
    /// The stream has lost something, or is not of this lineage. Nothing is served from memory until a new
    /// subscription: ask with [`ShardCore::subscribe_from`].
    Lost(LostReason),
}

/// Why a stream is not to be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LostReason {
    /// A change came without the one before it.
    Gap,
    /// A heartbeat followed changes that never came (H9).
    MissedByHeartbeat,
    /// The leader speaks of an epoch that has ended: it is behind.
    OlderEpoch,
    /// The leader speaks of an epoch unknown here: load its history first.
    NewerEpoch,
    /// A Reset to less than is known (H15).
    Backwards,
}

impl ShardCore {
    /// Where a subscription goes on: the own watermark, or `None` if there is nothing to go on from.
    pub fn subscribe_from(&self) -> Option<Position> {
        self.resumable.then(|| self.position())
    }

    /// The leader said `Subscribed`, its watermark being `position`: every change after [`Self::subscribe_from`] follows.
    /// Entries are served again once the watermark is there; before that, the ones missed are still on their way.
    pub fn on_subscribed(&mut self, position: Position) -> StreamVerdict {
        if let Some(lost) = self.foreign(position) {
            return lost;
        }
        if !self.resumable {
            // We asked with nothing, so only a Reset can be meant.
            return self.lose(LostReason::Gap);
        }
        self.trust = Trust::CatchingUp(position.seq);
        self.catch_up();
        StreamVerdict::Applied
    }

    /// The next change of the stream.
    pub fn on_change(&mut self, change: Arc<ShardChange>, entries: &dyn Entries) -> StreamVerdict {
        if self.trust == Trust::Lost {
            return StreamVerdict::Ignored;
        }
        if let Some(lost) = self.foreign(change.position()) {
            return lost;
        }
        if change.seq <= self.watermark {
            return StreamVerdict::Duplicate;
        }
        if change.seq > self.watermark.next() && self.rules.hold(Rule::Contiguous) {
            return self.lose(LostReason::Gap);
        }
        self.advance(change, entries);
        self.catch_up();
        StreamVerdict::Applied
    }

    /// The leader said `Reset`: drop everything, go on from `position`. Refused if that is less than is known in the
    /// same lineage: watermarks never fall.
    pub fn on_reset(&mut self, position: Position) -> StreamVerdict {
        if self.lineage(position.epoch, position.seq) == Lineage::Older {
            return self.lose(LostReason::OlderEpoch);
        }
        match self.restart(position) {
            Ok(()) => StreamVerdict::Applied,
            Err(_) => self.lose(LostReason::Backwards),
        }
    }

    /// A heartbeat that follows, in this stream, everything up to `position`: whoever is below it now has lost
    /// something (R10). That shows the loss of the last change before a silence, which no gap would show.
    pub fn on_heartbeat(&mut self, position: Position) -> StreamVerdict {
        if self.trust == Trust::Lost {
            return StreamVerdict::Ignored;
        }
        if let Some(lost) = self.foreign(position) {
            return lost;
        }
        if self.watermark < position.seq && self.rules.hold(Rule::HeartbeatSeq) {
            return self.lose(LostReason::MissedByHeartbeat);
        }
        StreamVerdict::Applied
    }

    /// Whether a position of the stream is not of our lineage.
    fn foreign(&mut self, position: Position) -> Option<StreamVerdict> {
        match self.lineage(position.epoch, position.seq) {
            Lineage::Same => None,
            Lineage::Older => Some(self.lose(LostReason::OlderEpoch)),
            Lineage::Newer => Some(self.lose(LostReason::NewerEpoch)),
        }
    }

    fn lose(&mut self, reason: LostReason) -> StreamVerdict {
        self.on_lost();
        StreamVerdict::Lost(reason)
    }

    pub(super) fn catch_up(&mut self) {
        if let Trust::CatchingUp(target) = self.trust
            && (self.watermark >= target || !self.rules.hold(Rule::CatchUp))
        {
            self.trust = Trust::Continuous;
        }
    }

    /// The watermark of the leader that this core is catching up with, if it is.
    pub fn catching_up(&self) -> Option<Seq> {
        match self.trust {
            Trust::CatchingUp(target) => Some(target),
            Trust::Lost | Trust::Replaying | Trust::Continuous => None,
        }
    }
}
