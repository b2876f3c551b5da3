//! Workloads: which data there is, and what is asked of it. Each from a published distribution, read from a file where one
//! is given and from a small stand-in of the same shape where not.

mod data;
mod distributions;
mod ids;
mod linkbench;
mod replay;
mod single;
mod tao13;
mod taobench;
mod zipf;

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use rand::rngs::StdRng;
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId};

pub use data::DataFolder;
pub use ids::{EDGE, ITEM, Ids};
pub use single::{Point, Range, Write};
pub use tao13::Tao13;

/// The workloads, by the names of the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Name {
    /// Operations, result sizes and data sizes of the TAO paper; mostly edges that are not there.
    Tao13,
    /// TAOBench's application workload, with real range and count calls.
    #[value(name = "taobench-a")]
    TaobenchA,
    /// TAOBench's overall workload.
    #[value(name = "taobench-o")]
    TaobenchO,
    /// LinkBench's mix: what a database sees behind a cache.
    LinkbenchDb,
    /// A real edge list with times, added in their order; after each edge its list is read.
    Replay,
    /// Reads of single objects.
    Point,
    /// The newest 50 edges of a list.
    Range50,
    /// Durable edges without inverse between random objects.
    Write,
}

/// How large a workload's data is, and where its distributions come from.
#[derive(Clone, Debug)]
pub struct Size {
    /// Objects; lists follow from it.
    pub objects: u32,
    /// Logical shards of the cluster.
    pub shards: u32,
    /// Where published distributions are.
    pub data: DataFolder,
    /// Where the chance starts from which data is made.
    pub seed: u64,
}

/// One operation, the same for the tier and its peers.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Reads an object.
    ObjectGet(ObjectId),
    /// Adds an object; nothing if it exists.
    ObjectAdd(ObjectId, Bytes),
    /// Replaces an object's data; nothing if it does not exist.
    ObjectUpdate(ObjectId, Bytes),
    /// Deletes an object, if it exists.
    ObjectDelete(ObjectId),
    /// Which of some edges a list has.
    AssocGet(ListKey, Vec<ObjectId>),
    /// The newest edges of a list: so many at most.
    AssocRange(ListKey, u32),
    /// Edges of a list from a time on: the newest, so many at most.
    AssocTimeRange(ListKey, u32, u32),
    /// Length of a list.
    AssocCount(ListKey),
    /// Adds an edge, or replaces its time and data.
    AssocAdd(EdgeKey, u32, Bytes),
    /// Deletes an edge, if it exists.
    AssocDelete(EdgeKey),
    /// Gives an edge, if it exists, another type.
    AssocChangeType(EdgeKey, AssocType),
}

/// An edge of a list that exists before the measuring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EdgeData {
    /// Where it ends.
    pub id2: ObjectId,
    /// Its time.
    pub time: u32,
    /// Its data.
    pub data: Bytes,
}

/// A workload. What it makes depends on its seed and the random source given alone.
pub trait Workload: Send + Sync + 'static {
    /// Where its distributions came from, for the report.
    fn source(&self) -> String;

    /// Objects that exist.
    fn objects(&self) -> u32;

    /// One of them, `number < objects()`.
    fn object(&self, number: u32) -> (ObjectId, Bytes);

    /// Lists that exist; some may be empty.
    fn lists(&self) -> u32;

    /// One of them, `number < lists()`.
    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>);

    /// Appends what a user does next: one operation, or several that belong together.
    fn draw(&self, random: &mut StdRng, ops: &mut Vec<Op>);
}

impl Name {
    /// Makes the workload.
    ///
    /// # Errors
    /// A file of distributions is there, but can't be understood.
    pub fn make(self, size: &Size) -> Result<Arc<dyn Workload>> {
        Ok(match self {
            Self::Tao13 => Arc::new(Tao13::new(size)?),
            Self::TaobenchA => Arc::new(taobench::Taobench::new(taobench::Which::Application, size)?),
            Self::TaobenchO => Arc::new(taobench::Taobench::new(taobench::Which::Overall, size)?),
            Self::LinkbenchDb => Arc::new(linkbench::Linkbench::new(size)?),
            Self::Replay => Arc::new(replay::Replay::new(size)?),
            Self::Point => Arc::new(Point::new(size)),
            Self::Range50 => Arc::new(Range::new(size, size.objects, 64, 50)),
            Self::Write => Arc::new(Write::new(size)),
        })
    }
}

impl Op {
    /// Whether it changes nothing.
    pub const fn is_read(&self) -> bool {
        matches!(
            self,
            Self::ObjectGet(_)
                | Self::AssocGet(..)
                | Self::AssocRange(..)
                | Self::AssocTimeRange(..)
                | Self::AssocCount(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    const ALL: [Name; 8] = [
        Name::Tao13,
        Name::TaobenchA,
        Name::TaobenchO,
        Name::LinkbenchDb,
        Name::Replay,
        Name::Point,
        Name::Range50,
        Name::Write,
    ];

    fn size() -> Size {
        Size { objects: 500, shards: 16, data: DataFolder::none(), seed: 3 }
    }

    #[test]
    fn every_workload_repeats_itself_and_fits_the_cluster() {
        for name in ALL {
            let (one, other) = (name.make(&size()).unwrap(), name.make(&size()).unwrap());
            let mut ids = HashSet::new();
            for number in 0..one.objects() {
                let (id, data) = one.object(number);
                assert!(id.shard().0 < 16 && ids.insert(id), "{name:?}: {id}");
                assert_eq!((id, data), other.object(number), "{name:?}");
            }
            let mut lists = HashSet::new();
            for number in 0..one.lists() {
                let (list, edges) = one.list(number);
                assert!(list.id1.shard().0 < 16 && lists.insert(list), "{name:?}: {list:?}");
                let ends: HashSet<ObjectId> = edges.iter().map(|edge| edge.id2).collect();
                assert_eq!(ends.len(), edges.len(), "{name:?}: an edge is there once");
                assert_eq!((list, edges), other.list(number), "{name:?}");
            }
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let (mut random, mut again) = (StdRng::seed_from_u64(4), StdRng::seed_from_u64(4));
            for _ in 0..300 {
                let before = a.len();
                one.draw(&mut random, &mut a);
                other.draw(&mut again, &mut b);
                assert!(a.len() > before, "{name:?} draws something");
            }
            assert_eq!(a, b, "{name:?}");
            assert!(!one.source().is_empty());
        }
    }
}
