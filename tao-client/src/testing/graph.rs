//! A graph in memory that answers like a cluster: every operation, both sides of pairs, counts, versions, preconditions,
//! one effect for each request id. No caches, no lag, no failures: these a test adds around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::edges::{Edge, PackedEdges};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, Position, RequestId, Seq, ShardId, Time};
use tao_schema::ops::{
    Answer, Effect, Explain, Outcome, ReadOp, ReadReply, ReadRequest, Source, WriteOp, WriteReply,
    WriteRequest,
};
use tao_schema::rows::{EdgeValue, ObjectRow};
use tao_schema::wire::proto;
use tao_schema::{Error, ErrorCode, Result};

use super::Reaction;

/// A graph in memory. Clones are the same graph.
#[derive(Clone)]
pub struct Graph {
    schema: Arc<GraphSchema>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    seqs: BTreeMap<ShardId, Seq>,
    next_local: u64,
    objects: BTreeMap<ObjectId, ObjectRow>,
    lists: BTreeMap<ListKey, List>,
    requests: BTreeMap<RequestId, WriteReply>,
}

#[derive(Clone, Default)]
struct List {
    edges: BTreeMap<ObjectId, EdgeValue>,
    version: Seq,
}

impl Graph {
    /// An empty graph with the demo schema.
    pub fn demo() -> Self {
        Self { schema: Arc::new(GraphSchema::demo()), state: Arc::default() }
    }

    /// Takes over what the other graph holds now, as a replica that has caught up.
    pub fn become_copy_of(&self, other: &Self) {
        let state = other.state.lock().clone();
        *self.state.lock() = state;
    }

    /// Answers a request.
    pub fn answer(&self, request: &proto::Request) -> Reaction {
        let result = match &request.op {
            Some(proto::request::Op::Read(read)) => ReadRequest::try_from(read.clone())
                .and_then(|read| self.read(&read))
                .map(|reply| proto::reply::Result::Read(reply.into())),
            Some(proto::request::Op::Write(write)) => WriteRequest::try_from(write.clone())
                .and_then(|write| self.write(&write))
                .map(|reply| proto::reply::Result::Write(reply.into())),
            _ => Err(Error::invalid("not a request of an application")),
        };
        Reaction::Reply(result.unwrap_or_else(|error| proto::reply::Result::Error(error.into())))
    }

    fn read(&self, request: &ReadRequest) -> Result<ReadReply> {
        self.schema.check_read(&request.op)?;
        let state = self.state.lock();
        let shard = request.op.shard();
        let position = state.position(shard);
        if request.demand.at_least.is_some_and(|at_least| at_least > position) {
            return Err(Error::new(ErrorCode::LostEpoch, "the token is ahead of this graph"));
        }
        let explain = Explain {
            source: Source::FollowerCache,
            path: vec!["graph".into()],
            reason: String::new(),
            rule: String::new(),
        };
        let answer = match &request.op {
            ReadOp::ObjectGet(id) => Answer::Object(state.objects.get(id).map(|row| (*id, row.clone()))),
            ReadOp::AssocCount(list) => {
                let list = state.list(*list);
                Answer::Count { count: list.edges.len() as u64, version: list.version }
            }
            ReadOp::AssocGet { list, id2s, high, low } => {
                let (high, low) = (high.unwrap_or(Time(u32::MAX)), low.unwrap_or(Time(0)));
                state.list(*list).answer(usize::MAX, 0, |edge| {
                    id2s.contains(&edge.id2) && (low..=high).contains(&edge.time)
                })
            }
            ReadOp::AssocRange { list, pos, limit } => {
                state.list(*list).answer(*limit as usize, *pos as usize, |_| true)
            }
            ReadOp::AssocTimeRange { list, high, low, limit } => {
                state.list(*list).answer(*limit as usize, 0, |edge| (*low..=*high).contains(&edge.time))
            }
        };
        Ok(ReadReply { position, answer, explain: request.explain.then_some(explain), time: None })
    }

    fn write(&self, request: &WriteRequest) -> Result<WriteReply> {
        self.schema.check_write(request)?;
        let mut state = self.state.lock();
        if let Some(first) = state.requests.get(&request.id) {
            return Ok(WriteReply { replayed: true, ..first.clone() });
        }
        // On a copy: together or not at all.
        let mut next = state.clone();
        let shard = self.schema.ordering_shard(request)?;
        let seq = next.advance(shard);
        let mut changed = vec![shard];
        let outcomes: Result<Vec<_>> =
            request.ops.iter().map(|op| self.apply(&mut next, op, seq, &mut changed)).collect();
        let positions = changed.into_iter().map(|shard| next.position(shard)).collect();
        let reply = WriteReply {
            positions,
            outcomes: outcomes?,
            inverse_pending: false,
            replayed: false,
            time: None,
        };
        next.requests.insert(request.id, reply.clone());
        *state = next;
        Ok(reply)
    }

