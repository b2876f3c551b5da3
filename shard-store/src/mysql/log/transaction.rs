//! The rows of one transaction, and what they are to the caches (R9): the same changes that the leader who committed it
//! took from its plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{
    AssocType, EdgeKey, Epoch, ListKey, ObjectId, ObjectType, PrimaryTime, Seq, ShardId, Time,
};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{ChangeItem, EdgeValue, EpochStart, ListChange, ObjectRow, ShardChange, ShardState};

use super::Bad;
use super::harvest::Harvest;
use super::table::{Image, Kind};
use crate::log::{Beat, BeatWriter, LogPosition, TailEvent};

/// What a tail knows of the shards from what came before.
pub(in crate::mysql) type Known = HashMap<ShardId, ShardImage>;

/// An image of a shard row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mysql) struct ShardImage {
    pub(super) epoch: Epoch,
    pub(super) seq: Seq,
    pub(super) state: ShardState,
}

/// A row before the transaction and after it.
struct Step<T> {
    before: Option<T>,
    after: Option<T>,
}

/// What a transaction did to one shard.
#[derive(Default)]
struct Effects {
    row: Option<Step<ShardImage>>,
    objects: BTreeMap<ObjectId, Step<ObjectRow>>,
    edges: BTreeMap<EdgeKey, Step<EdgeValue>>,
    /// Count and version.
    counts: BTreeMap<ListKey, Step<(u64, Seq)>>,
}

/// A transaction so far.
#[derive(Default)]
pub(in crate::mysql) struct Transaction {
    shards: BTreeMap<ShardId, Effects>,
    epochs: Vec<(ShardId, EpochStart)>,
    topology: Option<u64>,
    beats: Vec<(Beat, PrimaryTime)>,
}

impl<T> Step<T> {
    /// A further image of the row: the first state before and the last one after count.
    fn merge(step: &mut Option<Self>, before: Option<T>, after: Option<T>) {
        match step {
            Some(step) => step.after = after,
            None => *step = Some(Self { before, after }),
        }
    }
}

/// A row that was not there before and is not there after was never there.
fn seen<T>(step: &Step<T>) -> bool {
    step.before.is_some() || step.after.is_some()
}

fn put<K: Ord, T>(rows: &mut BTreeMap<K, Step<T>>, key: K, before: Option<T>, after: Option<T>) {
    match rows.entry(key) {
        std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().after = after,
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(Step { before, after });
        }
    }
}

pub(super) fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, Bad> {
    T::try_from(number).map_err(|_| Bad::new("a number out of range"))
}

pub(super) fn fields(image: &Image) -> EncodedFields {
    EncodedFields(Bytes::copy_from_slice(image.data))
}

impl Harvest for Transaction {
    type Item = TailEvent;
    type Known = Known;
    const ALL_TABLES: bool = false;

    fn take(
        &mut self,
        _known: &Known,
        kind: Kind,
        before: Option<&Image>,
        after: Option<&Image>,
    ) -> Result<(), Bad> {
        let Some(any) = after.or(before) else { return Ok(()) };
        let n = any.numbers;
        match kind {
            Kind::Shard => {
                let effects = self.shards.entry(ShardId(narrow(n[0])?)).or_default();
                let (before, after) = (before.map(shard_image), after.map(shard_image));
                Step::merge(&mut effects.row, before.transpose()?, after.transpose()?);
            }
            Kind::EpochHistory => {
                // Rows go only with their shard, of which the shard row tells.
                if after.is_some() {
                    let start = EpochStart { epoch: Epoch(narrow(n[1])?), first_seq: Seq(n[2]) };
                    self.epochs.push((ShardId(narrow(n[0])?), start));
                }
            }
            Kind::Object => {
                let id = ObjectId(n[0]);
                let (before, after) = (before.map(object), after.map(object));
                put(&mut self.of(id).objects, id, before.transpose()?, after.transpose()?);
            }
            Kind::Assoc => {
                let edge =
                    EdgeKey { id1: ObjectId(n[0]), atype: AssocType(narrow(n[1])?), id2: ObjectId(n[2]) };
                let (before, after) = (before.map(edge_value), after.map(edge_value));
                put(&mut self.of(edge.id1).edges, edge, before.transpose()?, after.transpose()?);
            }
            Kind::Count => {
                let list = ListKey { id1: ObjectId(n[0]), atype: AssocType(narrow(n[1])?) };
                let count = |image: &Image| (image.numbers[2], Seq(image.numbers[3]));
                put(&mut self.of(list.id1).counts, list, before.map(count), after.map(count));
            }
            Kind::Heartbeat => {
                if let Some(row) = after {
                    let [writer, nonce, at, ..] = row.numbers;
                    self.beats.push((Beat { writer: BeatWriter(writer), nonce }, PrimaryTime(at)));
                }
            }
            Kind::Topology => self.topology = self.topology.max(after.map(|row| row.numbers[0])),
            Kind::Outbox | Kind::Tombstone | Kind::Request => {}
        }
        Ok(())
    }

