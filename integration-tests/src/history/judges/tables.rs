//! What the tables hold at the end: I1 (the log replayed gives the tables), I5 (pairs are whole), I6 (counts).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Position, ShardId, Time};
use tao_schema::rows::ChangeItem;
use tao_shard_store::StoreError;
use tao_shard_store::store::{PendingInverse, ShardStore};

use super::Rules;
use crate::history::operation::{Invariant, Judgement, Violation};
use crate::history::truth::{ListState, ObjectState, Replay, Seed, SeedList, Truth, seed_of};

/// Rows of one page of the outbox.
const PAGE: usize = 1_000;

/// The tables of one shard at one position.
#[derive(Clone, Debug)]
pub struct ShardTables {
    /// The shard row.
    pub position: Position,
    /// Objects and lists.
    pub content: Seed,
    /// Pairs whose other side is not known to be applied.
    pub outbox: Vec<PendingInverse>,
}

/// Reads the tables of shards from a server on which nobody writes. Shards that kept changing are left out: the judge
/// misses them.
///
/// # Errors
/// Those of the store.
pub async fn read_tables(
    store: &(impl ShardStore + ?Sized),
    shards: impl IntoIterator<Item = ShardId>,
) -> Result<BTreeMap<ShardId, ShardTables>, StoreError> {
    let mut tables = BTreeMap::new();
    for shard in shards {
        let Some((position, content)) = seed_of(store, shard).await? else { continue };
        let (mut outbox, mut after) = (Vec::new(), None);
        loop {
            let page = store.outbox(shard, after, PAGE).await?;
            let whole = page.len() < PAGE;
            after = page.last().map(|row| row.edge);
            outbox.extend(page);
            if whole {
                break;
            }
        }
        tables.insert(shard, ShardTables { position, content, outbox });
    }
    Ok(tables)
}

/// Judges the tables at the end of a run: they are what the log says, every edge has its other side, nothing waits in the
/// outbox, and counts are lengths. `tables` must have every shard of the truth; `together` says of two shards whether they
/// were in one host group all the time.
pub fn judge_tables(
    truth: &Truth,
    tables: &BTreeMap<ShardId, ShardTables>,
    rules: &Rules,
    together: impl Fn(ShardId, ShardId) -> bool,
) -> Judgement {
    let mut found = Judgement::default();
    for (shard, log) in truth.shards() {
        match tables.get(&shard) {
            Some(tables) => compare(&mut found, shard, &Replay::of(log), tables),
            None => blame(&mut found, Invariant::I1, format!("the tables of shard {shard} were not read")),
        }
    }
    for tables in tables.values() {
        counts(&mut found, &tables.content);
        found.count(Invariant::I5, 1);
        if let Some(first) = tables.outbox.first() {
            let (shard, waiting) = (tables.position.shard, tables.outbox.len());
            let message =
                format!("{waiting} pairs wait in the outbox of shard {shard}; the first: {first:?}");
            blame(&mut found, Invariant::I5, message);
        }
    }
    pairs(&mut found, truth, tables, rules, together);
    found
}

fn blame(found: &mut Judgement, invariant: Invariant, message: String) {
    found.blame(Violation { invariant, message, slice: Vec::new() });
}

/// I1: replay(log) = tables.
fn compare(found: &mut Judgement, shard: ShardId, replay: &Replay<'_>, tables: &ShardTables) {
    let end = replay.truth().end();
    let at = (tables.position.epoch, tables.position.seq);
    found.count(Invariant::I1, 1);
    if at != end {
        let (epoch, seq) = end;
        let message =
            format!("the tables are at {}; the log of shard {shard} ends at {epoch}:{seq}", tables.position);
        return blame(found, Invariant::I1, message);
    }
    if !replay.truth().knows(end) {
        found.unjudged += 1;
        return;
    }
    let objects: BTreeSet<ObjectId> =
        replay.objects().chain(tables.content.objects.keys().copied()).collect();
    for id in objects {
        found.count(Invariant::I1, 1);
        let row = tables.content.objects.get(&id);
        let ObjectState::Known(expected) = replay.object_at(id, end) else { continue };
        if row != expected {
            blame(found, Invariant::I1, format!("object {id} is {row:?}; the log says {expected:?}"));
        }
    }
    let lists: BTreeSet<ListKey> = replay.lists().chain(tables.content.lists.keys().copied()).collect();
    let nothing = SeedList::default();
    for key in lists {
        found.count(Invariant::I1, 1);
        let mut walk = replay.list(key);
        let Some(expected) = walk.at(end) else { continue };
        let list = tables.content.lists.get(&key).unwrap_or(&nothing);
        if !same_list(list, expected) {
            let ListKey { id1, atype } = key;
            let message = format!("list {id1} of type {atype} is {list:?}; the log says {expected:?}");
            blame(found, Invariant::I1, message);
        }
    }
}

