//! The workload of the TAO paper (Bronson et al., USENIX ATC 2013, section 7): its operation mix (Figure 3), result sizes
//! (Figures 4 and 5), data sizes (Figure 6), and how often nothing is found. Popularity is not given there as a law: Zipf with
//! LinkBench's exponents, reads and writes over permutations of their own.
//!
//! Result sizes of the paper are by call. Here each list has a size of that distribution, and popularity does not know the
//! size, so calls see the same. Lists are cut at [`LONGEST`] edges: the longer ones of the paper (17 % of counts, 0.4 % of
//! ranges) would be most of the data and are answered at the same cost.

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId};
use tao_schema::limits::MAX_QUERY_LIMIT;

use super::distributions::{AtLeast, Sizes, Weighted};
use super::ids::{CHANGED, Population, Room};
use super::zipf::Zipf;
use super::{EdgeData, Ids, Op, Size, Workload};

/// Edges of the longest list.
const LONGEST: u64 = 100;
/// Bytes of the largest object: 0.1 % of the paper's are larger.
const LARGEST: usize = 64 << 10;
/// Objects that are added and deleted.
const PASSING: u32 = 4_096;
/// Part of requests that are reads (Figure 3).
const READS: f64 = 0.998;
/// assoc_get, assoc_range, assoc_time_range, assoc_count, obj_get: percent of reads (Figure 3).
const READ_MIX: [f64; 5] = [15.7, 40.9, 2.8, 11.7, 28.9];
/// assoc_add, assoc_del, assoc_change_type, obj_add, obj_update, obj_delete: percent of writes.
const WRITE_MIX: [f64; 6] = [52.5, 8.3, 0.9, 16.5, 20.7, 2.0];
/// Part of assoc_get calls that find an edge.
const FOUND: f64 = 0.196;
/// Part of range queries that ask for one edge.
const LIMIT_ONE: f64 = 0.12;
const READ_SKEW: f64 = 0.8;
const WRITE_SKEW: f64 = 0.741;

/// See the module.
#[derive(Clone, Debug)]
pub struct Tao13 {
    ids: Ids,
    reads: Weighted,
    writes: Weighted,
    objects: Popular,
    listed: Lists,
    counted: Lists,
    timed: Lists,
    assoc_sizes: Sizes,
    object_sizes: Sizes,
    /// That the edge asked for is there, where the list has any.
    found: f64,
    from_files: bool,
}

/// Who is popular with readers and with writers.
#[derive(Clone, Copy, Debug)]
struct Popular {
    number: u32,
    reads: Zipf,
    writes: Zipf,
}

/// Lists of one population, with their lengths.
#[derive(Clone, Debug)]
struct Lists {
    population: Population,
    popular: Popular,
    lengths: Vec<u8>,
}

impl Popular {
    fn new(number: u32, salt: u64) -> Self {
        let number = number.max(1);
        Self {
            number,
            reads: Zipf::new(number, READ_SKEW, salt),
            writes: Zipf::new(number, WRITE_SKEW, salt ^ 0xabcd),
        }
    }
}

impl Lists {
    fn new(population: Population, number: u32, sizes: &AtLeast, ids: &Ids, salt: u64) -> Self {
        let popular = Popular::new(number, salt);
        let lengths = (0..popular.number).map(|list| {
            let u = ids.chance(population as u64 + 100, list, 0) as f64 / u64::MAX as f64;
            sizes.at(u).min(LONGEST) as u8
        });
        Self { population, popular, lengths: lengths.collect() }
    }

    fn length(&self, number: u32) -> u32 {
        u32::from(self.lengths[number as usize])
    }
}

