//! What users got: how many calls, how many failed, how long they took; apart for each phase of a run.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use tao_client::ErrorCode;

/// Length of the slots that [`Meter::window`] adds up.
const SLOT: Duration = Duration::from_millis(250);
/// Slots that are kept: two minutes.
const SLOTS: usize = 480;
/// Changes of phase that are kept: a call lasts much shorter than so many of them.
const PHASES: usize = 64;
/// Latencies are counted up to here, in microseconds; calls end before.
const LONGEST_MICROS: u64 = 120_000_000;

/// What is wrong with the cluster at a time. A call that overlaps several belongs to the greatest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Nothing.
    Quiet,
    /// Nothing any more, but not for long.
    Recovery,
    /// One fault of this kind.
    Fault(String),
    /// Several faults at once.
    Several,
}

/// Counts of one kind of calls in one phase.
#[derive(Clone, Debug)]
struct Tally {
    done: u64,
    failed: u64,
    micros: Histogram<u64>,
}

/// What users got in a time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Window {
    /// Calls that ended.
    pub calls: u64,
    /// Of those, that got no answer: unavailable, too late, unknown.
    pub failed: u64,
    /// 99 of 100 of the answered ones were quicker, in milliseconds.
    pub p99_ms: f64,
}

/// Availability and latencies of reads or writes in a phase.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Availability {
    /// Calls that ended.
    pub calls: u64,
    /// Of those, that got no answer.
    pub failed: u64,
    /// Part of the calls that were answered, in percent.
    pub available_percent: f64,
    /// Of the answered ones, in milliseconds.
    pub p50_ms: f64,
    /// Of the answered ones, in milliseconds.
    pub p99_ms: f64,
    /// Of the answered ones, in milliseconds.
    pub p999_ms: f64,
}

/// What users got, as a report has it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Answered calls, by name of the call and of its demand.
    pub operations: BTreeMap<String, u64>,
    /// Calls without an answer, and answers that refuse, by name and code.
    pub errors: BTreeMap<String, u64>,
    /// By `reads` or `writes`, then by phase: `all`, `quiet`, `recovery`, the kinds of faults, `several`.
    pub availability: BTreeMap<String, BTreeMap<String, Availability>>,
    /// The longest time in which no read, or no write, of a region was answered, while users of that region were calling: in
    /// milliseconds, by region and kind.
    pub longest_outage_ms: BTreeMap<String, u64>,
}

/// Filled by all users at once. Its size does not grow with the length of the run.
pub struct Meter {
    state: Mutex<State>,
}

struct State {
    phases: VecDeque<(Instant, Phase)>,
    tallies: BTreeMap<(bool, Phase), Tally>,
    operations: BTreeMap<&'static str, u64>,
    errors: BTreeMap<String, u64>,
    slots: VecDeque<Slot>,
    /// By region and whether writes.
    answered: BTreeMap<(String, bool), Answered>,
}

struct Slot {
    began: Instant,
    calls: u64,
    failed: u64,
    micros: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Answered {
    last: Option<Instant>,
    longest: Duration,
}

/// Whether an error leaves the caller without an answer. A refusal is an answer; so is the word that what was seen is lost.
pub const fn is_failure(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::PreconditionFailed
            | ErrorCode::NotFound
            | ErrorCode::LostEpoch
            | ErrorCode::InvalidArgument
            | ErrorCode::NoSuchShard
    )
}

impl Phase {
    /// As reports name it.
    pub fn name(&self) -> &str {
        match self {
            Self::Quiet => "quiet",
            Self::Recovery => "recovery",
            Self::Fault(kind) => kind,
            Self::Several => "several",
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        let state = State {
            phases: VecDeque::from([(Instant::now(), Phase::Quiet)]),
            tallies: BTreeMap::new(),
            operations: BTreeMap::new(),
            errors: BTreeMap::new(),
            slots: VecDeque::new(),
            answered: BTreeMap::new(),
        };
        Self { state: Mutex::new(state) }
    }
}

impl Meter {
    /// From now on the cluster is in this phase.
    pub fn enter(&self, phase: Phase) {
        let mut state = self.state.lock();
        state.phases.push_back((Instant::now(), phase));
        if state.phases.len() > PHASES {
            state.phases.pop_front();
        }
    }

    /// Users start calling, after a pause that is nobody's outage.
    pub fn begin(&self) {
        for answered in self.state.lock().answered.values_mut() {
            answered.last = None;
        }
    }

