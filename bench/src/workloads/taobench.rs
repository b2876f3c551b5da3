//! TAOBench (Cheng et al., VLDB 2022): its two published workloads. Unlike its harness, which treats them as point reads, ranges
//! and counts are ranges and counts; and within a shard popularity is by Zipf's law, where the harness draws evenly.
//!
//! A transaction is drawn as the operations that it consists of. Reads of one are independent; writes are so here, too, as
//! they are on several shards.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId};

use super::distributions::Weighted;
use super::ids::{Population, Room};
use super::zipf::Zipf;
use super::{EdgeData, Ids, Op, Size, Workload};

/// Bytes of every value.
const VALUE: usize = 150;
/// Shards of the harness, over which accesses are skewed.
const GROUPS: u32 = 50;
/// Edges of a list.
const LENGTH: u32 = 10;
const SKEW: f64 = 0.8;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// `workload_a.json`: an application with transactional intent.
    Application,
    /// `workload_o.json`: all of TAO.
    Overall,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Taobench {
    which: Which,
    ids: Ids,
    /// Objects of each group.
    group: u32,
    popular: Zipf,
    groups: Weighted,
    operations: Weighted,
    reads: Kinds<Read>,
    writes: Kinds<Write>,
    /// Within transactions.
    read_parts: Kinds<Read>,
    write_parts: Kinds<Write>,
    read_sizes: (Weighted, Vec<u32>),
    write_sizes: (Weighted, Vec<u32>),
    from_files: bool,
}

#[derive(Clone, Debug)]
struct Kinds<T> {
    weights: Weighted,
    kinds: Vec<T>,
}

#[derive(Clone, Copy, Debug)]
enum Read {
    Object,
    Edge,
    Range,
    Count,
    Time,
}

#[derive(Clone, Copy, Debug)]
enum Write {
    ObjectAdd,
    ObjectUpdate,
    ObjectDelete,
    EdgeAdd,
    EdgeUpdate,
    EdgeDelete,
}

/// A line of a file.
#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    #[serde(default)]
    values: Vec<serde_json::Value>,
    weights: Vec<f64>,
}

type Lines = HashMap<String, Line>;

impl Taobench {
    /// So many objects, each with a list.
    ///
    /// # Errors
    /// The file can't be understood.
    pub fn new(which: Which, size: &Size) -> Result<Self> {
        let (file, room) = match which {
            Which::Application => ("taobench/workload_a.json", Room::TaobenchA),
            Which::Overall => ("taobench/workload_o.json", Room::TaobenchO),
        };
        let text = size.data.text(file)?;
        let from_files = text.is_some();
        let lines = parse(&text.unwrap_or_else(|| stand_in(which).to_owned())).context(file)?;
        let weights = |name: &str| Weighted::new(&line(&lines, name)?.weights).context(name.to_owned());
        let sizes = |name: &str| {
            let values = line(&lines, name)?.values.iter();
            let values: Option<Vec<u32>> =
                values.map(|value| value.as_u64().and_then(|value| u32::try_from(value).ok())).collect();
            anyhow::Ok((weights(name)?, values.with_context(|| format!("sizes of {name}"))?))
        };
        let group = size.objects.div_ceil(GROUPS);
        Ok(Self {
            which,
            ids: Ids::new(room, size.shards, size.seed),
            group,
            popular: Zipf::new(group, SKEW, size.seed),
            groups: weights("primary_shards")?,
            operations: weights("operations")?,
            reads: kinds(line(&lines, "read_operation_types")?, read_named)?,
            writes: kinds(line(&lines, "write_operation_types")?, write_named)?,
            read_parts: kinds(line(&lines, "read_txn_operation_types")?, read_named)?,
            write_parts: kinds(line(&lines, "write_txn_operation_types")?, write_named)?,
            read_sizes: sizes("read_txn_sizes")?,
            write_sizes: sizes("write_txn_sizes")?,
            from_files,
        })
    }

    fn number(&self, random: &mut StdRng) -> u32 {
        let group = self.groups.draw(random) as u32 % GROUPS;
        group * self.group + self.popular.number(random)
    }

    fn read(&self, kinds: &Kinds<Read>, random: &mut StdRng) -> Op {
        let number = self.number(random);
        let list = self.ids.list(Population::Lists, number);
        match kinds.draw(random) {
            Read::Object => Op::ObjectGet(self.ids.id(Population::Objects, number)),
            Read::Edge => Op::AssocGet(list, vec![self.ids.end(number, random.random_range(0..LENGTH))]),
            Read::Range => Op::AssocRange(list, 100),
            Read::Count => Op::AssocCount(list),
            Read::Time => Op::AssocTimeRange(list, 0, 100),
        }
    }