impl Tao13 {
    /// So many objects and lists to range over, a quarter of it to count, a quarter to ask for times.
    ///
    /// # Errors
    /// A file can't be understood.
    pub fn new(size: &Size) -> Result<Self> {
        let ids = Ids::new(Room::Tao13, size.shards, size.seed);
        let published = |name: &str| size.data.text(&format!("tao_atc13/{name}"));
        let lengths = |name: &str, drawn: &[(u64, f64)]| match published(name)? {
            Some(text) => AtLeast::parse(&text).with_context(|| name.to_owned()),
            None => AtLeast::new(drawn.to_vec()),
        };
        let counts = lengths("fig4_assoc_count_ccdf.csv", &COUNTS)?;
        let ranges = lengths("fig5_assoc_range_len_ccdf.csv", &RANGES)?;
        let times = lengths("fig5_assoc_time_range_len_ccdf.csv", &TIMES)?;
        let sizes = published("fig6_data_size_hist.csv")?;
        let from_files = sizes.is_some();
        let (assoc_sizes, object_sizes) = match sizes {
            Some(text) => Sizes::parse(&text)?,
            None => (Sizes::new(&ASSOC_SIZES)?, Sizes::new(&OBJECT_SIZES)?),
        };
        let few = size.objects.div_ceil(4);
        Ok(Self {
            reads: Weighted::new(&READ_MIX)?,
            writes: Weighted::new(&WRITE_MIX)?,
            objects: Popular::new(size.objects, size.seed ^ 1),
            found: (FOUND / ranges.not_zero()).min(1.0),
            listed: Lists::new(Population::Lists, size.objects, &ranges, &ids, size.seed ^ 2),
            counted: Lists::new(Population::Counted, few, &counts, &ids, size.seed ^ 3),
            timed: Lists::new(Population::Timed, few, &times, &ids, size.seed ^ 4),
            assoc_sizes,
            object_sizes,
            from_files,
            ids,
        })
    }

    fn read(&self, random: &mut StdRng) -> Op {
        match self.reads.draw(random) {
            0 => {
                let number = self.listed.popular.reads.number(random);
                let length = self.listed.length(number);
                let end = if length > 0 && random.random::<f64>() < self.found {
                    self.ids.end(number, random.random_range(0..length))
                } else {
                    self.ids.id(Population::Nowhere, random.random())
                };
                Op::AssocGet(self.ids.list(self.listed.population, number), vec![end])
            }
            1 => {
                let number = self.listed.popular.reads.number(random);
                Op::AssocRange(self.ids.list(self.listed.population, number), limit(random))
            }
            2 => {
                let number = self.timed.popular.reads.number(random);
                Op::AssocTimeRange(self.ids.list(self.timed.population, number), 0, limit(random))
            }
            3 => {
                let number = self.counted.popular.reads.number(random);
                Op::AssocCount(self.ids.list(self.counted.population, number))
            }
            _ => Op::ObjectGet(self.ids.id(Population::Objects, self.objects.reads.number(random))),
        }
    }

    fn write(&self, random: &mut StdRng) -> Op {
        let number = self.listed.popular.writes.number(random);
        let list = self.ids.list(self.listed.population, number);
        let edge = |id2| EdgeKey { id1: list.id1, atype: list.atype, id2 };
        let existing = self.ids.end(number, random.random_range(0..self.listed.length(number).max(1)));
        match self.writes.draw(random) {
            0 => {
                let end = self.ids.id(Population::Ends, random.random());
                let data = self.ids.bytes(random.random(), self.assoc_sizes.draw(random));
                Op::AssocAdd(edge(end), random.random(), data)
            }
            1 => Op::AssocDelete(edge(existing)),
            2 => Op::AssocChangeType(edge(existing), CHANGED),
            3 => {
                let data = self.ids.bytes(random.random(), self.object_sizes.draw(random).min(LARGEST));
                Op::ObjectAdd(self.passing(random), data)
            }
            4 => {
                let id = self.ids.id(Population::Objects, self.objects.writes.number(random));
                Op::ObjectUpdate(
                    id,
                    self.ids.bytes(random.random(), self.object_sizes.draw(random).min(LARGEST)),
                )
            }
            _ => Op::ObjectDelete(self.passing(random)),
        }
    }

    fn passing(&self, random: &mut StdRng) -> ObjectId {
        self.ids.id(Population::Passing, random.random_range(0..PASSING))
    }
}

/// 12 % of queries ask for one edge, most others for a thousand and more.
fn limit(random: &mut StdRng) -> u32 {
    if random.random::<f64>() < LIMIT_ONE { 1 } else { random.random_range(1_000..=MAX_QUERY_LIMIT) }
}

impl Workload for Tao13 {
    fn source(&self) -> String {
        let from = if self.from_files {
            "the paper's figures, from files"
        } else {
            "the paper's figures, coarse stand-in"
        };
        format!(
            "{from}; {} objects; Zipf {READ_SKEW} for reads, {WRITE_SKEW} for writes",
            self.objects.number
        )
    }

    fn objects(&self) -> u32 {
        self.objects.number
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        let mut random = seeded(self.ids.chance(3, number, 0));
        let size = self.object_sizes.draw(&mut random).min(LARGEST);
        (self.ids.id(Population::Objects, number), self.ids.bytes(number, size))
    }

