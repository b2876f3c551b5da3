//! The regions of a cluster as its database servers have them: who is primary, who follows, and how another region takes
//! over (DESIGN section 5, PROTOCOL R5, R24).
//!
//! Everything here talks to the database servers themselves, so it works when no node of the cluster does. Each step can be
//! repeated: a command that was cut off is run again, and goes on where it was.

mod epochs;
mod loss;
mod members;
mod newest;
mod promote;
mod rejoin;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Result;
use tao_schema::ids::HostGroupId;

pub use self::loss::Loss;
pub use self::newest::newest_of;
pub(crate) use self::newest::open as open_server;
pub use self::promote::{PromoteOptions, Promoted, promote};
pub use self::rejoin::{RejoinOptions, RejoinState, Rejoined, rejoin};
pub use self::status::status;

/// Ids that a new epoch leaves out, for those that lost writes may have given away (H6).
const SKIPPED_IDS: u64 = 1 << 20;

/// Through which address the server of a region gets the log of its group's primary; `None`: the one in the topology.
pub type Through<'a> = dyn Fn(HostGroupId, &str) -> Option<(String, u16)> + Send + Sync + 'a;

/// Told of every step before it is done. An error ends the command there, as a crash would.
pub type Report<'a> = dyn Fn(HostGroupId, Step, &str) -> Result<()> + Send + Sync + 'a;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a server counts as unreachable.
    pub connect: Duration,
    /// Until a server has caught up, or is connected to its source.
    pub catch_up: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), catch_up: Duration::from_secs(30) }
    }
}

/// A step of a promotion or of a return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The primary takes no more writes.
    Shut,
    /// The new primary gets what it lacks.
    CatchUp,
    /// It stops following.
    Detach,
    /// It writes the new epochs.
    Epochs,
    /// It takes writes.
    Open,
    /// Another server follows it.
    Follow,
    /// The new topology is stored.
    Topology,
    /// Transactions that only one server has are read.
    Loss,
}

impl Step {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Shut => "shut",
            Self::CatchUp => "catch up",
            Self::Detach => "detach",
            Self::Epochs => "epochs",
            Self::Open => "open",
            Self::Follow => "follow",
            Self::Topology => "topology",
            Self::Loss => "loss",
        }
    }
}
