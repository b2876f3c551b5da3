//! The judges' own model of objects and lists: small, and nothing of what it judges is in it.

use std::collections::{BTreeMap, HashMap};

use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, Epoch, ListKey, ObjectId, Position, Seq, ShardId, Time};
use tao_schema::rows::{ChangeItem, EdgeValue, EpochStart, ListChange, ObjectRow};

use super::seed::SeedList;
use super::shard::ShardTruth;

/// Where something was written: first by epoch, then by seq.
pub type Version = (Epoch, Seq);

/// Where a shard's epochs begin.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Epochs(BTreeMap<Epoch, Seq>);

impl Epochs {
    /// Notes one; the answer is what contradicts what was known.
    pub fn note(&mut self, start: EpochStart) -> Option<String> {
        let known = *self.0.entry(start.epoch).or_insert(start.first_seq);
        (known != start.first_seq).then(|| {
            format!(
                "two servers disagree about the first seq of epoch {}: {known} and {}",
                start.epoch, start.first_seq
            )
        })
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = EpochStart> {
        self.0.iter().map(|(epoch, first_seq)| EpochStart { epoch: *epoch, first_seq: *first_seq })
    }

    /// The newest.
    pub fn newest(&self) -> Option<EpochStart> {
        self.iter().next_back()
    }

    /// The last seq of an epoch; `None`: it is the newest, its end is open.
    pub fn end(&self, epoch: Epoch) -> Option<Seq> {
        self.cut(epoch, Epoch(u32::MAX))
    }

    /// What of epoch `of` is left in the history of a later epoch `by`: up to this seq.
    fn cut(&self, of: Epoch, by: Epoch) -> Option<Seq> {
        if of >= by {
            return None;
        }
        let later = self.0.range((std::ops::Bound::Excluded(of), std::ops::Bound::Included(by)));
        later.map(|(_, first)| Seq(first.0.saturating_sub(1))).min()
    }

    /// Whether `part` is in the history of `whole` (R19): of the same epoch, and not later; or of an earlier one, and not
    /// beyond where every later epoch up to that of `whole` began. The seqs of one history compare.
    pub fn contains(&self, whole: Version, part: Version) -> bool {
        part.0 <= whole.0 && part.1 <= whole.1 && self.cut(part.0, whole.0).is_none_or(|end| part.1 <= end)
    }
}

/// An object at a position.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ObjectState<'t> {
    /// It was written before the truth begins.
    Unknown,
    /// Its row; `None`: it does not exist.
    Known(Option<&'t ObjectRow>),
}

/// An edge at a position.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum EdgeState<'t> {
    /// It was written before the truth begins.
    Unknown,
    /// Its value; `None`: it does not exist.
    Known(Option<&'t EdgeValue>),
}

/// The versions of every key of one shard. Built once, in linear time.
pub struct Replay<'t> {
    truth: &'t ShardTruth,
    objects: HashMap<ObjectId, Vec<(Version, Option<&'t ObjectRow>)>>,
    lists: HashMap<ListKey, Vec<(Version, &'t ListChange)>>,
    edges: HashMap<EdgeKey, Vec<(Version, Option<&'t EdgeValue>)>>,
    seeded_edges: HashMap<EdgeKey, EdgeValue>,
}

impl<'t> Replay<'t> {
    /// Takes the log apart by key.
    pub fn of(truth: &'t ShardTruth) -> Self {
        let mut replay = Self {
            truth,
            objects: HashMap::new(),
            lists: HashMap::new(),
            edges: HashMap::new(),
            seeded_edges: HashMap::new(),
        };
        if let Some(seed) = truth.seed() {
            for (key, list) in &seed.lists {
                for edge in &list.edges {
                    let value = EdgeValue { time: edge.time, fields: edge.fields.clone() };
                    let key = EdgeKey { id1: key.id1, atype: key.atype, id2: edge.id2 };
                    replay.seeded_edges.insert(key, value);
                }
            }
        }
        for logged in truth.log() {
            let at = (logged.change.epoch, logged.change.seq);
            for item in &logged.change.items {
                match item {
                    ChangeItem::Object { id, row } => {
                        replay.objects.entry(*id).or_default().push((at, row.as_ref()));
                    }
                    ChangeItem::List(change) => {
                        replay.lists.entry(change.key).or_default().push((at, change));
                        for (id2, value) in &change.edges {
                            let ListKey { id1, atype } = change.key;
                            let edge = EdgeKey { id1, atype, id2: *id2 };
                            replay.edges.entry(edge).or_default().push((at, value.as_ref()));
                        }
                    }
                }
            }
        }
        replay
    }

    /// The log that this was made of.
    pub const fn truth(&self) -> &'t ShardTruth {
        self.truth
    }

    /// The object at a position, by the history of that position's epoch.
    pub fn object_at(&self, id: ObjectId, at: Version) -> ObjectState<'t> {
        let versions = self.objects.get(&id).map_or(&[][..], Vec::as_slice);
        match self.latest(versions, at) {
            Some((_, row)) => ObjectState::Known(*row),
            None if !self.truth.knows(at) => ObjectState::Unknown,
            None => ObjectState::Known(self.truth.seed().and_then(|seed| seed.objects.get(&id))),
        }
    }

    /// The edge at a position, by the history of that position's epoch.
    pub fn edge_at(&self, edge: EdgeKey, at: Version) -> EdgeState<'_> {
        let versions = self.edges.get(&edge).map_or(&[][..], Vec::as_slice);
        match self.latest(versions, at) {
            Some((_, value)) => EdgeState::Known(*value),
            None if !self.truth.knows(at) => EdgeState::Unknown,
            None => EdgeState::Known(self.seeded_edges.get(&edge)),
        }
    }

