//! I1: what was acknowledged is in the log, with its effect, where the answer says; and nothing else is. I8: whole.

use tao_schema::graph_schema::Canonical;
use tao_schema::ids::{EdgeKey, Position, Seq};
use tao_schema::ops::{Effect, WriteOp, WriteReply, WriteRequest};
use tao_schema::rows::ChangeItem;

use super::Court;
use super::effects::{Fact, Row, Touch, Touched, Want, facts};
use super::slice::{Subject, log_line};
use super::standing::Standing;
use crate::history::operation::{Call, Invariant, Operation, Reply};
use crate::history::truth::{EdgeState, ObjectState, Version};

/// An acknowledged write.
#[derive(Clone, Copy)]
struct Write<'a> {
    operation: &'a Operation,
    request: &'a WriteRequest,
    reply: &'a WriteReply,
    /// Where its ordering shard has it.
    at: Position,
}

impl Write<'_> {
    fn invariant(&self) -> Invariant {
        if self.request.ops.len() > 1 { Invariant::I8 } else { Invariant::I1 }
    }
}

impl<'a> Court<'a> {
    pub(super) fn writes(&mut self, touched: &Touched<'a>) {
        for operation in self.operations {
            if let (Call::Write(request), Ok(Reply::Write(reply))) = (&operation.call, &operation.result) {
                let Some(at) = reply.positions.first().copied() else {
                    let message = format!("operation #{} was acknowledged without a position", operation.id);
                    self.violation(Invariant::I1, message, |_| vec![super::slice::line(operation)]);
                    continue;
                };
                let write = Write { operation, request, reply, at };
                if self.part.has(at.shard) && self.write_stands(write) {
                    self.write_shows(write, touched);
                }
            }
        }
    }

    /// Whether the log must show the write: it is there, or lost as it may be.
    fn write_stands(&mut self, write: Write<'a>) -> bool {
        self.checked(Invariant::I1);
        let Write { operation, request, reply, at } = write;
        let ordering = self.rules.schema.ordering_shard(request);
        let misplaced = ordering.as_ref().is_ok_and(|shard| *shard != at.shard);
        let mut stands = true;
        for position in &reply.positions {
            match self.standing(*position) {
                Standing::Present if !misplaced => {}
                Standing::Unknown if !misplaced => {
                    self.found.unjudged += 1;
                    stands = false;
                }
                Standing::Lost | Standing::LostUnread if !self.rules.lossless => {
                    self.found.lost += u64::from(*position == at);
                    stands = false;
                }
                standing => {
                    let message = format!(
                        "operation #{} was acknowledged at {position}; there the log has {standing:?}{}",
                        operation.id,
                        if misplaced { ", and it is not of the shard that orders the write" } else { "" }
                    );
                    self.violation(Invariant::I1, message, |court| court.explain(operation, &[], *position));
                    return false;
                }
            }
        }
        stands
    }

    fn write_shows(&mut self, write: Write<'a>, touched: &Touched<'a>) {
        let Write { operation, request, reply, at } = write;
        if request.ops.len() != reply.outcomes.len() {
            let (ops, outcomes) = (request.ops.len(), reply.outcomes.len());
            let message = format!("operation #{} has {ops} ops and {outcomes} outcomes", operation.id);
            self.violation(Invariant::I8, message, |_| vec![super::slice::line(operation)]);
            return;
        }
        if request.ops.len() > 1 {
            self.checked(Invariant::I8);
        }
        for (op, outcome) in request.ops.iter().zip(&reply.outcomes) {
            let Some(all) = facts(op, Some(outcome), &self.rules.schema) else { continue };
            for fact in all {
                let wrong = self.fact_holds(&fact, at, touched).err();
                if let Some(why) = wrong {
                    let message = format!("operation #{}, acknowledged at {at}: {why}", operation.id);
                    self.violation(write.invariant(), message, |court| {
                        court.explain(operation, &[subject(fact.touch)], at)
                    });
                }
            }
            if outcome.effect != Effect::Nothing {
                self.other_side(write, op);
            }
        }
    }

