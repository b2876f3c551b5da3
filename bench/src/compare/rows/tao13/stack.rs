//! How large a cache must be to hit so often, by the workload alone: the entries in the order in which a long run of it asked
//! for them last, as a cache holds them that evicts the least recently used. Requests are drawn independently, so the chance
//! that the next one hits in a cache of some size is the part of fresh requests whose entries lie within that size of the top.
//!
//! Real caches evict by other rules and need more bytes for an entry. That is a factor between their size and this one, which
//! changes little with the size: the search for a size learns it from what it measures.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tao_schema::ids::{ListKey, ObjectId};

use crate::workloads::{Op, Workload};

/// Bytes of an entry beside its data, about.
const OVERHEAD: u64 = 100;
/// Reads that are drawn for each entry, so that nearly all have been asked for.
const HISTORY: u64 = 30;
/// Fresh reads that are looked up.
const FRESH: usize = 200_000;

/// See the module.
pub struct Stack {
    /// A read of each entry, the one asked for last at the front, and the bytes of all up to it.
    reads: Vec<(Op, u64)>,
    /// Bytes that must be held for each of many reads to hit, ascending.
    depths: Vec<u64>,
}

/// What a read needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Entry {
    Object(ObjectId),
    List(ListKey),
    Count(ListKey),
}

/// Where a list's length is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counts {
    /// With its edges, as the tier keeps it.
    WithEdges,
    /// In an entry of its own, as look-aside caches keep it.
    Apart,
}

type Map<V> = HashMap<Entry, V, RandomState>;

impl Counts {
    fn entry(self, op: &Op) -> Option<Entry> {
        match (op, self) {
            (Op::ObjectGet(id), _) => Some(Entry::Object(*id)),
            (Op::AssocCount(list), Self::Apart) => Some(Entry::Count(*list)),
            (
                Op::AssocGet(list, _)
                | Op::AssocRange(list, _)
                | Op::AssocTimeRange(list, ..)
                | Op::AssocCount(list),
                _,
            ) => Some(Entry::List(*list)),
            _ => None,
        }
    }
}

impl Stack {
    /// Draws it.
    pub fn of(workload: &dyn Workload, counts: Counts, seed: u64) -> Self {
        let sizes = sizes(workload);
        let mut random = StdRng::seed_from_u64(seed);
        let mut last: Map<(u64, Op)> = Map::default();
        let mut drawn = Vec::new();
        for time in 0..sizes.len() as u64 * HISTORY {
            workload.draw(&mut random, &mut drawn);
            for op in drawn.drain(..) {
                if let Some(entry) = counts.entry(&op) {
                    last.insert(entry, (time, op));
                }
            }
        }
        let mut order: Vec<(Entry, (u64, Op))> = last.into_iter().collect();
        order.sort_unstable_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
        let mut depth = 0;
        let mut at: Map<u64> = Map::default();
        let reads = order.into_iter().map(|(entry, (_, op))| {
            depth += sizes.get(&entry).copied().unwrap_or(OVERHEAD);
            at.insert(entry, depth);
            (op, depth)
        });
        let reads: Vec<(Op, u64)> = reads.collect();
        let mut depths = Vec::with_capacity(FRESH);
        while depths.len() < FRESH {
            workload.draw(&mut random, &mut drawn);
            let found = drawn.drain(..).filter_map(|op| counts.entry(&op));
            // What was never asked for is below everything.
            depths.extend(found.map(|entry| at.get(&entry).copied().unwrap_or(depth)));
        }
        depths.sort_unstable();
        Self { reads, depths }
    }

    /// Bytes that hit so often.
    pub fn bytes_for(&self, hit_rate: f64) -> u64 {
        let at = (hit_rate.clamp(0.0, 1.0) * self.depths.len() as f64) as usize;
        self.depths.get(at.min(self.depths.len() - 1)).map_or(1, |depth| (*depth).max(1))
    }

    /// Reads of the entries within so many bytes of the top, the one asked for last first; each entry once.
    pub fn top(&self, bytes: u64) -> impl Iterator<Item = &Op> {
        self.reads.iter().take_while(move |(_, depth)| *depth <= bytes).map(|(op, _)| op)
    }
}

fn sizes(workload: &dyn Workload) -> Map<u64> {
    let objects = (0..workload.objects()).map(|number| {
        let (id, data) = workload.object(number);
        (Entry::Object(id), OVERHEAD + data.len() as u64)
    });
    let lists = (0..workload.lists()).map(|number| {
        let (list, edges) = workload.list(number);
        (Entry::List(list), OVERHEAD + edges.iter().map(|edge| edge.data.len() as u64 + 16).sum::<u64>())
    });
    objects.chain(lists).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::{DataFolder, Point, Size, Tao13};

    #[test]
    fn even_reads_hit_as_often_as_the_part_that_fits() {
        let size = Size { objects: 2_000, shards: 16, data: DataFolder::none(), seed: 3 };
        let stack = Stack::of(&Point::new(&size), Counts::Apart, 1);
        for part in [0.25, 0.5, 0.9] {
            let bytes = stack.bytes_for(part) as f64 / (2_000.0 * 200.0);
            assert!((bytes - part).abs() < 0.02, "{bytes} of all bytes hit {part}");
        }
        assert_eq!(stack.top(10 * 200).count(), 10);
    }

    /// The simulated cache: what it holds after many requests hits as often as the stack says.
    #[test]
    fn a_cache_of_that_size_hits_so_often() {
        let size = Size { objects: 1_500, shards: 16, data: DataFolder::none(), seed: 8 };
        let workload = Tao13::new(&size).unwrap();
        let stack = Stack::of(&workload, Counts::WithEdges, 1);
        let sizes = sizes(&workload);
        for target in [0.85, 0.96] {
            let room = stack.bytes_for(target);
            let (mut held, mut bytes): (Vec<Entry>, u64) = (Vec::new(), 0);
            let mut random = StdRng::seed_from_u64(77);
            let (mut hits, mut reads) = (0.0, 0.0);
            let mut drawn = Vec::new();
            for time in 0..30_000 {
                drawn.clear();
                workload.draw(&mut random, &mut drawn);
                let Some(entry) = drawn.first().and_then(|op| Counts::WithEdges.entry(op)) else { continue };
                let at = held.iter().rposition(|other| *other == entry);
                if time >= 15_000 {
                    reads += 1.0;
                    hits += f64::from(u8::from(at.is_some()));
                }
                match at {
                    Some(at) => _ = held.remove(at),
                    None => bytes += sizes[&entry],
                }
                held.push(entry);
                while bytes > room {
                    bytes -= sizes[&held.remove(0)];
                }
            }
            let reached: f64 = hits / reads;
            assert!((reached - target).abs() < 0.02, "{reached} in place of {target}");
        }
    }
}
