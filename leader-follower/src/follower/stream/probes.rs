//! The questions on one stream that wait for their answers (R20).

use std::collections::VecDeque;
use std::time::Duration;

/// Questions that are remembered. An answer that comes after so many more is too late to be worth anything.
const MAX_OPEN: usize = 64;

/// The probes sent on one opening of a stream.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Number, and the node's clock before it was sent; ascending.
    open: VecDeque<(u64, Duration)>,
    /// One is being handed to the stream.
    busy: bool,
}

impl Probes {
    /// Notes a question; `false`: the one before is still being sent.
    pub(super) fn ask(&mut self, number: u64, now: Duration) -> bool {
        if self.busy {
            return false;
        }
        self.busy = true;
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back((number, now));
        true
    }

    /// The question was handed over.
    pub(super) const fn sent(&mut self) {
        self.busy = false;
    }

    /// When the question was asked; `None`: it was not, or its answer came already. Those before it are forgotten.
    pub(super) fn answered(&mut self, number: u64) -> Option<Duration> {
        while let Some((asked, at)) = self.open.front().copied() {
            if asked > number {
                return None;
            }
            self.open.pop_front();
            if asked == number {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_matched_once_and_with_its_own_question() {
        let mut probes = Probes::default();
        let at = Duration::from_secs;
        assert!(probes.ask(1, at(1)) && !probes.ask(2, at(2)), "one at a time");
        for number in 3..=5 {
            probes.sent();
            assert!(probes.ask(number, at(number)));
        }
        assert_eq!(probes.answered(4), Some(at(4)));
        assert_eq!((probes.answered(4), probes.answered(3), probes.answered(9)), (None, None, None));
        probes.sent();
        for number in 10..200 {
            assert!(probes.ask(number, at(number)));
            probes.sent();
        }
        assert_eq!((probes.answered(10), probes.open.len()), (None, MAX_OPEN));
    }
}
