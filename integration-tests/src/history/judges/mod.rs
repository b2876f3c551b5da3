//! The judges of I1-I6, I8 and I9. All are linear in the history, but for sorting.

mod caches;
mod check;
mod demands;
mod effects;
mod liveness;
mod once;
mod reads;
mod sessions;
mod slice;
mod standing;
mod tables;
mod touching;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{Position, ShardId};

pub use self::caches::{Cached, CachedContent, judge_caches};
pub use self::check::judge_check;
use self::effects::Touched;
pub use self::liveness::{Liveness, Living, judge_liveness};
pub use self::slice::{line, log_line};
pub use self::tables::{ShardTables, judge_tables, read_tables};
pub use self::touching::{home, shards};
use super::operation::{History, Invariant, Judgement, Operation, Violation};
use super::truth::{Replay, Truth};

/// Violations of one judgement that are listed; more are counted.
const LISTED: usize = 200;

/// What the judges may take for granted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The schema of the cluster: which side of a pair orders it, how many edges a query returns.
    pub schema: Arc<GraphSchema>,
    /// Whether the history has every write that was made: then every change of the log must be one of them, and what two
    /// writes of one transaction left must be what one of them asked for.
    pub complete: bool,
    /// Whether no acknowledged write may be lost (`lossless`, R5). Else what lies beyond the end of its epoch is counted as
    /// [`Judgement::lost`] and must be in the log of a server, or in nobody's.
    pub lossless: bool,
}

impl Rules {
    /// A complete history of a cluster in which nothing may be lost.
    pub const fn strict(schema: Arc<GraphSchema>) -> Self {
        Self { schema, complete: true, lossless: true }
    }
}

/// Judges all that operations and logs tell: I1, I2, I3, I6 and I8, and every answer's content. Caches and tables are judged by
/// [`judge_caches`] and [`judge_tables`], liveness by [`judge_liveness`].
///
/// Every answer must be what the truth says at the position that the answer names. An answer that is not counts against
/// I6 if it is a count, else against I2 if the read demanded something, else against I4.
pub fn judge(history: &History, truth: &Truth, rules: &Rules) -> Judgement {
    let judges = Judges::new(truth, rules);
    let mut found = judges.log();
    found.absorb(judges.operations(&history.operations, Part::WHOLE));
    found
}

/// The judges of one truth: the log is taken apart once, and histories may come in parts.
pub struct Judges<'t> {
    truth: &'t Truth,
    rules: &'t Rules,
    replays: BTreeMap<ShardId, Replay<'t>>,
}

/// Some of the shards. Nearly everything is judged shard by shard, so a history that is too large for memory is judged in
/// parts: each has all operations that touch its shards. See [`Part::of`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which part, from 0.
    pub index: u16,
    /// Of how many, from 1.
    pub parts: u16,
}

impl Part {
    /// All shards.
    pub const WHOLE: Self = Self { index: 0, parts: 1 };

    /// The index of the part that a shard belongs to.
    pub fn of(shard: ShardId, parts: u16) -> u16 {
        shard.0 % parts.max(1)
    }

    fn has(self, shard: ShardId) -> bool {
        Self::of(shard, self.parts) == self.index
    }
}

impl<'t> Judges<'t> {
    /// Takes the log apart.
    pub fn new(truth: &'t Truth, rules: &'t Rules) -> Self {
        let replays = truth.shards().map(|(shard, log)| (shard, Replay::of(log))).collect();
        Self { truth, rules, replays }
    }

    /// Judges the log itself: servers agree, nothing is missing, counts are lengths.
    pub fn log(&self) -> Judgement {
        let mut court = self.court(&[], Part::WHOLE);
        court.conflicts();
        court.log_itself();
        court.found
    }

    /// Judges operations: all of those that touch the shards of `part`, in the order of their ends. What they say of other
    /// shards is left to the other parts.
    pub fn operations(&self, operations: &[Operation], part: Part) -> Judgement {
        let mut court = self.court(operations, part);
        let is_lost =
            |at: &Position| self.truth.shard(at.shard).is_some_and(|log| log.is_lost((at.epoch, at.seq)));
        let touched = Touched::of(operations, &self.rules.schema, is_lost);
        court.reads();
        court.demands();
        court.sessions();
        court.writes(&touched);
        court.unexplained(&touched);
        court.once(&touched);
        court.found
    }

    fn court<'a>(&'a self, operations: &'a [Operation], part: Part) -> Court<'a> {
        let Self { truth, rules, replays } = self;
        Court { operations, part, truth, rules, replays, found: Judgement::default() }
    }
}

/// What a trial needs at hand.
struct Court<'a> {
    operations: &'a [Operation],
    part: Part,
    truth: &'a Truth,
    rules: &'a Rules,
    replays: &'a BTreeMap<ShardId, Replay<'a>>,
    found: Judgement,
}

impl Court<'_> {
    fn checked(&mut self, invariant: Invariant) {
        self.found.count(invariant, 1);
    }

    /// Notes a violation. The slice is made only if it is listed.
    fn violation(&mut self, invariant: Invariant, message: String, slice: impl FnOnce(&Self) -> Vec<String>) {
        let slice = if self.found.violations.len() < LISTED { slice(self) } else { Vec::new() };
        self.found.blame(Violation { invariant, message, slice });
    }

    /// Servers must agree about every position, and the log must reach from the start to the end.
    fn conflicts(&mut self) {
        for message in self.truth.conflicts() {
            let (invariant, message) = (Invariant::I1, message.clone());
            self.found.blame(Violation { invariant, message, slice: Vec::new() });
        }
        for gap in self.truth.gaps() {
            let message = format!("the log has nothing at {gap}, but goes on behind it");
            self.violation(Invariant::I1, message, |court| court.log_slice(gap, &[]));
        }
    }

    /// The log's own claims: versions are seqs, each list change follows the one before, counts are lengths (I6).
    fn log_itself(&mut self) {
        for (shard, replay) in self.replays {
            let (checked, wrong) = replay.contradictions(*shard);
            self.found.count(Invariant::I6, checked);
            for (position, message) in wrong {
                self.violation(Invariant::I6, message, |court| court.log_slice(position, &[]));
            }
        }
    }
}

impl Judgement {
    /// Counts facts that were checked.
    pub fn count(&mut self, invariant: Invariant, facts: u64) {
        if facts > 0 {
            *self.checked.entry(invariant).or_default() += facts;
        }
    }

    /// Adds a violation; the first ones are listed, the rest is counted.
    pub fn blame(&mut self, violation: Violation) {
        if self.violations.len() < LISTED {
            self.violations.push(violation);
        } else {
            self.unlisted += 1;
        }
    }

    /// Takes in what another judge found.
    pub fn absorb(&mut self, other: Self) {
        other.checked.into_iter().for_each(|(invariant, facts)| self.count(invariant, facts));
        self.unjudged += other.unjudged;
        self.lost += other.lost;
        self.halved += other.halved;
        self.unlisted += other.unlisted;
        other.violations.into_iter().for_each(|violation| self.blame(violation));
    }

    /// Those of `wanted` of which nothing was checked: for these the run is void, not passed.
    pub fn void(&self, wanted: impl IntoIterator<Item = Invariant>) -> Vec<Invariant> {
        wanted.into_iter().filter(|invariant| !self.checked.contains_key(invariant)).collect()
    }

    /// Whether nothing is wrong. Says nothing about how much was checked: see [`Judgement::void`].
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}
