//! A node as the client sees it: its connection, and whether it is worth asking.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Connection;

/// How often a pause may double.
const MAX_DOUBLINGS: u32 = 4;

/// One node. Its circuit opens after failures in a row: then it is passed over, and one request at a time probes it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) connection: Connection,
    circuit: Circuit,
}

#[derive(Debug)]
struct Circuit {
    threshold: u32,
    pause: Duration,
    born: Instant,
    failures: AtomicU32,
    /// Milliseconds after `born` until which the node is passed over; 0: it is not.
    closed_until: AtomicU64,
}

impl Node {
    pub(crate) fn new(name: String, connection: Connection, threshold: u32, pause: Duration) -> Self {
        let circuit = Circuit {
            threshold,
            pause,
            born: Instant::now(),
            failures: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
        };
        Self { name, connection, circuit }
    }

    /// Whether requests pass over this node; the probe aside.
    pub(crate) fn is_passed_over(&self) -> bool {
        self.circuit.closed_until.load(Ordering::Relaxed) != 0
    }

    /// Whether to ask this node now. After a pause this says yes once: to the probe.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let circuit = &self.circuit;
        let until = circuit.closed_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let millis = circuit.millis(now);
        // Whoever moves the end of the pause is the probe; others go on passing over.
        millis >= until
            && circuit
                .closed_until
                .compare_exchange(
                    until,
                    millis + circuit.pause_after(circuit.threshold),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// The node answered, whatever it said.
    pub(crate) fn answered(&self) {
        if self.circuit.failures.load(Ordering::Relaxed) != 0 {
            self.circuit.failures.store(0, Ordering::Relaxed);
            self.circuit.closed_until.store(0, Ordering::Relaxed);
        }
    }

    /// The node did not answer. Returns whether it is passed over from now on and was not before.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let circuit = &self.circuit;
        let failures = circuit.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= circuit.threshold {
            let until = circuit.millis(now) + circuit.pause_after(failures);
            circuit.closed_until.fetch_max(until, Ordering::Relaxed);
        }
        failures == circuit.threshold
    }
}

impl Circuit {
    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64
    }

    fn pause_after(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(self.threshold).min(MAX_DOUBLINGS);
        (self.pause.as_millis() as u64).max(1) << doublings
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::connection::{ConnectionOptions, Service};

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_and_lets_one_probe_pass() {
        let connection = Connection::new("nowhere:1", Service::Tao, Arc::new(ConnectionOptions::default()));
        let node = Node::new("n".into(), connection, 2, Duration::from_millis(100));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!node.failed(at(0)));
        node.answered();
        assert!(!node.failed(at(1)), "not in a row");
        assert!(node.admits(at(1)));
        assert!(node.failed(at(2)));
        assert!(!node.admits(at(50)));
        assert!(node.admits(at(102)), "the probe");
        assert!(!node.admits(at(103)), "the others wait for what it finds");
        assert!(!node.failed(at(104)), "it was passed over already");
        assert!(!node.admits(at(203)), "the pause has doubled");
        assert!(node.admits(at(304)));
        node.answered();
        assert!(node.admits(at(305)) && node.admits(at(305)));
    }
}
