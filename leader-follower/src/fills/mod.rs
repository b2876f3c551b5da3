//! Coalesced fills: for each key at most one is in flight, and callers who miss meanwhile wait for it (R18).
//!
//! Who leads a fill holds a [`FillGuard`]. Whatever becomes of the guard, finished, failed or dropped with its
//! caller, the key is free again and every waiter wakes: no waiter can be left behind (H33).

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tao_schema::ids::Seq;
use tao_schema::planted::{Bug, planted};
use tao_schema::{Error, ErrorCode};
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// Locks that keys are spread over; a lock is held for one map operation.
const STRIPES: usize = 64;

/// Bounds of a [`FillTable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FillLimits {
    /// Fills in flight, at least 1.
    pub in_flight: usize,
    /// Callers that wait for a fill of another, over all keys.
    pub waiting: usize,
}

/// The fills in flight. Cheap to clone: clones share one table.
///
/// A key should name everything that makes one answer fit for another caller except its position: for a list, how
/// many edges were asked for.
#[derive(Debug)]
pub struct FillTable<K, V> {
    shared: Arc<Shared<K, V>>,
}

/// What a caller has to do for its key.
#[derive(Debug)]
pub enum Join<K: Eq + Hash, V> {
    /// Nobody fills it: the caller does.
    Lead(FillGuard<K, V>),
    /// Another caller is at it.
    Wait(FillWaiter<V>),
    /// A bound of [`FillLimits`] is reached; nothing was registered.
    Full(Error),
}

/// The duty to fill one key. Dropped without a result, its waiters wake with [`Waited::Abandoned`].
#[derive(Debug)]
pub struct FillGuard<K: Eq + Hash, V> {
    table: Arc<Shared<K, V>>,
    key: K,
    flight: Arc<Flight<V>>,
}

/// A place in the queue for another caller's fill.
#[derive(Debug)]
pub struct FillWaiter<V> {
    flight: Arc<Flight<V>>,
    _place: WaitingPlace,
}

/// What a waiter got.
#[derive(Clone, PartialEq, Debug)]
pub enum Waited<V> {
    /// A value that is right at least at the position that the waiter needs.
    Ready(V),
    /// The fill succeeded, but is older than the waiter needs: it must not be used (R18).
    TooOld(Seq),
    /// The fill failed for a reason that is the waiter's, too.
    Failed(Error),
    /// Whoever led the fill went away or ran out of its own time: join again.
    Abandoned,
}

#[derive(Clone, Debug)]
struct FillResult<V> {
    /// A failure is that of everybody who needs at least this.
    outcome: Result<(Seq, V), (Seq, Error)>,
}

/// One fill. Its waiters wake in the order in which they came, which tokio's `watch` does not promise.
#[derive(Debug)]
struct Flight<V> {
    landing: Mutex<Landing<V>>,
    over: Notify,
}

#[derive(Debug)]
enum Landing<V> {
    UnderWay,
    Over(FillResult<V>),
    /// The guard is gone and never had a result.
    Abandoned,
}

type Flights<K, V> = HashMap<K, Arc<Flight<V>>, RandomState>;

#[derive(Debug)]
struct Shared<K, V> {
    stripes: Box<[Mutex<Flights<K, V>>]>,
    hasher: RandomState,
    limits: FillLimits,
    in_flight: AtomicUsize,
    waiting: Arc<AtomicUsize>,
}

/// One of the places counted by [`FillLimits::waiting`].
#[derive(Debug)]
struct WaitingPlace(Arc<AtomicUsize>);

