//! Reads that one entry in a follower's memory could not answer.

use std::sync::Arc;

use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Position, Seq, Time};
use tao_schema::limits::MAX_QUERY_LIMIT;
use tao_schema::ops::{Answer, Explain, FillKey, ReadOp, ReadReply, ReadRequest, Source};
use tao_schema::rows::EdgeValue;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, Row, Snapshot};
use tokio::time::Instant;

use super::Inner;
use super::fills::{Fetched, reached};
use super::shards::Slot;
use crate::core::{Key, Lookup, Serve, serve};

/// Several edges are read at one position; so often it is tried when the list changes meanwhile.
const SNAPSHOT_TRIES: usize = 4;

/// An answer with what it is right at.
struct Found {
    position: Position,
    answer: Answer,
    source: Source,
    reason: &'static str,
}

impl Inner {
    pub(super) async fn answer_read(
        self: &Arc<Self>,
        request: ReadRequest,
        deadline: Instant,
    ) -> Result<ReadReply> {
        self.schema.check_read(&request.op)?;
        let slot = self.open(request.op.shard(), deadline).await?;
        let found = self.find(&slot, &request, deadline).await?;
        self.metrics.answered("read", found.source);
        let explain = request.explain.then(|| Explain {
            source: found.source,
            path: vec![self.routes.name.clone()],
            reason: found.reason.to_owned(),
            rule: String::new(),
        });
        Ok(ReadReply { position: found.position, answer: found.answer, explain, time: None })
    }

    async fn find(&self, slot: &Arc<Slot>, request: &ReadRequest, deadline: Instant) -> Result<Found> {
        let (op, token) = (&request.op, request.demand.at_least);
        let (key, query_limit) = self.key_of(op);
        // Before anything is read: what has been shown by now must not be missing in the answer (R15).
        let floor = slot.core.floor(&key);
        let mut reason = "";
        let mut fetched = match slot.core.lookup(self.shards.entries(), &key, token) {
            Lookup::Hit { entry, as_of } => {
                Fetched { entry, as_of, state: slot.state(), source: Source::LeaderCache }
            }
            Lookup::Miss(why) => {
                self.check_token(why, token)?;
                reason = why.name();
                self.fetch(slot, fill_key(&key, first_edges(op, query_limit)), token, deadline).await?
            }
        };
        // At most one deeper fill: if that is no answer either, the list outgrew it.
        for deeper in [true, false] {
            match serve(&fetched.entry, op, query_limit) {
                Serve::Answer(answer) => {
                    let Fetched { as_of, source, .. } = fetched;
                    return Ok(Found { position: as_of, answer, source, reason });
                }
                Serve::NeedEdges(edges) if deeper => {
                    reason = "the cached list is too short";
                    fetched = self.fetch(slot, fill_key(&key, edges), token, deadline).await?;
                }
                Serve::NeedEdges(_) | Serve::Through => break,
            }
        }
        let need = token.map_or(floor, |token| token.seq.max(floor));
        let (position, answer) = self.read_through(slot, op, query_limit, deadline).await?;
        reached(position, need)?;
        let version = match &answer {
            Answer::Edges { version, .. } if *version > Seq::ZERO => *version,
            _ => position.seq,
        };
        slot.core.with(|core| core.shown(key, version, self.shards.entries()));
        Ok(Found { position, answer, source: Source::Database, reason: "too deep for a cached list" })
    }

    /// From the database alone: its index finds what no prefix of bounded length holds.
    async fn read_through(
        &self,
        slot: &Slot,
        op: &ReadOp,
        query_limit: u32,
        deadline: Instant,
    ) -> Result<(Position, Answer)> {
        let slice = |list: &ListKey, (high, low), pos, limit: &u32| ReadKey::Slice {
            key: *list,
            high,
            low,
            pos,
            limit: (*limit).min(query_limit),
        };
        let read = match op {
            ReadOp::AssocRange { list, pos, limit } => slice(list, (Time(u32::MAX), Time(0)), *pos, limit),
            ReadOp::AssocTimeRange { list, high, low, limit } => slice(list, (*high, *low), 0, limit),
            ReadOp::AssocGet { list, id2s, high, low } => {
                return self.get_through(slot, *list, id2s, (*high, *low), deadline).await;
            }
            ReadOp::ObjectGet(_) | ReadOp::AssocCount(_) => {
                return Err(Error::internal(format!("{} is answered by one entry", op.name())));
            }
        };
        let (group, _) = self.routes.group(slot.shard)?;
        let snapshot = group.reader.read(read, deadline).await?;
        self.check_snapshot(slot, &snapshot)?;
        match snapshot.row {
            Row::List(list) => {
                Ok((snapshot.position, Answer::Edges { edges: list.edges, version: list.version }))
            }
            Row::Object(_) | Row::Edge(_) => Err(other_kind()),
        }
    }

