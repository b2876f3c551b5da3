//! How many requests may be under way to one peer: additive increase, multiplicative decrease.
//!
//! A wide fan-out (one page of a feed asks hundreds of shards) must not drown a small server or its switch port
//! (incast). The window grows only while it is what limits us, and halves at most once for each round of requests, so
//! that one burst of refusals counts as one signal.

/// Requests that may be under way. Pure: told of what happens, asked for its size.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    min: usize,
    max: usize,
    step: usize,
    /// Successes at the limit since the last growth.
    succeeded: usize,
    /// Requests sent before this ordinal already paid for the last halving.
    forgiven_before: u64,
}

impl Window {
    /// A window of `start` requests that moves between `min` and `max`, growing by `step`.
    pub(super) fn new(start: usize, min: usize, max: usize, step: usize) -> Self {
        let min = min.max(1);
        let max = max.max(min);
        Self { size: start.clamp(min, max), min, max, step: step.max(1), succeeded: 0, forgiven_before: 0 }
    }

    /// Requests that may be under way now.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// A request was answered; `limited`: others wait for room, or the window was full.
    pub(super) fn on_success(&mut self, limited: bool) {
        if !limited {
            return;
        }
        self.succeeded += 1;
        if self.succeeded >= self.size {
            self.succeeded = 0;
            self.size = (self.size + self.step).min(self.max);
        }
    }

    /// The peer refused the request that was sent as number `sent`, or let its deadline pass. `next` is the number of
    /// the next request to be sent.
    pub(super) fn on_congestion(&mut self, sent: u64, next: u64) {
        if sent < self.forgiven_before {
            return;
        }
        self.forgiven_before = next;
        self.succeeded = 0;
        self.size = (self.size / 2).max(self.min);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_a_step_for_a_window_of_successes_at_the_limit() {
        let mut window = Window::new(4, 1, 6, 1);
        for _ in 0..100 {
            window.on_success(false);
        }
        assert_eq!(window.size(), 4, "an idle window proves nothing");
        for _ in 0..4 {
            window.on_success(true);
        }
        assert_eq!(window.size(), 5);
        for _ in 0..100 {
            window.on_success(true);
        }
        assert_eq!(window.size(), 6, "bounded above");
    }

    #[test]
    fn halves_once_for_each_round() {
        let mut window = Window::new(64, 3, 64, 1);
        for sent in 0..64 {
            window.on_congestion(sent, 64);
        }
        assert_eq!(window.size(), 32, "one burst of refusals is one signal");
        window.on_congestion(64, 70);
        assert_eq!(window.size(), 16);
        for round in 70..80 {
            window.on_congestion(round, round + 1);
        }
        assert_eq!(window.size(), 3, "bounded below");
    }
}