    /// Whether the log shows a fact at a position. Several writes of one transaction share a seq, in an order that nobody
    /// knows: then what the row shows must be what one of them wanted.
    fn fact_holds(&self, fact: &Fact, at: Position, touched: &Touched<'a>) -> Result<(), String> {
        let (here, before) = ((at.epoch, at.seq), (at.epoch, Seq(at.seq.0.saturating_sub(1))));
        let others = touched.candidates(fact.touch, at).count() > 1 || !self.rules.complete;
        let Some(now) = self.row(fact.touch, here) else { return Ok(()) };
        let was = self.row(fact.touch, before);
        let shown = self.is_touched(fact.touch, at);
        if fact.nothing {
            return if now.exists() && !shown {
                Err(format!("it found nothing, but there was {now:?}"))
            } else {
                Ok(())
            };
        }
        if !shown && !others {
            return Err(format!("the change at {at} has nothing of {:?}", fact.touch));
        }
        if others {
            // Whoever came last in the transaction is seen; a later deletion may even have left no trace of the row.
            let by_one = |want: &Want| want.is_met(None, now, None);
            let fits = by_one(&fact.want)
                || touched.candidates(fact.touch, at).any(|(_, other)| by_one(&other.want));
            return if fits || !self.rules.complete {
                Ok(())
            } else {
                Err(format!("no write of that transaction wanted {now:?}"))
            };
        }
        let source = match &fact.want {
            Want::EdgeFrom(old) => match self.row(Touch::Edge(*old), before) {
                Some(Row::Edge(value)) => value,
                _ => None,
            },
            _ => None,
        };
        if !fact.want.is_met(was, now, source) {
            return Err(format!("it wanted {:?}, and the log has {now:?} after {was:?}", fact.want));
        }
        let Some(was) = was else { return Ok(()) };
        if let Some(existed) = fact.existed.filter(|existed| *existed != was.exists()) {
            return Err(format!(
                "it said that the row existed before: {existed}; the log has {was:?} before"
            ));
        }
        self.expected_version(fact, before)
    }

    /// A write that depended on a version found it.
    fn expected_version(&self, fact: &Fact, before: Version) -> Result<(), String> {
        let Some(expected) = fact.expected else { return Ok(()) };
        let replay = &self.replays[&fact.touch.shard()];
        let found = match fact.touch {
            Touch::Object(id) => match replay.object_at(id, before) {
                ObjectState::Known(row) => row.map_or(Seq::ZERO, |row| row.version),
                ObjectState::Unknown => return Ok(()),
            },
            Touch::Edge(edge) => match replay.list_version(edge.list(), before) {
                Some(version) => version,
                None => return Ok(()),
            },
        };
        if found == expected {
            return Ok(());
        }
        Err(format!("it depended on version {expected}; the log has version {found} before it"))
    }

    /// The other side of a pair, where the answer names its shard: it has this state, or a later one of the pair.
    fn other_side(&mut self, write: Write<'a>, op: &WriteOp) {
        let (WriteOp::AssocAdd { edge, .. }
        | WriteOp::AssocDelete { edge, .. }
        | WriteOp::AssocChangeType { edge, .. }) = op
        else {
            return;
        };
        let Ok(Canonical { edge, inverse: Some(inverse), .. }) = self.rules.schema.canonical(*edge) else {
            return;
        };
        let other = edge.reversed(inverse);
        let Some(at) = write.reply.positions.iter().find(|at| at.shard == other.id1.shard()).copied() else {
            self.pending_is_said(write, other);
            return;
        };
        if self.standing(at) != Standing::Present || self.standing(write.at) != Standing::Present {
            return;
        }
        self.checked(Invariant::I1);
        let EdgeState::Known(shown) = self.replays[&at.shard].edge_at(other, (at.epoch, at.seq)) else {
            return;
        };
        let from = (write.at.epoch, write.at.seq);
        let versions = self.replays[&edge.id1.shard()].edge_versions(edge);
        let first = versions.partition_point(|(version, _)| *version < from);
        // Two writes of one transaction may have undone each other, and left no version there.
        let then = self.replays[&edge.id1.shard()].edge_at(edge, from);
        if then != EdgeState::Known(shown) && !versions[first..].iter().any(|(_, value)| *value == shown) {
            let message = format!(
                "operation #{} was acknowledged with its other side at {at}; there {other:?} is {shown:?}, which the pair \
                 never was from {} on",
                write.operation.id, write.at
            );
            let subjects = [subject(Touch::Edge(edge)), subject(Touch::Edge(other))];
            self.violation(Invariant::I1, message, |court| {
                let mut lines = court.explain(write.operation, &subjects, at);
                lines.extend(court.log_slice(write.at, &subjects));
                lines
            });
        }
    }

