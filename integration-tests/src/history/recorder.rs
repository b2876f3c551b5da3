//! Records what clients of the SDK do and see.
//!
//! Put [`Recorder::at`] into the options of a client: every call of it and of its sessions becomes an [`Operation`], with the
//! request as it was prepared (what the session demanded included) and the reply as the wire had it. So an application of
//! your own can be judged on your own topology. A session is told from others by
//! [`recorded_as`](tao_client::SessionOptions::recorded_as); calls without one promise each other nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tao_client::{ErrorCode, Recorded, RecordedReply};

use super::files::Spill;
use super::operation::{Call, History, Operation, Reply, SessionId};
use super::truth::RunClock;

/// The history of a run, filled by all clients that have one of its [`Recorder::at`] in their options.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: RunClock,
    next: AtomicU64,
    sink: Mutex<Sink>,
}

/// Where operations go.
#[derive(Debug)]
enum Sink {
    Memory(Vec<Operation>),
    Disk(Spill),
    /// [`Recorder::into_spill`] has taken it.
    Gone,
}

/// The recorder of clients at one place.
#[derive(Debug)]
struct At {
    place: String,
    shared: Arc<Shared>,
}

impl Recorder {
    /// A recorder that keeps operations in memory: some kilobyte each.
    pub fn new(clock: RunClock) -> Self {
        Self::with(clock, Sink::Memory(Vec::new()))
    }

    /// A recorder that writes operations to disk as they end, and keeps none.
    pub fn spilling(clock: RunClock, spill: Spill) -> Self {
        Self::with(clock, Sink::Disk(spill))
    }

    fn with(clock: RunClock, sink: Sink) -> Self {
        let shared = Shared { clock, next: AtomicU64::new(1), sink: Mutex::new(sink) };
        Self { shared: Arc::new(shared) }
    }

    /// For the options of a client; `place` is where it is, as slices show it.
    pub fn at(&self, place: &str) -> Arc<dyn tao_client::Recorder> {
        Arc::new(At { place: place.to_owned(), shared: Arc::clone(&self.shared) })
    }

    /// Gives out what has ended so far, and forgets it; numbers of operations go on. Nothing if it goes to disk.
    ///
    /// A history that was taken in pieces must be put together again before it is judged: what a later piece has not
    /// seen yet may explain what an earlier one shows.
    pub fn take(&self) -> History {
        match &mut *self.shared.sink.lock() {
            Sink::Memory(operations) => History { operations: std::mem::take(operations) },
            Sink::Disk(_) | Sink::Gone => History::default(),
        }
    }

    /// The files of a recorder that writes to disk, when everything has ended: what ends later is not recorded.
    pub fn into_spill(self) -> Option<Spill> {
        let mut sink = self.shared.sink.lock();
        match std::mem::replace(&mut *sink, Sink::Gone) {
            Sink::Disk(spill) => Some(spill),
            other => {
                *sink = other;
                None
            }
        }
    }
}

impl tao_client::Recorder for At {
    fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    fn ended(
        &self,
        session: u32,
        start: Duration,
        call: Recorded,
        outcome: Result<RecordedReply, ErrorCode>,
    ) {
        let call = match call {
            Recorded::Read(read) => Call::Read(read),
            Recorded::Write(write) => Call::Write(write),
        };
        let result = outcome.map(|reply| match reply {
            RecordedReply::Read(read) => Reply::Read(read),
            RecordedReply::Write(written) => Reply::Write(written),
        });
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (session, place) = (SessionId(session), self.place.clone());
        let mut sink = self.shared.sink.lock();
        // Within the lock, so that the history is in the order of the ends.
        let end = self.shared.clock.now();
        let operation = Operation { id, session, place, start, end, call, result };
        match &mut *sink {
            Sink::Memory(operations) => operations.push(operation),
            Sink::Disk(spill) => spill.take(&operation),
            Sink::Gone => {}
        }
    }
}
