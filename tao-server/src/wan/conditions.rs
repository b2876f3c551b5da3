//! What a link does to what it carries, and how its connections learn of a change.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// One of the two directions of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// From who connected to the target.
    Out,
    /// From the target to who connected.
    Back,
}

/// One of the two ends of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// Who connected.
    Near,
    /// The target.
    Far,
}

/// What happens to bytes in one direction. The default is a wire: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// Time that each byte takes.
    pub latency: Duration,
    /// More of it, from none to this much, by chance for each piece; the order stays.
    pub jitter: Duration,
    /// Bytes that come out in a second; `None`: no limit.
    pub bytes_per_second: Option<NonZeroU64>,
    /// More time that the end of a stream takes.
    pub close_delay: Duration,
    /// Nothing comes through. Bytes and ends wait, as with a sender that sends again and again, and come out when this is
    /// over; nobody connects meanwhile, in whichever direction it is.
    pub cut: bool,
}

/// Everything that the connections of a link must know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) out: Conditions,
    pub(super) back: Conditions,
    /// How often connections were reset. One that has seen fewer ends.
    pub(super) resets: u64,
    /// How often an end vanished, and the last one that did.
    pub(super) losses: u64,
    pub(super) gone: Option<End>,
    /// The losses that are over: whoever vanished says by now that it knows nothing of the connection.
    pub(super) returned: u64,
}

impl Way {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Out => Self::Back,
            Self::Back => Self::Out,
        }
    }
}

impl State {
    pub(super) const fn of(&self, way: Way) -> &Conditions {
        match way {
            Way::Out => &self.out,
            Way::Back => &self.back,
        }
    }

    pub(super) const fn of_mut(&mut self, way: Way) -> &mut Conditions {
        match way {
            Way::Out => &mut self.out,
            Way::Back => &mut self.back,
        }
    }

    /// Whether a handshake fails, which needs both directions.
    pub(super) const fn is_shut(&self) -> bool {
        self.out.cut || self.back.cut
    }
}

/// Waits until what is `due` under the conditions of a direction may come out. They may change meanwhile, so what is under
/// way already obeys the new ones.
pub(super) async fn pass(state: &mut watch::Receiver<State>, way: Way, due: impl Fn(&Conditions) -> Instant) {
    loop {
        let now = *state.borrow_and_update().of(way);
        if now.cut {
            changed(state).await;
            continue;
        }
        let due = due(&now);
        if due <= Instant::now() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = changed(state) => {}
        }
    }
}

/// Waits until the state fits.
pub(super) async fn until(state: &mut watch::Receiver<State>, fits: impl Fn(&State) -> bool) -> State {
    loop {
        let now = *state.borrow_and_update();
        if fits(&now) {
            return now;
        }
        changed(state).await;
    }
}

async fn changed(state: &mut watch::Receiver<State>) {
    if state.changed().await.is_err() {
        // The link is being closed, which ends its connections from outside.
        std::future::pending::<()>().await;
    }
}