    fn pending_is_said(&mut self, write: Write<'a>, other: EdgeKey) {
        if !write.reply.inverse_pending {
            let message = format!(
                "operation #{} names no position of {other:?}, and does not say that it is pending",
                write.operation.id
            );
            self.violation(Invariant::I1, message, |_| vec![super::slice::line(write.operation)]);
        }
    }

    /// In a complete history every change of an object, and of an edge on its ordering side, is somebody's write.
    pub(super) fn unexplained(&mut self, touched: &Touched<'a>) {
        if !self.rules.complete {
            return;
        }
        let part = self.part;
        for (_, log) in self.truth.shards().filter(|(shard, _)| part.has(*shard)) {
            for logged in log.log() {
                let at = logged.change.position();
                // A lost attempt's retry is acknowledged where it stands now: of what is lost nobody need know.
                if log.is_lost((at.epoch, at.seq)) {
                    continue;
                }
                for (touch, row) in touches(&logged.change.items) {
                    if let Touch::Edge(edge) = touch
                        && self.rules.schema.canonical(edge).is_ok_and(|canonical| canonical.edge != edge)
                    {
                        continue;
                    }
                    self.checked(Invariant::I1);
                    if touched.candidates(touch, at).next().is_none() && !touched.maybe_added(at.shard, row) {
                        let message =
                            format!("the log has {touch:?} = {row:?} at {at}, which nobody asked for");
                        self.violation(Invariant::I1, message, |court| {
                            let mut lines = vec![log_line(logged)];
                            lines.extend(court.log_slice(at, &[subject(touch)]));
                            lines
                        });
                    }
                }
            }
        }
    }

    fn row(&self, touch: Touch, at: Version) -> Option<Row<'_>> {
        let replay = self.replays.get(&touch.shard())?;
        match touch {
            Touch::Object(id) => match replay.object_at(id, at) {
                ObjectState::Known(row) => Some(Row::Object(row)),
                ObjectState::Unknown => None,
            },
            Touch::Edge(edge) => match replay.edge_at(edge, at) {
                EdgeState::Known(value) => Some(Row::Edge(value)),
                EdgeState::Unknown => None,
            },
        }
    }

    fn is_touched(&self, touch: Touch, at: Position) -> bool {
        let here = (at.epoch, at.seq);
        let Some(replay) = self.replays.get(&touch.shard()) else { return false };
        match touch {
            Touch::Object(id) => {
                replay.object_versions(id).binary_search_by_key(&here, |(version, _)| *version).is_ok()
            }
            Touch::Edge(edge) => {
                replay.edge_versions(edge).binary_search_by_key(&here, |(version, _)| *version).is_ok()
            }
        }
    }
}

/// Every row that a change has.
pub(super) fn touches(items: &[ChangeItem]) -> impl Iterator<Item = (Touch, Row<'_>)> {
    items.iter().flat_map(|item| match item {
        ChangeItem::Object { id, row } => vec![(Touch::Object(*id), Row::Object(row.as_ref()))],
        ChangeItem::List(change) => {
            let edge = |id2| EdgeKey { id1: change.key.id1, atype: change.key.atype, id2 };
            change
                .edges
                .iter()
                .map(|(id2, value)| (Touch::Edge(edge(*id2)), Row::Edge(value.as_ref())))
                .collect()
        }
    })
}

const fn subject(touch: Touch) -> Subject {
    match touch {
        Touch::Object(id) => Subject::Object(id),
        Touch::Edge(edge) => Subject::List(edge.list()),
    }
}
