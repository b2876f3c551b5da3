//! `tao-bench`: what a running cluster does, measured through the SDK, beside a plain MySQL client on the same server.

mod closed_loop;
mod plain;
mod report;
mod tier;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tao_client::{Client, Options};
use tao_schema::ids::ObjectType;

use plain::Plain;
use report::Figures;
use workload::Space;

/// Replies and rows are many small allocations that change threads; glibc's allocator took a quarter of the time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a running cluster. Closed loops, random keys, seeds printed.
#[derive(Parser)]
#[command(name = "tao-bench", version)]
struct Command {
    /// The ready file of `tao dev`.
    #[arg(long, env = "TAO_CLUSTER")]
    cluster: PathBuf,
    /// Seconds of each run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Objects between which edges are drawn.
    #[arg(long, default_value_t = 1_000_000)]
    objects: u32,
    /// Where the random keys start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the figures as JSON here.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Durable `assoc_add` without inverse, against one prepared transaction an operation (edge, exact count) on the same
    /// database server: the best of several connection counts, measured before and after.
    Write {
        /// Callers of the tier at once.
        #[arg(long, default_value_t = 512)]
        callers: usize,
        /// Connections of the plain client, each tried.
        #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128")]
        connections: Vec<usize>,
    },
    /// Point reads that hit.
    Read {
        /// Keys read, all of them put into memory first.
        #[arg(long, default_value_t = 10_000)]
        keys: u32,
    },
}

/// What is used of a ready file.
#[derive(Deserialize)]
struct Ready {
    engine: String,
    shards: u32,
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    followers: Vec<Node>,
    databases: Vec<Database>,
}

#[derive(Deserialize)]
struct Node {
    address: String,
}

#[derive(Deserialize)]
struct Database {
    dsn: String,
}

/// Everything that was measured in one call.
#[derive(Serialize)]
struct Report {
    engine: String,
    seed: u64,
    figures: Vec<Figures>,
    /// Rate of the tier over the best rate of the plain client.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

fn main() -> Result<()> {
    let command = Command::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(command))
}

async fn run(command: Command) -> Result<()> {
    let text =
        std::fs::read_to_string(&command.cluster).with_context(|| command.cluster.display().to_string())?;
    let ready: Ready = serde_json::from_str(&text).context("the ready file of `tao dev`")?;
    let addresses =
        ready.regions.iter().flat_map(|region| &region.followers).map(|node| node.address.clone());
    let client = Client::connect(Options::new(addresses)).await?;
    let otype = client.schema().object_type_named("user").map_or(ObjectType(1), |def| def.id);
    let space = Space { objects: command.objects, shards: ready.shards, otype };
    let time = Duration::from_secs_f64(command.seconds);
    let mut report = Report { engine: ready.engine, seed: command.seed, figures: Vec::new(), ratio: None };
    print(&format!("{}, seed {}", report.engine, report.seed))?;
    match command.work {
        Work::Write { callers, connections } => {
            let databases: Vec<&Database> =
                ready.regions.iter().flat_map(|region| &region.databases).collect();
            let [database] = databases[..] else {
                anyhow::bail!(
                    "compare on one database server: start the cluster with --storage mysql --db-servers 1"
                );
            };
            let plain = Plain::prepare(&database.dsn).await?;
            let mut best = 0f64;
            let mut most = 0f64;
            for round in 0..2 {
                for connections in &connections {
                    let figures = plain.run(*connections, time, space, command.seed + round).await?;
                    best = best.max(figures.rate);
                    print(&figures.line())?;
                    report.figures.push(figures);
                }
                let figures = tier::write(&client, callers, time, space, command.seed + 10 + round).await?;
                most = most.max(figures.rate);
                print(&figures.line())?;
                report.figures.push(figures);
            }
            let single = tier::write(&client, 1, time, space, command.seed + 20).await?;
            print(&single.line())?;
            report.figures.push(single);
            report.ratio = Some(most / best);
            print(&format!(
                "best of the tier {most:.0}/s, best of the plain client {best:.0}/s: {:.2} times",
                most / best
            ))?;
        }
        Work::Read { keys } => {
            let space = Space { objects: keys, ..space };
            tier::warm(&client, space).await?;
            for (callers, batch) in [(1, 1), (64, 1), (8, 16), (64, 16)] {
                let figures = tier::read(&client, callers, batch, time, space, command.seed).await?;
                print(&figures.line())?;
                report.figures.push(figures);
            }
        }
    }
    if let Some(path) = command.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn print(line: &str) -> Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
