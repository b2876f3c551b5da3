//! Reads that one entry in a follower's memory could not answer.

use std::sync::Arc;

use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, Position, Seq, Time};
use tao_schema::limits::MAX_QUERY_LIMIT;
use tao_schema::ops::{Answer, Explain, FillKey, Freshness, ReadOp, ReadReply, ReadRequest, Source};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::EdgeValue;
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, Row, Snapshot};
use tokio::time::Instant;

use super::Inner;
use super::demand::Allowed;
use super::fills::{Fetched, half, reached, why_up};
use super::hold::Needs;
use super::routes::Place;
use super::slot::Slot;
use crate::core::{Key, Lookup, Serve, serve};

/// Several edges are read at one position; so often it is tried when the list changes meanwhile.
const SNAPSHOT_TRIES: usize = 4;

/// An answer with what it is right at.
struct Found {
    position: Position,
    answer: Answer,
    source: Source,
    reason: &'static str,
    rule: String,
}

/// Where rows are read, and whether they must be the present.
#[derive(Clone, Copy)]
struct Rows<'a> {
    slot: &'a Slot,
    place: &'a Place<'a>,
    strict: bool,
}

/// How a read may be answered here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    /// Memory, else rows.
    Memory,
    /// Rows read on the primary from now on; `true`: strictly.
    Primary(bool),
}

/// Who was promised the present can't be answered from rows under a fence: it is in another place by then.
const fn needs_of(request: &ReadRequest) -> Needs {
    match request.demand.freshness {
        Freshness::Critical | Freshness::Within(_) => Needs::Serving,
        Freshness::Any | Freshness::Master => Needs::Rows,
    }
}

impl Inner {
    pub(super) async fn answer_read(
        self: &Arc<Self>,
        request: ReadRequest,
        deadline: Instant,
    ) -> Result<ReadReply> {
        self.schema.check_read(&request.op)?;
        let shard = request.op.shard();
        let slot = self.slot(shard)?;
        let place = self.settled(&slot, needs_of(&request), deadline).await?;
        if request.forwarded && !place.master {
            return Err(self.routes.not_master(shard));
        }
        let found = match self.allowed(&place, &slot, &request.demand)? {
            Allowed::Up(reason) => return self.read_up(&request, reason, deadline).await,
            Allowed::Memory(rule) => {
                self.find(&slot, &place, &request, From::Memory, deadline).await.map(|found| (found, rule))
            }
            Allowed::Primary { strict, rule } => {
                let from = From::Primary(strict);
                self.find(&slot, &place, &request, from, deadline).await.map(|found| (found, rule))
            }
            Allowed::Proved => self.prove(&slot, &place, &request, deadline).await,
        };
        let (found, rule) = match found {
            // Whatever keeps this region from answering, the master region may.
            Err(error) if !place.master && goes_up(&error) => {
                return self.read_up(&request, why_up(&error), deadline).await;
            }
            found => found?,
        };
        self.metrics.answered("read", found.source);
        let explain = request.explain.then(|| Explain {
            source: found.source,
            path: vec![self.routes.name.clone()],
            reason: found.reason.to_owned(),
            rule: if found.rule.is_empty() { rule } else { format!("{}; {rule}", found.rule) },
        });
        // Taken after the answer was read: it shows nothing later.
        let time = place.group.health.latest();
        Ok(ReadReply { position: found.position, answer: found.answer, explain, time })
    }

    /// Critical: what memory has, if the shard row, read from now on, is where that is right at; else rows (R21).
    async fn prove(
        &self,
        slot: &Arc<Slot>,
        place: &Place<'_>,
        request: &ReadRequest,
        deadline: Instant,
    ) -> Result<(Found, String)> {
        let (key, query_limit) = self.key_of(&request.op);
        let token = request.demand.at_least;
        if let Lookup::Hit { entry, as_of } = slot.core.lookup(self.shards.entries(), &key, token)
            && let Serve::Answer(answer) = serve(&entry, &request.op, query_limit)
        {
            // Any key shows the shard row, and goes in one call with those of other shards.
            let key = ReadKey::Object(ObjectId::new(slot.shard, 0));
            let row = place.group.reader.read(key, deadline).await?;
            self.check_current(place, &row)?;
            if row.position == as_of || planted(Bug::CriticalFromMemory) {
                let source = Source::LeaderCache;
                let found = Found { position: as_of, answer, source, reason: "", rule: String::new() };
                return Ok((
                    found,
                    format!("R21 Critical: the shard row is serving at {as_of} after arrival"),
                ));
            }
        }
        let found = self.find(slot, place, request, From::Primary(true), deadline).await?;
        let rule = format!("R21 Critical: read on the primary after arrival, serving at {}", found.position);
        Ok((found, rule))
    }

