//! Workloads of one operation each.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId};

use super::ids::{Population, Room};
use super::{EDGE, EdgeData, Ids, Op, Size, Workload};

/// Bytes of an object.
const VALUE: usize = 100;

/// Reads of single objects, each as likely.
#[derive(Clone, Debug)]
pub struct Point {
    ids: Ids,
    objects: u32,
    read: u32,
}

/// The newest edges of a list, each list as likely; edges have no data.
#[derive(Clone, Debug)]
pub struct Range {
    ids: Ids,
    lists: u32,
    length: u32,
    limit: u32,
}

/// Edges without data between random objects.
#[derive(Clone, Debug)]
pub struct Write {
    ids: Ids,
    objects: u32,
}

impl Point {
    /// All objects are read.
    pub fn new(size: &Size) -> Self {
        let ids = Ids::new(Room::Point, size.shards, size.seed);
        Self { ids, objects: size.objects, read: size.objects }
    }

    /// As many objects exist, but only the first `read` of them are read.
    #[must_use]
    pub fn of_first(mut self, read: u32) -> Self {
        self.read = read.clamp(1, self.objects);
        self
    }
}

impl Range {
    /// So many lists of so many edges, of which the newest `limit` are read.
    pub fn new(size: &Size, lists: u32, length: u32, limit: u32) -> Self {
        let room = match length {
            0..50 => Room::ShortLists,
            50..1_000 => Room::Lists,
            _ => Room::LongLists,
        };
        Self { ids: Ids::new(room, size.shards, size.seed), lists, length, limit }
    }
}

impl Write {
    /// Between so many objects.
    pub fn new(size: &Size) -> Self {
        let ids = Ids::new(Room::Write, size.shards, size.seed);
        Self { ids, objects: size.objects.max(1_000_000) }
    }
}

impl Workload for Point {
    fn source(&self) -> String {
        format!("{} of {} objects of {VALUE} bytes, evenly", self.read, self.objects)
    }

    fn objects(&self) -> u32 {
        self.objects
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        (self.ids.id(Population::Objects, number), self.ids.bytes(number, VALUE))
    }

    fn lists(&self) -> u32 {
        0
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        (self.ids.list(Population::Lists, number), Vec::new())
    }

    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>) {
        let number = random.random_range(0..self.read);
        ops.push(Op::ObjectGet(self.ids.id(Population::Objects, number)));
    }
}

impl Workload for Range {
    fn source(&self) -> String {
        format!("{} lists of {} edges without data, the newest {} read", self.lists, self.length, self.limit)
    }

    fn objects(&self) -> u32 {
        0
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        (self.ids.id(Population::Objects, number), Bytes::new())
    }

    fn lists(&self) -> u32 {
        self.lists
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        let edge =
            |index| EdgeData { id2: self.ids.end(number, index), time: 1_000 + index, data: Bytes::new() };
        (self.ids.list(Population::Lists, number), (0..self.length).map(edge).collect())
    }

    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>) {
        ops.push(Op::AssocRange(
            self.ids.list(Population::Lists, random.random_range(0..self.lists)),
            self.limit,
        ));
    }
}

impl Workload for Write {
    fn source(&self) -> String {
        format!("edges between {} objects, evenly", self.objects)
    }

    fn objects(&self) -> u32 {
        0
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        (self.ids.id(Population::Objects, number), Bytes::new())
    }

    fn lists(&self) -> u32 {
        0
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        (self.ids.list(Population::Passing, number), Vec::new())
    }

    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>) {
        let id1 = self.ids.id(Population::Passing, random.random_range(0..self.objects));
        let id2 = self.ids.id(Population::Ends, random.random_range(0..self.objects));
        ops.push(Op::AssocAdd(EdgeKey { id1, atype: EDGE, id2 }, random.random(), Bytes::new()));
    }
}
