//! Identifiers. Every id, position and version in the system is a newtype, so that two of them cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bits of an [`ObjectId`] below its shard.
pub const LOCAL_BITS: u32 = 48;
/// Bit of an [`ObjectId`]'s local part that marks an id chosen by the application (see [`ObjectId::named`]).
const NAMED_BIT: u64 = 1 << 47;
/// Largest [`ObjectType`] and [`AssocType`]: 15 bits, so that a named id can carry its type.
pub const MAX_TYPE: u16 = (1 << 15) - 1;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

newtype! {
    /// A typed object's id, unique across types. Its top 16 bits are the shard it lives on, for life
    /// (TAO, USENIX ATC 2013, section 4.1: the shard id is embedded in the object id).
    ObjectId(u64)
}
newtype! {
    /// A logical shard: a contiguous key range of the tables of one database server.
    ShardId(u16)
}
newtype! {
    /// Type of an object; at most [`MAX_TYPE`].
    ObjectType(u16)
}
newtype! {
    /// Type of an association; at most [`MAX_TYPE`].
    AssocType(u16)
}
newtype! {
    /// Id of a field within its type.
    FieldId(u16)
}
newtype! {
    /// The application's time of an association: seconds since the Unix epoch, until the year 2106.
    /// Data, not a version: it orders a list, newest first, and says nothing about when it was written.
    /// 32 bits as in the paper, because every cached edge carries one.
    Time(u32)
}
newtype! {
    /// Position in the log of one shard. Contiguous: each committed change of a shard takes the next number.
    /// Also the version of an object or of an edge list: the seq that last changed it.
    Seq(u64)
}
newtype! {
    /// Generation of a shard's ownership; raised by a move or a promotion.
    Epoch(u32)
}
newtype! {
    /// Milliseconds since the Unix epoch by the clock of a host group's primary, as a heartbeat row carries it. Compared
    /// only with other times of the same host group, never with another machine's clock (PROTOCOL R19, R20).
    PrimaryTime(u64)
}
newtype! {
    /// One primary database server with its replicas elsewhere.
    HostGroupId(u16)
}

impl ObjectId {
    /// Joins a shard and a local part; the local part's upper 16 bits are ignored.
    pub const fn new(shard: ShardId, local: u64) -> Self {
        Self((shard.0 as u64) << LOCAL_BITS | (local & ((1 << LOCAL_BITS) - 1)))
    }

    /// The shard that this object, and every association that starts at it, lives on.
    pub const fn shard(self) -> ShardId {
        ShardId((self.0 >> LOCAL_BITS) as u16)
    }

    /// The part below the shard.
    pub const fn local(self) -> u64 {
        self.0 & ((1 << LOCAL_BITS) - 1)
    }

    /// Whether the application chose this id ([`ObjectId::named`]); the tier's own ids never look so.
    pub const fn is_named(self) -> bool {
        self.local() & NAMED_BIT != 0
    }

    /// The id of the thing that the application knows as number `name` of type `otype`.
    ///
    /// Deterministic and injective for a fixed number of shards: local part = 1 bit set, 15 bits of type, 32 bits
    /// of name; shard = `xxh3_64(otype as u16 LE ++ name as u32 LE) mod shards`. Other tools can compute it.
    pub fn named(otype: ObjectType, name: u32, shards: u32) -> Self {
        let mut bytes = [0u8; 6];
        bytes[..2].copy_from_slice(&otype.0.to_le_bytes());
        bytes[2..].copy_from_slice(&name.to_le_bytes());
        let shard = xxhash_rust::xxh3::xxh3_64(&bytes) % u64::from(shards.max(1));
        Self::new(ShardId(shard as u16), NAMED_BIT | u64::from(otype.0 & MAX_TYPE) << 32 | u64::from(name))
    }
}

impl ShardId {
    /// First and last id of the shard's key range in every table.
    pub const fn key_range(self) -> (ObjectId, ObjectId) {
        (ObjectId::new(self, 0), ObjectId::new(self, u64::MAX))
    }
}

impl Seq {
    /// The position before the first change.
    pub const ZERO: Self = Self(0);

    /// The next position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A key of an edge list: all associations of one type from one object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ListKey {
    /// Where the associations start.
    pub id1: ObjectId,
    /// Their type.
    pub atype: AssocType,
}

/// A key of one association: at most one exists for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct EdgeKey {
    /// Where the association starts; its shard holds it.
    pub id1: ObjectId,
    /// Its type.
    pub atype: AssocType,
    /// Where it ends.
    pub id2: ObjectId,
}

impl EdgeKey {
    /// The list that holds this edge.
    pub const fn list(self) -> ListKey {
        ListKey { id1: self.id1, atype: self.atype }
    }

    /// The same pair of objects seen from the other end.
    #[must_use]
    pub const fn reversed(self, atype: AssocType) -> Self {
        Self { id1: self.id2, atype, id2: self.id1 }
    }
}

/// A place in the log of one shard: what a token is made of (PROTOCOL R19).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The shard.
    pub shard: ShardId,
    /// The epoch in which `seq` was seen.
    pub epoch: Epoch,
    /// Everything up to and with this seq.
    pub seq: Seq,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.shard, self.epoch, self.seq)
    }
}

/// Names one write of one client, so that a retry has one effect (PROTOCOL R3). 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_shard() {
        let id = ObjectId::new(ShardId(513), 77);
        assert_eq!((id.shard(), id.local()), (ShardId(513), 77));
        let (first, last) = ShardId(513).key_range();
        assert!(first <= id && id <= last);
        assert!(last < ShardId(514).key_range().0);
    }

    #[test]
    fn named_ids_are_injective_and_never_look_allocated() {
        let a = ObjectId::named(ObjectType(1), 7, 64);
        assert_eq!(a, ObjectId::named(ObjectType(1), 7, 64));
        assert!(a.is_named() && a.shard().0 < 64);
        assert_ne!(a, ObjectId::named(ObjectType(2), 7, 64));
        assert_ne!(a.local(), ObjectId::named(ObjectType(1), 8, 64).local());
        assert!(!ObjectId::new(ShardId(3), 1).is_named());
    }
}
