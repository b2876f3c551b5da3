//! The observer itself, without any I/O: what the logs and the answers tell it, and what it wants looked at. Time is
//! given with each call, as the time since the observation began.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tao_schema::ids::{HostGroupId, ObjectId, Position, ShardId};
use tao_schema::rows::{EpochStart, ShardChange};
use tao_shard_store::log::{Survey, TailEvent};

use super::beats::Beats;
use super::history::ShardHistory;
use super::item::ItemKey;
use super::looks::{Look, Undecided};
use super::metrics::Metrics;
use super::report::Findings;
use super::sampler::Sampler;
use super::tally::{Tally, Target};
use super::watched::Watched;

/// Samples under observation at once.
const MAX_SAMPLES: usize = 100_000;
/// Of these, those that the primary has not shown yet.
const MAX_UNPROVED: usize = 64;

/// What is observed, and when.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Ages at which a change is looked for, ascending.
    pub ages: Vec<Duration>,
    /// Changes that are chosen, a second.
    pub rate: f64,
    /// Of the choice.
    pub seed: u64,
}

/// Names a sample.
pub type SampleId = u64;

/// A change that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) key: ItemKey,
    pub(super) group: HostGroupId,
    pub(super) position: Position,
    /// When the primary was first seen to show it: its age counts from here. A log has a change before it is committed,
    /// and in mode `lossless` perhaps long before (H8): nobody may see it then.
    pub(super) shown: Option<Duration>,
    /// Ages that have not come.
    pub(super) ages_left: usize,
    /// Looks under way.
    pub(super) outstanding: usize,
}

/// Find out when the primary shows this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// For whom.
    pub sample: SampleId,
    /// Whose primary.
    pub group: HostGroupId,
    /// What to read.
    pub key: ItemKey,
    /// Where the answer must have come to.
    pub position: Position,
}

/// What is known of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) history: ShardHistory,
    /// One sample at a time for each item.
    pub(super) watched: HashMap<ItemKey, (SampleId, Watched)>,
}

/// What came in of one host group's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupCounts {
    /// Changed items.
    pub changes: u64,
    /// Of these, chosen.
    pub samples: u64,
    /// Of these, given up: lost by a promotion, or with the log.
    pub void: u64,
}

/// A running observation.
pub struct Observer {
    pub(super) rules: Rules,
    pub(super) shards: HashMap<ShardId, Shard>,
    pub(super) samples: HashMap<SampleId, Sample>,
    /// When to look, at what, and at which of the ages.
    pub(super) due: BinaryHeap<Reverse<(Duration, SampleId, usize)>>,
    pub(super) undecided: VecDeque<Undecided>,
    pub(super) in_flight: HashMap<Arc<Target>, usize>,
    pub(super) verifying: usize,
    pub(super) tally: Tally,
    pub(super) findings: Findings,
    pub(super) metrics: Metrics,
    groups: HashMap<HostGroupId, (GroupCounts, Beats)>,
    sampler: Sampler,
    sampling: bool,
    unproved: usize,
    next_id: SampleId,
}

impl Observer {
    /// Nothing is known yet.
    pub fn new(rules: Rules, metrics: Metrics) -> Self {
        let sampler = Sampler::new(rules.rate, rules.seed);
        Self {
            rules,
            shards: HashMap::new(),
            samples: HashMap::new(),
            due: BinaryHeap::new(),
            undecided: VecDeque::new(),
            in_flight: HashMap::new(),
            verifying: 0,
            tally: Tally::default(),
            findings: Findings::default(),
            metrics,
            groups: HashMap::new(),
            sampler,
            sampling: true,
            unproved: 0,
            next_id: 0,
        }
    }

    /// When the time since the start began to count, for people.
    pub fn started(&mut self, now: SystemTime) {
        self.findings.start(now, &self.rules.ages);
    }

    /// A log was opened. `anew`: not where it ended before; what was watched in it can no longer be judged.
    pub fn on_opened(&mut self, group: HostGroupId, survey: &Survey, anew: bool) {
        self.groups.entry(group).or_default().1 = Beats::default();
        for row in &survey.rows {
            let shard = self.shards.entry(row.shard).or_default();
            shard.history.surveyed([], Some(row.seq));
            if anew {
                shard.history.forget();
            }
        }
        if anew {
            let lost: Vec<SampleId> = self.samples_of(group).collect();
            for sample in lost {
                self.void(sample);
            }
        }
        for (shard, start) in &survey.epochs {
            self.on_epoch(*shard, *start);
        }
    }

    /// What a log brought; answers what to prove.
    pub fn on_log(&mut self, group: HostGroupId, events: &[TailEvent], now: Duration) -> Vec<Proof> {
        let mut proofs = Vec::new();
        for event in events {
            match event {
                TailEvent::Epoch { shard, start } => self.on_epoch(*shard, *start),
                // Rows of a shard that is not read here are no news (R9).
                TailEvent::Change { change, state } if state.readable() => {
                    self.on_change(group, change, now, &mut proofs);
                }
                TailEvent::Beat { time, .. } => {
                    self.groups.entry(group).or_default().1.came(*time, now);
                }
                TailEvent::Change { .. } | TailEvent::Topology { .. } => {}
            }
        }
        proofs
    }

