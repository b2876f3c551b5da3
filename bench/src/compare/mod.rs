//! `tao-bench compare`: starts everything, measures all rows in one run, checks the caches, and reports.
//!
//! Rounds of the tier and of its peer alternate, each after the other's, and the order turns around each time: so whatever the
//! machine does slowly (frequency, memory, other work) falls on both. The value of a row is the median of the rounds' ratios.

mod rounds;
mod rows;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cluster::{Checked, Cluster, ClusterOptions};
use crate::machine::{Cores, find_program};
use crate::report::{Curves, GroupTime, Machine, Report, Row, plot, table};
use crate::say;
use crate::workloads::{DataFolder, Size};

pub use rounds::{Rounds, alternate};

/// What to measure, and where to put it.
#[derive(Args, Debug)]
pub struct Compare {
    /// Small data and short rounds: fits four minutes on two cores.
    #[arg(long)]
    quick: bool,
    /// Only these rows; default: all. `--rows help` lists them.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    rows: Vec<String>,
    /// Alternating rounds of each row; default 5, with --quick 3.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one round; default 3, with --quick 0.7.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Objects of the point reads; default 1000000, with --quick 150000.
    #[arg(long)]
    objects: Option<u32>,
    /// Connections of the pipelined reads, each with a batch in flight.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Where the random keys and the data start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder with published distributions (tao_atc13/, linkbench/, taobench/, snap/); without it, small stand-ins.
    #[arg(long, env = "TAO_BENCH_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Pins nobody: servers and clients share all cores.
    #[arg(long)]
    pub free: bool,
    /// Writes the report as JSON here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws throughput, latencies and memory here.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What the rows share.
pub struct Bench {
    /// As asked.
    pub options: Compare,
    /// Who runs where.
    pub cores: Cores,
    /// Of this run.
    pub rounds: Rounds,
    rows: Vec<Row>,
    checks: Vec<Checked>,
    curves: Curves,
    engines: Vec<String>,
    failures: Vec<String>,
    groups: Vec<GroupTime>,
}

impl Compare {
    /// Measures and reports.
    ///
    /// # Errors
    /// Something can't be started or fails, or `tao check` finds a difference.
    pub async fn run(self, cores: Cores) -> Result<()> {
        let began = Instant::now();
        if self.rows.iter().any(|row| row == "help") {
            return crate::print(&rows::NAMES.join("\n"));
        }
        for row in &self.rows {
            ensure!(
                rows::NAMES.contains(&row.as_str()),
                "no row {row}; there are {}",
                rows::NAMES.join(", ")
            );
        }
        let number = self.rounds.unwrap_or(if self.quick { 3 } else { 5 });
        ensure!(number > 0, "--rounds: at least 1");
        let seconds = self.seconds.unwrap_or(if self.quick { 0.7 } else { 3.0 });
        let time = Duration::try_from_secs_f64(seconds).context("--seconds")?;
        let rounds = Rounds { number, time, seed: self.seed };
        let mut bench = Bench {
            options: self,
            cores,
            rounds,
            rows: Vec::new(),
            checks: Vec::new(),
            curves: Curves::default(),
            engines: Vec::new(),
            failures: Vec::new(),
            groups: Vec::new(),
        };
        rows::all(&mut bench).await;
        bench.finish(began)
    }
}

impl Bench {
    /// Whether any of these rows is wanted.
    pub fn wants(&self, names: &[&str]) -> bool {
        let rows = &self.options.rows;
        rows.is_empty() || names.iter().any(|name| rows.iter().any(|row| row == name))
    }

    /// A figure of the full run, or of the quick one.
    pub const fn pick<T: Copy>(&self, full: T, quick: T) -> T {
        if self.options.quick { quick } else { full }
    }

    /// Data with so many objects on so many shards.
    pub fn size(&self, objects: u32, shards: u32) -> Size {
        Size { objects, shards, data: DataFolder::new(self.options.data.clone()), seed: self.options.seed }
    }

    /// Starts a cluster with caches that hold everything, and a database for the peers if they need one.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn cluster(&mut self, shards: u32, peer_database: bool) -> Result<Cluster> {
        let cluster = Cluster::start(ClusterOptions {
            cores: self.cores.clone(),
            shards,
            follower_bytes: 4 << 30,
            leader_bytes: 2 << 30,
            buffer_pool_bytes: self.pick(1 << 30, 512 << 20),
            peer_database,
        })
        .await?;
        let engine = cluster.engine().to_owned();
        if !self.engines.contains(&engine) {
            self.engines.push(engine);
        }
        Ok(cluster)
    }

    /// Adds a row, if it is wanted.
    pub fn row(&mut self, row: Row) {
        if self.wants(&[row.name]) {
            if row.rounds.is_empty() {
                say(&format!("  {}: not measured: {}", row.name, row.notes.join("; ")));
                return self.rows.push(row);
            }
            say(&format!(
                "  {}: {:.3} {} ({:.3} to {:.3}), goal {}",
                row.name,
                row.median,
                row.unit,
                row.min,
                row.max,
                row.goal.text(row.unit)
            ));
            self.rows.push(row);
        }
    }

    /// What the plot shows.
    pub const fn curves(&mut self) -> &mut Curves {
        &mut self.curves
    }

    /// Compares the caches with the database: after every group of rows.
    ///
    /// # Errors
    /// A difference, or the check can't be made.
    pub async fn check(&mut self, cluster: &Cluster, after: &str) -> Result<()> {
        let mut checked = cluster.check().await.with_context(|| format!("after {after}"))?;
        after.clone_into(&mut checked.after);
        say(&format!("  tao check: {} entries, no difference", checked.cached_entries));
        self.checks.push(checked);
        Ok(())
    }

    /// Notes how a group of rows ended, and how long it took.
    pub fn group(&mut self, name: &'static str, began: Instant, outcome: Result<()>) {
        self.groups.push(GroupTime { name, seconds: began.elapsed().as_secs_f64() });
        if let Err(error) = outcome {
            say(&format!("  {name} failed: {error:#}"));
            self.failures.push(format!("{name}: {error:#}"));
        }
    }

    fn finish(mut self, began: Instant) -> Result<()> {
        for peer in ["redis-server", "memcached"] {
            self.engines.push(version_of(peer));
        }
        let machine = Machine {
            processor: processor(),
            cores: self.cores.all(),
            pinning: self.cores.describe(),
            engines: self.engines,
        };
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            machine,
            seed: self.options.seed,
            quick: self.options.quick,
            round_seconds: self.rounds.time.as_secs_f64(),
            rows: self.rows,
            checks: self.checks,
            curves: self.curves,
            failures: self.failures,
            groups: self.groups,
            seconds: began.elapsed().as_secs_f64(),
        };
        for group in &report.groups {
            say(&format!("{:>6.0} s  {}", group.seconds, group.name));
        }
        crate::print(&table(&report))?;
        if let Some(path) = &self.options.json {
            let text = serde_json::to_string_pretty(&report)?;
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        if let Some(path) = &self.options.plot {
            let title =
                format!("{}; {}; seed {}", report.machine.processor, report.machine.pinning, report.seed);
            std::fs::write(path, plot(&report.curves, &title)).with_context(|| path.display().to_string())?;
        }
        ensure!(report.failures.is_empty(), "failed: {}", report.failures.join("; "));
        Ok(())
    }
}

fn version_of(program: &str) -> String {
    let Some(path) = find_program(program) else { return format!("{program}: not installed") };
    let said = std::process::Command::new(path).arg("--version").output();
    let text = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or(program).trim().to_owned()
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or("unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}
