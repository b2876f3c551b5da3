//! Entries, from memory or from the database (R12, R15, R18).

use std::sync::Arc;

use tao_schema::ids::{Position, Seq};
use tao_schema::limits::{MAX_MESSAGE_BYTES, MAX_QUERY_LIMIT};
use tao_schema::ops::{FillKey, FillReply, FillRequest, FillRow, Source};
use tao_schema::rows::{ListRow, ShardState};
use tao_schema::{Error, ErrorCode, Result};
use tao_shard_store::store::{ReadKey, Row, Snapshot};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::shards::Slot;
use crate::core::{Body, Discarded, Entry, Filled, Key, Lookup, MissReason};
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
    pub(super) entry: Arc<Entry>,
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
        let slot = self.open(request.key.shard(), deadline).await?;
        let (key, edges) = key_of(request.key);
        let found = match slot.core.lookup(self.shards.entries(), &key, request.at_least) {
            Lookup::Hit { entry, as_of } if holds(&entry, edges) => {
                Fetched { entry, as_of, state: slot.state(), source: Source::LeaderCache }
            }
            Lookup::Hit { .. } => self.fetch(&slot, request.key, request.at_least, deadline).await?,
            Lookup::Miss(reason) => {
                self.check_token(reason, request.at_least)?;
                self.fetch(&slot, request.key, request.at_least, deadline).await?
            }
        };
        self.metrics.answered("fill", found.source);
        let row = match &found.entry.body {
            Body::Object(row) => FillRow::Object(row.clone()),
            Body::List(list) => FillRow::List(shortened(list, prefix(edges))),
        };
        Ok(FillReply { position: found.as_of, state: found.state, row, source: found.source })
    }

    /// An entry from the database, through a fill that is shared with those whom it satisfies (R18).
    pub(super) async fn fetch(
        &self,
        slot: &Arc<Slot>,
        key: FillKey,
        at_least: Option<Position>,
        deadline: Instant,
    ) -> Result<Fetched> {
        // Taken when the read begins: whatever this node has shown or heard of by then (R15).
        let floor = slot.core.floor(&key_of(key).0);
        let need = at_least.map_or(floor, |token| token.seq.max(floor));
        let shared = match key {
            FillKey::Object(_) => key,
            FillKey::List { key, edges } => FillKey::List { key, edges: prefix(edges) },
        };
        for _ in 0..ROUNDS {
            let waiter = match self.fills.join(shared) {
                Join::Lead(guard) => {
                    let result = self.read_entry(slot, shared, need, deadline).await;
                    match &result {
                        Ok(fetched) => guard.complete(fetched.as_of.seq, fetched.clone()),
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

    async fn read_entry(&self, slot: &Slot, key: FillKey, need: Seq, deadline: Instant) -> Result<Fetched> {
        let (group, _) = self.routes.group(slot.shard)?;
        let read = match key {
            FillKey::Object(id) => ReadKey::Object(id),
            FillKey::List { key, edges } => ReadKey::List { key, edges },
        };
        let Snapshot { position, state, row } = group.reader.read(read, deadline).await?;
        let body = match row {
            Row::Object(row) => Body::Object(row),
            Row::List(list) => Body::List(list),
            Row::Edge(_) => return Err(Error::internal("the database answered with a row of another kind")),
        };
        reached(position, need)?;
        let key = key_of(key).0;
        let (filled, here) = slot
            .core
            .with(|core| (core.on_fill(key, position, state, body, self.shards.entries()), core.position()));
        match filled {
            Filled::Stored(entry) | Filled::AnswerOnly(entry, _) => {
                let as_of = Position { seq: entry.as_of, ..here };
                Ok(Fetched { entry, as_of, state, source: Source::Database })
            }
            Filled::Discarded(why) => Err(self.discarded(slot, position, why)),
        }
    }

    /// Whether the holder of a token that memory did not satisfy may be answered from the database (R19).
    pub(super) fn check_token(&self, reason: MissReason, token: Option<Position>) -> Result<()> {
        let (MissReason::OtherEpoch { ours } | MissReason::Lost { ours, .. }, Some(token)) = (reason, token)
        else {
            return Ok(());
        };
        if token.epoch > ours {
            self.routes.stale_topology.notify_one();
            let message =
                format!("the token {token} is of a newer epoch than this leader knows, {ours}: try again");
            return Err(Error::new(ErrorCode::NotOwner, message));
        }
        // Whether that epoch ended before or after it can't be proved here.
        let message = format!(
            "the epoch of token {token} has ended, the shard is in {ours}: read without it, then decide"
        );
        Err(Error::new(ErrorCode::LostEpoch, message))
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

/// The primary can't be behind a position that it gave out, unless it lost it (R19).
pub(super) fn reached(position: Position, need: Seq) -> Result<()> {
    if position.seq >= need {
        return Ok(());
    }
    let message =
        format!("seq {need} was asked for, but the database is at {position}: later changes were lost");
    Err(Error::new(ErrorCode::LostEpoch, message))
}

/// The cache's key, and how many edges are wanted of it.
const fn key_of(key: FillKey) -> (Key, u32) {
    match key {
        FillKey::Object(id) => (Key::Object(id), 0),
        FillKey::List { key, edges } => (Key::List(key), edges),
    }
}

/// How many edges are read for a wish of `edges`: few different numbers, so that fills can be shared.
fn prefix(edges: u32) -> u32 {
    edges.clamp(SHORTEST_PREFIX, MAX_QUERY_LIMIT).next_power_of_two()
}

fn holds(entry: &Entry, edges: u32) -> bool {
    match &entry.body {
        Body::Object(_) => true,
        Body::List(list) => edges == 0 || list.edges.count() as u64 >= list.count.min(u64::from(edges)),
    }
}

/// What was asked for, not all that memory has, and no more than fits into a message: a shorter prefix is as true.
fn shortened(list: &ListRow, edges: u32) -> ListRow {
    let fitting = list.edges.iter().take(edges as usize).take_while(|edge| edge.end <= LARGEST_ROW).count();
    ListRow { count: list.count, version: list.version, edges: list.edges.range(0, fitting) }
}
