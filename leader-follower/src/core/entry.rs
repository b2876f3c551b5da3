//! What a cache holds.

use tao_schema::ids::{ListKey, ObjectId, Seq, ShardId};
use tao_schema::rows::{ListRow, ObjectRow};

/// Key of a cached entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// An object, or its absence.
    Object(ObjectId),
    /// A list: its count and a newest-first prefix.
    List(ListKey),
}

impl Key {
    /// The shard that the key lives on.
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::Object(id) => id.shard(),
            Self::List(key) => key.id1.shard(),
        }
    }
}

/// A cached entry. Immutable: a change makes a new one.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Entries of an earlier generation of their shard's cache are void: that is how a reset drops them all at once.
    pub generation: u32,
    /// The content is right at this seq by itself; it is also right at the shard's watermark if that is further (R11).
    pub as_of: Seq,
    /// The content.
    pub body: Body,
}

/// Content of an entry.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// The object, or that there is none.
    Object(Option<ObjectRow>),
    /// Count, version and the newest edges, contiguous; all of them if their number equals the count (R14).
    List(ListRow),
}

impl Entry {
    /// The seq that last changed the content; zero for absence, which counts by `as_of` instead (R13).
    pub fn version(&self) -> Seq {
        self.body.version()
    }
}

impl Body {
    /// The seq that last changed the content; zero for absence and for a list that was never written.
    pub fn version(&self) -> Seq {
        match self {
            Self::Object(row) => row.as_ref().map_or(Seq::ZERO, |row| row.version),
            Self::List(list) => list.version,
        }
    }

    /// How much of the content is here, to compare two of one version: packed bytes of a list's prefix.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Object(_) => 0,
            Self::List(list) => list.edges.as_bytes().len(),
        }
    }
}
