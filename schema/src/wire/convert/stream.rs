//! The change stream.

use std::sync::Arc;

use super::{corrupt, positions, present, shard};
use crate::error::{Error, Result};
use crate::ids::{Epoch, Position, Seq};
use crate::rows::ShardChange;
use crate::stream::{StreamMessage, Subscribe, SubscribeShard};
use crate::wire::proto::{self, stream_message::Message};

impl From<SubscribeShard> for proto::SubscribeShard {
    fn from(wish: SubscribeShard) -> Self {
        let (epoch, from_seq) = wish.from.map_or((0, 0), |from| (from.epoch.0, from.seq.0));
        Self { shard: wish.shard.0.into(), epoch, from_seq }
    }
}

impl TryFrom<proto::SubscribeShard> for SubscribeShard {
    type Error = Error;

    fn try_from(wish: proto::SubscribeShard) -> Result<Self> {
        let shard = shard(wish.shard)?;
        // Epochs start at 1, so 0 says "nothing".
        let from = Position { shard, epoch: Epoch(wish.epoch), seq: Seq(wish.from_seq) };
        Ok(Self { shard, from: (wish.epoch != 0).then_some(from) })
    }
}

impl From<Subscribe> for proto::Subscribe {
    fn from(subscribe: Subscribe) -> Self {
        Self {
            follower: subscribe.follower,
            add: subscribe.add.into_iter().map(Into::into).collect(),
            remove: subscribe.remove.into_iter().map(|shard| shard.0.into()).collect(),
        }
    }
}

impl TryFrom<proto::Subscribe> for Subscribe {
    type Error = Error;

    fn try_from(subscribe: proto::Subscribe) -> Result<Self> {
        Ok(Self {
            follower: subscribe.follower,
            add: subscribe.add.into_iter().map(SubscribeShard::try_from).collect::<Result<_>>()?,
            remove: subscribe.remove.into_iter().map(shard).collect::<Result<_>>()?,
        })
    }
}

impl From<StreamMessage> for proto::StreamMessage {
    fn from(message: StreamMessage) -> Self {
        let message = match message {
            StreamMessage::Subscribed { position: at } => Message::Subscribed(proto::Subscribed {
                shard: at.shard.0.into(),
                epoch: at.epoch.0,
                watermark: at.seq.0,
            }),
            StreamMessage::Change(change) => Message::Change((&*change).into()),
            StreamMessage::Reset { position: at } => Message::Reset(proto::Reset {
                shard: at.shard.0.into(),
                epoch: at.epoch.0,
                watermark: at.seq.0,
            }),
            StreamMessage::Heartbeat { positions, sent_unix_ms } => Message::Heartbeat(proto::Heartbeat {
                position: positions.into_iter().map(Into::into).collect(),
                sent_unix_ms,
            }),
            StreamMessage::Refused { shard, error } => {
                Message::Refused(proto::ShardRefused { shard: shard.0.into(), error: Some(error.into()) })
            }
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<proto::StreamMessage> for StreamMessage {
    type Error = Error;

    fn try_from(message: proto::StreamMessage) -> Result<Self> {
        stream_message(message).map_err(corrupt)
    }
}

fn stream_message(message: proto::StreamMessage) -> Result<StreamMessage> {
    Ok(match present(message.message, "message of StreamMessage")? {
        Message::Subscribed(said) => {
            StreamMessage::Subscribed { position: at(said.shard, said.epoch, said.watermark)? }
        }
        Message::Change(change) => StreamMessage::Change(Arc::new(ShardChange::try_from(change)?)),
        Message::Reset(said) => {
            StreamMessage::Reset { position: at(said.shard, said.epoch, said.watermark)? }
        }
        Message::Heartbeat(beat) => {
            StreamMessage::Heartbeat { positions: positions(beat.position)?, sent_unix_ms: beat.sent_unix_ms }
        }
        Message::Refused(said) => StreamMessage::Refused {
            shard: shard(said.shard)?,
            error: present(said.error, "error of ShardRefused")?.into(),
        },
    })
}

fn at(shard_number: u32, epoch: u32, watermark: u64) -> Result<Position> {
    Ok(Position { shard: shard(shard_number)?, epoch: Epoch(epoch), seq: Seq(watermark) })
}
