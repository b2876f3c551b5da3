//! Entries, from memory or from the database (R12, R15, R18).

use std::sync::Arc;

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::limits::{MAX_MESSAGE_BYTES, MAX_QUERY_LIMIT};
use tao_schema::ops::{FillKey, FillReply, FillRequest, FillRow, ObjectRef, Source};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{ListRow, ShardState};
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, Row, Snapshot};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::hold::Needs;
use super::routes::Place;
use super::slot::Slot;
use crate::core::{Body, BodyRef, Discarded, Entry, Filled, Key, ListRef, Lookup};
use crate::fills::{Join, Waited};

/// The shortest list prefix that is read: a list grows a little without a second fill.
const SHORTEST_PREFIX: u32 = 64;
/// Bytes of edges in one answer: half a message, the rest is for its neighbours in the frame.
const LARGEST_ROW: usize = MAX_MESSAGE_BYTES / 2;
/// Waiting for others' fills is tried so often before the answer is "too busy".
const ROUNDS: usize = 4;

/// An entry with what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) entry: Entry,
    /// What it is right at.
    pub(super) as_of: Position,
    pub(super) state: ShardState,
    pub(super) source: Source,
}

impl Inner {
    pub(super) async fn answer_fill(
        self: &Arc<Self>,
        request: FillRequest,
        deadline: Instant,
    ) -> Result<FillReply> {
        let shard = request.key.shard();
        let slot = self.slot(shard)?;
        let place = self.settled(&slot, Needs::Rows, deadline).await?;
        if request.forwarded && !place.master {
            return Err(self.routes.not_master(shard));
        }
        let found = match self.find_entry(&slot, &place, &request, deadline).await {
            // Of an epoch that this region has not heard of: the master region has.
            Err(error) if error.code == ErrorCode::NotOwner && !place.master => {
                return self.fill_up(request, "newer epoch", deadline).await;
            }
            found => found?,
        };
        self.metrics.answered("fill", found.source);
        let row = match found.entry.view() {
            BodyRef::Object(row) => FillRow::Object(row.map(ObjectRef::to_row)),
            BodyRef::List(list) => FillRow::List(shortened(list, prefix(key_of(request.key).1))),
        };
        Ok(FillReply { position: found.as_of, state: found.state, row, source: found.source })
    }

    async fn find_entry(
        &self,
        slot: &Slot,
        place: &Place<'_>,
        request: &FillRequest,
        deadline: Instant,
    ) -> Result<Fetched> {
        let (key, edges) = key_of(request.key);
        let fresh = self.is_fresh(place, slot);
        match slot.core.lookup(self.shards.entries(), &key, request.at_least) {
            Lookup::Hit { entry, as_of } if fresh && holds(&entry, edges) => {
                return Ok(Fetched { entry, as_of, state: slot.state(), source: Source::LeaderCache });
            }
            Lookup::Hit { .. } => {}
            Lookup::Miss(reason) => self.check_token(slot, place, reason, request.at_least)?,
        }
        self.check_unheard(slot, place, &key, request.at_least)?;
        let why = (!fresh).then_some("too old");
        self.fetch(slot, request.key, request.at_least, why, deadline).await
    }

    /// An entry from further up, through a fill that is shared with those whom it satisfies (R18). `up`: why this
    /// region's server need not be asked.
    pub(super) async fn fetch(
        &self,
        slot: &Slot,
        key: FillKey,
        at_least: Option<Position>,
        up: Option<&'static str>,
        deadline: Instant,
    ) -> Result<Fetched> {
        // Taken when the read begins: whatever this node has shown or heard of by then (R15).
        let floor = slot.core.floor(&key_of(key).0);
        let need = at_least.map_or(floor, |token| token.seq.max(floor));
        let shared = widened(key);
        for _ in 0..ROUNDS {
            let waiter = match self.fills.join(shared) {
                Join::Lead(guard) => {
                    let asked = at_least.map_or(Seq::ZERO, |token| token.seq);
                    let result = self.read_entry(slot, shared, need, up, deadline).await;
                    let result = result.map_err(|error| self.of_reader(error, asked, need));
                    match &result {
                        Ok(fetched) => guard.complete(fetched.as_of.seq, fetched.clone()),
                        // Rows that are behind this caller may be new enough for another.
                        Err(error) if error.code == ErrorCode::Unavailable => {
                            guard.fail_beyond(need, error.clone());
                        }
                        Err(error) => guard.fail(error.clone()),
                    }
                    return result;
                }
                Join::Wait(waiter) => waiter,
                Join::Full(error) => return Err(error),
            };
            match timeout_at(deadline, waiter.wait(need)).await {
                Ok(Waited::Ready(fetched)) => return Ok(fetched),
                // One fill that began after this caller came is enough: it leads or joins that next.
                Ok(Waited::TooOld(_) | Waited::Abandoned) => {}
                Ok(Waited::Failed(error)) => return Err(error),
                Err(_) => {
                    let message = "the deadline passed while another caller's fill was awaited";
                    return Err(Error::new(ErrorCode::DeadlineExceeded, message));
                }
            }
        }
        Err(Error::new(
            ErrorCode::Overloaded,
            "fills of this key end before they are new enough: try again later",
        ))
    }