    /// The version of a list at a position; zero if it was never written; `None`: it is not known.
    pub fn list_version(&self, key: ListKey, at: Version) -> Option<Seq> {
        if !self.truth.knows(at) {
            return None;
        }
        let versions = self.lists.get(&key).map_or(&[][..], Vec::as_slice);
        let seeded = || self.truth.seed().and_then(|seed| seed.lists.get(&key)).map(|list| list.version);
        Some(self.latest(versions, at).map(|(version, _)| version.1).or_else(seeded).unwrap_or(Seq::ZERO))
    }

    /// The versions of an object.
    pub fn object_versions(&self, id: ObjectId) -> &[(Version, Option<&'t ObjectRow>)] {
        self.objects.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The versions of an edge.
    pub fn edge_versions(&self, edge: EdgeKey) -> &[(Version, Option<&'t EdgeValue>)] {
        self.edges.get(&edge).map_or(&[], Vec::as_slice)
    }

    /// Every object that the log or the seed knows.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let seeded = self.truth.seed().into_iter().flat_map(|seed| seed.objects.keys());
        let seeded = seeded.filter(|id| !self.objects.contains_key(id));
        self.objects.keys().chain(seeded).copied()
    }

    /// Every list that the log or the seed knows.
    pub fn lists(&self) -> impl Iterator<Item = ListKey> + '_ {
        let seeded = self.truth.seed().into_iter().flat_map(|seed| seed.lists.keys());
        let seeded = seeded.filter(|key| !self.lists.contains_key(key));
        self.lists.keys().chain(seeded).copied()
    }

    /// Walks through a list's versions: see [`ListWalk`].
    pub fn list(&self, key: ListKey) -> ListWalk<'_, 't> {
        ListWalk { replay: self, key, at: None, next: 0, state: ListState::default() }
    }

    /// Where the log contradicts itself: a version that is no seq, a list change that does not follow the one before it, a
    /// count that is not the number of edges. Answers how many facts were looked at, and what is wrong with which.
    pub fn contradictions(&self, shard: ShardId) -> (u64, Vec<(Position, String)>) {
        let mut checked = 0;
        let mut wrong = Vec::new();
        let position = |(epoch, seq): Version| Position { shard, epoch, seq };
        for (id, versions) in &self.objects {
            for (at, row) in versions {
                checked += 1;
                if let Some(row) = row.filter(|row| row.version != at.1) {
                    wrong.push((position(*at), format!("object {id} has version {} there", row.version)));
                }
            }
        }
        for (key, versions) in &self.lists {
            let mut walk = self.list(*key);
            for (at, change) in versions {
                let before = (at.0, Seq(at.1.0.saturating_sub(1)));
                let Some(known) = walk.at(before).map(|state| state.version) else { continue };
                if known != change.prev_version {
                    let ListKey { id1, atype } = key;
                    let claimed = change.prev_version;
                    let what = format!("list {id1} of type {atype} was at {known} before, not at {claimed}");
                    wrong.push((position(*at), what));
                }
                checked += 1;
                let Some(edges) = walk.at(*at).map(|state| state.order.len() as u64) else { continue };
                if edges != change.count {
                    let ListKey { id1, atype } = key;
                    let what = format!(
                        "list {id1} of type {atype} has {edges} edges; its count is {}",
                        change.count
                    );
                    wrong.push((position(*at), what));
                }
            }
        }
        (checked, wrong)
    }

    /// The latest version in the history of `at`. Versions of other histories are few: they are stepped over.
    fn latest<'v, V>(&self, versions: &'v [(Version, V)], at: Version) -> Option<&'v (Version, V)> {
        let upto = versions.partition_point(|(version, _)| *version <= at);
        versions[..upto].iter().rev().find(|(version, _)| self.truth.contains(at, *version))
    }
}

