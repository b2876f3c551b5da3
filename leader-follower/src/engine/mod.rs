//! Cache engines: where entries live, bounded in bytes.
//!
//! An engine may drop any entry at any time; nothing that must be remembered lives only here (H17). Its keys are those of
//! all shards of the node. Writes to one key come one at a time, under the lock of its shard.

mod moka;
mod quick;
mod s3fifo;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tao_schema::ids::{AssocType, ListKey, ObjectId, Position, ShardId};

pub use self::moka::MokaEngine;
pub use self::quick::QuickEngine;
pub use self::s3fifo::S3FifoEngine;
use crate::core::{Entries, Entry, Key, Lookup, SharedShard};

/// A bounded place for entries.
pub trait CacheEngine: Entries {
    /// What it holds and has done.
    fn stats(&self) -> EngineStats;

    /// All entries of a shard, of whatever generation, for dumps: walks the whole cache.
    fn for_shard(&self, shard: ShardId) -> Vec<(Key, Entry)>;

    /// The heaviest entry that is kept, in bytes of [`weight`]. A heavier one is refused, and counted.
    fn max_entry_bytes(&self) -> u64;
}

/// Which engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EngineKind {
    /// Our own: S3-FIFO, least memory an entry, and lookups of many keys at once.
    #[default]
    S3Fifo,
    /// quick_cache: S3-FIFO-like.
    Quick,
    /// moka: TinyLFU.
    Moka,
}

/// Bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Bytes that all entries may take, with keys and the engine's own overhead.
    pub capacity_bytes: u64,
    /// Bytes of a usual entry, to size tables with; an order of magnitude is enough.
    pub usual_entry_bytes: u64,
}

/// What an engine holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EngineStats {
    /// Entries now.
    pub entries: u64,
    /// Their bytes, as [`weight`] reckons.
    pub bytes: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Entries not kept because they were heavier than [`CacheEngine::max_entry_bytes`].
    pub refused: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { capacity_bytes: 256 << 20, usual_entry_bytes: 256 }
    }
}

/// Opens an engine.
pub fn open(kind: EngineKind, options: EngineOptions) -> Arc<dyn CacheEngine> {
    match kind {
        EngineKind::S3Fifo => Arc::new(S3FifoEngine::new(options)),
        EngineKind::Quick => Arc::new(QuickEngine::new(options)),
        EngineKind::Moka => Arc::new(MokaEngine::new(options)),
    }
}

/// A cached entry as it would be served now.
#[derive(Clone, Debug)]
pub struct CachedEntry {
    /// Its key.
    pub key: Key,
    /// It is claimed to be right here.
    pub position: Position,
    /// Its content.
    pub entry: Entry,
}

/// Every entry of a shard that a read without a token would be given now. Walks the whole cache.
pub fn servable(engine: &dyn CacheEngine, shard: ShardId, core: &SharedShard) -> Vec<CachedEntry> {
    let keys = engine.for_shard(shard).into_iter().map(|(key, _)| key);
    keys.filter_map(|key| match core.lookup(engine, &key, None) {
        Lookup::Hit { entry, as_of } => Some(CachedEntry { key, position: as_of, entry }),
        Lookup::Miss(_) => None,
    })
    .collect()
}

/// What an allocator takes for itself, and rounds up, for each allocation: 8 bytes of header and on average half of a
/// 16-byte step.
const ALLOCATION: usize = 16;

/// Bytes of memory that an entry takes, without the engine's own overhead.
pub fn weight(entry: &Entry) -> usize {
    Entry::OVERHEAD + entry.len() + ALLOCATION
}

/// A [`Key`] in 12 bytes instead of 24: with it, a slot of quick_cache is 32 bytes instead of 40, and lies in one line of
/// the processor's cache instead of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CompactKey {
    /// In two halves, so that nothing is left empty to align it.
    id: [u32; 2],
    /// Type of the list; [`CompactKey::OBJECT`] for an object.
    kind: u32,
}

impl CompactKey {
    const OBJECT: u32 = u32::MAX;

    const fn new(id: ObjectId, kind: u32) -> Self {
        Self { id: [id.0 as u32, (id.0 >> 32) as u32], kind }
    }

    const fn id(self) -> ObjectId {
        let [low, high] = self.id;
        ObjectId((high as u64) << 32 | low as u64)
    }

    const fn shard(self) -> ShardId {
        self.id().shard()
    }
}

/// In two words.
impl Hash for CompactKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.id().0);
        state.write_u32(self.kind);
    }
}

impl From<&Key> for CompactKey {
    fn from(key: &Key) -> Self {
        match key {
            Key::Object(id) => Self::new(*id, Self::OBJECT),
            Key::List(list) => Self::new(list.id1, u32::from(list.atype.0)),
        }
    }
}

impl From<CompactKey> for Key {
    fn from(key: CompactKey) -> Self {
        match u16::try_from(key.kind) {
            Ok(atype) => Self::List(ListKey { id1: key.id(), atype: AssocType(atype) }),
            Err(_) => Self::Object(key.id()),
        }
    }
}
