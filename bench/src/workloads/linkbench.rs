//! LinkBench (Armstrong et al., SIGMOD 2013): the mix that a database sees behind a cache, with its skews and degrees. Its known
//! faults are not copied: writes have the skew that its file gives them, and degrees are not inflated.

use anyhow::Result;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId};

use super::distributions::{Cumulative, Weighted};
use super::ids::{Population, Room};
use super::zipf::Zipf;
use super::{EdgeData, Ids, Op, Size, Workload};

/// get_link_list, get_node, add_link, update_link, update_node, count_link, delete_link, add_node, delete_node, get_link
/// (several): percent, from `FBWorkload.properties`.
const MIX: [f64; 10] = [50.712, 12.933, 8.989, 8.012, 7.366, 4.886, 2.991, 2.573, 1.012, 0.526];
/// Edges of the longest list: at a small scale one node would have most of all edges.
const LONGEST: u64 = 1_000;
/// LinkBench's limit is 10,000, the tier's 6,000.
const LIMIT: u32 = 6_000;
/// Skews, from the same file.
const LINK_READS: f64 = 0.8;
const LINK_WRITES: f64 = 0.741;
const NODE_READS: f64 = 0.625;
const NODE_UPDATES: f64 = 0.606;
/// Medians of log-normal sizes with sigma 1.
const LINK_BYTES: f64 = 8.0;
const NODE_BYTES: f64 = 128.0;
/// Chance that the edge of a request exists: of a read, of an update or deletion.
const READ_FOUND: f64 = 0.5;
const CHANGE_FOUND: f64 = 0.9;
/// Of the number of edges in one get_link: geometric.
const SEVERAL: f64 = 0.382;

/// See the module.
#[derive(Clone, Debug)]
pub struct Linkbench {
    ids: Ids,
    nodes: u32,
    mix: Weighted,
    degrees: Vec<u16>,
    link_reads: Zipf,
    link_writes: Zipf,
    node_reads: Zipf,
    node_updates: Zipf,
    from_files: bool,
}

impl Linkbench {
    /// So many nodes.
    ///
    /// # Errors
    /// The file can't be understood.
    pub fn new(size: &Size) -> Result<Self> {
        let text = size.data.text("linkbench/Distribution.dat")?;
        let from_files = text.is_some();
        let degrees = match text {
            Some(text) => Cumulative::parse_section(&text, "nlinks")?,
            None => Cumulative::new(NLINKS.to_vec()),
        };
        let ids = Ids::new(Room::Linkbench, size.shards, size.seed);
        let nodes = size.objects.max(1);
        let degree = |node| {
            let u = ids.chance(7, node, 0) as f64 / u64::MAX as f64;
            degrees.at(u).min(LONGEST) as u16
        };
        Ok(Self {
            degrees: (0..nodes).map(degree).collect(),
            mix: Weighted::new(&MIX)?,
            link_reads: Zipf::new(nodes, LINK_READS, size.seed ^ 1),
            link_writes: Zipf::new(nodes, LINK_WRITES, size.seed ^ 2),
            node_reads: Zipf::new(nodes, NODE_READS, size.seed ^ 3),
            node_updates: Zipf::new(nodes, NODE_UPDATES, size.seed ^ 4),
            ids,
            nodes,
            from_files,
        })
    }

    fn node(&self, number: u32) -> ObjectId {
        self.ids.id(Population::Objects, number)
    }

    fn links(&self, number: u32) -> ListKey {
        self.ids.list(Population::Lists, number)
    }

    /// An edge's other end, which exists with a chance of `found`.
    fn end(&self, number: u32, found: f64, random: &mut StdRng) -> ObjectId {
        let degree = f64::from(self.degrees[number as usize]).max(1.0);
        let index = random.random_range(0..(degree / found).ceil() as u32);
        self.ids.end(number, index)
    }

    fn link_data(&self, random: &mut StdRng) -> Bytes {
        let size = log_normal(LINK_BYTES, random).min(255.0) as usize;
        self.ids.bytes(random.random(), size)
    }

    fn node_data(&self, random: &mut StdRng) -> Bytes {
        let size = log_normal(NODE_BYTES, random).min(65_536.0) as usize;
        self.ids.bytes(random.random(), size)
    }
}