/// A list at one position.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ListState {
    /// Seq of its last change; zero if it was never written.
    pub version: Seq,
    /// As the log says.
    pub count: u64,
    /// Its edges in ascending order: lists run from the greatest to the smallest.
    pub order: BTreeMap<(Time, ObjectId), EncodedFields>,
    times: HashMap<ObjectId, Time>,
}

impl ListState {
    fn seeded(seed: &SeedList) -> Self {
        let mut state = Self { version: seed.version, count: seed.count, ..Self::default() };
        for edge in &seed.edges {
            state.put(edge.id2, Some(&EdgeValue { time: edge.time, fields: edge.fields.clone() }));
        }
        state
    }

    fn apply(&mut self, change: &ListChange, version: Seq) {
        for (id2, value) in &change.edges {
            self.put(*id2, value.as_ref());
        }
        self.count = change.count;
        self.version = version;
    }

    fn put(&mut self, id2: ObjectId, value: Option<&EdgeValue>) {
        if let Some(time) = self.times.remove(&id2) {
            self.order.remove(&(time, id2));
        }
        if let Some(value) = value {
            self.times.insert(id2, value.time);
            self.order.insert((value.time, id2), value.fields.clone());
        }
    }

    /// Edges, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = (ObjectId, Time, &EncodedFields)> {
        self.order.iter().rev().map(|((time, id2), fields)| (*id2, *time, fields))
    }

    /// The time of an edge that exists.
    pub fn time_of(&self, id2: ObjectId) -> Option<Time> {
        self.times.get(&id2).copied()
    }
}

/// Goes through the versions of one list. Asked in ascending order of position the whole walk is linear in the list's
/// history, but for a new start where epochs part.
pub struct ListWalk<'r, 't> {
    replay: &'r Replay<'t>,
    key: ListKey,
    at: Option<Version>,
    next: usize,
    state: ListState,
}

impl ListWalk<'_, '_> {
    /// The list at a position; `None`: it was written before the truth begins.
    pub fn at(&mut self, at: Version) -> Option<&ListState> {
        let truth = self.replay.truth;
        if !truth.knows(at) {
            return None;
        }
        let versions = self.replay.lists.get(&self.key).map_or(&[][..], Vec::as_slice);
        // Everything that was applied is in the history of the new position, or it begins anew.
        let goes_on = self.at.is_some_and(|before| {
            before <= at && (before.0 == at.0 || self.lineage_kept(&versions[..self.next], at))
        });
        if !goes_on {
            let seed = truth.seed().and_then(|seed| seed.lists.get(&self.key));
            self.state = seed.map(ListState::seeded).unwrap_or_default();
            self.next = 0;
        }
        while let Some((version, change)) = versions.get(self.next).filter(|(version, _)| *version <= at) {
            self.next += 1;
            if truth.contains(at, *version) {
                self.state.apply(change, version.1);
            }
        }
        self.at = Some(at);
        Some(&self.state)
    }

    fn lineage_kept(&self, applied: &[(Version, &ListChange)], at: Version) -> bool {
        // What is lost to `at` is at the end of an epoch, and `before` belongs to the last one: the last few tell.
        applied.iter().all(|(version, _)| self.replay.truth.contains(at, *version))
    }
}
