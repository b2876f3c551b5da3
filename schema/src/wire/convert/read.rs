//! Reads.

use std::time::Duration;

use super::{corrupt, edges, list, position, present};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ObjectId, Position, PrimaryTime, Seq, Time};
use crate::limits::{MAX_ID2_SET, MAX_LINEAGE};
use crate::ops::{Answer, Demand, Explain, Freshness, ReadOp, ReadReply, ReadRequest, Source};
use crate::planted::{Bug, planted};
use crate::rows::ObjectRow;
use crate::wire::proto::read_request::{Freshness as WireFreshness, Op};
use crate::wire::proto::{self, read_reply::Result as Wire};

impl From<ReadRequest> for proto::ReadRequest {
    fn from(request: ReadRequest) -> Self {
        Self {
            op: Some(request.op.into()),
            at_least: request.demand.at_least.map(Into::into),
            lineage: match planted(Bug::LineageLostOnWire) {
                true => Vec::new(),
                false => request.demand.lineage.into_iter().map(Into::into).collect(),
            },
            not_before_ms: request.demand.not_before.map(|time| time.0),
            freshness: freshness_to_proto(request.demand.freshness),
            explain: request.explain,
            forwarded: request.forwarded,
        }
    }
}

impl TryFrom<proto::ReadRequest> for ReadRequest {
    type Error = Error;

    fn try_from(request: proto::ReadRequest) -> Result<Self> {
        Ok(Self {
            op: present(request.op, "op of ReadRequest")?.try_into()?,
            demand: Demand {
                at_least: request.at_least.map(Position::try_from).transpose()?,
                lineage: lineage(request.lineage)?,
                not_before: request.not_before_ms.map(PrimaryTime),
                freshness: freshness(request.freshness),
            },
            explain: request.explain,
            forwarded: request.forwarded,
        })
    }
}

fn freshness_to_proto(freshness: Freshness) -> Option<WireFreshness> {
    match freshness {
        Freshness::Any => None,
        // Rounded down: never older than was asked for.
        Freshness::Within(age) => {
            Some(WireFreshness::WithinMs(u32::try_from(age.as_millis()).unwrap_or(u32::MAX)))
        }
        Freshness::Master => Some(WireFreshness::Master(true)),
        Freshness::Critical => Some(WireFreshness::Critical(true)),
    }
}

const fn freshness(freshness: Option<WireFreshness>) -> Freshness {
    match freshness {
        Some(WireFreshness::WithinMs(age)) => Freshness::Within(Duration::from_millis(age as u64)),
        Some(WireFreshness::Master(true)) => Freshness::Master,
        Some(WireFreshness::Critical(true)) => Freshness::Critical,
        None | Some(WireFreshness::Master(false) | WireFreshness::Critical(false)) => Freshness::Any,
    }
}

fn lineage(positions: Vec<proto::Position>) -> Result<Vec<Position>> {
    // Before anything is built from it.
    if positions.len() > MAX_LINEAGE {
        let message =
            format!("lineage has {} positions; at most {MAX_LINEAGE}: start a new session", positions.len());
        return Err(Error::invalid(message));
    }
    positions.into_iter().map(Position::try_from).collect()
}

impl From<ReadOp> for Op {
    fn from(op: ReadOp) -> Self {
        match op {
            ReadOp::ObjectGet(id) => Self::ObjectGet(proto::ObjectGet { id: id.0 }),
            ReadOp::AssocGet { list, id2s, high, low } => Self::AssocGet(proto::AssocGet {
                id1: list.id1.0,
                atype: list.atype.0.into(),
                id2: id2s.into_iter().map(|id| id.0).collect(),
                high: high.map(|time| time.0),
                low: low.map(|time| time.0),
            }),
            ReadOp::AssocCount(list) => Self::AssocCount(list.into()),
            ReadOp::AssocRange { list, pos, limit } => Self::AssocRange(proto::AssocRange {
                id1: list.id1.0,
                atype: list.atype.0.into(),
                pos,
                limit,
            }),
            ReadOp::AssocTimeRange { list, high, low, limit } => {
                Self::AssocTimeRange(proto::AssocTimeRange {
                    id1: list.id1.0,
                    atype: list.atype.0.into(),
                    high: high.0,
                    low: low.0,
                    limit,
                })
            }
        }
    }
}

