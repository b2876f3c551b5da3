//! Ids of the data: numbers of several populations, so that objects, lists of each kind and ends of edges don't meet.

use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use tao_schema::ids::{AssocType, ListKey, ObjectId, ObjectType};

/// The type of all objects (`bench/schema.toml`).
pub const ITEM: ObjectType = ObjectType(1);
/// The type of all edges.
pub const EDGE: AssocType = AssocType(1);
/// What edges are changed into.
pub const CHANGED: AssocType = AssocType(2);

/// Numbers of a population in a room.
const NUMBERS: u32 = 1 << 24;

/// Makes ids.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    room: Room,
    shards: u32,
    seed: u64,
}

/// Whose ids: several workloads may have their data in one cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Single objects.
    Point = 0,
    /// Lists that are shorter than those of the next two.
    ShortLists = 1,
    /// Lists of 50 edges and more.
    Lists = 2,
    /// Lists of 1,000 edges and more.
    LongLists = 3,
    /// Edges that are written.
    Write = 4,
    /// The TAO paper's.
    Tao13 = 5,
    /// TAOBench's application.
    TaobenchA = 6,
    /// TAOBench's whole.
    TaobenchO = 7,
    /// LinkBench's.
    Linkbench = 8,
    /// The replayed edges.
    Replay = 9,
}

/// Who has ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Population {
    /// Objects that are read.
    Objects = 0,
    /// Where lists start whose edges are read.
    Lists = 1,
    /// Where lists start that are counted.
    Counted = 2,
    /// Where lists start that are asked for times.
    Timed = 3,
    /// Where edges end.
    Ends = 4,
    /// Where no edge ends.
    Nowhere = 5,
    /// Objects that come and go.
    Passing = 6,
}

impl Ids {
    /// Of a cluster with so many shards.
    pub const fn new(room: Room, shards: u32, seed: u64) -> Self {
        Self { room, shards, seed }
    }

    /// The id of a number of a population.
    pub fn id(&self, population: Population, number: u32) -> ObjectId {
        {
            let room = (self.room as u32) << 24;
            ObjectId::named(ITEM, (population as u32) << 28 | room | (number % NUMBERS), self.shards)
        }
    }

    /// The list of edges from a number of a population.
    pub fn list(&self, population: Population, number: u32) -> ListKey {
        ListKey { id1: self.id(population, number), atype: EDGE }
    }

    /// Where the edge at `index` of a list ends: different for each of the list.
    pub fn end(&self, list: u32, index: u32) -> ObjectId {
        let start = self.chance(1, list, 0) as u32;
        // An odd step: no number comes twice before all have come.
        self.id(Population::Ends, start.wrapping_add(index.wrapping_mul(0x9e35)) % NUMBERS)
    }

    /// A number by chance that depends on the seed, a purpose and two numbers alone.
    pub fn chance(&self, purpose: u64, a: u32, b: u32) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(self.seed ^ purpose).build_hasher();
        hasher.write_u64(u64::from(a) << 32 | u64::from(b));
        hasher.finish()
    }

    /// So many bytes that depend on the seed and a number alone: a part of them random, so that nothing compresses them away.
    pub fn bytes(&self, number: u32, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length + 8);
        let mut word = self.chance(2, number, 0);
        while bytes.len() < length {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            bytes.extend(word.to_le_bytes().map(|byte| b'a' + byte % 26));
        }
        bytes.truncate(length);
        Bytes::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_apart() {
        let ids = Ids::new(Room::Point, 64, 1);
        let objects = (0..1_000).map(|number| ids.id(Population::Objects, number));
        let lists = (0..1_000).map(|number| ids.id(Population::Lists, number));
        let ends = (0..6_000).map(|index| ids.end(17, index));
        let all: HashSet<ObjectId> = objects.chain(lists).chain(ends).collect();
        assert_eq!(all.len(), 8_000);
    }

    #[test]
    fn bytes_have_their_length_and_differ() {
        let ids = Ids::new(Room::Point, 64, 1);
        for length in [0, 1, 7, 8, 100] {
            assert_eq!(ids.bytes(5, length).len(), length);
        }
        assert_ne!(ids.bytes(5, 100), ids.bytes(6, 100));
        assert_eq!(ids.bytes(5, 100), ids.bytes(5, 100));
    }
}