impl<K: Eq + Hash + Clone, V: Clone> FillTable<K, V> {
    /// An empty table.
    pub fn new(limits: FillLimits) -> Self {
        let hasher = RandomState::default();
        let stripes = (0..STRIPES).map(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))).collect();
        let shared = Shared {
            stripes,
            hasher,
            limits,
            in_flight: AtomicUsize::new(0),
            waiting: Arc::new(AtomicUsize::new(0)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the lead for `key`, or a place behind whoever has it.
    pub fn join(&self, key: K) -> Join<K, V> {
        let mut flights = self.shared.stripe(&key).lock();
        if let Some(flight) = flights.get(&key) {
            let flight = Arc::clone(flight);
            drop(flights);
            return match WaitingPlace::take(&self.shared.waiting, self.shared.limits.waiting) {
                Some(place) => Join::Wait(FillWaiter { flight, _place: place }),
                None => Join::Full(full("callers waiting for fills", self.shared.limits.waiting)),
            };
        }
        if !take_one(&self.shared.in_flight, self.shared.limits.in_flight) {
            return Join::Full(full("fills in flight", self.shared.limits.in_flight));
        }
        let flight = Arc::new(Flight { landing: Mutex::new(Landing::UnderWay), over: Notify::new() });
        flights.insert(key.clone(), Arc::clone(&flight));
        drop(flights);
        Join::Lead(FillGuard { table: Arc::clone(&self.shared), key, flight })
    }

    /// Fills in flight now.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Callers that wait for another's fill now.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }
}

impl<K: Eq + Hash, V> FillGuard<K, V> {
    /// Hands `value`, right at `as_of`, to the waiters that it satisfies. Store it before, where it is to be stored:
    /// whoever misses after this starts a new fill.
    pub fn complete(self, as_of: Seq, value: V) {
        self.finish(Ok((as_of, value)));
    }

    /// Hands a failure to the waiters. A deadline is the caller's own, and so is a token that was lost: its waiters may
    /// have more time, or ask for less, and join again.
    pub fn fail(self, error: Error) {
        self.fail_beyond(Seq::ZERO, error);
    }

    /// As [`Self::fail`], for waiters that need at least `least`: what is behind them may be enough for the others, who
    /// join again.
    pub fn fail_beyond(self, least: Seq, error: Error) {
        if !matches!(error.code, ErrorCode::DeadlineExceeded | ErrorCode::LostEpoch) {
            self.finish(Err((least, error)));
        }
    }

    fn finish(self, outcome: Result<(Seq, V), (Seq, Error)>) {
        // The key must be free before anybody wakes: a waiter that joins again must not find this fill.
        self.table.remove(&self.key);
        self.flight.land(Landing::Over(FillResult { outcome }));
    }
}

impl<K: Eq + Hash, V> Drop for FillGuard<K, V> {
    fn drop(&mut self) {
        // After `finish` the key may already be another guard's: only the own registration is removed.
        if !planted(Bug::AbandonedFillStays) {
            self.table.remove_own(&self.key, &self.flight);
        }
        self.table.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Wakes the waiters who have seen no result.
        self.flight.land(Landing::Abandoned);
    }
}

impl<V: Clone> FillWaiter<V> {
    /// Waits for the fill, however it ends; `need` is the oldest position that the caller may use. Cancel-safe; a
    /// caller with a deadline wraps it in a timeout.
    pub async fn wait(self, need: Seq) -> Waited<V> {
        loop {
            // Registered before the look, so that a landing in between is not missed.
            let over = self.flight.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            if let Some(waited) = self.flight.landed(need) {
                return waited;
            }
            over.await;
        }
    }
}

impl<V> Flight<V> {
    /// The first landing stays.
    fn land(&self, landing: Landing<V>) {
        {
            let mut now = self.landing.lock();
            if matches!(*now, Landing::UnderWay) {
                *now = landing;
            }
        }
        self.over.notify_waiters();
    }
}

impl<V: Clone> Flight<V> {
    /// What a waiter that needs `need` gets; `None`: it is under way.
    fn landed(&self, need: Seq) -> Option<Waited<V>> {
        Some(match &*self.landing.lock() {
            Landing::UnderWay => return None,
            Landing::Abandoned => Waited::Abandoned,
            Landing::Over(FillResult { outcome }) => match outcome {
                Ok((as_of, value)) if *as_of >= need || planted(Bug::SharedFillTooOld) => {
                    Waited::Ready(value.clone())
                }
                Ok((as_of, _)) => Waited::TooOld(*as_of),
                Err((least, error)) if need >= *least => Waited::Failed(error.clone()),
                Err(_) => Waited::Abandoned,
            },
        })
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    fn stripe(&self, key: &K) -> &Mutex<Flights<K, V>> {
        // The upper bits: the maps inside use the lower ones of the same hash.
        let hash = self.hasher.hash_one(key);
        &self.stripes[(hash >> 32) as usize % self.stripes.len()]
    }

    fn remove(&self, key: &K) {
        self.stripe(key).lock().remove(key);
    }

    fn remove_own(&self, key: &K, flight: &Arc<Flight<V>>) {
        let mut flights = self.stripe(key).lock();
        if flights.get(key).is_some_and(|found| Arc::ptr_eq(found, flight)) {
            flights.remove(key);
        }
    }
}

impl<K, V> Clone for FillTable<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl WaitingPlace {
    fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        take_one(count, limit).then(|| Self(Arc::clone(count)))
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take_one(count: &AtomicUsize, limit: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < limit).then_some(now + 1)).is_ok()
}

fn full(what: &str, limit: usize) -> Error {
    Error::new(ErrorCode::Overloaded, format!("the limit of {limit} {what} is reached: try again later"))
}
