//! Edge lists: their packed form, and what cached prefixes of them answer.

use std::collections::BTreeMap;

use prost::Message as _;
use tao_leader_follower::core::{Body, Entry, Serve, serve};
use tao_schema::edges::{Edge, PackedEdges};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, ListKey, ObjectId, Seq, Time};
use tao_schema::ops::{Answer, ReadOp};
use tao_schema::rows::ListRow;

use super::Target;
use super::input::Input;

/// See [`edge_lists`].
pub const EDGE_LISTS: Target =
    Target { name: "edge_lists", body: edge_lists, corpus: packed_corpus, words: &[] };
/// See [`list_queries`].
pub const LIST_QUERIES: Target =
    Target { name: "list_queries", body: list_queries, corpus: query_corpus, words: &[] };

/// What is accepted is edges to the end, packs to the same edges, and is sliced as a vector is; as a message of the wire it is
/// the same.
pub fn edge_lists(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (pos, limit) = (usize::from(input.byte()), usize::from(input.byte()));
    let bytes = input.0.to_vec();
    let length = bytes.len();
    let message = PackedEdges::decode(&bytes[..]);
    let Ok(packed) = PackedEdges::from_bytes(bytes.into()) else { return };
    let edges = packed.to_vec();
    assert!(edges.len() * 16 <= length, "an edge takes 16 bytes at least");
    assert_eq!(edges.len(), packed.count());
    assert_eq!(packed.iter().last().map_or(0, |edge| edge.end), length, "nothing is left over");
    let again: PackedEdges = edges.iter().collect();
    assert_eq!(again.to_vec(), edges);
    assert!(again.as_bytes().len() <= length, "the packed layout is the shortest");
    assert_eq!(PackedEdges::from_bytes(again.as_bytes().clone()).as_ref(), Ok(&again));
    let slice: Vec<Edge> = edges.iter().skip(pos).take(limit).cloned().collect();
    assert_eq!(packed.range(pos, limit).to_vec(), slice);
    assert_eq!(packed.detached().to_vec(), edges);
    let message = message.expect("the packed layout is a message");
    assert_eq!(message.to_vec(), edges);
}

/// A cached prefix of a list answers as the whole list does, or asks for more of it, or for the database.
pub fn list_queries(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (kind, held, query_limit) = (input.byte(), input.byte(), 1 + u32::from(input.byte() % 16));
    let times = u32::from(input.byte() % 8) + 1;
    let (high, low) = (u32::from(input.byte()) % (times + 2), u32::from(input.byte()) % (times + 2));
    let (pos, limit) = (u32::from(input.byte() % 24), 1 + u32::from(input.byte() % 16) % query_limit);
    let mut ends = BTreeMap::new();
    while !input.0.is_empty() && ends.len() < 40 {
        ends.insert(ObjectId(u64::from(input.byte() % 48)), Time(u32::from(input.byte()) % times));
    }
    let asked: Vec<ObjectId> = ends
        .keys()
        .copied()
        .filter(|id| (id.0 as u8 ^ kind).is_multiple_of(3))
        .chain([ObjectId(99)])
        .collect();
    let mut edges: Vec<Edge> = ends
        .into_iter()
        .map(|(id2, time)| Edge {
            id2,
            time,
            fields: EncodedFields(vec![id2.0 as u8; id2.0 as usize % 3].into()),
        })
        .collect();
    edges.sort_by_key(|edge| std::cmp::Reverse((edge.time, edge.id2)));
    let list = ListKey { id1: ObjectId(1), atype: AssocType(1) };
    let (high, low) = (Time(high), Time(low));
    let bound = |time: Time, bit: u8| (kind & bit != 0).then_some(time);
    let op = match kind % 3 {
        0 => ReadOp::AssocRange { list, pos, limit },
        1 => ReadOp::AssocTimeRange { list, high, low, limit },
        _ => ReadOp::AssocGet { list, id2s: asked, high: bound(high, 8), low: bound(low, 16) },
    };
    let held = usize::from(held) % (edges.len() + 1);
    prefixes(&edges, held, &op, query_limit);
}

fn prefixes(edges: &[Edge], mut held: usize, op: &ReadOp, query_limit: u32) {
    let wanted = naive(edges, op);
    // Each round asks for more, so there are no more rounds than edges.
    for _ in 0..=edges.len() {
        let row =
            ListRow { count: edges.len() as u64, version: Seq(5), edges: edges[..held].iter().collect() };
        let entry = Entry::new(0, Seq(9), &Body::List(row));
        match serve(&entry, op, query_limit) {
            Serve::Answer(Answer::Edges { edges: found, version }) => {
                assert_eq!((found.to_vec(), version), (wanted, Seq(5)), "{op:?} of {held} of {edges:?}");
                return;
            }
            Serve::Answer(other) => panic!("{op:?} is answered with {other:?}"),
            Serve::NeedEdges(more) => {
                let more = more as usize;
                assert!(
                    held < more && more <= edges.len() && more <= query_limit as usize,
                    "{op:?} of {held}: {more}"
                );
                held = more;
            }
            Serve::Through => {
                assert!(held < edges.len(), "the whole list answers everything");
                return;
            }
        }
    }
    panic!("{op:?} asks for more again and again");
}

fn naive(edges: &[Edge], op: &ReadOp) -> Vec<Edge> {
    let all = edges.iter().cloned();
    match op {
        ReadOp::AssocRange { pos, limit, .. } => all.skip(*pos as usize).take(*limit as usize).collect(),
        ReadOp::AssocTimeRange { high, low, limit, .. } => {
            all.filter(|edge| *low <= edge.time && edge.time <= *high).take(*limit as usize).collect()
        }
        ReadOp::AssocGet { id2s, high, low, .. } => all
            .filter(|edge| id2s.contains(&edge.id2))
            .filter(|edge| {
                high.is_none_or(|high| edge.time <= high) && low.is_none_or(|low| low <= edge.time)
            })
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn packed(number: u64) -> PackedEdges {
    let edge = |n: u64| Edge {
        id2: ObjectId(n * 0x0101_0101),
        time: Time(1_000 - n as u32),
        fields: EncodedFields(vec![9; (n as usize % 4) * 60].into()),
    };
    (0..number).map(edge).collect::<Vec<_>>().iter().collect()
}

fn packed_corpus() -> Vec<Vec<u8>> {
    [0, 1, 2, 9].map(|number| [&[1, 3][..], packed(number).as_bytes()].concat()).to_vec()
}

fn query_corpus() -> Vec<Vec<u8>> {
    let list: Vec<u8> = (0..30_u8).flat_map(|n| [n.wrapping_mul(7), n / 3]).collect();
    (0..24).map(|kind| [&[kind, kind * 3, 9, 6, 5, 2, kind % 5, 4][..], &list].concat()).collect()
}
