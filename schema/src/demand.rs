//! What a read demands of its answer, besides what it reads: part of [`crate::ops`].

use std::time::Duration;

use crate::ids::{Position, PrimaryTime};

/// What a read demands of its answer (R19-R21). All of it holds at once; the default demands nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Not older than this position of the op's shard: the newest that the session has seen.
    pub at_least: Option<Position>,
    /// Positions in earlier epochs of the shard that the session has seen as well: the answer's history must contain
    /// them, or it is [`crate::ErrorCode::LostEpoch`]. Usually empty.
    pub lineage: Vec<Position>,
    /// Everything that was committed up to this time of the host group's primary: what a session folded that had too
    /// many positions.
    pub not_before: Option<PrimaryTime>,
    /// Its age.
    pub freshness: Freshness,
}

/// How old an answer may be (R20, R21).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Freshness {
    /// As old as the node's configured limit lets it be.
    #[default]
    Any,
    /// Everything committed up to so long before the request arrived is in it.
    Within(Duration),
    /// From the memory of the master region: the classic policy for some time after a write.
    Master,
    /// Proved current on the primary after the request arrived.
    Critical,
}

impl Demand {
    /// Nothing is demanded.
    pub const fn local() -> Self {
        Self { at_least: None, lineage: Vec::new(), not_before: None, freshness: Freshness::Any }
    }

    /// Not older than a position.
    pub const fn at_least(position: Position) -> Self {
        Self { at_least: Some(position), lineage: Vec::new(), not_before: None, freshness: Freshness::Any }
    }
}