    /// A call of a user in `region` that began at `began` has ended now.
    pub fn note(
        &self,
        region: &str,
        name: &'static str,
        write: bool,
        began: Instant,
        outcome: Result<(), ErrorCode>,
    ) {
        let now = Instant::now();
        let failed = outcome.is_err_and(is_failure);
        let took =
            u64::try_from((now - began).as_micros()).unwrap_or(LONGEST_MICROS).clamp(1, LONGEST_MICROS);
        let mut state = self.state.lock();
        if let Err(code) = outcome {
            *state.errors.entry(format!("{name}: {code}")).or_default() += 1;
        }
        let phase = state.phase_of(began);
        let tally = state.tallies.entry((write, phase)).or_insert_with(Tally::new);
        tally.add(failed, took);
        state.slot(now).add(failed, took);
        if failed {
            return;
        }
        *state.operations.entry(name).or_default() += 1;
        let fresh = Answered { last: None, longest: Duration::ZERO };
        let answered = state.answered.entry((region.to_owned(), write)).or_insert(fresh);
        if let Some(last) = answered.last {
            answered.longest = answered.longest.max(now - last);
        }
        answered.last = Some(now);
    }

    /// What users got since `moment`, at most two minutes ago, in slots that began then or later.
    pub fn window(&self, moment: Instant) -> Window {
        let state = self.state.lock();
        let slots: Vec<&Slot> = state.slots.iter().filter(|slot| slot.began >= moment).collect();
        let mut micros: Vec<u32> = slots.iter().flat_map(|slot| &slot.micros).copied().collect();
        micros.sort_unstable();
        let at = (micros.len() * 99 / 100).min(micros.len().saturating_sub(1));
        Window {
            calls: slots.iter().map(|slot| slot.calls).sum(),
            failed: slots.iter().map(|slot| slot.failed).sum(),
            p99_ms: micros.get(at).map_or(0.0, |micros| f64::from(*micros) / 1e3),
        }
    }

    /// 99 of 100 calls of the quiet phase were quicker; `None`: too few of them.
    pub fn baseline_p99(&self) -> Option<Duration> {
        let state = self.state.lock();
        let mut all = Tally::new();
        for write in [false, true] {
            if let Some(tally) = state.tallies.get(&(write, Phase::Quiet)) {
                all.absorb(tally);
            }
        }
        (all.micros.len() >= 100).then(|| Duration::from_micros(all.micros.value_at_quantile(0.99)))
    }

    /// All calls that were answered.
    pub fn answered(&self) -> u64 {
        self.state.lock().operations.values().sum()
    }

    /// Everything so far.
    pub fn figures(&self) -> Figures {
        let state = self.state.lock();
        let mut availability = BTreeMap::new();
        for (write, title) in [(false, "reads"), (true, "writes")] {
            let mut all = Tally::new();
            let mut by_phase = BTreeMap::new();
            for ((_, phase), tally) in state.tallies.iter().filter(|((kind, _), _)| *kind == write) {
                all.absorb(tally);
                by_phase.insert(phase.name().to_owned(), tally.availability());
            }
            by_phase.insert("all".to_owned(), all.availability());
            availability.insert(title.to_owned(), by_phase);
        }
        let outages = state.answered.iter().map(|((region, write), answered)| {
            let kind = if *write { "writes" } else { "reads" };
            (format!("{region} {kind}"), u64::try_from(answered.longest.as_millis()).unwrap_or(u64::MAX))
        });
        Figures {
            operations: state.operations.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            errors: state.errors.clone(),
            availability,
            longest_outage_ms: outages.collect(),
        }
    }
}

impl State {
    /// The greatest phase since `began`.
    fn phase_of(&self, began: Instant) -> Phase {
        let mut greatest = Phase::Quiet;
        for (start, phase) in self.phases.iter().rev() {
            if *phase > greatest {
                greatest = phase.clone();
            }
            if *start <= began {
                break;
            }
        }
        greatest
    }

    fn slot(&mut self, now: Instant) -> &mut Slot {
        let old = self.slots.back().is_none_or(|slot| now - slot.began >= SLOT);
        if old {
            if self.slots.len() >= SLOTS {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot { began: now, calls: 0, failed: 0, micros: Vec::new() });
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }
}

impl Slot {
    fn add(&mut self, failed: bool, micros: u64) {
        self.calls += 1;
        if failed {
            self.failed += 1;
        } else {
            self.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }
}

impl Tally {
    fn new() -> Self {
        let micros = Histogram::new_with_bounds(1, LONGEST_MICROS, 3);
        Self { done: 0, failed: 0, micros: micros.expect("the bounds are constants that fit") }
    }

    fn add(&mut self, failed: bool, micros: u64) {
        self.done += 1;
        if failed {
            self.failed += 1;
        } else {
            self.micros.saturating_record(micros);
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.micros.add(&other.micros).expect("all have the same bounds");
    }

    fn availability(&self) -> Availability {
        let at = |quantile: f64| self.micros.value_at_quantile(quantile) as f64 / 1e3;
        let answered = (self.done - self.failed) as f64;
        Availability {
            calls: self.done,
            failed: self.failed,
            available_percent: if self.done == 0 { 0.0 } else { answered * 100.0 / self.done as f64 },
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
        }
    }
}
