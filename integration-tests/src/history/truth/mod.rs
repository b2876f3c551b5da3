//! What the logs of the primaries say: the truth that everything else is measured by.

mod clock;
mod collector;
mod replay;
mod seed;
mod shard;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ids::{Position, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardChange, ShardState};
use tao_shard_store::log::TailEvent;

pub use self::clock::RunClock;
pub use self::collector::{Collected, Collector, CollectorOptions};
pub use self::replay::{EdgeState, Epochs, ListState, ListWalk, ObjectState, Replay, Version};
pub use self::seed::{Seed, SeedList, seed_of};
pub use self::shard::{Logged, ShardTruth, TimeMark};

/// The logs of all primaries, shard by shard, in order; what lossy promotions lost is among it, kept apart by the
/// epochs' starts.
///
/// Filled by [`Collector`], or by hand with [`Truth::begin`] and [`Truth::observe`]. Events may come from several servers of
/// a host group, each with the same changes: a position is taken once, and two servers that disagree about one are a
/// [conflict](Truth::conflicts).
#[derive(Clone, Default, Debug)]
pub struct Truth {
    shards: BTreeMap<ShardId, ShardTruth>,
    conflicts: Vec<String>,
}

/// Conflicts that are kept; one is enough to fail a run.
const KEPT_CONFLICTS: usize = 100;

impl Truth {
    /// A truth that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says where a shard stands before the first change that will be observed, and with what content. Without this a
    /// shard begins before its first observed change, with unknown content unless that is its very first.
    pub fn begin(&mut self, base: Position, seed: Option<Seed>) {
        let shard = self.shards.entry(base.shard).or_default();
        shard.begin(base, seed);
    }

    /// Notes where an epoch of a shard begins.
    pub fn note_epoch(&mut self, shard: ShardId, start: EpochStart) {
        let conflict = self.shards.entry(shard).or_default().note_epoch(start);
        self.conflict(conflict.map(|why| format!("shard {shard}: {why}")));
    }

    /// Takes what a server's log told at `seen` of the run. `source` keeps the place in that server's log.
    pub fn observe(&mut self, event: &TailEvent, source: &mut SourcePlace, seen: Duration) {
        match event {
            TailEvent::Epoch { shard, start } => self.note_epoch(*shard, *start),
            TailEvent::Change { change, state } => {
                source.at.insert(change.shard, change.position());
                self.note_change(change, *state, seen);
            }
            TailEvent::Beat { time, .. } => {
                for position in source.at.values() {
                    if let Some(shard) = self.shards.get_mut(&position.shard) {
                        shard.note_time(TimeMark { time: *time, position: *position, seen });
                    }
                }
            }
            TailEvent::Topology { .. } => {}
        }
    }

    pub(crate) fn note_change(&mut self, change: &Arc<ShardChange>, state: ShardState, seen: Duration) {
        let shard = self.shards.entry(change.shard).or_default();
        let conflict = shard.note_change(change, state, seen);
        self.conflict(conflict);
    }

    pub(crate) fn note_time(&mut self, mark: TimeMark) {
        self.shards.entry(mark.position.shard).or_default().note_time(mark);
    }

    pub(crate) fn note_conflict(&mut self, what: String) {
        self.conflict(Some(what));
    }

    pub(crate) fn seed_mut(&mut self, shard: ShardId) -> Option<&mut Seed> {
        self.shards.get_mut(&shard)?.seed_mut()
    }

    /// One shard's log; `None`: nothing is known of it.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardTruth> {
        self.shards.get(&shard)
    }

    /// All shards, ascending.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &ShardTruth)> {
        self.shards.iter().map(|(shard, truth)| (*shard, truth))
    }

    /// Where two servers told different things of one position. Must be empty.
    pub fn conflicts(&self) -> &[String] {
        &self.conflicts
    }

    /// Gaps: positions of the lineage that nobody told of. A truth with gaps judges nothing.
    pub fn gaps(&self) -> Vec<Position> {
        self.shards.iter().flat_map(|(shard, truth)| truth.gaps(*shard)).collect()
    }

    /// Positions that were in a primary's log and are beyond the end of their epoch: lost by a lossy promotion.
    pub fn lost(&self) -> impl Iterator<Item = (Position, &Logged)> {
        self.shards.iter().flat_map(|(shard, truth)| truth.lost(*shard))
    }

    /// Number of changes, lost ones included.
    pub fn len(&self) -> usize {
        self.shards.values().map(ShardTruth::len).sum()
    }

    /// Whether there is no change at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn conflict(&mut self, conflict: Option<String>) {
        self.conflicts.extend(conflict);
        self.conflicts.truncate(KEPT_CONFLICTS);
    }
}

/// How far one server's log has told of each shard: what a heartbeat in that log vouches for.
#[derive(Clone, Default, Debug)]
pub struct SourcePlace {
    at: BTreeMap<ShardId, Position>,
}

/// Whether seq 0: nothing was ever written.
pub(crate) const fn is_first(seq: Seq) -> bool {
    seq.0 == 0
}
