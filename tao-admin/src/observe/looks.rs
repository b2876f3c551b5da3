//! Looks: what goes out to a node, and what becomes of its answer.

use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::Position;
use tao_schema::ops::{ReadOp, Source};

use super::item::{ItemKey, Seen};
use super::observer::{Observer, SampleId};
use super::report::Suspicion;
use super::tally::{Role, Target, Verdict};
use super::watched::Judged;

/// Looks at one node that may be unanswered: an observer must never be the load that makes a node slow.
const NODE_LOOKS: usize = 16;
/// Critical reads under way: they cost the primary something.
const VERIFYING: usize = 16;
/// How long an answer waits for the log to tell what it must show.
const PATIENCE: Duration = Duration::from_secs(2);

/// A look at one item at one node.
#[derive(Clone, PartialEq, Debug)]
pub struct Look {
    /// For whom.
    pub sample: SampleId,
    /// At what.
    pub key: ItemKey,
    /// At whom.
    pub target: Arc<Target>,
    /// Index of its age.
    pub age: usize,
    /// When it was due.
    pub due: Duration,
    /// What a client asks.
    pub reads: Vec<ReadOp>,
    /// What an earlier look found: this one only asks the primary, past all caches, whether that was so.
    pub verifies: Option<Box<Suspicion>>,
}

/// What came of a look.
#[derive(Debug)]
pub struct Answered {
    /// Which.
    pub look: Look,
    /// The answers, one for each read; or why there are none.
    pub outcome: Result<Vec<Seen>, String>,
    /// When it was sent.
    pub began: Duration,
    /// When it was answered.
    pub ended: Duration,
}

/// An answer that can't be judged before the log has come further.
#[derive(Debug)]
pub(super) struct Undecided {
    look: Look,
    seen: Vec<Seen>,
    ended: Duration,
}

impl Observer {
    /// Counts a look as sent; `None` if the node has too many to answer already.
    pub(super) fn admit(&mut self, look: Look) -> Option<Look> {
        let under_way = self.in_flight.entry(Arc::clone(&look.target)).or_default();
        if *under_way >= NODE_LOOKS {
            self.unknown(&look.target, look.age, "busy");
            return None;
        }
        *under_way += 1;
        if let Some(sample) = self.samples.get_mut(&look.sample) {
            sample.outstanding += 1;
        }
        Some(look)
    }

    /// A look was answered, or failed. Answers another look if it has to be verified.
    pub fn on_answer(&mut self, answered: Answered) -> Option<Look> {
        let Answered { mut look, outcome, began, ended } = answered;
        if let Some(suspicion) = look.verifies.take() {
            self.verified(look, *suspicion, outcome);
            return None;
        }
        if let Some(under_way) = self.in_flight.get_mut(&look.target) {
            *under_way = under_way.saturating_sub(1);
        }
        debug_assert!(began >= look.due, "a look before its time would call stale what is not");
        match outcome {
            Ok(seen) => self.decide(Undecided { look, seen, ended }, ended),
            Err(error) => {
                self.findings.failed(&look.target, error);
                self.unknown(&look.target, look.age, "error");
                self.done(&look);
                None
            }
        }
    }

    /// Judges what had to wait for the log.
    pub fn settle(&mut self, now: Duration) -> Vec<Look> {
        let waiting = std::mem::take(&mut self.undecided);
        waiting.into_iter().filter_map(|undecided| self.decide(undecided, now)).collect()
    }

