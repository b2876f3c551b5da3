//! A lane's bounded queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tao_schema::{Error, ErrorCode, Result};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::LaneOptions;
use super::job::{CLASSES, Class, Job, Ticket, bytes_of};

/// A job with what the queue knows of it.
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) ticket: Ticket,
    pub(super) since: Instant,
    pub(super) ops: usize,
    pub(super) bytes: usize,
    /// The request's age when it came.
    pub(super) age: Duration,
    /// Held as long as the job waits; `None` once it has been sent.
    pub(super) room: Option<Room>,
}

/// Room taken in the queue; given back on drop.
pub(super) struct Room {
    load: Arc<Load>,
    ops: usize,
    bytes: usize,
}

struct Load {
    all: Gauge,
    ops: AtomicUsize,
    bytes: AtomicUsize,
}

pub(super) struct Queue {
    state: Mutex<State>,
    news: Notify,
    loads: [Arc<Load>; CLASSES],
    options: LaneOptions,
}

struct State {
    waiting: VecDeque<Queued>,
    /// Bookkeeping, oldest first.
    patient: VecDeque<Queued>,
    closed: bool,
}

/// What there is to do.
enum Next {
    Batch(Vec<Queued>),
    /// Nothing until then, or until news.
    Later(Option<Instant>),
    Ended,
}

impl Queue {
    /// `depth` counts the operations that wait here, with those of other queues.
    pub(super) fn new(options: LaneOptions, depth: Gauge) -> Self {
        let state = State { waiting: VecDeque::new(), patient: VecDeque::new(), closed: false };
        let load = |_| {
            Arc::new(Load { all: depth.clone(), ops: AtomicUsize::default(), bytes: AtomicUsize::default() })
        };
        let loads = std::array::from_fn(load);
        Self { state: Mutex::new(state), news: Notify::new(), loads, options }
    }

    pub(super) fn push(&self, job: Job) -> Result<Ticket> {
        let (ops, bytes) = (job.unit.ops.len().max(1), bytes_of(&job.unit));
        let class = job.class;
        let ticket = Ticket::new();
        let mut state = self.state.lock();
        // Bookkeeping is what jobs already accepted leave behind: it still gets in while the lane drains.
        if state.closed && class != Class::Bookkeeping {
            return Err(Error::unavailable("this leader is shutting down; ask the next one"));
        }
        let room = self.take_room(class, ops, bytes)?;
        let (since, room) = (Instant::now(), Some(room));
        let age = job.unit.request.map_or(Duration::ZERO, |request| request.age);
        let queued = Queued { job, ticket: ticket.clone(), since, ops, bytes, age, room };
        match class {
            Class::Bookkeeping => state.patient.push_back(queued),
            Class::Client | Class::Inverse => state.waiting.push_back(queued),
        }
        drop(state);
        self.news.notify_one();
        Ok(ticket)
    }

    /// Puts jobs back to the front, in their order.
    pub(super) fn push_front(&self, jobs: VecDeque<Queued>) {
        let mut state = self.state.lock();
        for job in jobs.into_iter().rev() {
            state.waiting.push_front(job);
        }
        drop(state);
        self.news.notify_one();
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.news.notify_one();
    }

    /// The next batch; `None`: closed, and nothing waits. Cancel-safe.
    pub(super) async fn next(&self) -> Option<Vec<Queued>> {
        loop {
            match self.poll(Instant::now()) {
                Next::Batch(batch) => return Some(batch),
                Next::Ended => return None,
                Next::Later(None) => self.news.notified().await,
                Next::Later(Some(at)) => tokio::select! {
                    biased;
                    () = self.news.notified() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    fn poll(&self, now: Instant) -> Next {
        let mut state = self.state.lock();
        let mut batch = BatchBuilder::new(&self.options);
        while state.waiting.front().is_some_and(|job| batch.takes(job)) {
            batch.push(state.waiting.pop_front());
        }
        let due = state.patient.front().map(|job| job.since + self.options.bookkeeping_wait);
        let crowded = state.patient.len() >= self.options.batch_ops;
        if !batch.jobs.is_empty() || state.closed || crowded || due.is_some_and(|due| due <= now) {
            while state.patient.front().is_some_and(|job| batch.takes(job)) {
                batch.push(state.patient.pop_front());
            }
        }
        if !batch.jobs.is_empty() {
            return Next::Batch(batch.jobs);
        }
        if state.closed { Next::Ended } else { Next::Later(due) }
    }

    fn take_room(&self, class: Class, ops: usize, bytes: usize) -> Result<Room> {
        let options = &self.options;
        let (max_ops, max_bytes, what) = match class {
            Class::Client => (options.queue_ops, options.queue_bytes, "writes"),
            Class::Inverse => (options.reserved_ops, options.reserved_bytes, "inverse edges"),
            Class::Bookkeeping => (options.reserved_ops, options.reserved_bytes, "outbox marks"),
        };
        let load = &self.loads[class.index()];
        // Under the queue's lock, so that check and add are one step; releases may only make more room.
        let (waiting_ops, waiting_bytes) =
            (load.ops.load(Ordering::Relaxed), load.bytes.load(Ordering::Relaxed));
        if waiting_ops + ops > max_ops || waiting_bytes + bytes > max_bytes {
            let message = format!(
                "the queue of {what} to this database is full ({waiting_ops} operations, {waiting_bytes} bytes \
                 wait): try again later"
            );
            return Err(Error::new(ErrorCode::Overloaded, message));
        }
        load.ops.fetch_add(ops, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
        load.all.inc_by(ops as i64);
        Ok(Room { load: Arc::clone(load), ops, bytes })
    }
}

struct BatchBuilder<'a> {
    jobs: Vec<Queued>,
    ops: usize,
    bytes: usize,
    options: &'a LaneOptions,
}

impl<'a> BatchBuilder<'a> {
    fn new(options: &'a LaneOptions) -> Self {
        Self { jobs: Vec::new(), ops: 0, bytes: 0, options }
    }

    /// Whether the job fits. The first always does, whatever its size.
    fn takes(&self, job: &Queued) -> bool {
        let fits = self.ops + job.ops <= self.options.batch_ops
            && self.bytes + job.bytes <= self.options.batch_bytes;
        self.jobs.is_empty() || fits
    }

    fn push(&mut self, job: Option<Queued>) {
        let Some(job) = job else { return };
        self.ops += job.ops;
        self.bytes += job.bytes;
        self.jobs.push(job);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.load.ops.fetch_sub(self.ops, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.load.all.dec_by(self.ops as i64);
    }
}
