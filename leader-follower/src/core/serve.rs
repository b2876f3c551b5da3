//! Answers from an entry (R14): what a prefix proves, and what it does not.

use tao_schema::edges::PackedEdgesBuilder;
use tao_schema::held::HeldEdges;
use tao_schema::ids::{ObjectId, Time};
use tao_schema::ops::{Answer, AnswerRef, EdgesRef, ReadOp};
use tao_schema::planted::{Bug, planted};

use super::{BodyRef, Entry, ListRef};

/// What an entry says to a read of its key. `A`: [`Answer`], or [`AnswerRef`] for one that stays where it is.
#[derive(Clone, PartialEq, Debug)]
pub enum Serve<A = Answer> {
    /// The answer, as right as the entry is.
    Answer(A),
    /// A prefix of this many edges would answer; the cached one is shorter. Fill with that.
    NeedEdges(u32),
    /// No prefix of at most the query limit would, or a very long one: ask the store, whose index knows.
    Through,
}

type Shown<'a> = Serve<AnswerRef<'a>>;

/// Answers `op` from the entry of its key. `query_limit` is the type's: a query returns no more edges, and a cached
/// prefix needs no more.
pub fn serve(entry: &Entry, op: &ReadOp, query_limit: u32) -> Serve {
    match show(entry, op, query_limit) {
        Serve::Answer(answer) => Serve::Answer(answer.into_owned()),
        Serve::NeedEdges(edges) => Serve::NeedEdges(edges),
        Serve::Through => Serve::Through,
    }
}

/// As [`serve`], with the answer where it lies.
#[inline]
pub fn show<'a>(entry: &'a Entry, op: &ReadOp, query_limit: u32) -> Shown<'a> {
    let list = match (entry.view(), op) {
        (BodyRef::Object(row), ReadOp::ObjectGet(id)) => {
            return Serve::Answer(AnswerRef::Object(row.map(|row| (*id, row))));
        }
        (BodyRef::List(list), op) if !matches!(op, ReadOp::ObjectGet(_)) => list,
        // The entry is not of the op's key: nothing can be said from it.
        _ => return Serve::Through,
    };
    match op {
        ReadOp::ObjectGet(_) => Serve::Through,
        ReadOp::AssocCount(_) => Serve::Answer(AnswerRef::Count { count: list.count, version: list.version }),
        ReadOp::AssocGet { id2s, high, low, .. } => get(list, id2s, *high, *low, query_limit),
        ReadOp::AssocRange { pos, limit, .. } => range(list, *pos, (*limit).min(query_limit), query_limit),
        ReadOp::AssocTimeRange { high, low, limit, .. } => {
            time_range(list, *high, *low, (*limit).min(query_limit), query_limit)
        }
    }
}

/// Edges `[pos, pos + limit)`.
fn range(list: ListRef<'_>, pos: u32, limit: u32, query_limit: u32) -> Shown<'_> {
    let end = u64::from(pos).saturating_add(u64::from(limit)).min(list.count);
    let Some(wanted) = end.checked_sub(u64::from(pos)).filter(|wanted| *wanted > 0) else {
        return edges(list, HeldEdges::NONE);
    };
    // `pos < end`, so `wanted <= limit`: it fits.
    let (part, found) = list.edges.part(pos as usize, wanted as usize);
    let whole = found as u64 == wanted || (planted(Bug::RangeOneShort) && found > 0);
    if whole { edges(list, part) } else { deeper(list, end, query_limit) }
}

/// Edges with `high >= time >= low`.
fn time_range(list: ListRef<'_>, high: Time, low: Time, limit: u32, query_limit: u32) -> Shown<'_> {
    if high < low || limit == 0 || list.count == 0 {
        return edges(list, HeldEdges::NONE);
    }
    let mut held = 0u64;
    let mut skipped = 0usize;
    let mut taken = 0u32;
    let mut last = None;
    let mut proven = false;
    for edge in list.edges.iter() {
        held += 1;
        last = Some(edge.time);
        // Strictly: at the boundary's own time there may be more edges below it (H18).
        if edge.time < low || (planted(Bug::LowBoundExcluded) && edge.time == low) {
            proven = true;
            break;
        }
        if edge.time > high {
            skipped += 1;
            continue;
        }
        taken += 1;
        if taken == limit {
            proven = true;
            break;
        }
    }
    if proven || held == list.count {
        return edges(list, list.edges.part(skipped, taken as usize).0);
    }
    match last {
        // From here on no edge is too new: the rest of the limit is enough, or shows an edge that is too old.
        Some(last) if last <= high => deeper(list, held + u64::from(limit - taken), query_limit),
        // How many edges are too new is not known: the store's index jumps over them.
        Some(_) => Serve::Through,
        None => deeper(list, u64::from(limit), query_limit),
    }
}

/// The edges that end in `id2s`, in list order.
fn get<'a>(
    list: ListRef<'a>,
    id2s: &[ObjectId],
    high: Option<Time>,
    low: Option<Time>,
    query_limit: u32,
) -> Shown<'a> {
    let mut wanted = id2s.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = PackedEdgesBuilder::default();
    let mut missing = wanted.len();
    let mut held = 0u64;
    let mut proven = list.count == 0 || missing == 0;
    for edge in list.edges.iter() {
        if proven {
            break;
        }
        held += 1;
        if low.is_some_and(|low| edge.time < low) {
            // Every edge within the bounds lies strictly above this one.
            proven = true;
        } else if wanted.binary_search(&edge.id2).is_ok() {
            if high.is_none_or(|high| edge.time <= high) {
                found.push(edge.id2, edge.time, edge.fields);
            }
            missing -= 1;
            proven = missing == 0;
        }
    }
    if proven || held == list.count {
        let edges = EdgesRef::Picked(found.finish());
        return Serve::Answer(AnswerRef::Edges { edges, version: list.version });
    }
    deeper(list, list.count, query_limit)
}

const fn edges<'a>(list: ListRef<'a>, part: HeldEdges<'a>) -> Shown<'a> {
    Serve::Answer(AnswerRef::Edges { edges: EdgesRef::Part(part), version: list.version })
}

/// A prefix of `depth` edges would answer, if one so long is kept.
fn deeper(list: ListRef<'_>, depth: u64, query_limit: u32) -> Shown<'static> {
    let depth = depth.min(list.count);
    match u32::try_from(depth) {
        Ok(depth) if depth <= query_limit => Serve::NeedEdges(depth),
        _ => Serve::Through,
    }
}