    fn write(&self, kinds: &Kinds<Write>, random: &mut StdRng) -> Op {
        let number = self.number(random);
        let data = self.ids.bytes(random.random(), VALUE);
        let list = self.ids.list(Population::Lists, number);
        let edge = |id2| EdgeKey { id1: list.id1, atype: list.atype, id2 };
        let existing = self.ids.end(number, random.random_range(0..LENGTH));
        let passing = self.ids.id(Population::Passing, random.random_range(0..1 << 20));
        match kinds.draw(random) {
            Write::ObjectAdd => Op::ObjectAdd(passing, data),
            Write::ObjectUpdate => Op::ObjectUpdate(self.ids.id(Population::Objects, number), data),
            Write::ObjectDelete => Op::ObjectDelete(passing),
            Write::EdgeAdd => {
                Op::AssocAdd(edge(self.ids.id(Population::Ends, random.random())), random.random(), data)
            }
            Write::EdgeUpdate => Op::AssocAdd(edge(existing), random.random(), data),
            Write::EdgeDelete => Op::AssocDelete(edge(existing)),
        }
    }
}

impl Workload for Taobench {
    fn source(&self) -> String {
        let from =
            if self.from_files { "the published file" } else { "a coarse stand-in of the published file" };
        format!("TAOBench {:?}, {from}; {} objects, each with {LENGTH} edges", self.which, self.objects())
    }

    fn objects(&self) -> u32 {
        self.group * GROUPS
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        (self.ids.id(Population::Objects, number), self.ids.bytes(number, VALUE))
    }

    fn lists(&self) -> u32 {
        self.group * GROUPS
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        let edge = |index| EdgeData {
            id2: self.ids.end(number, index),
            time: 1_000_000 + index,
            data: self.ids.bytes(number ^ index, VALUE),
        };
        (self.ids.list(Population::Lists, number), (0..LENGTH).map(edge).collect())
    }

    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>) {
        let size = |(weights, sizes): &(Weighted, Vec<u32>), random: &mut StdRng| {
            sizes.get(weights.draw(random)).copied().unwrap_or(1).max(1)
        };
        match self.operations.draw(random) {
            0 => ops.push(self.read(&self.reads, random)),
            1 => ops.push(self.write(&self.writes, random)),
            2 => (0..size(&self.read_sizes, random))
                .for_each(|_| ops.push(self.read(&self.read_parts, random))),
            _ => (0..size(&self.write_sizes, random))
                .for_each(|_| ops.push(self.write(&self.write_parts, random))),
        }
    }
}

impl<T: Copy> Kinds<T> {
    fn draw(&self, random: &mut StdRng) -> T {
        self.kinds[self.weights.draw(random)]
    }
}

fn read_named(name: &str) -> Option<Read> {
    Some(match name {
        "obj_read" => Read::Object,
        "edge_point_read" => Read::Edge,
        "edge_range_read" => Read::Range,
        "edge_count_read" => Read::Count,
        "edge_time_read" => Read::Time,
        _ => return None,
    })
}

fn write_named(name: &str) -> Option<Write> {
    Some(match name {
        "obj_add" => Write::ObjectAdd,
        "obj_update" => Write::ObjectUpdate,
        "obj_delete" => Write::ObjectDelete,
        "edge_add" => Write::EdgeAdd,
        "edge_update" => Write::EdgeUpdate,
        "edge_delete" => Write::EdgeDelete,
        _ => return None,
    })
}

fn parse(text: &str) -> Result<Lines> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines =
        lines.map(|line| serde_json::from_str::<Line>(line).with_context(|| format!("line {line:.60}")));
    lines.map(|line| line.map(|line| (line.name.clone(), line))).collect()
}

fn line<'a>(lines: &'a Lines, name: &str) -> Result<&'a Line> {
    lines.get(name).with_context(|| format!("no line {name}"))
}

fn kinds<T>(line: &Line, known: impl Fn(&str) -> Option<T>) -> Result<Kinds<T>> {
    let named = line.values.iter().map(|value| {
        let name = value.as_str().with_context(|| format!("{value} in {}", line.name))?;
        known(name).with_context(|| format!("{} has {name}, which is unknown", line.name))
    });
    Ok(Kinds { weights: Weighted::new(&line.weights)?, kinds: named.collect::<Result<_>>()? })
}

/// The main weights of the published files, transactions and skew coarse.
const fn stand_in(which: Which) -> &'static str {
    match which {
        Which::Application => include_str!("../../stand-ins/taobench_a.jsonl"),
        Which::Overall => include_str!("../../stand-ins/taobench_o.jsonl"),
    }
}
