//! How fresh a read must be, chosen for each call (PROTOCOL R21).

use std::time::Duration;

use tao_schema::ids::Position;
use tao_schema::ops::Freshness;

/// How fresh a read must be. In a session ([`crate::SessionClient`]) everything that it has seen is demanded as well,
/// whatever is chosen here.
///
/// | | who may answer | costs across regions |
/// |---|---|---|
/// | `Local` | the nearest memory that is not older than the node's limit | nothing |
/// | `AtLeast` | any memory that has the position | a way up if this region has not got it yet |
/// | `Bounded` | any memory that is known to be so fresh | a way up if this region lags more |
/// | `Master` | the memory of the master region | the way there |
/// | `Critical` | the primary proves it | the way there, and one read of an index |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// What the nearest memory has; not older than the node's configured limit (10 s unless said otherwise).
    #[default]
    Local,
    /// Not older than a position of the same shard: a token. Sessions do this by themselves.
    AtLeast(Position),
    /// Has everything that was committed up to so long before the request arrived. In milliseconds; parts of one count as 0.
    Bounded(Duration),
    /// Proved current on the primary after the request arrived.
    Critical,
    /// From the memory of the shard's master region.
    Master,
}

impl Consistency {
    /// What a request says of it, the position aside.
    pub(crate) const fn freshness(self) -> Freshness {
        match self {
            Self::Local | Self::AtLeast(_) => Freshness::Any,
            Self::Bounded(age) => Freshness::Within(age),
            Self::Critical => Freshness::Critical,
            Self::Master => Freshness::Master,
        }
    }
}

/// What satisfies `freshness` and comes from the master region.
pub(crate) const fn in_master_region(freshness: Freshness) -> Freshness {
    match freshness {
        Freshness::Any | Freshness::Master => Freshness::Master,
        // The master region's memory may lag, too: only the proof satisfies both.
        Freshness::Within(_) | Freshness::Critical => Freshness::Critical,
    }
}
