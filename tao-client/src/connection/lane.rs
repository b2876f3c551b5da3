//! One stream of a connection as its callers use it: requests go in, tickets come out.

use std::sync::Arc;

use parking_lot::Mutex;
use tao_schema::{Error, Result};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::link::{self, Shared};
use super::state::{Link, State};
use super::{ConnectionOptions, Service, Stats, slots};

/// One stream and its task.
pub(super) struct Lane {
    shared: Arc<Shared>,
    link: Mutex<Option<AbortHandle>>,
}

/// What one caller has queued: gives its slot back if the caller goes away.
pub(super) struct Ticket<'a, T> {
    lane: &'a Lane,
    id: u64,
    receiver: oneshot::Receiver<T>,
    answered: bool,
}

/// What a new deadline asks of the sweeper.
enum Sweeper {
    Fine,
    Wake,
    Start,
}

impl Lane {
    /// A stream that is not open yet.
    pub(super) fn new(address: &Arc<str>, service: Service, options: &Arc<ConnectionOptions>) -> Self {
        let shared = Shared {
            address: address.clone(),
            service,
            options: options.clone(),
            state: Mutex::new(State::new(options)),
            earlier_deadline: Notify::new(),
        };
        Self { shared: Arc::new(shared), link: Mutex::new(None) }
    }

    pub(super) fn stats(&self) -> Stats {
        self.shared.state.lock().stats()
    }

    /// Queues what `enqueue` puts into the state, connects if need be, and wakes who has work to do for it.
    pub(super) fn submit<T>(
        &self,
        deadline: Instant,
        enqueue: impl FnOnce(&mut State, oneshot::Sender<T>) -> Result<u64>,
    ) -> Result<Ticket<'_, T>> {
        let (sender, receiver) = oneshot::channel();
        let shared = &self.shared;
        let (id, writer, connect, sweeper) = {
            let mut state = shared.state.lock();
            let connect = match state.link {
                Link::Open | Link::Connecting => false,
                Link::Idle => true,
                Link::Down(until) if Instant::now() >= until => true,
                Link::Down(_) => {
                    return Err(Error::unavailable(format!(
                        "{} could not be reached just now",
                        shared.address
                    )));
                }
                Link::Closed => return Err(Error::unavailable("the connection is closed")),
            };
            let id = enqueue(&mut state, sender)?;
            if connect {
                state.link = Link::Connecting;
            }
            let sweeper = match state.next_sweep {
                Some(next) if next <= deadline => Sweeper::Fine,
                Some(_) => Sweeper::Wake,
                None => Sweeper::Start,
            };
            if !matches!(sweeper, Sweeper::Fine) {
                state.next_sweep = Some(deadline);
            }
            let writer = if state.sendable() { state.writer.take() } else { None };
            (id, writer, connect.then_some(state.stream), sweeper)
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        if let Some(stream) = connect {
            let task = tokio::spawn(link::run(shared.clone(), stream));
            *self.link.lock() = Some(task.abort_handle());
        }
        match sweeper {
            Sweeper::Fine => {}
            Sweeper::Wake => shared.earlier_deadline.notify_one(),
            Sweeper::Start => {
                tokio::spawn(link::sweep(shared.clone()));
            }
        }
        Ok(Ticket { lane: self, id, receiver, answered: false })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Callers borrow the handle, so none waits any more; the task would live as long as the peer does.
        self.shared.state.lock().link = Link::Closed;
        if let Some(link) = self.link.lock().take() {
            link.abort();
        }
    }
}

impl<T> Ticket<'_, T> {
    /// Waits for the end, which always comes: a reply, the deadline, or the end of the stream.
    pub(super) async fn outcome(mut self) -> Result<T> {
        let outcome = (&mut self.receiver).await;
        self.answered = true;
        outcome.map_err(|_| slots::lost())
    }
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        if !self.answered {
            self.lane.shared.wake_writer_after(|state| state.forget(self.id));
        }
    }
}