    fn apply(
        &self,
        state: &mut State,
        op: &WriteOp,
        seq: Seq,
        changed: &mut Vec<ShardId>,
    ) -> Result<Outcome> {
        let refused = |what: &str| Error::new(ErrorCode::PreconditionFailed, what);
        let of_edge = |effect| Outcome { effect, id: None };
        match op {
            WriteOp::ObjectAdd { id, shard, otype, fields } => {
                state.next_local += 1;
                let id = id.unwrap_or_else(|| ObjectId::new(*shard, state.next_local));
                let row = ObjectRow { otype: *otype, version: seq, fields: fields.clone() };
                match state.objects.insert(id, row) {
                    None => Ok(Outcome { effect: Effect::Created, id: Some(id) }),
                    Some(_) => Err(refused("the object exists")),
                }
            }
            WriteOp::ObjectUpdate { id, set, clear, expected, .. } => {
                let missing = || Error::new(ErrorCode::NotFound, "no such object");
                let row = state.objects.get_mut(id).ok_or_else(missing)?;
                if expected.is_some_and(|version| version != row.version) {
                    return Err(refused("the object has another version"));
                }
                let mut fields = row.fields.decode()?;
                fields.merge(set.decode()?, clear);
                *row = ObjectRow { otype: row.otype, version: seq, fields: fields.encode() };
                Ok(Outcome { effect: Effect::Updated, id: Some(*id) })
            }
            WriteOp::ObjectDelete { id, .. } => {
                let gone = state.objects.remove(id).is_some();
                let effect = if gone { Effect::Deleted } else { Effect::Nothing };
                Ok(Outcome { effect, id: Some(*id) })
            }
            WriteOp::AssocAdd { edge, time, fields, create_only, expected } => {
                if *create_only && state.edge(*edge).is_some() {
                    return Err(refused("the association exists"));
                }
                if expected.is_some_and(|version| version != state.list(edge.list()).version) {
                    return Err(refused("the list has another version"));
                }
                let value = EdgeValue { time: *time, fields: fields.clone() };
                let before = self.put(state, *edge, Some(value), changed)?;
                Ok(of_edge(if before.is_some() { Effect::Updated } else { Effect::Created }))
            }
            WriteOp::AssocDelete { edge, .. } => {
                let before = self.put(state, *edge, None, changed)?;
                Ok(of_edge(if before.is_some() { Effect::Deleted } else { Effect::Nothing }))
            }
            WriteOp::AssocChangeType { edge, new_atype, .. } => {
                let Some(value) = self.put(state, *edge, None, changed)? else {
                    return Ok(of_edge(Effect::Nothing));
                };
                self.put(state, EdgeKey { atype: *new_atype, ..*edge }, Some(value), changed)?;
                Ok(of_edge(Effect::Updated))
            }
        }
    }

    /// Gives an edge and its other side a state; returns the one before.
    fn put(
        &self,
        state: &mut State,
        edge: EdgeKey,
        value: Option<EdgeValue>,
        changed: &mut Vec<ShardId>,
    ) -> Result<Option<EdgeValue>> {
        let canonical = self.schema.canonical(edge)?;
        let other = canonical.inverse.map(|inverse| canonical.edge.reversed(inverse));
        let before = state.edge(edge).cloned();
        for side in [Some(canonical.edge), other].into_iter().flatten() {
            let shard = side.id1.shard();
            if !changed.contains(&shard) {
                changed.push(shard);
                state.advance(shard);
            }
            let version = state.position(shard).seq;
            let list = state.lists.entry(side.list()).or_default();
            list.version = version;
            match &value {
                Some(value) => list.edges.insert(side.id2, value.clone()),
                None => list.edges.remove(&side.id2),
            };
        }
        Ok(before)
    }
}

impl State {
    fn position(&self, shard: ShardId) -> Position {
        Position { shard, epoch: Epoch(1), seq: self.seqs.get(&shard).copied().unwrap_or_default() }
    }

    fn advance(&mut self, shard: ShardId) -> Seq {
        let seq = self.seqs.entry(shard).or_default();
        *seq = seq.next();
        *seq
    }

    fn list(&self, key: ListKey) -> List {
        self.lists.get(&key).cloned().unwrap_or_default()
    }

    fn edge(&self, key: EdgeKey) -> Option<&EdgeValue> {
        self.lists.get(&key.list())?.edges.get(&key.id2)
    }
}

impl List {
    fn answer(&self, limit: usize, pos: usize, wanted: impl Fn(&Edge) -> bool) -> Answer {
        let mut edges: Vec<Edge> = self
            .edges
            .iter()
            .map(|(id2, value)| Edge { id2: *id2, time: value.time, fields: value.fields.clone() })
            .filter(wanted)
            .collect();
        edges.sort_by_key(|edge| std::cmp::Reverse(edge.order()));
        let edges: PackedEdges = edges.iter().skip(pos).take(limit).collect();
        Answer::Edges { edges, version: self.version }
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Graph").field("objects", &state.objects.len()).finish_non_exhaustive()
    }
}