impl Workload for Linkbench {
    fn source(&self) -> String {
        let from = if self.from_files {
            "the published degrees"
        } else {
            "a coarse stand-in of the published degrees"
        };
        format!("LinkBench's mix, {from}; {} nodes", self.nodes)
    }

    fn objects(&self) -> u32 {
        self.nodes
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        let mut random = rand::SeedableRng::seed_from_u64(self.ids.chance(8, number, 0));
        (self.node(number), self.node_data(&mut random))
    }

    fn lists(&self) -> u32 {
        self.nodes
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        let mut random = rand::SeedableRng::seed_from_u64(self.ids.chance(9, number, 0));
        let edge = |index| EdgeData {
            id2: self.ids.end(number, index),
            time: 1_000_000 + index,
            data: self.link_data(&mut random),
        };
        (self.links(number), (0..u32::from(self.degrees[number as usize])).map(edge).collect())
    }

    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>) {
        let operation = self.mix.draw(random);
        let read = self.link_reads.number(random);
        let write = self.link_writes.number(random);
        let edge = |id2| {
            let list = self.links(write);
            EdgeKey { id1: list.id1, atype: list.atype, id2 }
        };
        let passing = self.ids.id(Population::Passing, random.random_range(0..1 << 20));
        ops.push(match operation {
            0 => Op::AssocRange(self.links(read), LIMIT),
            1 => Op::ObjectGet(self.node(self.node_reads.number(random))),
            2 => {
                let id2 = self.ids.id(Population::Ends, random.random());
                Op::AssocAdd(edge(id2), random.random(), self.link_data(random))
            }
            3 => {
                let id2 = self.end(write, CHANGE_FOUND, random);
                Op::AssocAdd(edge(id2), random.random(), self.link_data(random))
            }
            4 => Op::ObjectUpdate(self.node(self.node_updates.number(random)), self.node_data(random)),
            5 => Op::AssocCount(self.links(read)),
            6 => Op::AssocDelete(edge(self.end(write, CHANGE_FOUND, random))),
            7 => Op::ObjectAdd(passing, self.node_data(random)),
            8 => Op::ObjectDelete(passing),
            _ => {
                let chance: f64 = random.random();
                let several = 1 + ((1.0 - chance).ln() / (1.0f64 - SEVERAL).ln()) as usize;
                let ends = (0..several.min(127)).map(|_| self.end(read, READ_FOUND, random)).collect();
                Op::AssocGet(self.links(read), ends)
            }
        });
    }
}

/// With sigma 1.
fn log_normal(median: f64, random: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos();
    (median * normal.exp()).round()
}

/// Some points of the published degrees: value, cumulative percent.
const NLINKS: [(u64, f64); 10] = [
    (0, 45.33),
    (1, 77.46),
    (2, 86.96),
    (3, 91.99),
    (5, 95.83),
    (10, 98.33),
    (30, 99.3),
    (100, 99.831),
    (500, 99.93),
    (1_000, 100.0),
];

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::DataFolder;
    use super::*;

    #[test]
    fn the_mix_is_the_published_one() {
        let size = Size { objects: 5_000, shards: 16, data: DataFolder::none(), seed: 2 };
        let workload = Linkbench::new(&size).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut ops = Vec::new();
        for _ in 0..40_000 {
            workload.draw(&mut random, &mut ops);
        }
        let reads = ops.iter().filter(|op| op.is_read()).count() as f64 / 40_000.0;
        assert!((reads - 0.6906).abs() < 0.01, "{reads}");
        let degrees: f64 = workload.degrees.iter().map(|degree| f64::from(*degree)).sum();
        assert!((1.0..6.0).contains(&(degrees / 5_000.0)), "{degrees}");
    }

    #[test]
    fn sizes_have_their_median() {
        let mut random = StdRng::seed_from_u64(1);
        let mut sizes: Vec<f64> = (0..10_000).map(|_| log_normal(128.0, &mut random)).collect();
        sizes.sort_by(f64::total_cmp);
        assert!((120.0..137.0).contains(&sizes[5_000]), "{}", sizes[5_000]);
    }
}
