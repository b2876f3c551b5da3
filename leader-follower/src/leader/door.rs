//! Whether something is open, and a place to wait until it is.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Closed at first. Waiters wake in the order in which they came, which tokio's `watch` does not promise.
#[derive(Default)]
pub(super) struct Door {
    open: AtomicBool,
    opening: Notify,
}

impl Door {
    /// Opens or closes it; answers whether it was open.
    pub(super) fn set(&self, open: bool) -> bool {
        let before = self.open.swap(open, Ordering::AcqRel);
        if open {
            self.opening.notify_waiters();
        }
        before
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until it is open. Cancel-safe.
    pub(super) async fn opened(&self) {
        loop {
            // Registered before the look, so that an opening in between is not missed.
            let opening = self.opening.notified();
            tokio::pin!(opening);
            opening.as_mut().enable();
            if self.is_open() {
                return;
            }
            opening.await;
        }
    }
}
