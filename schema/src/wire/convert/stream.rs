//! The change stream.

use std::sync::Arc;
use std::time::Duration;

use super::{corrupt, positions, present, shard};
use crate::error::{Error, Result};
use crate::ids::{Epoch, HostGroupId, Position, PrimaryTime, Seq};
use crate::rows::{EpochStart, ShardChange};
use crate::stream::{GroupAge, StreamMessage, Subscribe, SubscribeShard};
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
            probe: subscribe.probe,
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
            probe: subscribe.probe,
        })
    }
}

impl From<StreamMessage> for proto::StreamMessage {
    fn from(message: StreamMessage) -> Self {
        let message = match message {
            StreamMessage::Subscribed { position: at, history } => Message::Subscribed(proto::Subscribed {
                shard: at.shard.0.into(),
                epoch: at.epoch.0,
                watermark: at.seq.0,
                history: history.into_iter().map(Into::into).collect(),
            }),
            StreamMessage::Epoch { shard, start } => {
                Message::Epoch(proto::EpochBegan { shard: shard.0.into(), start: Some(start.into()) })
            }
            StreamMessage::Change(change) => Message::Change((&*change).into()),
            StreamMessage::Reset { position: at, history } => Message::Reset(proto::Reset {
                shard: at.shard.0.into(),
                epoch: at.epoch.0,
                watermark: at.seq.0,
                history: history.into_iter().map(Into::into).collect(),
            }),
            StreamMessage::Heartbeat { positions, sent_unix_ms, probe, ages } => {
                Message::Heartbeat(proto::Heartbeat {
                    position: positions.into_iter().map(Into::into).collect(),
                    sent_unix_ms,
                    probe,
                    age: ages.into_iter().map(Into::into).collect(),
                })
            }
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
            let position = at(said.shard, said.epoch, said.watermark)?;
            StreamMessage::Subscribed { position, history: history(said.history) }
        }
        Message::Change(change) => StreamMessage::Change(Arc::new(ShardChange::try_from(change)?)),
        Message::Reset(said) => {
            let position = at(said.shard, said.epoch, said.watermark)?;
            StreamMessage::Reset { position, history: history(said.history) }
        }
        Message::Heartbeat(beat) => StreamMessage::Heartbeat {
            positions: positions(beat.position)?,
            sent_unix_ms: beat.sent_unix_ms,
            probe: beat.probe,
            ages: beat.age.into_iter().map(GroupAge::try_from).collect::<Result<_>>()?,
        },
        Message::Epoch(said) => StreamMessage::Epoch {
            shard: shard(said.shard)?,
            start: present(said.start, "start of EpochBegan")?.into(),
        },
        Message::Refused(said) => StreamMessage::Refused {
            shard: shard(said.shard)?,
            error: present(said.error, "error of ShardRefused")?.into(),
        },
    })
}

fn at(shard_number: u32, epoch: u32, watermark: u64) -> Result<Position> {
    Ok(Position { shard: shard(shard_number)?, epoch: Epoch(epoch), seq: Seq(watermark) })
}

fn history(starts: Vec<proto::EpochStart>) -> Vec<EpochStart> {
    starts.into_iter().map(Into::into).collect()
}

impl From<EpochStart> for proto::EpochStart {
    fn from(start: EpochStart) -> Self {
        Self { epoch: start.epoch.0, first_seq: start.first_seq.0 }
    }
}

impl From<proto::EpochStart> for EpochStart {
    fn from(start: proto::EpochStart) -> Self {
        Self { epoch: Epoch(start.epoch), first_seq: Seq(start.first_seq) }
    }
}

impl From<GroupAge> for proto::GroupAge {
    fn from(age: GroupAge) -> Self {
        // Rounded up: knowledge is never made younger on its way.
        let age_us = u64::try_from(age.age.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        Self {
            host_group: age.host_group.0.into(),
            age_us,
            time_ms: age.time.0,
            shard: age.shards.into_iter().map(|shard| shard.0.into()).collect(),
        }
    }
}

impl TryFrom<proto::GroupAge> for GroupAge {
    type Error = Error;

    fn try_from(age: proto::GroupAge) -> Result<Self> {
        let host_group = u16::try_from(age.host_group)
            .map_err(|_| Error::invalid(format!("host group {} is out of range", age.host_group)))?;
        Ok(Self {
            host_group: HostGroupId(host_group),
            age: Duration::from_micros(age.age_us),
            time: PrimaryTime(age.time_ms),
            shards: age.shard.into_iter().map(shard).collect::<Result<_>>()?,
        })
    }
}