    /// Epochs before changes, beats last.
    fn finish(
        self,
        known: &mut Known,
        _: &dyn Fn() -> LogPosition,
        out: &mut Vec<TailEvent>,
    ) -> Result<(), Bad> {
        // The history of a shard that is being copied to here is not news; that it opens here, is (R9, R25).
        let row_after = |shard: &ShardId| {
            let row = self.shards.get(shard).and_then(|effects| effects.row.as_ref());
            row.and_then(|row| row.after).or_else(|| known.get(shard).copied())
        };
        let news = |shard: &ShardId| row_after(shard).is_none_or(|row| row.state.readable());
        let epochs = self.epochs.iter().filter(|(shard, _)| news(shard));
        out.extend(epochs.map(|(shard, start)| TailEvent::Epoch { shard: *shard, start: *start }));
        for (shard, effects) in self.shards {
            let change = effects.finish(shard, known).map_err(|Bad(what)| {
                let Seq(seq) = known.get(&shard).map_or(Seq::ZERO, |row| row.seq);
                Bad(format!("shard {shard}, seq {seq} or after: {what}"))
            })?;
            out.extend(change.map(|(change, state)| TailEvent::Change { change: Arc::new(change), state }));
        }
        out.extend(self.topology.map(|version| TailEvent::Topology { version }));
        out.extend(self.beats.into_iter().map(|(beat, time)| TailEvent::Beat { beat, time }));
        Ok(())
    }
}

impl Transaction {
    fn of(&mut self, id: ObjectId) -> &mut Effects {
        self.shards.entry(id.shard()).or_default()
    }
}

/// The primary key of a row.
pub(super) fn key(kind: Kind, image: &Image) -> [u64; 3] {
    let [a, b, c, ..] = image.numbers;
    match kind {
        Kind::Shard | Kind::Object | Kind::Heartbeat | Kind::Topology => [a, 0, 0],
        Kind::EpochHistory | Kind::Count | Kind::Request => [a, b, 0],
        Kind::Assoc | Kind::Outbox | Kind::Tombstone => [a, b, c],
    }
}

pub(super) fn shard_image(image: &Image) -> Result<ShardImage, Bad> {
    let [_, epoch, seq, state, ..] = image.numbers;
    let state = ShardState::from_number(narrow(state)?)
        .ok_or_else(|| Bad(format!("shard state {state}, which this version does not know")))?;
    Ok(ShardImage { epoch: Epoch(narrow(epoch)?), seq: Seq(seq), state })
}

pub(super) fn object(image: &Image) -> Result<ObjectRow, Bad> {
    let [_, otype, version, ..] = image.numbers;
    Ok(ObjectRow { otype: ObjectType(narrow(otype)?), version: Seq(version), fields: fields(image) })
}

pub(super) fn edge_value(image: &Image) -> Result<EdgeValue, Bad> {
    Ok(EdgeValue { time: Time(narrow(image.numbers[3])?), fields: fields(image) })
}

impl Effects {
    fn has_rows(&self) -> bool {
        !(self.objects.is_empty() && self.edges.is_empty() && self.counts.is_empty())
    }

