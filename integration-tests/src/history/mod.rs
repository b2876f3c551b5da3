//! Histories and their judges: what clients did and saw, what the logs of the primaries say, and whether the two agree.
//!
//! The same judges serve the simulation, the tests and the soaks on real servers. They take a [`History`], which is made
//! of requests and replies as the wire has them, so every answer names the position that it claims to be right at; and a
//! [`Truth`], which is the primaries' own logs, so nothing has to be searched: each check is linear in the history.

mod judges;
mod operation;
mod recorder;
pub mod truth;

pub use self::judges::{
    Cached, CachedContent, Liveness, Rules, ShardTables, judge, judge_caches, judge_check, judge_liveness,
    judge_tables, line, log_line, read_tables,
};
pub use self::operation::{Call, History, Invariant, Judgement, Operation, Reply, SessionId, Violation};
pub use self::recorder::Recorder;
pub use self::truth::{Collected, Collector, CollectorOptions, RunClock, Truth};
