//! When to try again, and what to say when not. Pure: time is passed in.

use std::time::Duration;

use rand::Rng;
use tao_schema::{Error, ErrorCode, Result};
use tokio::time::Instant;

use crate::budget::RetryBudget;
use crate::options::Options;

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    made: u32,
    max: u32,
    pause: Duration,
    deadline: Instant,
    /// Until when an attempt of unknown outcome may still be carried out: no node starts what is past its deadline.
    unknown_until: Option<Instant>,
}

/// What to do after an attempt.
#[derive(PartialEq, Debug)]
pub(crate) enum Verdict<T> {
    /// Tell the caller.
    Done(Result<T>),
    /// Try again after this pause.
    Again(Duration),
}

impl Attempts {
    pub(crate) fn new(options: &Options, deadline: Instant) -> Self {
        Self { made: 0, max: options.attempts, pause: options.retry_pause, deadline, unknown_until: None }
    }

    /// Whether an attempt was made before.
    pub(crate) const fn is_retry(&self) -> bool {
        self.made > 0
    }

    /// Judges an attempt that was to end by `until`.
    pub(crate) fn judge<T>(
        &mut self,
        outcome: Result<T>,
        until: Instant,
        now: Instant,
        budget: &RetryBudget,
    ) -> Verdict<T> {
        self.made += 1;
        let error = match outcome {
            Ok(value) => return Verdict::Done(Ok(value)),
            Err(error) => error,
        };
        if error.code == ErrorCode::OutcomeUnknown {
            self.unknown_until = self.unknown_until.max(Some(until));
        }
        let pause = if error.retryable() {
            self.pause_after(error.code)
        } else if error.code.outcome_certain() && self.unknown_until.is_some_and(|until| until > now) {
            // A refusal of this attempt says only that the earlier one had not happened *yet*: it may still be on
            // its way. Ask again when it can't be any more (R4: "failed" is said only when it is certain).
            self.unknown_until.map_or(Duration::ZERO, |until| until - now)
        } else {
            return Verdict::Done(Err(error));
        };
        let again = self.made < self.max && now + pause < self.deadline && budget.take();
        if again { Verdict::Again(pause) } else { Verdict::Done(Err(self.last_word(error))) }
    }

    /// What an error means for the call when no attempt follows.
    fn last_word(&self, error: Error) -> Error {
        if self.unknown_until.is_none() || !error.code.outcome_certain() {
            return error;
        }
        let message = format!("an earlier attempt may have happened; the last one: {}", error.message);
        Error::new(ErrorCode::OutcomeUnknown, message)
    }

    /// Another node is asked at once; after that, and when the tier asks for patience, with growing pauses.
    fn pause_after(&self, code: ErrorCode) -> Duration {
        let patience = matches!(code, ErrorCode::Overloaded | ErrorCode::NotOwner);
        if self.made == 1 && !patience {
            return Duration::ZERO;
        }
        let full = self.pause.saturating_mul(1 << (self.made - 1).min(16)).min(MAX_PAUSE);
        full / 2 + full.mul_f64(rand::rng().random_range(0.0..0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(timeout_ms: u64) -> (Attempts, Instant) {
        let now = Instant::now();
        (Attempts::new(&Options::default(), now + Duration::from_millis(timeout_ms)), now)
    }

    fn fail(code: ErrorCode) -> Result<()> {
        Err(Error::new(code, "x"))
    }

    fn code(verdict: Verdict<()>) -> Option<ErrorCode> {
        match verdict {
            Verdict::Done(outcome) => outcome.err().map(|error| error.code),
            Verdict::Again(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_help_is_tried_again() {
        let budget = RetryBudget::new(0.1, 100);
        for known in ErrorCode::ALL {
            let (mut attempts, now) = attempts(1000);
            let verdict = attempts.judge(fail(known), now, now, &budget);
            assert_eq!(matches!(verdict, Verdict::Again(_)), known.retryable(), "{known}");
        }
        let (mut attempts, now) = attempts(1000);
        assert_eq!(attempts.judge(Ok(5), now, now, &budget), Verdict::Done(Ok(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_are_kept() {
        let budget = RetryBudget::new(0.1, 100);
        let (mut attempts, now) = attempts(60_000);
        let verdicts = (0..20).map(|_| attempts.judge(fail(ErrorCode::Unavailable), now, now, &budget));
        let again = verdicts.take_while(|verdict| matches!(verdict, Verdict::Again(_))).count();
        assert_eq!(again, 7, "eight attempts in all");
        let (mut attempts, now) = self::attempts(0);
        let verdict = attempts.judge(fail(ErrorCode::Unavailable), now, now, &budget);
        assert_eq!(code(verdict), Some(ErrorCode::Unavailable), "no time is left");
        let empty = RetryBudget::new(0.1, 0);
        let (mut attempts, now) = self::attempts(1000);
        let verdict = attempts.judge(fail(ErrorCode::Unavailable), now, now, &empty);
        assert_eq!(code(verdict), Some(ErrorCode::Unavailable), "the budget is spent");
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_stays_unknown_until_it_is_settled() {
        let budget = RetryBudget::new(0.1, 100);
        // Unknown, then unreachable: still unknown.
        let (mut attempts, now) = attempts(50);
        assert!(matches!(
            attempts.judge(fail(ErrorCode::OutcomeUnknown), now, now, &budget),
            Verdict::Again(_)
        ));
        let late = now + Duration::from_millis(49);
        let verdict = attempts.judge(fail(ErrorCode::Overloaded), late, late, &budget);
        assert_eq!(code(verdict), Some(ErrorCode::OutcomeUnknown));
        // Unknown, then refused while the first may still be under way: ask again when it can't be.
        let (mut attempts, now) = self::attempts(1000);
        let until = now + Duration::from_millis(300);
        let _ = attempts.judge(fail(ErrorCode::OutcomeUnknown), until, now, &budget);
        let verdict = attempts.judge(fail(ErrorCode::PreconditionFailed), until, now, &budget);
        assert_eq!(verdict, Verdict::Again(Duration::from_millis(300)));
        let verdict = attempts.judge(fail(ErrorCode::PreconditionFailed), until, until, &budget);
        assert_eq!(code(verdict), Some(ErrorCode::PreconditionFailed), "now it is certain");
        // The same without the time to ask again: unknown.
        let (mut attempts, now) = self::attempts(200);
        let _ = attempts.judge(fail(ErrorCode::OutcomeUnknown), until, now, &budget);
        let verdict = attempts.judge(fail(ErrorCode::PreconditionFailed), until, now, &budget);
        assert_eq!(code(verdict), Some(ErrorCode::OutcomeUnknown));
        // Unknown, then answered: settled.
        let (mut attempts, now) = self::attempts(1000);
        let _ = attempts.judge(fail(ErrorCode::OutcomeUnknown), until, now, &budget);
        assert_eq!(attempts.judge(Ok(()), until, now, &budget), Verdict::Done(Ok(())));
    }
}
