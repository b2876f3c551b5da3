//! The topology that a node goes by, and how it learns of a newer one.
//!
//! [`judge`](judge::judge) says what follows what; [`TopologyState`] holds the one in force and hands it to everybody at
//! once; [`watch`] looks for newer ones; [`start`] decides which one a node begins with.

mod ask;
mod judge;
mod start;
mod state;
mod watch;

pub use ask::{Asking, NodeAsked};
pub use judge::{Contradiction, Origin, Verdict, check_step, judge, judge_file};
pub use start::{LayoutError, first, laid_out_anew, store, stored};
pub use state::{TopologyMetrics, TopologyState};
pub use watch::{Watch, WatchOptions};
