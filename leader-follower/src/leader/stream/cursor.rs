//! One subscriber's place in the log of one shard.

use std::sync::Arc;

use tao_schema::ids::Position;
use tao_schema::rows::ShardChange;
use tao_schema::stream::StreamMessage;

use crate::core::{RingAnswer, SharedShard};

/// How far the subscriber was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cursor {
    /// Asked, and not answered yet: it has everything up to here, which this leader has not.
    Ahead(Option<Position>),
    /// Everything up to here was sent.
    Sent(Position),
}

impl Cursor {
    /// What to send now. Afterwards the cursor stands at the leader's watermark, unless the subscriber is ahead.
    ///
    /// The slot must know the subscriber's wake already: a change that comes after this look marks the shard again.
    pub(super) fn advance(&mut self, core: &SharedShard) -> Vec<StreamMessage> {
        let (from, subscribed) = match *self {
            Self::Ahead(from) => (from, false),
            Self::Sent(at) => {
                // The usual case without a lock: nothing is new.
                if core.position() == at {
                    return Vec::new();
                }
                (Some(at), true)
            }
        };
        let (position, answer) = core.with(|core| (core.position(), core.ring_after(from)));
        match answer {
            // A leader whose shard was set back (a database that lost changes) says nothing until it is there again.
            RingAnswer::Wait => {
                *self = Self::Ahead(from);
                Vec::new()
            }
            RingAnswer::Reset => {
                *self = Self::Sent(position);
                vec![StreamMessage::Reset { position, history: Vec::new() }]
            }
            RingAnswer::Replay(changes) => {
                *self = Self::Sent(position);
                let first =
                    (!subscribed).then_some(StreamMessage::Subscribed { position, history: Vec::new() });
                first.into_iter().chain(changes.into_iter().map(change)).collect()
            }
        }
    }

    /// What a heartbeat names for it (R10).
    pub(super) const fn sent(&self) -> Option<Position> {
        match self {
            Self::Ahead(_) => None,
            Self::Sent(at) => Some(*at),
        }
    }
}

fn change(change: Arc<ShardChange>) -> StreamMessage {
    StreamMessage::Change(change)
}