impl TryFrom<Op> for ReadOp {
    type Error = Error;

    fn try_from(op: Op) -> Result<Self> {
        Ok(match op {
            Op::ObjectGet(get) => Self::ObjectGet(ObjectId(get.id)),
            Op::AssocGet(get) => {
                // Before anything is built from it. `check_read` says the same of requests from this process.
                if get.id2.len() > MAX_ID2_SET {
                    let message =
                        format!("id2 has {} entries; at most {MAX_ID2_SET}: split the set", get.id2.len());
                    return Err(Error::invalid(message));
                }
                Self::AssocGet {
                    list: list(get.id1, get.atype)?,
                    id2s: get.id2.into_iter().map(ObjectId).collect(),
                    high: get.high.map(Time),
                    low: get.low.map(Time),
                }
            }
            Op::AssocCount(key) => Self::AssocCount(key.try_into()?),
            Op::AssocRange(range) => {
                Self::AssocRange { list: list(range.id1, range.atype)?, pos: range.pos, limit: range.limit }
            }
            Op::AssocTimeRange(range) => Self::AssocTimeRange {
                list: list(range.id1, range.atype)?,
                high: Time(range.high),
                low: Time(range.low),
                limit: range.limit,
            },
        })
    }
}

impl From<ReadReply> for proto::ReadReply {
    fn from(reply: ReadReply) -> Self {
        let result = match reply.answer {
            Answer::Object(object) => Wire::Object(proto::ObjectResult { object: object.map(Into::into) }),
            Answer::Edges { edges, version } => {
                Wire::List(proto::ListResult { list: Some(edges), version: version.0 })
            }
            Answer::Count { count, version } => Wire::Count(proto::CountResult { count, version: version.0 }),
        };
        Self {
            position: Some(reply.position.into()),
            result: Some(result),
            explain: reply.explain.map(Into::into),
            time_ms: reply.time.map(|time| time.0),
        }
    }
}

impl TryFrom<proto::ReadReply> for ReadReply {
    type Error = Error;

    fn try_from(reply: proto::ReadReply) -> Result<Self> {
        read_reply(reply).map_err(corrupt)
    }
}

fn read_reply(reply: proto::ReadReply) -> Result<ReadReply> {
    let answer = match present(reply.result, "result of ReadReply")? {
        Wire::Object(result) => {
            Answer::Object(result.object.map(<(ObjectId, ObjectRow)>::try_from).transpose()?)
        }
        Wire::List(result) => Answer::Edges { edges: edges(result.list)?, version: Seq(result.version) },
        Wire::Count(result) => Answer::Count { count: result.count, version: Seq(result.version) },
    };
    Ok(ReadReply {
        position: position(reply.position)?,
        answer,
        explain: reply.explain.map(Explain::try_from).transpose()?,
        time: reply.time_ms.map(PrimaryTime),
    })
}

impl From<Source> for proto::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::FollowerCache => Self::FollowerCache,
            Source::LeaderCache => Self::LeaderCache,
            Source::Database => Self::Database,
        }
    }
}

impl TryFrom<proto::Source> for Source {
    type Error = Error;

    fn try_from(source: proto::Source) -> Result<Self> {
        match source {
            proto::Source::FollowerCache => Ok(Self::FollowerCache),
            proto::Source::LeaderCache => Ok(Self::LeaderCache),
            proto::Source::Database => Ok(Self::Database),
            proto::Source::Unspecified => Err(Error::new(ErrorCode::Corrupt, "source is unspecified")),
        }
    }
}

/// The source of a number on the wire.
pub(super) fn source(number: i32) -> Result<Source> {
    let known = proto::Source::try_from(number)
        .map_err(|_| Error::new(ErrorCode::Corrupt, format!("source {number} is unknown")))?;
    known.try_into()
}

impl From<Explain> for proto::Explain {
    fn from(explain: Explain) -> Self {
        Self {
            source: proto::Source::from(explain.source).into(),
            path: explain.path,
            reason: explain.reason,
            rule: explain.rule,
        }
    }
}

impl TryFrom<proto::Explain> for Explain {
    type Error = Error;

    fn try_from(explain: proto::Explain) -> Result<Self> {
        Ok(Self {
            source: source(explain.source)?,
            path: explain.path,
            reason: explain.reason,
            rule: explain.rule,
        })
    }
}
