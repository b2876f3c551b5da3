//! Records what clients of the SDK do and see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tao_client::{ErrorCode, Recorded, RecordedReply};

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
    operations: Mutex<Vec<Operation>>,
}

/// The recorder of clients at one place.
#[derive(Debug)]
struct At {
    place: String,
    shared: Arc<Shared>,
}

impl Recorder {
    /// A recorder of nothing yet.
    pub fn new(clock: RunClock) -> Self {
        let shared = Shared { clock, next: AtomicU64::new(1), operations: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// For the options of a client; `place` is where it is, as slices show it.
    pub fn at(&self, place: &str) -> Arc<dyn tao_client::Recorder> {
        Arc::new(At { place: place.to_owned(), shared: Arc::clone(&self.shared) })
    }

    /// Gives out what has ended so far, and forgets it: a run's windows are judged one after the other, and none of them is
    /// kept. Numbers of operations go on.
    pub fn take(&self) -> History {
        History { operations: std::mem::take(&mut *self.shared.operations.lock()) }
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
        let mut operations = self.shared.operations.lock();
        // Within the lock, so that the history is in the order of the ends.
        let end = self.shared.clock.now();
        operations.push(Operation { id, session, place, start, end, call, result });
    }
}
