//! The truth for random histories: a log of random changes, its state at every seq, and what a promotion leaves of it.

use std::sync::Arc;

use bytes::Bytes;
use tao_schema::edges::{EdgeOrder, PackedEdges, PackedEdgesBuilder};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{Epoch, ObjectId, ObjectType, Position, Seq, Time};
use tao_schema::rows::{ChangeItem, EdgeValue, EpochStart, ListChange, ListRow, ObjectRow, ShardChange};

use super::super::{Body, Key};
use super::{LIST, LIST_KEY, OBJECT, SHARD};

/// Deterministic random numbers (splitmix64): a seed names a history.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The two keys at one seq. The fields of a row carry epoch and seq that wrote it.
#[derive(Clone, Default, Debug)]
pub(super) struct State {
    object: Option<ObjectRow>,
    /// When the object last changed, absence included.
    object_changed: u64,
    /// Newest first, with the mark of what wrote the edge.
    edges: Vec<(EdgeOrder, [u8; 2])>,
    list_version: u64,
}

/// All changes and what they made.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) changes: Vec<Arc<ShardChange>>,
    /// One more than changes: the first is the empty start.
    states: Vec<State>,
    /// The database's history of epochs, from the first.
    pub(super) epochs: Vec<EpochStart>,
    /// Everything up to here can be read; one more may be in the log of the primary (H8).
    pub(super) committed: u64,
    /// A store that forgets a list's version with its last edge: what R13 forbids.
    pub(super) versions_restart: bool,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            changes: Vec::new(),
            states: vec![State::default()],
            epochs: vec![EpochStart { epoch: Epoch(1), first_seq: Seq(1) }],
            committed: 0,
            versions_restart: false,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epochs.last().expect("there is always one").epoch
    }

    /// The shard row, of a server that has everything up to `seq`.
    pub(super) fn row_at(&self, seq: u64) -> Position {
        let epoch = self.history(seq).last().expect("the first is always there").epoch;
        Position { shard: SHARD, epoch, seq: Seq(seq) }
    }

    /// The epochs that a server knows that has everything up to `seq`.
    pub(super) fn history(&self, seq: u64) -> Vec<EpochStart> {
        self.epochs.iter().filter(|start| start.first_seq.0 <= seq + 1).copied().collect()
    }

    /// The next epoch begins; its log keeps everything up to `kept`. `epoch_kept`: the server that was promoted had
    /// heard of an epoch that begins right there.
    pub(super) fn promote(&mut self, epoch: Epoch, kept: u64, epoch_kept: bool) {
        self.keep(kept);
        self.epochs
            .retain(|start| start.epoch == Epoch(1) || start.first_seq.0 <= kept + u64::from(epoch_kept));
        self.epochs.push(EpochStart { epoch, first_seq: Seq(kept + 1) });
        self.committed = kept;
    }

    /// Loses what is beyond `kept`.
    pub(super) fn keep(&mut self, kept: u64) {
        self.changes.truncate(kept as usize);
        self.states.truncate(kept as usize + 1);
    }

    pub(super) fn len(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Appends a random change. Whoever does so has the row's lock: everything before is committed.
    pub(super) fn append(&mut self, dice: &mut Dice) -> Arc<ShardChange> {
        self.committed = self.len();
        let seq = self.len() + 1;
        let epoch = self.epoch();
        let mark = [epoch.0 as u8, seq as u8];
        let mut state = self.states.last().expect("the start is there").clone();
        let mut items = Vec::new();
        let kind = dice.below(10);
        if kind < 4 {
            items.push(change_object(&mut state, mark, dice));
        }
        if (3..9).contains(&kind) {
            items.push(self.change_list(&mut state, mark, dice));
        }
        let change = Arc::new(ShardChange { shard: SHARD, epoch, seq: Seq(seq), items });
        self.changes.push(Arc::clone(&change));
        self.states.push(state);
        change
    }

    fn change_list(&self, state: &mut State, mark: [u8; 2], dice: &mut Dice) -> ChangeItem {
        let prev_version = Seq(self.version(state));
        let mut edges: Vec<(ObjectId, Option<EdgeValue>)> = Vec::new();
        for _ in 0..=dice.below(3) {
            let id2 = ObjectId(1 + dice.below(6));
            if edges.iter().any(|(named, _)| *named == id2) {
                continue;
            }
            state.edges.retain(|(order, _)| order.id2 != id2);
            let value = (!dice.one_in(3))
                .then(|| EdgeValue { time: Time(dice.below(6) as u32), fields: fields(mark) });
            if let Some(value) = &value {
                state.edges.push((EdgeOrder { time: value.time, id2 }, mark));
            }
            edges.push((id2, value));
        }
        state.edges.sort_unstable_by_key(|(order, _)| std::cmp::Reverse(*order));
        state.list_version = u64::from(mark[1]);
        ChangeItem::List(ListChange { key: LIST_KEY, prev_version, count: state.edges.len() as u64, edges })
    }

    fn version(&self, state: &State) -> u64 {
        if self.versions_restart && state.edges.is_empty() { 0 } else { state.list_version }
    }

    /// The seq that last changed `key`, as of `seq`: what a reader may not go back behind.
    pub(super) fn last_change(&self, key: &Key, seq: u64) -> u64 {
        let state = &self.states[seq as usize];
        if *key == OBJECT { state.object_changed } else { state.list_version }
    }

    /// The row of `key` at `seq`; of a list the newest `depth` edges.
    pub(super) fn row(&self, key: &Key, seq: u64, depth: usize) -> Body {
        let state = &self.states[seq as usize];
        if *key == OBJECT {
            return Body::Object(state.object.clone());
        }
        let count = state.edges.len() as u64;
        Body::List(ListRow { count, version: Seq(self.version(state)), edges: packed(state, depth) })
    }

    /// Whether `body` is what the log says of `key` at `seq`.
    pub(super) fn agrees(&self, key: &Key, seq: u64, body: &Body) -> bool {
        let Some(state) = self.states.get(seq as usize) else { return false };
        match body {
            Body::Object(row) => *key == OBJECT && *row == state.object,
            Body::List(list) => {
                *key == LIST
                    && list.count == state.edges.len() as u64
                    && list.edges == packed(state, list.edges.count())
            }
        }
    }
}

fn change_object(state: &mut State, mark: [u8; 2], dice: &mut Dice) -> ChangeItem {
    let seq = u64::from(mark[1]);
    let row = (!dice.one_in(3)).then(|| ObjectRow {
        otype: ObjectType(1),
        version: Seq(seq),
        fields: fields(mark),
    });
    state.object.clone_from(&row);
    state.object_changed = seq;
    let Key::Object(id) = OBJECT else { panic!("OBJECT is one") };
    ChangeItem::Object { id, row }
}

fn fields(mark: [u8; 2]) -> EncodedFields {
    EncodedFields(Bytes::copy_from_slice(&mark))
}

fn packed(state: &State, depth: usize) -> PackedEdges {
    let mut packed = PackedEdgesBuilder::default();
    for (order, written) in state.edges.iter().take(depth) {
        packed.push(order.id2, order.time, written);
    }
    packed.finish()
}