    fn lists(&self) -> u32 {
        self.listed.popular.number + self.counted.popular.number + self.timed.popular.number
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        let (first, second) = (self.listed.popular.number, self.counted.popular.number);
        let (lists, number) = match number {
            number if number < first => (&self.listed, number),
            number if number < first + second => (&self.counted, number - first),
            number => (&self.timed, number - first - second),
        };
        let edge = |index| {
            let mut random = seeded(self.ids.chance(4 + lists.population as u64, number, index));
            let size = self.assoc_sizes.draw(&mut random);
            EdgeData {
                id2: self.ids.end(number, index),
                time: 1_000_000 + index,
                data: self.ids.bytes(index, size),
            }
        };
        (self.ids.list(lists.population, number), (0..lists.length(number)).map(edge).collect())
    }

    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>) {
        let op = if random.random::<f64>() < READS { self.read(random) } else { self.write(random) };
        ops.push(op);
    }
}

fn seeded(seed: u64) -> StdRng {
    rand::SeedableRng::seed_from_u64(seed)
}

/// Some points of the figures, for where the files are not at hand.
const COUNTS: [(u64, f64); 9] = [
    (1, 0.549),
    (2, 0.431),
    (3, 0.384),
    (4, 0.354),
    (8, 0.293),
    (16, 0.246),
    (32, 0.211),
    (64, 0.180),
    (128, 0.154),
];
const RANGES: [(u64, f64); 9] = [
    (1, 0.309),
    (2, 0.111),
    (3, 0.0877),
    (4, 0.0743),
    (8, 0.0507),
    (16, 0.0324),
    (32, 0.0199),
    (64, 0.0127),
    (128, 0.0040),
];
const TIMES: [(u64, f64); 9] = [
    (1, 0.0192),
    (2, 0.0168),
    (3, 0.0131),
    (4, 0.0114),
    (8, 0.0089),
    (16, 0.0068),
    (32, 0.0051),
    (64, 0.0034),
    (128, 0.0020),
];
const ASSOC_SIZES: [(u64, u64, f64); 9] = [
    (0, 0, 38.6),
    (2, 2, 10.1),
    (3, 8, 0.94),
    (9, 16, 32.6),
    (17, 32, 11.6),
    (33, 64, 3.66),
    (65, 128, 1.39),
    (129, 512, 0.34),
    (2_049, 8_192, 1.05),
];
const OBJECT_SIZES: [(u64, u64, f64); 9] = [
    (8, 15, 1.6),
    (16, 31, 3.9),
    (32, 63, 23.9),
    (64, 127, 19.6),
    (128, 255, 21.0),
    (256, 511, 17.7),
    (512, 2_047, 5.9),
    (2_048, 8_191, 4.9),
    (8_192, 32_767, 1.2),
];

#[cfg(test)]
mod tests {
    use super::super::DataFolder;
    use super::*;

    #[test]
    fn reads_find_as_much_as_the_papers() {
        let size = Size { objects: 20_000, shards: 64, data: DataFolder::none(), seed: 11 };
        let workload = Tao13::new(&size).unwrap();
        let mut random = seeded(5);
        let mut ops = Vec::new();
        for _ in 0..60_000 {
            workload.draw(&mut random, &mut ops);
        }
        let part =
            |wanted: fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count() as f64 / ops.len() as f64;
        assert!((part(|op| matches!(op, Op::AssocRange(..))) - 0.408).abs() < 0.02);
        assert!((part(|op| matches!(op, Op::ObjectGet(_))) - 0.288).abs() < 0.02);
        assert!((part(|op| !op.is_read()) - 0.002).abs() < 0.001);
        // By lists: three in ten are not empty, and popularity does not know which.
        let filled = workload.listed.lengths.iter().filter(|length| **length > 0).count() as f64;
        assert!((filled / 20_000.0 - 0.309).abs() < 0.02, "{filled}");
        let gets =
            ops.iter().filter_map(|op| if let Op::AssocGet(_, ends) = op { Some(ends[0]) } else { None });
        let (mut asked, mut there) = (0.0, 0.0);
        for end in gets {
            asked += 1.0;
            // Ends are of their population by their number's upper bits.
            there += f64::from(u8::from((end.local() >> 28) & 0xf == Population::Ends as u64));
        }
        assert!((there / asked - FOUND).abs() < 0.06, "{there} of {asked}");
    }
}
