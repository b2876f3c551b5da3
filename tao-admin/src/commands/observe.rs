//! `tao observe`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::UsageError;
use crate::Common;
use crate::cluster::Cluster;
use crate::observe::{self, Options, Report};
use crate::output::{Output, print, print_json, say};
use crate::servers;

/// Most changes a second that may be looked at.
const MAX_RATE: f64 = 1_000.0;
/// Ages that may be asked for.
const MAX_AGES: usize = 8;
/// The greatest of them.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Measures how consistent the caches are, on a live cluster: follows the primaries' logs, and looks at every node for
/// what changed, some time after the primary showed it.
///
/// Of each change that is chosen, every tier of every region is asked as a client asks it, at each of the ages. An answer
/// without the change is stale, one that contradicts the log at the very position it claims is wrong, and one that can't be
/// judged is unknown, never consistent. What is stale at the last age, or wrong, is listed, after a read that the primary
/// proves has confirmed it.
///
/// It needs the primaries' DSNs: of a ready file of `tao dev`, or of a topology file (--cluster or --topology); the
/// account must be allowed to read the log (REPLICATION SLAVE, REPLICATION CLIENT) and the tables.
///
/// Exit code: 1 if something was stale at the last age or wrong, 3 if nothing could be judged.
#[derive(Args)]
pub struct Observe {
    /// A topology file with DSNs.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Chooses changes for so long, looks at the last of them to their end, and tells the result. Default: until it is
    /// interrupted.
    #[arg(long, value_name = "TIME", value_parser = super::values::duration)]
    duration: Option<Duration>,
    /// How many changes are looked at in a second, on average; a part of one is possible.
    #[arg(long, value_name = "NUMBER", default_value_t = 10.0)]
    samples_per_second: f64,
    /// How long after the primary showed it a change is looked for.
    #[arg(long, value_name = "TIMES", value_delimiter = ',', default_values = ["1s", "5s", "60s"],
        value_parser = super::values::duration)]
    ages: Vec<Duration>,
    /// Also looks at the database servers themselves.
    #[arg(long)]
    databases: bool,
    /// Tells the figures so far every so often, as JSON in lines. Default: a table that is refreshed each second on a
    /// terminal, else only the result.
    #[arg(long, value_name = "TIME", value_parser = super::values::duration)]
    interval: Option<Duration>,
    /// Serves Prometheus metrics at this address, path /metrics.
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

impl Observe {
    /// Observes until its time is over or it is interrupted, then tells the result.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let file = self.topology.as_deref().or(common.cluster.as_deref());
        let servers = servers::known(file)?;
        let output = Output::or_default(common.output);
        let terminal = output == Output::Table && std::io::stdout().is_terminal();
        let interval = self.interval.or(terminal.then_some(Duration::from_secs(1)));
        let cluster = Cluster::connect(common).await?;
        let options = self.options(common, interval)?;
        if !servers.iter().any(|server| server.dsn.expose().starts_with("mysql://")) {
            let message = "no log to follow: no database server is known, or the cluster has its data in memory; name a \
                           topology file with DSNs, --topology FILE";
            return Err(UsageError(message.to_owned()).into());
        }
        let mut screen = Screen { output, terminal, lines: 0, streamed: interval.is_some() };
        let report =
            observe::run(cluster.client(), servers, options, interrupted(), |report| screen.show(report))
                .await?;
        screen.show(&report)?;
        if report.inconsistency_count > 0 {
            return Ok(ExitCode::FAILURE);
        }
        if !report.judged() {
            say(
                "nothing was judged at the last age, so nothing is known: too few changes came in, it ended too early, or \
                 no node answered",
            );
            return Ok(ExitCode::from(3));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self, common: &Common, interval: Option<Duration>) -> Result<Options> {
        let mut ages = self.ages.clone();
        ages.sort_unstable();
        ages.dedup();
        let wrong = |message: String| Err(UsageError(message).into());
        if ages.is_empty() || ages.len() > MAX_AGES || ages.iter().any(|age| *age > MAX_AGE) {
            return wrong(format!("--ages: 1 to {MAX_AGES} times of at most {} s", MAX_AGE.as_secs()));
        }
        if !(self.samples_per_second > 0.0 && self.samples_per_second <= MAX_RATE) {
            return wrong(format!("--samples-per-second: must be above 0 and at most {MAX_RATE}"));
        }
        if interval.is_some_and(|interval| interval < Duration::from_millis(100)) {
            return wrong("--interval: at least 100ms".to_owned());
        }
        Ok(Options {
            ages,
            rate: self.samples_per_second,
            duration: self.duration,
            interval,
            region: common.region.clone(),
            databases: self.databases,
            metrics_listen: self.metrics_listen,
            timeout: Duration::from_secs_f64(common.timeout),
        })
    }
}

/// Where reports go.
struct Screen {
    output: Output,
    terminal: bool,
    /// Of the last table, to be overwritten.
    lines: usize,
    /// Reports come in between.
    streamed: bool,
}

impl Screen {
    fn show(&mut self, report: &Report) -> Result<()> {
        match self.output {
            Output::Json if self.streamed => print(&format!("{}\n", report.to_json())),
            Output::Json => print_json(&report.to_json()),
            Output::Table => {
                let text = report.to_text();
                if self.terminal && self.lines > 0 {
                    // Up to where the last table began, and clear what follows.
                    print(&format!("\x1b[{}A\x1b[J", self.lines))?;
                }
                self.lines = text.lines().count();
                print(&text)
            }
        }
    }
}

/// Ends with Ctrl-C or SIGTERM.
async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
