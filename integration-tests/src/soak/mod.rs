//! Whole-cluster scenarios with a summary: users who write in one region and read in another, while things happen.
//!
//! Every value that is written is unique and has one writer, so that each read can be judged by itself: a token read
//! must show at least the writer's last acknowledged value, a bounded read at least what was acknowledged so long
//! before it. Times are taken with one monotonic clock, because writers and readers are in one process.

mod citizens;
mod events;
mod ledger;
mod summary;
mod visible;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_schema::topology::ReplicationMode;

pub use self::citizens::Door;
pub use self::events::Event;
use self::ledger::Ledger;
pub use self::summary::{Count, Quantiles, Summary, Visible};
use crate::regions::{Regions, RegionsOptions};
use crate::servers::Source;

/// Replication that was stopped must have caught up within this.
const CATCH_UP: Duration = Duration::from_secs(180);

/// What a run is.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// Where the databases come from.
    pub source: Source,
    /// Regions, 2 or more.
    pub regions: usize,
    /// How long users are at work.
    pub time: Duration,
    /// Where all randomness starts.
    pub seed: u64,
    /// Users at once.
    pub users: u32,
    /// One-way delay between regions.
    pub wan: Duration,
    /// What an acknowledgement promises.
    pub mode: ReplicationMode,
    /// What happens meanwhile, spread over the time in this order.
    pub events: Vec<Event>,
    /// Writes whose visibility in another region is timed after the users' work; 0: none.
    pub visible_writes: u32,
}

/// The scenario `regions`: users in all regions, events, a check of everything at the end.
///
/// # Errors
/// The cluster can't be started or checked. What is found wrong is not an error, but in the summary.
pub async fn regions(options: &SoakOptions) -> Result<Summary> {
    let started = Instant::now();
    let cluster = RegionsOptions {
        regions: options.regions,
        wan: options.wan,
        mode: options.mode,
        ..RegionsOptions::default()
    };
    let mut cluster = Regions::start(&options.source, &cluster).await.context("start the regions")?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let clients = cluster.clients().await?;
    let users: Vec<_> = (0..options.users)
        .map(|number| {
            let citizen = citizens::Citizen::new(
                number,
                clients.clone(),
                cluster.shards(),
                Arc::clone(&ledger),
                random.random(),
            );
            tokio::spawn(citizen.live(Arc::clone(&stop)))
        })
        .collect();
    let happened = events::run(&mut cluster, options, &ledger, &clients).await;
    stop.store(true, Ordering::Relaxed);
    for user in users {
        user.await.context("a user's task")?;
    }
    let work = started.elapsed();
    let mut summary = ledger.summary(options, work);
    summary.events = happened?;
    if options.visible_writes > 0 {
        summary.visible =
            Some(visible::measure(&cluster, &clients, options.visible_writes, options.seed).await?);
    }
    summary.catch_up_seconds = cluster.caught_up(CATCH_UP).await?.as_secs_f64();
    summary.checks = cluster.check_all().await?;
    summary.lag = cluster.lag().await.unwrap_or_default();
    Ok(summary)
}
