//! [`ShardCore`]: the state of one shard's cache, and what every event needs of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tao_schema::edges::PackedEdges;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::limits::MAX_QUERY_LIMIT;
use tao_schema::rows::{ListRow, ShardChange};

use super::epochs::{Epochs, Lineage};
use super::floors::Floors;
use super::list::trim;
use super::promises::Unheard;
use super::ring::Ring;
use super::rules::{Rule, Rules};
use super::{Body, Entries, Entry, Key};

/// Bounds of one shard's core.
#[derive(Clone, Copy, Debug)]
pub struct CoreOptions {
    /// Changes that the ring keeps at most. More let subscribers resume after longer pauses, and slower fills be stored.
    pub ring_changes: usize,
    /// Bytes that the ring keeps at most.
    pub ring_bytes: usize,
    /// Keys with a floor of their own; one more, and all become one floor of the shard (R15).
    pub max_floors: usize,
    /// Changes of a leader that wait for one before them; one more is a gap (R6).
    pub max_waiting: usize,
    /// Edges that a cached list keeps at most: the newest. At least the query limit, or lists of that length are
    /// never answered from memory.
    pub max_list_edges: usize,
    /// Packed bytes that a cached list keeps at most.
    pub max_list_bytes: usize,
    /// Rules in force.
    #[cfg(test)]
    pub(crate) rules: Rules,
}

/// One shard's cache state in one node, leader or follower.
///
/// Must live as long as the [`Entries`] it writes to: a new core would count generations from the start again and
/// believe entries that an older one had voided (H16).
#[derive(Debug)]
pub struct ShardCore {
    pub(super) shard: ShardId,
    pub(super) options: CoreOptions,
    pub(super) rules: Rules,
    pub(super) epochs: Epochs,
    pub(super) watermark: Seq,
    pub(super) generation: u32,
    pub(super) trust: Trust,
    /// Whether the watermark and entries are a state that a stream could go on from.
    pub(super) resumable: bool,
    pub(super) ring: Ring,
    pub(super) floors: Floors,
    /// Floors in epochs that are not known yet.
    pub(super) unheard: Unheard,
    /// In the order of the log; at the end, own commits of an epoch that the log has not told of yet.
    pub(super) waiting: BTreeMap<(Epoch, Seq), Arc<ShardChange>>,
    /// What the log brought that nobody has seen committed. One is enough: the next one proves it (R7).
    pub(super) held: Option<Arc<ShardChange>>,
    /// Everything up to here is known to be committed.
    pub(super) visible: Seq,
    /// The highest `as_of` stored in this generation: tells whether a lineage's end leaves every entry right.
    pub(super) ahead: Seq,
}

/// Whether entries may be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trust {
    /// No stream, or it has lost something: nothing is served from memory.
    Lost,
    /// A leader replays the log from before its start: see [`ShardCore::open_replaying`] (R17).
    Replaying,
    /// A stream is open, and what was missed is on its way: nothing is served below this seq (R16).
    CatchingUp(Seq),
    /// Every change up to the watermark was applied, and the next one will be.
    Continuous,
}

impl Default for CoreOptions {
    fn default() -> Self {
        Self {
            ring_changes: 1_024,
            ring_bytes: 1 << 20,
            max_floors: 4_096,
            max_waiting: 256,
            max_list_edges: MAX_QUERY_LIMIT as usize,
            max_list_bytes: 1 << 20,
            #[cfg(test)]
            rules: Rules::default(),
        }
    }
}

impl ShardCore {
    /// A core that knows nothing and serves nothing.
    pub fn new(shard: ShardId, options: CoreOptions) -> Self {
        #[cfg(test)]
        let rules = options.rules;
        #[cfg(not(test))]
        let rules = Rules::default();
        Self {
            shard,
            options,
            rules,
            epochs: Epochs::default(),
            watermark: Seq::ZERO,
            generation: 0,
            trust: Trust::Lost,
            resumable: false,
            ring: Ring::new(options.ring_changes, options.ring_bytes),
            floors: Floors::new(options.max_floors, rules),
            unheard: Unheard::default(),
            waiting: BTreeMap::new(),
            held: None,
            visible: Seq::ZERO,
            ahead: Seq::ZERO,
        }
    }

