//! Answers from an entry (R14): what a prefix proves, and what it does not.

use tao_schema::edges::{PackedEdges, PackedEdgesBuilder};
use tao_schema::ids::{ObjectId, Seq, Time};
use tao_schema::ops::{Answer, ReadOp};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ListRow;

use super::{Body, Entry};

/// What an entry says to a read of its key.
#[derive(Clone, PartialEq, Debug)]
pub enum Serve {
    /// The answer, as right as the entry is.
    Answer(Answer),
    /// A prefix of this many edges would answer; the cached one is shorter. Fill with that.
    NeedEdges(u32),
    /// No prefix of at most the query limit would, or a very long one: ask the store, whose index knows.
    Through,
}

/// Answers `op` from the entry of its key. `query_limit` is the type's: a query returns no more edges, and a cached
/// prefix needs no more.
pub fn serve(entry: &Entry, op: &ReadOp, query_limit: u32) -> Serve {
    let list = match (&entry.body, op) {
        (Body::Object(row), ReadOp::ObjectGet(id)) => {
            return Serve::Answer(Answer::Object(row.as_ref().map(|row| (*id, row.clone()))));
        }
        (Body::List(list), op) if !matches!(op, ReadOp::ObjectGet(_)) => list,
        // The entry is not of the op's key: nothing can be said from it.
        _ => return Serve::Through,
    };
    match op {
        ReadOp::ObjectGet(_) => Serve::Through,
        ReadOp::AssocCount(_) => Serve::Answer(Answer::Count { count: list.count, version: list.version }),
        ReadOp::AssocGet { id2s, high, low, .. } => get(list, id2s, *high, *low, query_limit),
        ReadOp::AssocRange { pos, limit, .. } => range(list, *pos, (*limit).min(query_limit), query_limit),
        ReadOp::AssocTimeRange { high, low, limit, .. } => {
            time_range(list, *high, *low, (*limit).min(query_limit), query_limit)
        }
    }
}

/// Edges `[pos, pos + limit)`.
fn range(list: &ListRow, pos: u32, limit: u32, query_limit: u32) -> Serve {
    let end = u64::from(pos).saturating_add(u64::from(limit)).min(list.count);
    let Some(wanted) = end.checked_sub(u64::from(pos)).filter(|wanted| *wanted > 0) else {
        return edges(list, PackedEdges::new());
    };
    // `pos < end`, so `wanted <= limit`: it fits.
    let found = list.edges.range(pos as usize, wanted as usize);
    let whole = found.count() as u64 == wanted || (planted(Bug::RangeOneShort) && !found.is_empty());
    if whole { edges(list, found) } else { deeper(list, end, query_limit) }
}

/// Edges with `high >= time >= low`.
fn time_range(list: &ListRow, high: Time, low: Time, limit: u32, query_limit: u32) -> Serve {
    if high < low || limit == 0 || list.count == 0 {
        return edges(list, PackedEdges::new());
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
        return edges(list, list.edges.range(skipped, taken as usize));
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
fn get(list: &ListRow, id2s: &[ObjectId], high: Option<Time>, low: Option<Time>, query_limit: u32) -> Serve {
    let mut wanted = id2s.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let bytes = list.edges.as_bytes();
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
                found.push_packed(&bytes[edge.start..edge.end]);
            }
            missing -= 1;
            proven = missing == 0;
        }
    }
    if proven || held == list.count {
        return edges(list, found.finish());
    }
    deeper(list, list.count, query_limit)
}

fn edges(list: &ListRow, edges: PackedEdges) -> Serve {
    Serve::Answer(Answer::Edges { edges, version: version(list) })
}

const fn version(list: &ListRow) -> Seq {
    list.version
}

/// A prefix of `depth` edges would answer, if one so long is kept.
fn deeper(list: &ListRow, depth: u64, query_limit: u32) -> Serve {
    let depth = depth.min(list.count);
    match u32::try_from(depth) {
        Ok(depth) if depth <= query_limit => Serve::NeedEdges(depth),
        _ => Serve::Through,
    }
}
