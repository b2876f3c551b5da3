//! Hard limits of the data model and of the wire. Configuration may lower them, never raise them.

/// Largest encoded fields of one object, in bytes (TAO paper, section 3.1).
pub const MAX_OBJECT_BYTES: usize = 1 << 20;
/// Largest encoded fields of one association, in bytes.
pub const MAX_ASSOC_BYTES: usize = 64 << 10;
/// Edges a query returns at most unless the type says less (TAO paper, section 3.4: typically 6,000).
pub const MAX_QUERY_LIMIT: u32 = 6_000;
/// `id2`s in one `assoc_get`.
pub const MAX_ID2_SET: usize = 1_000;
/// Positions of earlier epochs that a read may name: one for each epoch of a shard that a session has lived through.
pub const MAX_LINEAGE: usize = 16;
/// Operations in one atomic write.
pub const MAX_ATOMIC_OPS: usize = 256;
/// Operations in one batch call or frame.
pub const MAX_FRAME_OPS: usize = 1_024;
/// Bytes of one message on the wire, in either direction: one object at its limit with room for its envelope.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Shards that a cluster can have: the id has 16 bits for it.
pub const MAX_SHARDS: u32 = 1 << 16;
/// Fields of one type.
pub const MAX_FIELDS: usize = 256;
/// A request may ask for at most this much time.
pub const MAX_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);
