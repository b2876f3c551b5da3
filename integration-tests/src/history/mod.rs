//! Histories and their judges: what clients did and saw, what the logs of the primaries say, and whether the two agree.
//!
//! The same judges serve the simulation, the tests and the soaks on real servers. They take a [`History`], which is made
//! of requests and replies as the wire has them, so every answer names the position that it claims to be right at; and a
//! [`Truth`], which is the primaries' own logs, so nothing has to be searched: each check is linear in the history.
//!
//! A run on real servers, from its first write to its judgement:
//!
//! ```no_run
//! # async fn run(databases: Vec<(String, tao_shard_store::log::SharedDatabase)>, addresses: Vec<String>) -> anyhow::Result<()> {
//! use std::{path::Path, sync::Arc, time::Duration};
//! use integration_tests::history::{Collector, CollectorOptions, Recorder, Rules, RunClock, Spill};
//! use tao_client::{Client, Options, SessionOptions};
//!
//! let clock = RunClock::start();
//! let mut collector = Collector::new(clock.clone(), CollectorOptions::default());
//! for (name, database) in databases {
//!     collector.follow(&name, database).await?;
//! }
//! let schema = Arc::new(tao_schema::graph_schema::GraphSchema::demo());
//! let recorder = Recorder::spilling(clock, Spill::create(Path::new("run"), 32, schema.clone())?);
//! let client = Client::connect(Options { recorder: Some(recorder.at("here")), ..Options::new(addresses) }).await?;
//! let user = client.session_with(SessionOptions { recorded_as: 1, ..SessionOptions::default() })?;
//! // The application's work, and the faults.
//! user.object_add("user").set("reputation", 1).send().await?;
//!
//! let truth = collector.finish(Duration::from_secs(60)).await?.truth;
//! let rules = Rules::strict(schema);
//! let files = recorder.into_spill().expect("it spills").finish("an example", &truth, &rules)?;
//! let judgement = files.judge_with(&truth, None)?;
//! assert!(judgement.is_clean(), "{:#?}", judgement.violations);
//! # Ok(())
//! # }
//! ```

mod files;
mod judges;
mod operation;
mod recorder;
pub mod truth;

pub use self::files::{RunFiles, Spill};
pub use self::judges::{
    Cached, CachedContent, Judges, Liveness, Living, Part, Rules, ShardTables, home, judge, judge_caches,
    judge_check, judge_liveness, judge_tables, line, log_line, read_tables, shards,
};
pub use self::operation::{Call, History, Invariant, Judgement, Operation, Reply, SessionId, Violation};
pub use self::recorder::Recorder;
pub use self::truth::{Collected, Collector, CollectorOptions, RunClock, Truth};
