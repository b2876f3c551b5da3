//! A shard's recent requests with their outcomes, so that a retry has one effect (R3).
//!
//! How long they are kept is measured by a clock of this machine that nobody sets. By the server's wall clock, a step forward
//! would take all of them for too old to matter, and the retry of a write of a moment ago would be done a second time.

use std::collections::{HashMap, VecDeque};

use tao_schema::error::Result;
use tao_schema::ids::{Position, RequestId};
use tao_schema::ops::Outcome;

use super::request_row::RequestRow;
use tokio::time::Instant;

use crate::write::{MAX_RETRY_AGE, REQUEST_RETENTION, RequestKey, UnitDone};

/// Outcomes that one shard keeps in memory unless told otherwise: some 5 MB.
const DEFAULT_LIMIT: usize = 32_768;

/// What is known of a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Lookup {
    /// It was done: the first outcome, as a replay.
    Known(UnitDone),
    /// It was not done before.
    New,
    /// It claims an age at which its outcome may be forgotten.
    TooLate,
}

/// The outcomes of one shard's requests of the last [`REQUEST_RETENTION`], as far as request rows were recorded.
/// Bounded by time and by number; when the number is exceeded, retries old enough to be among the forgotten are
/// refused as too late.
#[derive(Debug)]
pub struct RecentRequests {
    known: HashMap<RequestId, Known>,
    /// In the order of recording.
    order: VecDeque<(Instant, RequestId)>,
    /// Requests that were recorded at or before this time may be forgotten; `None`: none is.
    forgotten: Option<Instant>,
    limit: usize,
}

#[derive(Debug)]
struct Known {
    positions: Vec<Position>,
    outcomes: Vec<Outcome>,
}

impl Default for RecentRequests {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }
}

impl RecentRequests {
    /// Keeps at most `limit` outcomes.
    pub fn with_limit(limit: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), forgotten: None, limit: limit.max(1) }
    }

    /// Notes the outcomes of a committed request row, at a time that is not before it was written: the present will do.
    /// Recording a row again changes nothing.
    ///
    /// # Errors
    /// `Corrupt` if the row can't be decoded.
    pub fn record(&mut self, row: &RequestRow, at: Instant) -> Result<()> {
        for stored in row.decode()? {
            let mut positions = vec![row.position];
            positions.extend(stored.others);
            let known = Known { positions, outcomes: stored.outcomes };
            if let std::collections::hash_map::Entry::Vacant(entry) = self.known.entry(stored.id) {
                entry.insert(known);
                self.order.push_back((at, stored.id));
            }
        }
        while self.order.len() > self.limit {
            self.forget_oldest();
        }
        Ok(())
    }

    /// What is known of a request at `now`.
    pub fn lookup(&self, key: RequestKey, now: Instant) -> Lookup {
        if let Some(known) = self.known.get(&key.id) {
            return Lookup::Known(UnitDone {
                positions: known.positions.clone(),
                outcomes: known.outcomes.clone(),
                pending: Vec::new(),
                replayed: true,
            });
        }
        // A first attempt has age zero: nothing of it can have been forgotten.
        let since_forgotten = self.forgotten.map(|forgotten| now.saturating_duration_since(forgotten));
        let maybe_forgotten = !key.age.is_zero() && since_forgotten.is_some_and(|since| key.age >= since);
        if key.age > MAX_RETRY_AGE || maybe_forgotten { Lookup::TooLate } else { Lookup::New }
    }

    /// Forgets what is older than [`REQUEST_RETENTION`] at `now`.
    pub fn expire(&mut self, now: Instant) {
        let expired = |at: &Instant| now.saturating_duration_since(*at) > REQUEST_RETENTION;
        while self.order.front().is_some_and(|(at, _)| expired(at)) {
            self.forget_oldest();
        }
    }

    /// Forgets everything: the shard's log is not the one that was recorded (a lossy promotion, a restored database).
    pub fn clear(&mut self) {
        *self = Self::with_limit(self.limit);
    }

    /// Outcomes held.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some((at, id)) = self.order.pop_front() {
            self.known.remove(&id);
            self.forgotten = self.forgotten.max(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tao_schema::ids::{Epoch, Seq, ShardId};

    use super::super::request_row::StoredOutcome;
    use super::*;

    fn row(seq: u64, ids: &[u128]) -> RequestRow {
        let position = Position { shard: ShardId(1), epoch: Epoch(1), seq: Seq(seq) };
        let outcomes: Vec<_> = ids
            .iter()
            .map(|id| StoredOutcome { id: RequestId(*id), others: vec![], outcomes: vec![] })
            .collect();
        RequestRow::encode(position, &outcomes)
    }

    fn key(id: u128, age: Duration) -> RequestKey {
        RequestKey { id: RequestId(id), age }
    }

    fn second(seconds: f64) -> Instant {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *START + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_first_outcome_stays() {
        let mut recent = RecentRequests::default();
        recent.record(&row(4, &[1, 2]), second(1.0)).unwrap();
        recent.record(&row(5, &[1]), second(2.0)).unwrap();
        let Lookup::Known(done) = recent.lookup(key(1, Duration::from_secs(1)), second(2.0)) else {
            panic!("request 1 was recorded");
        };
        assert_eq!((done.positions[0].seq, done.replayed), (Seq(4), true));
        assert_eq!(recent.len(), 2);
    }

    #[test]
    fn outcomes_live_for_the_retention() {
        let mut recent = RecentRequests::default();
        recent.record(&row(4, &[1]), second(1.0)).unwrap();
        recent.expire(second(121.0));
        assert_eq!(recent.len(), 1);
        recent.expire(second(121.1));
        assert!(recent.is_empty());
    }

    #[test]
    fn an_unknown_retry_is_refused_beyond_the_retry_age() {
        let recent = RecentRequests::default();
        let now = second(1_000.0);
        assert_eq!(recent.lookup(key(1, MAX_RETRY_AGE), now), Lookup::New);
        assert_eq!(recent.lookup(key(1, MAX_RETRY_AGE + Duration::from_millis(1)), now), Lookup::TooLate);
    }

    #[test]
    fn a_full_memory_refuses_retries_that_it_may_have_forgotten() {
        let mut recent = RecentRequests::with_limit(1);
        recent.record(&row(4, &[1]), second(10.0)).unwrap();
        recent.record(&row(5, &[2]), second(11.0)).unwrap();
        let now = second(12.0);
        assert_eq!(recent.lookup(key(1, Duration::from_millis(2_500)), now), Lookup::TooLate);
        assert_eq!(recent.lookup(key(3, Duration::from_millis(500)), now), Lookup::New);
        assert_eq!(recent.lookup(key(4, Duration::ZERO), second(10.0)), Lookup::New);
        assert!(matches!(recent.lookup(key(2, Duration::from_secs(1)), now), Lookup::Known(_)));
    }
}
