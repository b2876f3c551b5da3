//! Where moves are made: a cluster, users and probes at work on it, and windows that are judged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_admin::shard::Step;
use tao_schema::ids::ShardId;

use super::MovesOptions;
use super::probes::{Probes, Seen};
use super::rows;
use super::tool::{Tool, Worker};
use crate::history::{Invariant, Violation};
use crate::regions::{Links, RegionsOptions};
use crate::scenarios::findings::Findings;
use crate::scenarios::meter::{Meter, Phase, Window};
use crate::scenarios::progress::Progress;
use crate::scenarios::sampling::Samples;
use crate::scenarios::stage::Stage;
use crate::scenarios::workload::{Workload, WorkloadOptions};

/// Probes of each region.
const PROBES: u32 = 2;
/// How long users are watched for what they get before a move.
const BASELINE: Duration = Duration::from_secs(2);
/// Between two looks at a worker.
const ATTEND: Duration = Duration::from_millis(20);
/// Between two looks at memory and files.
const LOOK: Duration = Duration::from_secs(2);

/// A cluster with users and probes. Everything ends with it.
pub(super) struct Site {
    pub(super) stage: Stage,
    pub(super) tool: Tool,
    pub(super) meter: Arc<Meter>,
    pub(super) progress: Progress,
    pub(super) probes: Probes,
    pub(super) samples: Samples,
    pub(super) random: StdRng,
    /// Rows that one shard was given, and which.
    pub(super) loaded: Option<(ShardId, u64)>,
    users: Workload,
    began: Instant,
    looked: Instant,
}

impl Site {
    /// Starts everything, with the first window open and users at work.
    ///
    /// # Errors
    /// Something does not become ready.
    pub(super) async fn start(options: &MovesOptions) -> Result<Self> {
        let began = Instant::now();
        let cluster = RegionsOptions {
            regions: options.regions,
            groups: options.groups,
            leaders: options.nodes,
            followers: options.nodes,
            wan: options.wan,
            mode: options.mode,
            links: Links::BetweenRegions,
            seed: options.seed,
            ..RegionsOptions::default()
        };
        let mut stage = Stage::start(&options.source, &cluster).await.context("start the regions")?;
        let meter = Arc::new(Meter::default());
        let progress = Progress::with_meter(began, Arc::clone(&meter));
        let mut random = StdRng::seed_from_u64(options.seed);
        let mut loaded = None;
        if options.rows > 0 {
            let shard = ShardId(random.random_range(0..u16::try_from(stage.cluster.shards())?));
            let rows = rows::load(&mut stage, shard, options.rows, &progress).await?;
            progress.say(&format!("shard {shard} has {rows} rows"));
            loaded = Some((shard, rows));
        }
        stage.open().await?;
        let load = WorkloadOptions {
            users: options.users,
            pause: options.pause,
            seed: random.random(),
            first_session: stage.sessions(options.users),
            pace: options.pace,
        };
        let doors = stage.doors().to_vec();
        let first = stage.sessions(Probes::number(doors.len(), PROBES));
        let shards = stage.cluster.shards();
        let probes = Probes::start(&doors, PROBES, shards, Arc::clone(&meter), first);
        let tool = Tool::new(&stage.cluster);
        let users = Workload::start(doors, shards, Arc::clone(&meter), &load);
        let samples = Samples::default();
        Ok(Self {
            stage,
            tool,
            meter,
            progress,
            probes,
            samples,
            random,
            loaded,
            users,
            began,
            looked: began,
        })
    }

    /// What users got in the last seconds.
    pub(super) fn baseline(&self) -> Window {
        let moment = Instant::now().checked_sub(BASELINE);
        moment.map(|moment| self.meter.window(moment)).unwrap_or_default()
    }

    /// Waits for a worker's end, and looks at memory and files meanwhile. Probes begin a new lap when it has come to `lap_at`: what
    /// they saw before is in the answer.
    ///
    /// # Errors
    /// Its state can't be read.
    pub(super) async fn attend(
        &mut self,
        worker: &mut Worker,
        limit: Duration,
        lap_at: Option<Step>,
    ) -> Result<(Option<i32>, Option<Seen>)> {
        let (began, mut copying) = (Instant::now(), None);
        loop {
            if let Some(step) = lap_at
                && copying.is_none()
                && worker.came_to(step)?
            {
                copying = Some(self.probes.lap());
            }
            match worker.ended()? {
                None if began.elapsed() < limit => {}
                Some(code) => return Ok((Some(code), copying)),
                None => {
                    worker.kill()?;
                    return Ok((None, copying));
                }
            }
            self.sample();
            tokio::time::sleep(ATTEND).await;
        }
    }

    /// Looks at memory and files.
    pub(super) fn sample(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let processes = self.stage.processes();
        let named = processes.iter().map(|(name, pid)| (name.as_str(), *pid));
        self.samples.take(self.began.elapsed(), named);
    }

    /// Time goes by, and memory is looked at.
    pub(super) async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.sample();
            tokio::time::sleep(LOOK.min(until - Instant::now())).await;
        }
    }

    /// Users and probes rest; the window is judged.
    ///
    /// # Errors
    /// The logs or the tables can't be read.
    pub(super) async fn judge(&mut self, findings: &mut Findings) -> Result<()> {
        self.probes.rest().await;
        self.users.pause().await;
        let judged = self.stage.close().await?;
        findings.absorb(judged, &self.progress);
        Ok(())
    }

    /// Compares all caches with their databases. Nobody may be at work.
    ///
    /// # Errors
    /// A region does not come to the present, or can't be asked.
    pub(super) async fn check(&self, findings: &mut Findings) -> Result<()> {
        let checked = self.stage.check().await?;
        findings.absorb(checked, &self.progress);
        self.progress.say(&format!(
            "judged: {} facts so far, {} violations",
            findings.checked.values().sum::<u64>(),
            findings.violation_count
        ));
        Ok(())
    }

    /// The next window: users go on.
    ///
    /// # Errors
    /// A server does not answer.
    pub(super) async fn go_on(&mut self) -> Result<()> {
        self.stage.open().await?;
        self.meter.enter(Phase::Quiet);
        self.users.resume();
        Ok(())
    }

    /// Users end. What refused them wrongly is a violation.
    pub(super) async fn close(self, findings: &mut Findings) {
        for message in self.users.unexpected() {
            findings
                .blame(Violation { invariant: Invariant::I9, message, slice: Vec::new() }, &self.progress);
        }
        self.users.abandon().await;
    }
}
