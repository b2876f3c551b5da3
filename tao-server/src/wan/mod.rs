//! A link: what `tao dev` puts between its regions on one machine, and fault tests between any two programs.
//!
//! A [`WanLink`] listens on a loopback port and passes every connection on to one address. In each direction bytes come
//! out in order, each its latency after it went in; so an answer takes two of them. What is under way is bounded; beyond
//! it the sender waits, as on a full pipe. Each direction's [`Conditions`] may be changed at any time, which holds for
//! connections that are open and bytes that are under way, too.
//!
//! What it can't imitate: the handshake of TCP takes no time here, a refusal of the target looks like a reset, and the
//! link's own system acknowledges what it takes. So nobody notices a partition by the timers of TCP itself
//! (retransmission, keep-alive), only by those of the protocols above.

mod conditions;
mod connection;
mod gate;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::conditions::{Conditions, End, Way};
use self::conditions::{State, until};
use self::connection::{Shared, carry};
use self::gate::Gate;

/// How a link behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WanOptions {
    /// Time that each byte takes, in each direction, at first.
    pub latency: Duration,
    /// Bytes under way in one direction of one connection.
    pub bytes_under_way: usize,
    /// Pieces under way in one direction of one connection.
    pub pieces_under_way: usize,
    /// Connections at once; more are closed when they come.
    pub connections: usize,
    /// Where the chance in it starts, which is jitter only.
    pub seed: u64,
}

/// A link that is open. Dropping it closes its port and all of its connections.
#[derive(Debug)]
pub struct WanLink {
    address: SocketAddr,
    shared: Arc<Shared>,
    state: watch::Sender<State>,
    connections: Arc<Semaphore>,
    _open: DropGuard,
}

impl WanOptions {
    /// A link of this latency that carries as much as a local network, about.
    pub const fn with_latency(latency: Duration) -> Self {
        Self { latency, bytes_under_way: 16 << 20, pieces_under_way: 8_192, connections: 1_024, seed: 0 }
    }
}

impl WanLink {
    /// Opens a link to `target` on a free loopback port.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(target: SocketAddr, options: WanOptions) -> io::Result<Self> {
        let gate = Gate::open().await?;
        let address = gate.address()?;
        let closed = CancellationToken::new();
        let wire = Conditions { latency: options.latency, ..Conditions::default() };
        let (state, changes) = watch::channel(State { out: wire, back: wire, ..State::default() });
        let connections = Arc::new(Semaphore::new(options.connections));
        let shared = Arc::new(Shared::new(target, options));
        let accepting = Accepting {
            gate,
            shared: Arc::clone(&shared),
            connections: Arc::clone(&connections),
            state: changes,
            closed: closed.clone(),
        };
        tokio::spawn(accepting.run());
        Ok(Self { address, shared, state, connections, _open: closed.drop_guard() })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to bytes in a direction now.
    pub fn conditions(&self, way: Way) -> Conditions {
        *self.state.borrow().of(way)
    }

    /// From now on, this happens to bytes in a direction.
    pub fn set(&self, way: Way, conditions: Conditions) {
        self.state.send_if_modified(|state| {
            let now = state.of_mut(way);
            let other = *now != conditions;
            *now = conditions;
            other
        });
    }

    /// Ends every connection at once with a reset (RST) of both sides; what is under way is lost. New ones may come.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// One end of every connection is gone, as a machine that lost its power, and the other is not told: what it sends
    /// comes to nothing. (The program at the end that is gone sees a reset; it forgets the connection.) New connections may
    /// come.
    pub fn lose(&self, gone: End) {
        self.state.send_modify(|state| {
            state.losses += 1;
            state.gone = Some(gone);
        });
    }

    /// Whoever was gone answers again: those who still send on a connection from before get a reset.
    pub fn answer_again(&self) {
        self.state.send_modify(|state| state.returned = state.losses);
    }

    /// Connections that are open, half-open ones included.
    pub fn connections(&self) -> usize {
        self.shared.options.connections.saturating_sub(self.connections.available_permits())
    }

    /// Bytes that have come out in a direction since the start.
    pub fn carried(&self, way: Way) -> u64 {
        self.shared.carried[usize::from(way == Way::Back)].load(Ordering::Relaxed)
    }
}

/// The task that takes connections.
struct Accepting {
    gate: Gate,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    state: watch::Receiver<State>,
    closed: CancellationToken,
}

impl Accepting {
    async fn run(mut self) {
        let closed = self.closed.clone();
        tokio::select! {
            () = closed.cancelled() => {}
            () = self.accept() => {}
        }
    }

    async fn accept(&mut self) {
        let target = self.shared.target;
        for number in 0.. {
            let accepted = loop {
                let shut = self.gate.is_shut();
                tokio::select! {
                    accepted = self.gate.accept(), if !shut => break accepted,
                    _ = until(&mut self.state, |now| now.is_shut() != shut) => {
                        let turned = if shut { self.gate.reopen() } else { self.gate.shut() };
                        if let Err(error) = turned {
                            break Err(error);
                        }
                    }
                }
            };
            match accepted {
                Ok(near) => {
                    let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                        let most = self.shared.options.connections;
                        tracing::warn!(%target, connections = most, "link is full: connection closed");
                        continue;
                    };
                    let (closed, state) = (self.closed.clone(), self.state.clone());
                    let began = *state.borrow();
                    let carried = Box::pin(carry(near, Arc::clone(&self.shared), number, began, state));
                    tokio::spawn(async move {
                        let _counted = permit;
                        closed.run_until_cancelled_owned(carried).await
                    });
                }
                // Out of descriptors, say: others may be closed meanwhile.
                Err(error) => {
                    tracing::warn!(%target, %error, "link can't accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}