    /// Single edges and the list's version, all at one position.
    async fn get_through(
        &self,
        slot: &Slot,
        list: ListKey,
        id2s: &[ObjectId],
        (high, low): (Option<Time>, Option<Time>),
        deadline: Instant,
    ) -> Result<(Position, Answer)> {
        let mut wanted = id2s.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let edge = |id2: &ObjectId| ReadKey::Edge(EdgeKey { id1: list.id1, atype: list.atype, id2: *id2 });
        let mut keys = vec![ReadKey::List { key: list, edges: 0 }];
        keys.extend(wanted.iter().map(edge));
        let (group, _) = self.routes.group(slot.shard)?;
        for _ in 0..SNAPSHOT_TRIES {
            let rows = group.reader.read_all(slot.shard, keys.clone(), deadline).await?;
            let Some(first) = rows.first() else { return Err(other_kind()) };
            self.check_snapshot(slot, first)?;
            let position = first.position;
            if rows.iter().any(|row| row.position != position) {
                continue;
            }
            let mut rows = rows.into_iter().map(|snapshot| snapshot.row);
            let Some(Row::List(head)) = rows.next() else { return Err(other_kind()) };
            let mut found = Vec::new();
            for (id2, row) in wanted.iter().zip(rows) {
                let Row::Edge(value) = row else { return Err(other_kind()) };
                found.extend(value.map(|(value, _, _)| (*id2, value)));
            }
            found.retain(|(_, value)| {
                high.is_none_or(|high| value.time <= high) && low.is_none_or(|low| value.time >= low)
            });
            return Ok((position, Answer::Edges { edges: packed(found), version: head.version }));
        }
        let message =
            format!("the list of {} changes too fast to read {} edges at once", list.id1, wanted.len());
        Err(Error::new(ErrorCode::Overloaded, message))
    }

    /// Rows of another epoch, or of a shard that is not here, answer nothing (R12).
    fn check_snapshot(&self, slot: &Slot, snapshot: &Snapshot) -> Result<()> {
        if snapshot.state.readable() && snapshot.position.epoch == slot.core.position().epoch {
            return Ok(());
        }
        self.routes.stale_topology.notify_one();
        let message =
            format!("shard {} is {:?} at {} in this database", slot.shard, snapshot.state, snapshot.position);
        Err(Error::new(ErrorCode::NotOwner, message))
    }

    /// The op's key and its type's query limit.
    fn key_of(&self, op: &ReadOp) -> (Key, u32) {
        let list = match op {
            ReadOp::ObjectGet(id) => return (Key::Object(*id), MAX_QUERY_LIMIT),
            ReadOp::AssocGet { list, .. }
            | ReadOp::AssocCount(list)
            | ReadOp::AssocRange { list, .. }
            | ReadOp::AssocTimeRange { list, .. } => *list,
        };
        let limit = self.schema.assoc_type(list.atype).map_or(MAX_QUERY_LIMIT, |def| def.query_limit);
        (Key::List(list), limit)
    }
}

/// How many edges the first fill asks for; if the list is longer than that and more are needed, `serve` says so.
fn first_edges(op: &ReadOp, query_limit: u32) -> u32 {
    match op {
        ReadOp::ObjectGet(_) | ReadOp::AssocCount(_) | ReadOp::AssocGet { .. } => 0,
        ReadOp::AssocRange { pos, limit, .. } => pos.saturating_add(*limit).min(query_limit),
        ReadOp::AssocTimeRange { limit, .. } => (*limit).min(query_limit),
    }
}

const fn fill_key(key: &Key, edges: u32) -> FillKey {
    match key {
        Key::Object(id) => FillKey::Object(*id),
        Key::List(key) => FillKey::List { key: *key, edges },
    }
}

/// In list order: newest first.
fn packed(mut edges: Vec<(ObjectId, EdgeValue)>) -> tao_schema::edges::PackedEdges {
    edges.sort_unstable_by_key(|(id2, value)| std::cmp::Reverse((value.time, *id2)));
    let mut packed = PackedEdgesBuilder::with_capacity(edges.len());
    for (id2, value) in edges {
        packed.push(id2, value.time, &value.fields.0);
    }
    packed.finish()
}

fn other_kind() -> Error {
    Error::internal("the database answered with a row of another kind")
}