    /// The change, if the transaction made one; checks that it follows what came before (R6).
    fn finish(self, shard: ShardId, known: &mut Known) -> Result<Option<(ShardChange, ShardState)>, Bad> {
        let last = known.get(&shard).copied();
        let news = last.is_none_or(|row| row.state.readable());
        let Some(row) = &self.row else {
            // Rows of a shard that is not served from here are not news (R9).
            let accepted = !news || planted(Bug::StrangersRowsIgnored);
            return if accepted { Ok(None) } else { Err(Bad::new("rows without their shard row")) };
        };
        let (before, after) = match (row.before, row.after) {
            (Some(before), Some(after)) => (before, after),
            (None, Some(after)) => {
                known.insert(shard, after);
                let odd = after.state.readable() && self.has_rows();
                return if odd { Err(Bad::new("rows with a shard row that is new")) } else { Ok(None) };
            }
            (Some(before), None) => {
                known.remove(&shard);
                let odd = before.state.readable();
                return if odd { Err(Bad::new("the shard row was deleted")) } else { Ok(None) };
            }
            (None, None) => return Ok(None),
        };
        if news && last.is_some_and(|last| (last.epoch, last.seq) != (before.epoch, before.seq)) {
            let Seq(seq) = before.seq;
            return Err(Bad(format!("a change follows seq {seq} of epoch {}, a gap", before.epoch.0)));
        }
        known.insert(shard, after);
        let advanced = advanced(&before, &after)?;
        // What is copied here is not news, and its seq stays (R25).
        if !before.state.readable() && !after.state.readable() {
            return Ok(None);
        }
        if !advanced {
            return if self.has_rows() { Err(Bad::new("rows without an advance of seq")) } else { Ok(None) };
        }
        let items = if after.state.readable() { self.items(after.seq)? } else { Vec::new() };
        Ok(Some((ShardChange { shard, epoch: after.epoch, seq: after.seq, items }, after.state)))
    }

    /// Objects, then lists, each in order of key.
    fn items(self, seq: Seq) -> Result<Vec<ChangeItem>, Bad> {
        let mut items = Vec::with_capacity(self.objects.len() + self.counts.len());
        for (id, step) in self.objects.into_iter().filter(|(_, step)| seen(step)) {
            if step.after.as_ref().is_some_and(|row| row.version != seq) {
                return Err(Bad::new("an object whose version is not that of its change"));
            }
            items.push(ChangeItem::Object { id, row: step.after });
        }
        let mut edges = self.edges.into_iter().filter(|(_, step)| seen(step)).peekable();
        for (key, step) in self.counts.into_iter().filter(|(_, step)| seen(step)) {
            let Some((count, version)) = step.after else {
                return Err(Bad::new("a count row was deleted"));
            };
            if version != seq {
                return Err(Bad::new("a list whose version is not that of its change"));
            }
            let mut of_list = Vec::new();
            while let Some((edge, step)) = edges.next_if(|(edge, _)| edge.list() <= key) {
                if edge.list() != key {
                    return Err(Bad::new("edges without their count row"));
                }
                of_list.push((edge.id2, step.after));
            }
            let prev_version = step.before.map_or(Seq::ZERO, |(_, version)| version);
            items.push(ChangeItem::List(ListChange { key, prev_version, count, edges: of_list }));
        }
        if edges.next().is_some() {
            return Err(Bad::new("edges without their count row"));
        }
        Ok(items)
    }
}

/// Whether the shard's log moved: by one, or not at all.
fn advanced(before: &ShardImage, after: &ShardImage) -> Result<bool, Bad> {
    if after.epoch < before.epoch {
        return Err(Bad(format!("epoch {} after epoch {}", after.epoch.0, before.epoch.0)));
    }
    if after.seq == before.seq {
        let fenced = after.state != before.state && before.state.readable();
        return if fenced { Err(Bad::new("a new state without an advance of seq")) } else { Ok(false) };
    }
    // What is copied here follows its source's seq.
    if after.seq == before.seq.next() || !before.state.readable() {
        return Ok(true);
    }
    Err(Bad(format!("seq {} after seq {}, a gap", after.seq.0, before.seq.0)))
}
