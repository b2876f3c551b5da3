//! `tao-bench run`: one workload on a running cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::cluster::{Ready, check};
use crate::machine::Cores;
use crate::measure::{Caller, Figures, Plan, closed_loop, open_loop};
use crate::peers::{Database, Mode, Pages, PlainMysql, Tier, load_mysql, load_tier, warm_tier};
use crate::workloads::{DataFolder, Name, Size, Workload};
use crate::{print, say};

/// One workload, and how to put it.
#[derive(Args, Debug)]
pub struct Run {
    /// Which.
    #[arg(value_enum)]
    workload: Name,
    /// The ready file of `tao dev`, started with `--schema bench/schema.toml`.
    #[arg(long, env = "TAO_CLUSTER")]
    cluster: PathBuf,
    /// Who does it.
    #[arg(long, value_enum, default_value_t = Who::Tier)]
    by: Who,
    /// Objects, nodes or lists that are made.
    #[arg(long, default_value_t = 10_000)]
    objects: u32,
    /// Callers at once. In an open loop: the most that may be under way.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// Operations that a caller asks for together.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Calls a second that arrive however slow the answers are (an open loop); default: each caller waits for its answer.
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Seconds that are measured, after a fifth of it to warm up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where the random keys and the data start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The data is there from an earlier run with the same size and seed.
    #[arg(long)]
    loaded: bool,
    /// A folder with published distributions (tao_atc13/, linkbench/, taobench/, snap/); without it, small stand-ins.
    #[arg(long, env = "TAO_BENCH_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Does not keep the clients on the second core.
    #[arg(long)]
    pub free: bool,
    /// Also write the figures as JSON here.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Who {
    /// The tier, through its SDK.
    Tier,
    /// A plain client of the cluster's only database server, with tables of its own.
    Mysql,
}

/// What was measured.
#[derive(Serialize)]
struct Measured {
    engine: String,
    workload: String,
    source: String,
    by: String,
    seed: u64,
    rate_asked: Option<f64>,
    figures: Figures,
}

impl Run {
    /// Loads, measures, checks.
    ///
    /// # Errors
    /// The cluster does not answer, a call fails, or `tao check` finds a difference.
    pub async fn run(self) -> Result<()> {
        ensure!(self.callers > 0 && self.batch > 0, "--callers and --batch: at least 1");
        let ready = Ready::read(&self.cluster)?;
        let size = Size {
            objects: self.objects,
            shards: ready.shards,
            data: DataFolder::new(self.data.clone()),
            seed: self.seed,
        };
        let workload = self.workload.make(&size)?;
        say(&format!("{}, seed {}: {}", ready.engine, self.seed, workload.source()));
        let plan = Plan::new(Duration::try_from_secs_f64(self.seconds).context("--seconds")?, self.seed);
        let figures = match self.by {
            Who::Tier => self.tier(&ready, &workload, plan).await?,
            Who::Mysql => self.mysql(&ready, &workload, plan).await?,
        };
        print(&figures.line(&format!("{:?} by {:?}", self.workload, self.by)))?;
        if let Some(path) = &self.json {
            let measured = Measured {
                engine: ready.engine,
                workload: format!("{:?}", self.workload),
                source: workload.source(),
                by: format!("{:?}", self.by),
                seed: self.seed,
                rate_asked: self.rate,
                figures,
            };
            std::fs::write(path, serde_json::to_string_pretty(&measured)?)
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    async fn tier(&self, ready: &Ready, workload: &Arc<dyn Workload>, plan: Plan) -> Result<Figures> {
        let client = ready.client().await?;
        ensure!(
            client.schema().assoc_type_named("edge").is_some(),
            "the cluster has another graph schema: start it with `tao dev --schema bench/schema.toml`"
        );
        if !self.loaded {
            load_tier(&client, &**workload).await?;
        }
        warm_tier(&client, &**workload).await?;
        let callers = Pages::of(Tier::callers(&client, self.callers), workload, self.batch);
        let figures = self.measure(callers, plan).await?;
        let checked = check(&self.cluster, &Cores::split(true)?).await?;
        say(&format!("tao check: {} entries compared, no difference", checked.cached_entries));
        Ok(figures)
    }

    async fn mysql(&self, ready: &Ready, workload: &Arc<dyn Workload>, plan: Plan) -> Result<Figures> {
        let dsn = ready.dsn()?;
        if !self.loaded {
            Database::prepare(&dsn).await?;
            load_mysql(&dsn, &**workload).await?;
        }
        let mode = if self.workload == Name::Write { Mode::Writes } else { Mode::Reads };
        let callers = PlainMysql::callers(&dsn, mode, self.callers).await?;
        self.measure(Pages::of(callers, workload, self.batch), plan).await
    }

    async fn measure<C: Caller>(&self, callers: Vec<C>, plan: Plan) -> Result<Figures> {
        match self.rate {
            Some(rate) => {
                let open = open_loop(callers, rate, plan).await?;
                say(&format!("calls were let arrive late: p99 {:.1} us", open.late.p99_us));
                Ok(open.calls)
            }
            None => closed_loop(callers, plan).await,
        }
    }
}