fn same_list(list: &SeedList, expected: &ListState) -> bool {
    let mut edges: Vec<_> = list.edges.iter().map(|edge| ((edge.time, edge.id2), &edge.fields)).collect();
    edges.sort_by_key(|(key, _)| *key);
    list.count == expected.count
        && list.version == expected.version
        && edges.into_iter().eq(expected.order.iter().map(|(key, fields)| (*key, fields)))
}

/// I6 of the tables.
fn counts(found: &mut Judgement, content: &Seed) {
    for (key, list) in &content.lists {
        found.count(Invariant::I6, 1);
        if list.count != list.edges.len() as u64 {
            let (ListKey { id1, atype }, edges) = (key, list.edges.len());
            let message =
                format!("list {id1} of type {atype} has {edges} edges; its count row says {}", list.count);
            blame(found, Invariant::I6, message);
        }
    }
}

/// What a row of an edge holds.
type Held<'a> = Option<(Time, &'a [u8])>;

/// I5: every edge of a type with an inverse has its other side, with the same time and data.
///
/// A known gap: an outbox row goes when the primary of the other side has applied it, not when that will outlive a
/// promotion (R23's mark is missing); and a lossy promotion takes back what orders a pair, not what was brought to
/// another host group by then. Of two sides that differ, one may then show a state that the log of the other one has
/// among what a promotion lost. Exactly these are counted as [`Judgement::halved`]; in one host group both sides are in
/// one log, and there is no excuse.
fn pairs(
    found: &mut Judgement,
    truth: &Truth,
    tables: &BTreeMap<ShardId, ShardTables>,
    rules: &Rules,
    together: impl Fn(ShardId, ShardId) -> bool,
) {
    let mut edges: HashMap<EdgeKey, (Time, &[u8])> = HashMap::new();
    for (key, list) in tables.values().flat_map(|tables| &tables.content.lists) {
        for edge in &list.edges {
            let key = EdgeKey { id1: key.id1, atype: key.atype, id2: edge.id2 };
            edges.insert(key, (edge.time, &edge.fields.0));
        }
    }
    let lost = if rules.lossless { HashMap::new() } else { lost_states(truth) };
    let was_lost = |edge: EdgeKey, state: Held<'_>| lost.get(&edge).is_some_and(|all| all.contains(&state));
    for (edge, value) in &edges {
        let Ok(canonical) = rules.schema.canonical(*edge) else { continue };
        let Some(inverse) = canonical.inverse else { continue };
        let other = if canonical.swapped { canonical.edge } else { edge.reversed(inverse) };
        if !tables.contains_key(&other.id1.shard()) {
            found.unjudged += 1;
            continue;
        }
        let there = edges.get(&other);
        let apart = !together(edge.id1.shard(), other.id1.shard());
        if apart && there != Some(value) && (was_lost(other, Some(*value)) || was_lost(*edge, there.copied()))
        {
            found.halved += 1;
            continue;
        }
        found.count(Invariant::I5, 1);
        match there {
            Some(there) if there == value => {}
            Some(_) => {
                let message = format!("{edge:?} and its other side {other:?} differ in time or data");
                blame(found, Invariant::I5, message);
            }
            None => blame(found, Invariant::I5, format!("{edge:?} has no other side {other:?}")),
        }
    }
}

/// What the logs say of edges behind the ends of their epochs.
fn lost_states(truth: &Truth) -> HashMap<EdgeKey, Vec<Held<'_>>> {
    let mut lost: HashMap<EdgeKey, Vec<Held<'_>>> = HashMap::new();
    for item in truth.lost().flat_map(|(_, logged)| &logged.change.items) {
        let ChangeItem::List(list) = item else { continue };
        for (id2, value) in &list.edges {
            let edge = EdgeKey { id1: list.key.id1, atype: list.key.atype, id2: *id2 };
            let held = value.as_ref().map(|value| (value.time, &value.fields.0[..]));
            lost.entry(edge).or_default().push(held);
        }
    }
    lost
}
