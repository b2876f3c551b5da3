//! What happened, as a number and, if somebody wants to read it, as lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// An odd constant with its bits well spread.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The trace of one run: two runs that did the same things at the same times have the same hash. Clones share it.
#[derive(Clone)]
pub struct Trace(Arc<Inner>);

struct Inner {
    began: Instant,
    state: Mutex<State>,
    /// Whether each event is printed as it happens.
    readable: bool,
}

#[derive(Default)]
struct State {
    hash: u64,
    events: u64,
    /// By what they are.
    counts: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// An empty trace. Times count from now.
    pub fn new(readable: bool) -> Self {
        Self(Arc::new(Inner { began: Instant::now(), state: Mutex::default(), readable }))
    }

    /// Notes an event: what it is, the numbers that tell it from others, and what a person reads.
    pub fn event(&self, what: &'static str, numbers: &[u64], text: impl FnOnce() -> String) {
        let at = self.0.began.elapsed();
        let mut state = self.0.state.lock();
        let mut hash = mix(state.hash, at.as_micros() as u64);
        for byte in what.bytes() {
            hash = mix(hash, u64::from(byte));
        }
        for number in numbers {
            hash = mix(hash, *number);
        }
        state.hash = hash;
        state.events += 1;
        *state.counts.entry(what).or_default() += 1;
        drop(state);
        if self.0.readable {
            let line = format!("{:>10.3} {what:<9} {}", at.as_secs_f64(), text());
            tracing::info!(target: "simulation", "{line}");
        }
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.began.elapsed()
    }

    /// How many events there were, by what they are.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.state.lock().counts.clone()
    }

    /// The hash of everything so far, and the number of events.
    pub fn hash(&self) -> (u64, u64) {
        let state = self.0.state.lock();
        (state.hash, state.events)
    }
}

/// A text as a number for [`Trace::event`].
pub fn digest(text: &str) -> u64 {
    text.bytes().fold(SPREAD, |hash, byte| mix(hash, u64::from(byte)))
}

const fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(SPREAD).rotate_left(29)
}
