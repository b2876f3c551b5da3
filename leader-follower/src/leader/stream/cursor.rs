//! One subscriber's place in the log of one shard.

use std::iter::once;
use std::sync::Arc;

use tao_schema::ids::{Epoch, Position};
use tao_schema::rows::ShardChange;
use tao_schema::stream::StreamMessage;

use crate::core::{RingAnswer, ShardCore, SharedShard};

/// How far the subscriber was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cursor {
    /// Asked, and not answered yet: it has everything up to here, which this leader has not.
    Ahead(Option<Position>),
    /// Everything up to here was sent.
    Sent {
        /// Everything up to here, in this epoch.
        at: Position,
        /// Of the leader's cache when it was: another one means that entries were voided.
        generation: u32,
    },
    /// Everything up to here was sent, and may be wrong: what follows is a Reset, once the leader is as far again.
    Void(Position),
}

impl Cursor {
    /// What to send now. Afterwards the cursor stands at the leader's watermark, unless the subscriber is ahead.
    ///
    /// The slot must know the subscriber's wake already: a change that comes after this look marks the shard again.
    pub(super) fn advance(&mut self, core: &SharedShard) -> Vec<StreamMessage> {
        core.with(|core| self.advance_in(core))
    }

    fn advance_in(&mut self, core: &ShardCore) -> Vec<StreamMessage> {
        let (position, generation) = (core.position(), core.generation());
        let (from, told) = match *self {
            Self::Ahead(from) => (from, None),
            Self::Sent { at, generation: known } if known == generation => {
                if at == position {
                    return Vec::new();
                }
                (Some(at), Some(at.epoch))
            }
            // What was cached there may be wrong here, so it may be wrong there, too (R9).
            Self::Sent { at, .. } | Self::Void(at) => {
                *self = Self::Void(at);
                if core.ring_after(Some(at)) == RingAnswer::Wait {
                    return Vec::new();
                }
                (None, None)
            }
        };
        match core.ring_after(from) {
            // A leader whose shard was set back (a database that lost changes) says nothing until it is there again.
            RingAnswer::Wait => {
                *self = Self::Ahead(from);
                Vec::new()
            }
            RingAnswer::Reset => {
                *self = Self::Sent { at: position, generation };
                vec![StreamMessage::Reset { position, history: core.history().to_vec() }]
            }
            RingAnswer::Replay(changes) => {
                *self = Self::Sent { at: position, generation };
                match told {
                    // The history tells of epochs.
                    None => once(StreamMessage::Subscribed { position, history: core.history().to_vec() })
                        .chain(changes.into_iter().map(StreamMessage::Change))
                        .collect(),
                    Some(epoch) => with_epochs(core, epoch, changes),
                }
            }
        }
    }

    /// What a heartbeat names for it (R10).
    pub(super) const fn sent(&self) -> Option<Position> {
        match self {
            Self::Ahead(_) | Self::Void(_) => None,
            Self::Sent { at, .. } => Some(*at),
        }
    }
}

/// Each epoch that the subscriber, told up to `epoch`, has not heard of: before its first change, and behind all of the
/// epoch before (R19).
fn with_epochs(core: &ShardCore, epoch: Epoch, changes: Vec<Arc<ShardChange>>) -> Vec<StreamMessage> {
    let shard = core.shard();
    let mut starts = core.epochs_after(epoch).iter().copied().peekable();
    let mut messages = Vec::with_capacity(changes.len() + 1);
    for change in changes {
        while let Some(start) = starts.next_if(|start| start.first_seq <= change.seq) {
            messages.push(StreamMessage::Epoch { shard, start });
        }
        messages.push(StreamMessage::Change(change));
    }
    messages.extend(starts.map(|start| StreamMessage::Epoch { shard, start }));
    messages
}