    /// What this node has shown or heard of is lost, and the reader's own token maybe not: it was asked for too much
    /// (R19). This region can't answer before its log has told of the epoch that lost it; the master region can.
    fn of_reader(&self, error: Error, asked: Seq, need: Seq) -> Error {
        if error.code != ErrorCode::LostEpoch || need <= asked {
            return error;
        }
        self.routes.stale_topology.notify_one();
        let message = format!("what this leader knows of is lost, up to {need}: {}", error.message);
        Error::new(ErrorCode::NotOwner, message)
    }

    /// On the primary, from now on: shared with nobody, because a fill that is under way may have read before.
    pub(super) async fn fetch_now(
        &self,
        slot: &Slot,
        key: FillKey,
        at_least: Option<Position>,
        strict: bool,
        deadline: Instant,
    ) -> Result<Fetched> {
        let floor = slot.core.floor(&key_of(key).0);
        let need = at_least.map_or(floor, |token| token.seq.max(floor));
        self.read_rows(slot, widened(key), need, strict, deadline).await
    }

    /// This region's server once; if that is behind, refused or away, the master region.
    async fn read_entry(
        &self,
        slot: &Slot,
        key: FillKey,
        need: Seq,
        up: Option<&'static str>,
        deadline: Instant,
    ) -> Result<Fetched> {
        let place = self.routes.place(slot.shard)?;
        if place.master {
            return self.read_rows(slot, key, need, false, deadline).await;
        }
        let reason = match up {
            Some(reason) => reason,
            None if !place.group.health.local_reads() => "no replica",
            None => match self.read_rows(slot, key, need, false, half(deadline)).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => why_up(&error),
            },
        };
        let epoch = slot.core.position().epoch;
        let at_least = Position { shard: slot.shard, epoch, seq: need };
        let at_least = (epoch != Epoch(0) && need > Seq::ZERO).then_some(at_least);
        let request = FillRequest { key, at_least, forwarded: true };
        let FillReply { position, state, row, source } = self.fill_up(request, reason, deadline).await?;
        let body = match row {
            FillRow::Object(row) => Body::Object(row),
            FillRow::List(list) => Body::List(list),
        };
        Ok(Fetched { source, ..self.take_rows(slot, key, (position, state, body), need)? })
    }

    async fn read_rows(
        &self,
        slot: &Slot,
        key: FillKey,
        need: Seq,
        strict: bool,
        deadline: Instant,
    ) -> Result<Fetched> {
        let place = self.routes.place(slot.shard)?;
        let read = match key {
            FillKey::Object(id) => ReadKey::Object(id),
            FillKey::List { key, edges } => ReadKey::List { key, edges },
        };
        let snapshot = place.group.reader.read(read, deadline).await?;
        if strict {
            self.check_current(&place, &snapshot)?;
        }
        let Snapshot { position, state, row } = snapshot;
        if place.master && position.seq < need {
            // Perhaps it is the primary no more.
            self.routes.stale_topology.notify_one();
        }
        let body = match row {
            Row::Object(row) => Body::Object(row),
            Row::List(list) => Body::List(list),
            Row::Edge(_) => return Err(Error::internal("the database answered with a row of another kind")),
        };
        self.take_rows(slot, key, (position, state, body), need)
    }

    fn take_rows(
        &self,
        slot: &Slot,
        key: FillKey,
        (position, state, body): (Position, ShardState, Body),
        need: Seq,
    ) -> Result<Fetched> {
        reached(position, need)?;
        let key = key_of(key).0;
        let (filled, here) = slot
            .core
            .with(|core| (core.on_fill(key, position, state, body, self.shards.entries()), core.position()));
        match filled {
            Filled::Stored(entry) | Filled::AnswerOnly(entry, _) => {
                let as_of = Position { seq: entry.as_of(), ..here };
                Ok(Fetched { entry, as_of, state, source: Source::Database })
            }
            Filled::Discarded(why) => Err(self.discarded(slot, position, why)),
        }
    }

    /// Whether this region's rows can be compared with the token, and with what was promised of the key: not with what
    /// is of an epoch that the log has not told of (R15, R19). `NotOwner`: the master region knows it.
    pub(super) fn check_unheard(
        &self,
        slot: &Slot,
        place: &Place<'_>,
        key: &Key,
        token: Option<Position>,
    ) -> Result<()> {
        let (known, need) = slot.core.with(|core| (core.position().epoch, core.need(key)));
        let promised = need.epoch > known && !place.master;
        let asked =
            token.is_some_and(|token| known == Epoch(0) && !(place.master && place.epoch == token.epoch));
        if !promised && !asked {
            return Ok(());
        }
        let message = format!("the log of shard {} has not come to the epoch that is asked for", slot.shard);
        Err(Error::new(ErrorCode::NotOwner, message))
    }

    /// What was read on the primary after the request came is the present, if the shard is served there, in the epoch
    /// that the topology has (R21, H20).
    pub(super) fn check_current(&self, place: &Place<'_>, snapshot: &Snapshot) -> Result<()> {
        let Snapshot { position, state, .. } = snapshot;
        if (*state == ShardState::Serving && position.epoch == place.epoch)
            || planted(Bug::CriticalAtOldPrimary)
        {
            return Ok(());
        }
        self.routes.stale_topology.notify_one();
        let message = format!(
            "shard {} is {state:?} at {position} in this database, not serving in epoch {}: the answer might be old",
            position.shard, place.epoch
        );
        Err(Error::new(ErrorCode::NotOwner, message))
    }

    fn discarded(&self, slot: &Slot, position: Position, why: Discarded) -> Error {
        let shard = slot.shard;
        match why {
            Discarded::OlderEpoch => Error::unavailable(format!(
                "the database of shard {shard} is at {position}, in an epoch that has ended; try again"
            )),
            // The audit will take the new epoch over; until then this leader can't vouch for its cache.
            Discarded::NewerEpoch => {
                self.routes.stale_topology.notify_one();
                Error::new(ErrorCode::NotOwner, format!("shard {shard} has moved on to {position}"))
            }
            Discarded::Unreadable(state) => {
                self.routes.stale_topology.notify_one();
                Error::new(ErrorCode::NotOwner, format!("shard {shard} is {state:?} in this database"))
            }
        }
    }
}

