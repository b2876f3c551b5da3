//! Keys.

use rand::Rng;
use rand::rngs::StdRng;
use tao_schema::ids::{ObjectId, ObjectType};

/// A space of named objects, from which edges are drawn at random.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Objects.
    pub objects: u32,
    /// Shards of the cluster.
    pub shards: u32,
    /// Their type.
    pub otype: ObjectType,
}

impl Space {
    /// An object's id.
    pub fn object(&self, number: u32) -> ObjectId {
        ObjectId::named(self.otype, number, self.shards)
    }

    /// A random object.
    pub fn any(&self, random: &mut StdRng) -> ObjectId {
        self.object(random.random_range(0..self.objects))
    }

    /// A random edge: both ends.
    pub fn edge(&self, random: &mut StdRng) -> (u64, u64) {
        (self.any(random).0, self.any(random).0)
    }
}
