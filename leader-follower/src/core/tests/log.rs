//! The truth for random histories: a log of random changes, and its state at every seq.

use std::sync::Arc;

use bytes::Bytes;
use tao_schema::edges::{EdgeOrder, PackedEdges, PackedEdgesBuilder};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectId, ObjectType, Seq, Time};
use tao_schema::rows::{ChangeItem, EdgeValue, ListChange, ListRow, ObjectRow, ShardChange};

use super::super::{Body, Key};
use super::{LIST, LIST_KEY, OBJECT, SHARD, at};

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

/// The two keys at one seq. The fields of a row carry the seq that wrote it.
#[derive(Clone, Default, Debug)]
pub(super) struct State {
    object: Option<ObjectRow>,
    /// When the object last changed, absence included.
    object_changed: u64,
    /// Newest first, with the seq that wrote the edge.
    edges: Vec<(EdgeOrder, u8)>,
    list_version: u64,
}

/// All changes and what they made.
pub(super) struct Log {
    pub(super) changes: Vec<Arc<ShardChange>>,
    /// One more than changes: the first is the empty start.
    states: Vec<State>,
    /// A store that forgets a list's version with its last edge: what R13 forbids.
    pub(super) versions_restart: bool,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { changes: Vec::new(), states: vec![State::default()], versions_restart: false }
    }

    pub(super) fn len(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Commits a random change.
    pub(super) fn commit(&mut self, dice: &mut Dice) -> Arc<ShardChange> {
        let seq = self.len() + 1;
        let mut state = self.states.last().expect("the start is there").clone();
        let mut items = Vec::new();
        let kind = dice.below(10);
        if kind < 4 {
            items.push(change_object(&mut state, seq, dice));
        }
        if (3..9).contains(&kind) {
            items.push(self.change_list(&mut state, seq, dice));
        }
        let change = Arc::new(ShardChange { shard: SHARD, epoch: at(1, 0).epoch, seq: Seq(seq), items });
        self.changes.push(Arc::clone(&change));
        self.states.push(state);
        change
    }

    fn change_list(&self, state: &mut State, seq: u64, dice: &mut Dice) -> ChangeItem {
        let prev_version = Seq(self.version(state));
        let mut edges: Vec<(ObjectId, Option<EdgeValue>)> = Vec::new();
        for _ in 0..=dice.below(3) {
            let id2 = ObjectId(1 + dice.below(6));
            if edges.iter().any(|(named, _)| *named == id2) {
                continue;
            }
            state.edges.retain(|(order, _)| order.id2 != id2);
            let value =
                (!dice.one_in(3)).then(|| EdgeValue { time: Time(dice.below(6) as u32), fields: mark(seq) });
            if let Some(value) = &value {
                state.edges.push((EdgeOrder { time: value.time, id2 }, seq as u8));
            }
            edges.push((id2, value));
        }
        state.edges.sort_unstable_by_key(|(order, _)| std::cmp::Reverse(*order));
        state.list_version = seq;
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

fn change_object(state: &mut State, seq: u64, dice: &mut Dice) -> ChangeItem {
    let row =
        (!dice.one_in(3)).then(|| ObjectRow { otype: ObjectType(1), version: Seq(seq), fields: mark(seq) });
    state.object.clone_from(&row);
    state.object_changed = seq;
    let Key::Object(id) = OBJECT else { panic!("OBJECT is one") };
    ChangeItem::Object { id, row }
}

fn mark(seq: u64) -> EncodedFields {
    EncodedFields(Bytes::from(vec![seq as u8]))
}

fn packed(state: &State, depth: usize) -> PackedEdges {
    let mut packed = PackedEdgesBuilder::default();
    for (order, written) in state.edges.iter().take(depth) {
        packed.push(order.id2, order.time, &[*written]);
    }
    packed.finish()
}