/// Rows behind a position of their own lineage do not prove it lost; only the start of a later epoch does (R19). A replica
/// has what the primary has not yet made visible (H8), and who only believes that its server is the primary reads one that
/// is behind (H20).
pub(super) fn reached(position: Position, need: Seq) -> Result<()> {
    if position.seq >= need {
        return Ok(());
    }
    Err(Error::unavailable(format!("seq {need} was asked for, but the database is at {position}: try again")))
}

/// The cache's key, and how many edges are wanted of it.
const fn key_of(key: FillKey) -> (Key, u32) {
    match key {
        FillKey::Object(id) => (Key::Object(id), 0),
        FillKey::List { key, edges } => (Key::List(key), edges),
    }
}

/// The same key, asked for so deep that few different depths exist and fills can be shared.
fn widened(key: FillKey) -> FillKey {
    match key {
        FillKey::Object(_) => key,
        FillKey::List { key, edges } => FillKey::List { key, edges: prefix(edges) },
    }
}

/// This region's server gets half of the time: the other half is for the master region.
pub(super) fn half(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Why a read goes up that this region's server did not answer.
pub(super) const fn why_up(error: &Error) -> &'static str {
    match error.code {
        ErrorCode::NotOwner => "newer epoch",
        _ => "replica behind or away",
    }
}

/// How many edges are read for a wish of `edges`: few different numbers, so that fills can be shared.
fn prefix(edges: u32) -> u32 {
    edges.clamp(SHORTEST_PREFIX, MAX_QUERY_LIMIT).next_power_of_two()
}

fn holds(entry: &Entry, edges: u32) -> bool {
    match entry.view() {
        BodyRef::Object(_) => true,
        BodyRef::List(ListRef { count, edges: held, .. }) => {
            let wanted = count.min(u64::from(edges));
            held.part(0, wanted as usize).1 as u64 == wanted
        }
    }
}

/// What was asked for, not all that memory has, and no more than fits into a message: a shorter prefix is as true.
fn shortened(list: ListRef<'_>, edges: u32) -> ListRow {
    let ListRef { count, version, edges: held } = list;
    let fitting = held.iter().take(edges as usize).take_while(|edge| edge.end <= LARGEST_ROW).count();
    ListRow { count, version, edges: held.part(0, fitting).0.to_packed() }
}
