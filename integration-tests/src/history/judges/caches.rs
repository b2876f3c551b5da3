//! I4: what caches hold is what the log says.

use std::collections::HashMap;

use tao_leader_follower::core::{Body, Key};
use tao_leader_follower::engine::CachedEntry;
use tao_schema::ids::{ListKey, ObjectId, Position};
use tao_schema::rows::{ListRow, ObjectRow};

use crate::history::operation::{Invariant, Judgement, Violation};
use crate::history::truth::{ListState, ObjectState, Replay, Truth, Version};

/// An entry of a cache, as it would be served.
#[derive(Clone, PartialEq, Debug)]
pub struct Cached {
    /// The node.
    pub place: String,
    /// Where the entry is claimed to be right.
    pub position: Position,
    /// What it says.
    pub content: CachedContent,
}

/// Content of a [`Cached`] entry.
#[derive(Clone, PartialEq, Debug)]
pub enum CachedContent {
    /// An object, or that there is none.
    Object(ObjectId, Option<ObjectRow>),
    /// A list: count, version and the newest edges.
    List(ListKey, ListRow),
}

impl Cached {
    /// An entry of a follower's or leader's dump.
    pub fn of(place: impl Into<String>, entry: &CachedEntry) -> Self {
        let content = match (entry.key, entry.entry.body()) {
            (Key::Object(id), Body::Object(row)) => CachedContent::Object(id, row),
            (Key::List(key), Body::List(row)) => CachedContent::List(key, row),
            // The dump contradicts itself: shown as what it can't be, so that the judge refuses it.
            (Key::Object(id), Body::List(_)) => CachedContent::List(
                ListKey { id1: id, atype: tao_schema::ids::AssocType(u16::MAX) },
                ListRow { count: u64::MAX, ..ListRow::default() },
            ),
            (Key::List(key), Body::Object(row)) => CachedContent::Object(key.id1, row.clone()),
        };
        Self { place: place.into(), position: entry.position, content }
    }
}

/// Judges entries of caches. Each must be what the log says at the position that the entry claims; and if `settled`, that
/// is, if the caches had their time after the last write, also what the log says at its end.
pub fn judge_caches(truth: &Truth, entries: impl IntoIterator<Item = Cached>, settled: bool) -> Judgement {
    let mut found = Judgement::default();
    let mut lists: HashMap<ListKey, Vec<Cached>> = HashMap::new();
    let replays: HashMap<_, _> = truth.shards().map(|(shard, log)| (shard, Replay::of(log))).collect();
    for cached in entries {
        let Some(replay) = replays.get(&cached.position.shard) else {
            found.unjudged += 1;
            continue;
        };
        match &cached.content {
            CachedContent::List(key, _) => lists.entry(*key).or_default().push(cached),
            CachedContent::Object(id, row) => {
                for (when, at) in moments(replay, cached.position, settled) {
                    match replay.object_at(*id, at) {
                        ObjectState::Unknown => found.unjudged += 1,
                        ObjectState::Known(expected) => {
                            let right = expected == row.as_ref();
                            verdict(&mut found, &cached, right, when, || format!("{expected:?}"));
                        }
                    }
                }
            }
        }
    }
    for (key, entries) in lists {
        let replay = &replays[&key.id1.shard()];
        let mut asked: Vec<(Version, &'static str, &Cached)> = entries
            .iter()
            .flat_map(|cached| {
                moments(replay, cached.position, settled)
                    .into_iter()
                    .map(move |(when, at)| (at, when, cached))
            })
            .collect();
        asked.sort_by_key(|(at, _, _)| *at);
        let mut walk = replay.list(key);
        for (at, when, cached) in asked {
            let CachedContent::List(_, row) = &cached.content else { continue };
            match walk.at(at) {
                None => found.unjudged += 1,
                Some(state) => {
                    let right = is_prefix(row, state);
                    verdict(&mut found, cached, right, when, || list_text(state));
                }
            }
        }
    }
    found
}

fn moments(replay: &Replay<'_>, claimed: Position, settled: bool) -> Vec<(&'static str, Version)> {
    let mut moments = vec![("at the position that it claims", (claimed.epoch, claimed.seq))];
    if settled {
        moments.push(("at the end", replay.truth().end()));
    }
    moments
}

fn verdict(found: &mut Judgement, cached: &Cached, right: bool, when: &str, expected: impl Fn() -> String) {
    found.count(Invariant::I4, 1);
    if !right {
        let Cached { place, position, content } = cached;
        found.blame(Violation {
            invariant: Invariant::I4,
            message: format!(
                "the cache of {place} holds {content:?} at {position}; {when} the log says {}",
                expected()
            ),
            slice: Vec::new(),
        });
    }
}

/// Count, version, and a contiguous newest-first prefix; a prefix of all is allowed to be all only if it is (R14).
fn is_prefix(row: &ListRow, state: &ListState) -> bool {
    let edges = row.edges.to_vec();
    row.version == state.version
        && row.count == state.order.len() as u64
        && edges.len() <= state.order.len()
        && edges
            .iter()
            .zip(state.newest_first())
            .all(|(edge, (id2, time, fields))| edge.id2 == id2 && edge.time == time && edge.fields == *fields)
}

fn list_text(state: &ListState) -> String {
    let edges: Vec<_> = state.newest_first().take(20).collect();
    format!("version {} count {} newest {edges:?}", state.version, state.order.len())
}
