//! Changes to a cached list (R14): a contiguous newest-first prefix with its count.

use tao_schema::edges::{EdgeOrder, PackedEdges, PackedEdgesBuilder};
use tao_schema::ids::{ObjectId, Seq};
use tao_schema::rows::{EdgeValue, ListChange, ListRow};

use super::rules::{Rule, Rules};

/// The list after the change; `None` if the change can't be applied to it, and the list must go.
///
/// An edge is placed only at or above the old boundary, or anywhere in a complete list: below the boundary there are
/// edges that the prefix does not know (H18). Deletes may shrink the prefix, to a count alone in the end. The fields of
/// edges are not decoded: what stays is copied as packed.
pub(crate) fn apply_list(list: &ListRow, change: &ListChange, seq: Seq, rules: Rules) -> Option<ListRow> {
    if change.prev_version != list.version && rules.hold(Rule::PreviousVersion) {
        return None;
    }
    let (held, boundary) = extent(&list.edges);
    let complete = held as u64 == list.count;
    let mut arrivals: Vec<(EdgeOrder, &EdgeValue)> = change
        .edges
        .iter()
        .filter_map(|(id2, value)| {
            let value = value.as_ref()?;
            Some((EdgeOrder { time: value.time, id2: *id2 }, value))
        })
        .filter(|(order, _)| match boundary {
            _ if complete => true,
            Some(boundary) => *order >= boundary || !rules.hold(Rule::Boundary),
            // A count alone covers no position.
            None => !rules.hold(Rule::Boundary),
        })
        .collect();
    arrivals.sort_unstable_by_key(|(order, _)| std::cmp::Reverse(*order));

    let (edges, length) = merge(&list.edges, held, change, &arrivals);
    let count = change.count;
    #[cfg(test)]
    let count = if rules.hold(Rule::AbsoluteCount) { count } else { cached_count(list, change) };
    // More edges than the list has, or a complete list that no longer is: the entry was not what it claimed to be.
    // A right log never shows this; dropped rather than believed.
    let broken = length as u64 > count || (complete && length as u64 != count);
    if broken && rules.hold(Rule::Consistency) {
        return None;
    }
    Some(ListRow { count, version: seq, edges })
}

/// Cuts a list to its newest `max_edges` edges and `max_bytes` bytes; what is cut is no longer claimed.
pub(crate) fn trim(edges: &PackedEdges, max_edges: usize, max_bytes: usize) -> Option<PackedEdges> {
    // An edge takes at least 16 bytes: most lists are seen to be short without a walk.
    if edges.as_bytes().len() <= max_bytes && edges.as_bytes().len() / 16 <= max_edges {
        return None;
    }
    let keep = edges.iter().take(max_edges).take_while(|edge| edge.end <= max_bytes).count();
    let kept = edges.range(0, keep);
    (kept.as_bytes().len() < edges.as_bytes().len()).then(|| kept.detached())
}

/// Number of edges, and the position of the last.
fn extent(edges: &PackedEdges) -> (usize, Option<EdgeOrder>) {
    let mut held = 0;
    let mut last = None;
    for edge in edges.iter() {
        held += 1;
        last = Some(edge.order());
    }
    (held, last)
}

/// Old edges without those that the change names, with `arrivals` in their places. Returns the number of edges, too.
fn merge(
    old: &PackedEdges,
    held: usize,
    change: &ListChange,
    arrivals: &[(EdgeOrder, &EdgeValue)],
) -> (PackedEdges, usize) {
    let mut named: Vec<ObjectId> = change.edges.iter().map(|(id2, _)| *id2).collect();
    named.sort_unstable();
    let bytes = old.as_bytes();
    let mut built = PackedEdgesBuilder::with_capacity(held + arrivals.len());
    let mut length = 0;
    let mut arrivals = arrivals.iter().peekable();
    // Runs of edges that stay are copied at once.
    let mut run = 0..0;
    for edge in old.iter() {
        if named.binary_search(&edge.id2).is_ok() {
            continue;
        }
        while let Some((order, value)) = arrivals.next_if(|(order, _)| *order > edge.order()) {
            built.push_packed(&bytes[run.clone()]);
            run = edge.start..edge.start;
            built.push(order.id2, order.time, &value.fields.0);
            length += 1;
        }
        if run.end != edge.start {
            built.push_packed(&bytes[run.clone()]);
            run.start = edge.start;
        }
        run.end = edge.end;
        length += 1;
    }
    built.push_packed(&bytes[run]);
    for (order, value) in arrivals {
        built.push(order.id2, order.time, &value.fields.0);
        length += 1;
    }
    (built.finish(), length)
}

/// The count as a cache would reckon it that goes by the edges it knows: what R13 forbids.
#[cfg(test)]
fn cached_count(list: &ListRow, change: &ListChange) -> u64 {
    let mut count = list.count;
    for (id2, value) in &change.edges {
        let held = list.edges.iter().any(|edge| edge.id2 == *id2);
        match (held, value.is_some()) {
            (true, false) => count = count.saturating_sub(1),
            (false, true) => count += 1,
            _ => {}
        }
    }
    count
}
