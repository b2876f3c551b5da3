//! Plays one case on a cluster, step by step, and holds every answer against the model.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use tao_client::{BatchReply, Client, ObjectAdded, SessionClient, Written};
use tao_schema::ids::{EdgeKey, ObjectId};
use tao_schema::ops::{ReadOp, WriteOp};

use super::calls::{add, read, undecided, write};
use super::graph::{Reply, Sent, Wrong};
use super::print;
use super::rules::Rules;
use super::steps::{Door, How, Ids, Op, Step};
use super::worlds::{Answered, Worlds};

/// How long the other side of a pair may take to follow, on a busy machine (I5 says that it follows, not how soon).
const FOLLOWS: Duration = Duration::from_secs(20);

/// Why a case ended early.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// An answer that the model does not explain.
    Wrong(String),
    /// Somebody could not be reached, or a write's outcome is not known: the model can't judge what follows.
    Undecided(String),
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tally {
    /// Steps.
    pub steps: u64,
    /// Writes that were done; an atomic one counts once.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Calls that were refused as the model refuses them.
    pub refusals: u64,
    /// Steps in which calls overlapped.
    pub overlaps: u64,
    /// Overlaps after which more than one graph explains all answers.
    pub open: u64,
    /// Writes whose other side came later.
    pub pending: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.writes += other.writes;
        self.reads += other.reads;
        self.refusals += other.refusals;
        self.overlaps += other.overlaps;
        self.open += other.open;
        self.pending += other.pending;
    }
}

/// One run of one case.
pub(super) struct Player<'a> {
    /// One for each user; perhaps connected to different nodes.
    clients: &'a [Client; 2],
    sessions: [SessionClient; 2],
    rules: &'a Rules,
    ids: Ids,
    worlds: Worlds,
    /// Calls and answers so far.
    pub(super) transcript: String,
    pub(super) tally: Tally,
}

