//! Rows that wait for their next attempt.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Carry, Inverses};

/// Ordered by time. Bounded by the permits that its rows hold.
#[derive(Default)]
pub(super) struct Backlog {
    due: Mutex<BinaryHeap<Reverse<Due>>>,
    news: Notify,
}

struct Due {
    at: Instant,
    carry: Arc<Carry>,
}

impl Backlog {
    pub(super) fn push(&self, at: Instant, carry: Arc<Carry>) {
        self.due.lock().push(Reverse(Due { at, carry }));
        self.news.notify_one();
    }

    /// The next row whose time has come. Cancel-safe.
    async fn next(&self) -> Arc<Carry> {
        loop {
            let first = self.due.lock().peek().map(|Reverse(due)| due.at);
            match first {
                None => self.news.notified().await,
                Some(at) if at > Instant::now() => tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = self.news.notified() => {}
                },
                Some(_) => {
                    if let Some(Reverse(due)) = self.due.lock().pop() {
                        return due.carry;
                    }
                }
            }
        }
    }
}

impl Inverses {
    pub(super) async fn retry_when_due(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                carry = self.backlog.next() => self.dispatch(carry),
            }
        }
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