    async fn find(
        &self,
        slot: &Arc<Slot>,
        place: &Place<'_>,
        request: &ReadRequest,
        from: From,
        deadline: Instant,
    ) -> Result<Found> {
        let (op, token) = (&request.op, request.demand.at_least);
        let (key, query_limit) = self.key_of(op);
        // Before anything is read: what has been shown by now must not be missing in the answer (R15).
        let floor = slot.core.floor(&key);
        let mut reason = "";
        let first = fill_key(&key, first_edges(op, query_limit));
        let mut fetched = match (slot.core.lookup(self.shards.entries(), &key, token), from) {
            (Lookup::Hit { entry, as_of }, From::Memory) => {
                Fetched { entry, as_of, state: slot.state(), source: Source::LeaderCache }
            }
            (Lookup::Hit { .. }, From::Primary(_)) => {
                reason = "memory is not proved current";
                self.entry(slot, first, token, from, deadline).await?
            }
            (Lookup::Miss(why), _) => {
                self.check_token(slot, place, why, token)?;
                self.check_unheard(slot, place, &key, token)?;
                reason = why.name();
                self.entry(slot, first, token, from, deadline).await?
            }
        };
        // At most one deeper fill: if that is no answer either, the list outgrew it.
        for deeper in [true, false] {
            match serve(&fetched.entry, op, query_limit) {
                Serve::Answer(answer) => {
                    let Fetched { as_of, source, .. } = fetched;
                    let rule = token_rule(token, as_of);
                    return Ok(Found { position: as_of, answer, source, reason, rule });
                }
                Serve::NeedEdges(edges) if deeper => {
                    reason = "the cached list is too short";
                    fetched = self.entry(slot, fill_key(&key, edges), token, from, deadline).await?;
                }
                Serve::NeedEdges(_) | Serve::Through => break,
            }
        }
        let need = token.map_or(floor, |token| token.seq.max(floor));
        self.find_deep(slot, place, request, (from, need), deadline).await
    }

    /// What no cached list answers.
    async fn find_deep(
        &self,
        slot: &Arc<Slot>,
        place: &Place<'_>,
        request: &ReadRequest,
        (from, need): (From, Seq),
        deadline: Instant,
    ) -> Result<Found> {
        if !place.master && !place.group.health.local_reads() {
            return Err(Error::unavailable("this region's server is not read now"));
        }
        let (op, strict) = (&request.op, from == From::Primary(true));
        let (key, query_limit) = self.key_of(op);
        let until = if place.master { deadline } else { half(deadline) };
        let rows = Rows { slot, place, strict };
        let (position, answer) = self.read_through(rows, op, query_limit, until).await?;
        reached(position, need)?;
        let version = match &answer {
            Answer::Edges { version, .. } if *version > Seq::ZERO => *version,
            _ => position.seq,
        };
        slot.core.with(|core| core.shown(key, version, self.shards.entries()));
        let rule = token_rule(request.demand.at_least, position);
        let reason = "too deep for a cached list";
        Ok(Found { position, answer, source: Source::Database, reason, rule })
    }

    async fn entry(
        &self,
        slot: &Arc<Slot>,
        key: FillKey,
        token: Option<Position>,
        from: From,
        deadline: Instant,
    ) -> Result<Fetched> {
        match from {
            From::Memory => self.fetch(slot, key, token, None, deadline).await,
            From::Primary(strict) => self.fetch_now(slot, key, token, strict, deadline).await,
        }
    }

    /// From the database alone: its index finds what no prefix of bounded length holds.
    async fn read_through(
        &self,
        rows: Rows<'_>,
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
                return self.get_through(rows, (*list, id2s), (*high, *low), deadline).await;
            }
            ReadOp::ObjectGet(_) | ReadOp::AssocCount(_) => {
                return Err(Error::internal(format!("{} is answered by one entry", op.name())));
            }
        };
        let snapshot = rows.place.group.reader.read(read, deadline).await?;
        self.check_snapshot(rows, &snapshot)?;
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
        from: Rows<'_>,
        (list, id2s): (ListKey, &[ObjectId]),
        (high, low): (Option<Time>, Option<Time>),
        deadline: Instant,
    ) -> Result<(Position, Answer)> {
        let mut wanted = id2s.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let edge = |id2: &ObjectId| ReadKey::Edge(EdgeKey { id1: list.id1, atype: list.atype, id2: *id2 });
        let mut keys = vec![ReadKey::List { key: list, edges: 0 }];
        keys.extend(wanted.iter().map(edge));
        for _ in 0..SNAPSHOT_TRIES {
            let rows = from.place.group.reader.read_all(from.slot.shard, keys.clone(), deadline).await?;
            let Some(first) = rows.first() else { return Err(other_kind()) };
            self.check_snapshot(from, first)?;
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
    fn check_snapshot(&self, Rows { slot, place, strict }: Rows<'_>, snapshot: &Snapshot) -> Result<()> {
        if strict {
            self.check_current(place, snapshot)?;
        }
        let known = slot.core.position().epoch;
        // A core that follows no log yet takes the epoch that it meets.
        if snapshot.state.readable() && (snapshot.position.epoch == known || known == Epoch(0)) {
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

/// Whether another region may do better: not with what is wrong with the request itself, or with its token.
const fn goes_up(error: &Error) -> bool {
    !matches!(error.code, ErrorCode::InvalidArgument | ErrorCode::NoSuchShard | ErrorCode::Overloaded)
}

fn token_rule(token: Option<Position>, as_of: Position) -> String {
    token.map_or_else(String::new, |token| format!("R21 AtLeast: right at {as_of}, token {token}"))
}

fn other_kind() -> Error {
    Error::internal("the database answered with a row of another kind")
}