    /// The shard.
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// Epoch and watermark.
    pub fn position(&self) -> Position {
        Position { shard: self.shard, epoch: self.epoch(), seq: self.watermark }
    }

    /// Everything up to here is applied.
    pub const fn watermark(&self) -> Seq {
        self.watermark
    }

    /// Entries of other generations are void.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether entries may be served.
    pub fn is_continuous(&self) -> bool {
        self.trust == Trust::Continuous
    }

    /// The stream is lost: nothing is served from memory until it is proved whole again. Entries and watermark stay,
    /// for a stream that goes on where this one ended.
    pub fn on_lost(&mut self) {
        if self.rules.hold(Rule::LostTrust) {
            self.trust = Trust::Lost;
        }
    }

    /// The shard leaves this node. When it comes back, changes will have been missed: nothing of it is believed any
    /// more (H16), and what was shown is a floor.
    pub fn forget(&mut self) {
        if !self.rules.hold(Rule::ForgetVoids) {
            return;
        }
        self.floors.collapse(self.watermark);
        self.resumable = false;
        self.trust = Trust::Lost;
        self.waiting.clear();
        self.held = None;
        self.void();
        self.watermark = Seq::ZERO;
        self.ring.restart(Seq::ZERO);
    }

    /// Starts again at `position`, with no entry from before. `Err` if that would go back within a lineage.
    pub(super) fn restart(&mut self, position: Position) -> Result<(), Position> {
        match self.lineage(position.epoch, position.seq) {
            Lineage::Older => return Err(self.position()),
            Lineage::Same if position.seq < self.watermark && self.rules.hold(Rule::NeverBack) => {
                return Err(self.position());
            }
            Lineage::Same => {}
            // Whether the old epoch ended before what was shown is not known here: a floor beyond the new watermark
            // might never be reached. Sessions keep their own promise with their tokens; `learn_history` is exact.
            Lineage::Newer => {
                if self.epoch() != Epoch(0) {
                    self.floors.cap(position.seq);
                }
                self.epochs.start_over(position.epoch);
                self.waiting.retain(|(epoch, _), _| *epoch >= position.epoch);
                self.held = None;
                self.visible = Seq::ZERO;
            }
        }
        if self.rules.hold(Rule::ResetVoids) {
            self.void();
        }
        self.watermark = position.seq;
        self.ring.restart(position.seq);
        self.hear();
        self.floors.pass(position.seq);
        self.visible = self.visible.max(position.seq);
        self.held.take_if(|held| held.seq <= position.seq);
        self.trust = Trust::Continuous;
        self.resumable = true;
        Ok(())
    }

    /// The entry of `key`, if it is of the current generation.
    pub(super) fn own_entry(&self, key: &Key, entries: &dyn Entries) -> Option<Entry> {
        entries.get(key).filter(|entry| entry.generation() == self.generation)
    }

    /// Stores a content that is right at `as_of`, within the bounds of a cached list.
    pub(super) fn put(&mut self, key: Key, as_of: Seq, body: Body, entries: &dyn Entries) -> Entry {
        self.ahead = self.ahead.max(as_of);
        let mut body = body;
        if let Body::List(list) = &mut body
            && let Some(cut) = self.trimmed(list)
        {
            list.edges = cut;
        }
        let entry = self.entry(as_of, &body);
        entries.put(key, entry.clone());
        entry
    }

    /// An entry of the current generation.
    pub(super) fn entry(&self, as_of: Seq, body: &Body) -> Entry {
        Entry::new(self.generation, as_of, body)
    }

    /// The list's edges as far as a cache keeps them, if that is not all of them.
    pub(super) fn trimmed(&self, list: &ListRow) -> Option<PackedEdges> {
        trim(&list.edges, self.options.max_list_edges, self.options.max_list_bytes)
    }

    /// Voids all entries at once.
    pub(super) fn void(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.ahead = Seq::ZERO;
    }
}