impl<'a> Player<'a> {
    pub(super) fn new(clients: &'a [Client; 2], rules: &'a Rules, ids: Ids) -> Self {
        let mut transcript = String::new();
        for (at, id) in ids.chosen.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(transcript, "let id{at} = ObjectId({id}); // shard {}", id.shard());
        }
        let sessions = [clients[0].session(), clients[1].session()];
        let (worlds, tally) = (Worlds::new(), Tally::default());
        Self { clients, sessions, rules, ids, worlds, transcript, tally }
    }

    fn session(&self, door: Door) -> SessionClient {
        self.sessions[door as usize].clone()
    }

    /// One step. What the other user has seen until now is told to this one first: so he must see it, too.
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), End> {
        let (seen_a, seen_b) = (self.sessions[0].seen(), self.sessions[1].seen());
        self.sessions[0].merge(&seen_b);
        self.sessions[1].merge(&seen_a);
        self.tally.steps += 1;
        let _ = write!(self.transcript, "{};", print::step(&self.rules.schema, step));
        let played = match step {
            Step::One(door, how, op) => self.one(*door, *how, op).await,
            Step::Atomic(door, ops) => self.atomic(*door, ops).await,
            Step::Batch(door, ops) => self.batch(*door, ops).await,
            Step::Race(a, b) => self.race(a, b).await,
            Step::Resume(door) => self.resume(*door),
        };
        self.transcript.push('\n');
        played
    }

    async fn one(&mut self, door: Door, how: How, op: &Op) -> Result<(), End> {
        let session = self.session(door);
        let client: &Client = if how == How::Stranger { &self.clients[door as usize] } else { &session };
        let sent = op.sent(&self.ids, self.worlds.any());
        let reply = match &sent {
            Sent::Write(ops) => write(&session, ops, false).await,
            Sent::Read(op) => read(client, op, how).await,
        };
        self.judge(&[vec![(sent, reply)]], std::slice::from_ref(op)).await
    }

    async fn atomic(&mut self, door: Door, ops: &[Op]) -> Result<(), End> {
        let writes: Vec<WriteOp> =
            ops.iter().filter_map(|op| op.resolve(&self.ids, self.worlds.any()).ok()).collect();
        let reply = write(&self.session(door), &writes, true).await;
        self.judge(&[vec![(Sent::Write(writes), reply)]], ops).await
    }

    async fn batch(&mut self, door: Door, ops: &[Op]) -> Result<(), End> {
        let session = self.session(door);
        let mut batch = session.batch();
        let mut sent = Vec::new();
        for op in ops {
            let call = op.resolve(&self.ids, self.worlds.any());
            add(&session, &mut batch, &call, How::Session);
            sent.push(call.map_or_else(Sent::Read, |op| Sent::Write(vec![op])));
        }
        let replies = batch.send().await;
        let callers: Vec<Vec<Answered>> = sent.into_iter().zip(replies).map(|pair| vec![pair]).collect();
        self.judge(&callers, ops).await
    }

    async fn race(&mut self, a: &[Op], b: &[Op]) -> Result<(), End> {
        let run = async |door: Door, ops: &[Op]| {
            let session = self.session(door);
            let mut answered: Vec<Answered> = Vec::new();
            for op in ops {
                let sent = op.sent(&self.ids, self.worlds.any());
                let reply = match &sent {
                    Sent::Write(ops) => write(&session, ops, false).await,
                    Sent::Read(op) => read(&session, op, How::Critical).await,
                };
                answered.push((sent, reply));
            }
            answered
        };
        let (of_a, of_b) = tokio::join!(run(Door::A, a), run(Door::B, b));
        self.judge(&[of_a, of_b], &[a, b].concat()).await
    }

    fn resume(&mut self, door: Door) -> Result<(), End> {
        let text = self.session(door).export();
        let resumed = self.clients[door as usize].resume_session(&text);
        let resumed = resumed.map_err(|error| End::Wrong(format!("the session's own text: {error}")))?;
        let (before, after) = (self.session(door).seen(), resumed.seen());
        // Times are rounded on the way; what it demands is not.
        if !before.positions().eq(after.positions()) {
            return Err(End::Wrong(format!("a session of {before:?} came back as {after:?}")));
        }
        self.sessions[door as usize] = resumed;
        Ok(())
    }

    /// Notes answers; `callers` sent theirs one after the other, beside each other. `ops`: the same calls, in order.
    async fn judge(&mut self, callers: &[Vec<Answered>], ops: &[Op]) -> Result<(), End> {
        for (_, reply) in callers.iter().flatten() {
            let _ = write!(self.transcript, "\n    // {}", show(reply));
        }
        for (sent, reply) in callers.iter().flatten() {
            if let Err(error) = reply
                && undecided(error)
            {
                return Err(End::Undecided(format!("{sent:?}: {error}")));
            }
        }
        self.worlds.together(self.rules, callers).map_err(|Wrong(why)| End::Wrong(why))?;
        self.count(callers);
        self.keep(callers, ops);
        let pending: Vec<EdgeKey> =
            callers.iter().flatten().flat_map(|answered| self.pending(answered)).collect();
        if pending.is_empty() { Ok(()) } else { self.settle(&pending).await }
    }

    fn count(&mut self, callers: &[Vec<Answered>]) {
        let tally = &mut self.tally;
        for (sent, reply) in callers.iter().flatten() {
            match (sent, reply) {
                (_, Err(_)) => tally.refusals += 1,
                (Sent::Read(_), Ok(_)) => tally.reads += 1,
                (Sent::Write(_), Ok(_)) => tally.writes += 1,
            }
        }
        if callers.len() > 1 {
            tally.overlaps += 1;
            tally.open += u64::from(self.worlds.count() > 1);
        }
    }

    /// Keeps the ids that were allocated, where the calls say.
    fn keep(&mut self, callers: &[Vec<Answered>], ops: &[Op]) {
        // An atomic write is one answer to several calls.
        let outcomes = callers.iter().flatten().flat_map(|(sent, reply)| {
            let calls = match sent {
                Sent::Write(ops) => ops.len(),
                Sent::Read(_) => 1,
            };
            let written = written(reply);
            (0..calls).map(move |at| written.and_then(|written| written.outcomes.get(at)?.id))
        });
        for (op, id) in ops.iter().zip(outcomes) {
            if let (Some(place), Some(id)) = (op.keeps(), id) {
                self.ids.allocated[usize::from(place)] = Some(id);
                let _ = write!(self.transcript, "\n    // new{place} = ObjectId({id})");
            }
        }
    }

    /// The other sides that a write's answer says are still to come.
    fn pending(&self, (sent, reply): &Answered) -> Vec<EdgeKey> {
        match (sent, written(reply)) {
            (Sent::Write(ops), Some(written)) if written.inverse_pending => {
                ops.iter().flat_map(|op| self.rules.other_sides(op)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Waits until the other sides are there: a promise without a time, so it is asked again and again. All of them in
    /// one round, because the version of a list is that of the last one to come.
    async fn settle(&mut self, sides: &[EdgeKey]) -> Result<(), End> {
        self.tally.pending += 1;
        let started = Instant::now();
        loop {
            let mut worlds = self.worlds.clone();
            let mut wrong = None;
            for side in sides {
                let op = ReadOp::AssocGet { list: side.list(), id2s: vec![side.id2], high: None, low: None };
                let reply = read(&self.sessions[0], &op, How::Critical).await;
                if let Err(Wrong(why)) = worlds.within(self.rules, &Sent::Read(op), &reply) {
                    wrong = Some(format!("the other side {side:?} does not follow: {why}"));
                }
            }
            match wrong {
                None => {
                    self.worlds = worlds;
                    return Ok(());
                }
                Some(why) if started.elapsed() > FOLLOWS => return Err(End::Wrong(why)),
                Some(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Everything that the case may have written, read by both users from memory and by a stranger from the primary.
    pub(super) async fn read_all(&mut self) -> Result<(), End> {
        let lists: Vec<_> = self.worlds.any().lists().collect();
        let mut reads: Vec<ReadOp> = self.ids.all().map(ReadOp::ObjectGet).collect();
        for list in lists {
            let limit = self.rules.assoc(list.atype).map_or(1, |def| def.query_limit);
            reads.push(ReadOp::AssocCount(list));
            reads.push(ReadOp::AssocRange { list, pos: 0, limit });
            let id2s: Vec<ObjectId> = self.ids.all().collect();
            reads.push(ReadOp::AssocGet { list, id2s, high: None, low: None });
        }
        let step = Step::Resume(Door::A);
        self.step(&step).await?;
        for (door, how) in [(Door::A, How::Session), (Door::B, How::Session), (Door::B, How::Stranger)] {
            let session = self.session(door);
            let client: &Client = if how == How::Stranger { &self.clients[1] } else { &session };
            let mut batch = client.batch();
            reads.iter().for_each(|op| add(client, &mut batch, &Err(op.clone()), how));
            let _ = write!(self.transcript, "// at the end, {how:?} of {door}:");
            for (op, reply) in reads.iter().zip(batch.send().await) {
                let answered = (Sent::Read(op.clone()), reply);
                if let Err(error) = &answered.1
                    && undecided(error)
                {
                    return Err(End::Undecided(format!("{op:?}: {error}")));
                }
                self.worlds.together(self.rules, &[vec![answered.clone()]]).map_err(|Wrong(why)| {
                    End::Wrong(format!("{op:?} at the end: {why}; answered {}", show(&answered.1)))
                })?;
                self.tally.reads += 1;
            }
            self.transcript.push_str(" as the model\n");
        }
        Ok(())
    }
}

fn written(reply: &Reply) -> Option<&Written> {
    match reply.as_ref().ok()? {
        BatchReply::Written(written) => Some(written),
        BatchReply::Added(added) => Some(&added.written),
        _ => None,
    }
}

/// An answer in a line.
fn show(reply: &Reply) -> String {
    match reply {
        Err(error) => format!("{}: {}", error.code, error.message),
        Ok(BatchReply::Object(None)) => "no such object".to_owned(),
        Ok(BatchReply::Object(Some(object))) => {
            format!("type {}, version {}, {:?}", object.otype, object.version, object.fields().encoded())
        }
        Ok(BatchReply::List(list)) => {
            let edges: Vec<String> = list
                .iter()
                .map(|edge| format!("{} at {} {:?}", edge.id2, edge.time, edge.fields().encoded()))
                .collect();
            format!("version {}: [{}]", list.version, edges.join(", "))
        }
        Ok(BatchReply::Count(count)) => format!("{} of version {}", count.count, count.version),
        Ok(BatchReply::Added(ObjectAdded { written, .. }) | BatchReply::Written(written)) => {
            let effects: Vec<String> =
                written.outcomes.iter().map(|outcome| format!("{:?}", outcome.effect)).collect();
            let at: Vec<String> = written.positions.iter().map(ToString::to_string).collect();
            let pending = if written.inverse_pending { ", the other side pending" } else { "" };
            format!("{} at {}{pending}", effects.join(", "), at.join(", "))
        }
    }
}