    fn decide(&mut self, undecided: Undecided, now: Duration) -> Option<Look> {
        let Undecided { look, seen, ended } = undecided;
        let judged = self.judge(&look, &seen);
        let memory = match look.target.role {
            Role::Follower => Source::FollowerCache,
            Role::Leader | Role::Database => Source::LeaderCache,
        };
        let from_memory = seen.iter().all(|seen| seen.source == Some(memory));
        let (verdict, at, why) = match judged {
            None => return self.uncertain(&look, "given up"),
            Some((Judged::Void, _)) => {
                self.void(look.sample);
                return self.uncertain(&look, "lost by a promotion");
            }
            Some((Judged::NotYet, _)) if now.saturating_sub(ended) < PATIENCE => {
                self.undecided.push_back(Undecided { look, seen, ended });
                return None;
            }
            Some((Judged::NotYet, _)) => return self.uncertain(&look, "beyond the log"),
            // The item was there when the answer came; of the time that was asked for, that says nothing.
            Some((Judged::Consistent, _)) if ended > look.due + self.tolerance(look.age) => {
                return self.uncertain(&look, "answered late");
            }
            Some((Judged::Consistent, at)) => (Verdict::Consistent, at, String::new()),
            // However late it was asked: it had not even come by then.
            Some((Judged::Stale, at)) => (Verdict::Stale, at, "older than the change".to_owned()),
            Some((Judged::Wrong(why), at)) => (Verdict::Wrong, at, why),
        };
        let Some(seen) = seen.into_iter().nth(at).filter(|_| verdict != Verdict::Consistent) else {
            self.count(&look, verdict, from_memory);
            self.done(&look);
            return None;
        };
        let last = look.age + 1 == self.rules.ages.len();
        if verdict == Verdict::Stale && !last {
            self.count(&look, verdict, from_memory);
            self.done(&look);
            return None;
        }
        let suspicion = Suspicion { verdict, why, seen, from_memory };
        // Only at the end: a read that goes to the primary may bring the caches on its way up to date, and an observer
        // must not repair what it observes.
        if last && self.verifying < VERIFYING {
            self.verifying += 1;
            return Some(Look { verifies: Some(Box::new(suspicion)), ..look });
        }
        self.found(&look, &suspicion, Err("not verified"));
        self.count(&look, verdict, from_memory);
        self.done(&look);
        None
    }

    /// The worst of the answers to one look, and which it was; `None`: the sample is gone.
    fn judge(&self, look: &Look, seen: &[Seen]) -> Option<(Judged, usize)> {
        self.samples.get(&look.sample)?;
        let shard = self.shards.get(&look.key.shard())?;
        let (_, watched) = shard.watched.get(&look.key)?;
        let badness = |judged: &Judged| match judged {
            Judged::Void => 4,
            Judged::Wrong(_) => 3,
            Judged::Stale => 2,
            Judged::NotYet => 1,
            Judged::Consistent => 0,
        };
        let all = seen.iter().enumerate().map(|(at, seen)| (watched.judge(&shard.history, seen), at));
        all.max_by_key(|(judged, _)| badness(judged))
    }

    /// The primary has answered, past all caches, what a look found.
    fn verified(&mut self, look: Look, suspicion: Suspicion, outcome: Result<Vec<Seen>, String>) {
        self.verifying = self.verifying.saturating_sub(1);
        let verdict = suspicion.verdict;
        match outcome {
            Err(error) => self.found(&look, &suspicion, Err(&format!("not verified: {error}"))),
            Ok(proof) => match self.judge(&look, &proof) {
                // The change is gone from the primary, too, or what is known of its log no longer suffices.
                None | Some((Judged::Void | Judged::Stale, _)) => {
                    self.void(look.sample);
                    self.uncertain(&look, "lost by a promotion");
                    return;
                }
                Some(_) => {
                    let position = proof.first().map(|seen| seen.position);
                    self.found(&look, &suspicion, Ok(position));
                }
            },
        }
        self.count(&look, verdict, suspicion.from_memory);
        self.done(&look);
    }

    fn found(&mut self, look: &Look, suspicion: &Suspicion, proof: Result<Option<Position>, &str>) {
        let Some(sample) = self.samples.get(&look.sample) else { return };
        self.findings.add(look, sample, suspicion, proof);
        self.metrics.inconsistency(&look.target, suspicion.verdict);
    }

    fn tolerance(&self, age: usize) -> Duration {
        let age = self.rules.ages.get(age).copied().unwrap_or_default();
        (age / 10).max(Duration::from_millis(250))
    }

    /// Counts a look that can't be judged, and ends it.
    fn uncertain(&mut self, look: &Look, reason: &'static str) -> Option<Look> {
        self.unknown(&look.target, look.age, reason);
        self.done(look);
        None
    }

    fn unknown(&mut self, target: &Arc<Target>, age: usize, reason: &'static str) {
        self.tally.add(target, age, Verdict::Unknown, false);
        self.tally.because(reason);
        self.metrics.look(target, age, Verdict::Unknown);
    }

    fn count(&mut self, look: &Look, verdict: Verdict, from_memory: bool) {
        self.tally.add(&look.target, look.age, verdict, from_memory);
        self.metrics.look(&look.target, look.age, verdict);
    }

    fn done(&mut self, look: &Look) {
        if let Some(sample) = self.samples.get_mut(&look.sample) {
            sample.outstanding = sample.outstanding.saturating_sub(1);
        }
        self.finish(look.sample);
    }
}