    /// The primary shows a sampled change: now it is as old as zero.
    pub fn on_shown(&mut self, id: SampleId, now: Duration) {
        self.unproved = self.unproved.saturating_sub(1);
        if let Some(sample) = self.samples.get_mut(&id) {
            sample.shown = Some(now);
            self.due
                .extend(self.rules.ages.iter().enumerate().map(|(at, age)| Reverse((now + *age, id, at))));
        }
    }

    /// The primary did not show it in time, or could not be asked.
    pub fn on_not_shown(&mut self, id: SampleId) {
        self.unproved = self.unproved.saturating_sub(1);
        self.void(id);
    }

    /// No more changes are chosen; those that were are looked at to their end.
    pub fn stop_sampling(&mut self) {
        self.sampling = false;
    }

    /// Whether nothing is left to look at.
    pub fn idle(&self) -> bool {
        self.samples.is_empty() && self.undecided.is_empty() && self.verifying == 0
    }

    /// Samples under observation.
    pub fn watched(&self) -> usize {
        self.samples.len()
    }

    /// When the next look is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// The looks that are due at `now`, at whomever `targets` names for a shard.
    pub fn looks_due(&mut self, now: Duration, targets: impl Fn(ShardId) -> Vec<Arc<Target>>) -> Vec<Look> {
        let mut looks = Vec::new();
        while let Some(Reverse((due, id, age))) =
            self.due.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            self.due.pop();
            let Some(sample) = self.samples.get_mut(&id) else { continue };
            sample.ages_left = sample.ages_left.saturating_sub(1);
            let key = sample.key;
            let edges = self.edges_of(key);
            for target in targets(key.shard()) {
                let reads = key.reads(&edges);
                looks.extend(self.admit(Look { sample: id, key, target, age, due, reads, verifies: None }));
            }
            self.finish(id);
        }
        looks
    }

    /// Counts of the logs, by host group.
    pub fn groups(&self) -> impl Iterator<Item = (HostGroupId, GroupCounts)> + '_ {
        self.groups.iter().map(|(group, (counts, _))| (*group, *counts))
    }

    fn on_epoch(&mut self, id: ShardId, start: EpochStart) {
        let shard = self.shards.entry(id).or_default();
        shard.history.epoch(start);
        for (_, watched) in shard.watched.values_mut() {
            watched.cut(start);
        }
    }

    fn on_change(
        &mut self,
        group: HostGroupId,
        change: &ShardChange,
        now: Duration,
        proofs: &mut Vec<Proof>,
    ) {
        let at = (change.epoch, change.seq);
        let (counts, beats) = self.groups.entry(group).or_default();
        let shard = self.shards.entry(change.shard).or_default();
        shard.history.change(at);
        for item in &change.items {
            counts.changes += 1;
            self.metrics.change(group);
            let key = ItemKey::of(item);
            if let Some((_, watched)) = shard.watched.get_mut(&key) {
                watched.changed(at, item);
                continue;
            }
            // Of an older change nobody knows how old it is.
            let young = shard.history.is_new(change.seq) && !beats.behind();
            let room = self.samples.len() < MAX_SAMPLES && self.unproved < MAX_UNPROVED;
            if !(self.sampling && young && room && self.sampler.takes(now)) {
                continue;
            }
            self.next_id += 1;
            let sample = self.next_id;
            let position = change.position();
            shard.watched.insert(key, (sample, Watched::new(at, item)));
            let ages_left = self.rules.ages.len();
            self.samples
                .insert(sample, Sample { key, group, position, shown: None, ages_left, outstanding: 0 });
            self.unproved += 1;
            counts.samples += 1;
            self.metrics.sample(group);
            proofs.push(Proof { sample, group, key, position });
        }
    }

    /// The edges of a watched list that are looked at.
    fn edges_of(&self, key: ItemKey) -> Vec<ObjectId> {
        let watched = self.shards.get(&key.shard()).and_then(|shard| shard.watched.get(&key));
        watched.map(|(_, watched)| watched.edges.clone()).unwrap_or_default()
    }

    fn samples_of(&self, group: HostGroupId) -> impl Iterator<Item = SampleId> + '_ {
        self.samples.iter().filter(move |(_, sample)| sample.group == group).map(|(id, _)| *id)
    }

    /// A sample that nothing can be said of.
    pub(super) fn void(&mut self, id: SampleId) {
        if let Some(sample) = self.remove(id) {
            self.groups.entry(sample.group).or_default().0.void += 1;
            self.metrics.void(sample.group);
        }
    }

    /// Ends a sample whose last look has been judged.
    pub(super) fn finish(&mut self, id: SampleId) {
        if self.samples.get(&id).is_some_and(|sample| sample.ages_left == 0 && sample.outstanding == 0) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: SampleId) -> Option<Sample> {
        let sample = self.samples.remove(&id)?;
        if let Some(shard) = self.shards.get_mut(&sample.key.shard()) {
            shard.watched.remove(&sample.key);
        }
        Some(sample)
    }
}
