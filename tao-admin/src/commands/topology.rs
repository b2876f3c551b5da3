//! `tao topology`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use tao_schema::topology::{Dsn, Topology};
use tao_server::topology::{check_step, store};

use super::UsageError;
use crate::Common;
use crate::cluster::Cluster;
use crate::output::{Output, print, print_json, say};
use crate::servers;
use crate::topology_diff::{Change, diff, refused_here};

/// Shows and changes where everything is.
#[derive(Subcommand)]
pub enum TopologyVerb {
    /// Prints the topology in force: as the database has it where DSNs are known, else as a node says it.
    Show(Show),
    /// Stores another topology: exactly the next version, and only if nobody was faster. All nodes go by it within
    /// seconds. Masters and epochs are changed by `tao region promote` alone.
    Apply(Apply),
}

/// `tao topology show`
#[derive(Args)]
pub struct Show {
    /// The same as `--output json`.
    #[arg(long)]
    json: bool,
    /// A topology file with DSNs: asks its database servers in place of a node.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Prints passwords, too: the output is then a file that nodes can start from. Keep it at mode 0600.
    #[arg(long)]
    secrets: bool,
}

/// `tao topology apply`
#[derive(Args)]
pub struct Apply {
    /// The next topology, whole, with DSNs.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints what would change and who would be affected, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

impl TopologyVerb {
    /// Does it.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        match self {
            Self::Show(show) => show.run(common).await,
            Self::Apply(apply) => apply.run(common).await,
        }
    }
}

impl Show {
    async fn run(self, common: &Common) -> Result<ExitCode> {
        let servers = servers::known(self.topology.as_deref().or(common.cluster.as_deref()))?;
        let asked = servers.iter().any(|server| server.dsn.expose().starts_with("mysql://"));
        let found = if asked { servers::stored(&servers).await? } else { None };
        let mut topology = match found {
            Some((topology, _)) => topology,
            None => {
                anyhow::ensure!(
                    !self.secrets,
                    UsageError(
                        "--secrets: nodes don't tell passwords; name a topology file, --topology FILE"
                            .to_owned()
                    )
                );
                say("as a node says it; no database was asked");
                Cluster::connect(common).await?.topology().clone()
            }
        };
        if !self.secrets {
            redact(&mut topology);
        }
        if self.json || common.output == Some(Output::Json) {
            print_json(&topology)?;
        } else {
            print(&topology.to_toml())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Apply {
    async fn run(self, common: &Common) -> Result<ExitCode> {
        let next = read(&self.file)?;
        let stored = servers::stored(&servers::of_topology(&next)).await?;
        let Some((last, primary)) = stored else {
            anyhow::bail!(
                "no topology is stored yet: a leader in the master region of host group {} stores its file's when it \
                 starts for the first time",
                next.host_groups.first().map_or(0, |group| group.id.0)
            );
        };
        if next == last {
            say(&format!("version {} is in force already", last.version));
            return Ok(ExitCode::SUCCESS);
        }
        check(&last, &next)?;
        let changes = diff(&last, &next);
        show(&changes, Output::or_default(common.output), last.version, next.version)?;
        if self.dry_run {
            say("nothing was changed (--dry-run)");
            return Ok(ExitCode::SUCCESS);
        }
        store(&next, &primary).await?;
        say(&format!(
            "version {} is stored; nodes go by it within seconds (`tao status` shows which do)",
            next.version
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether `next` may be stored behind `last`.
fn check(last: &Topology, next: &Topology) -> Result<()> {
    let refuse = |why: String| Err(anyhow::Error::from(UsageError(why)));
    if (next.cluster.as_str(), next.shards) != (last.cluster.as_str(), last.shards) {
        return refuse(format!(
            "the databases hold cluster \"{}\" of {} shards; the file is of \"{}\" with {}: neither ever changes",
            last.cluster, last.shards, next.cluster, next.shards
        ));
    }
    if next.version != last.version + 1 {
        return refuse(format!(
            "version {} is in force, so the next one is {}, not {}: begin from what `tao topology show --secrets` prints",
            last.version,
            last.version + 1,
            next.version
        ));
    }
    check_step(last, next).map_err(|contradiction| UsageError(contradiction.to_string()))?;
    match refused_here(last, next) {
        Some(why) => refuse(why),
        None => Ok(()),
    }
}

fn show(changes: &[Change], output: Output, from: u64, to: u64) -> Result<()> {
    match output {
        Output::Json => print_json(&json!({"from": from, "to": to, "changes": changes})),
        Output::Table => {
            let lines = changes.iter().map(|change| format!("{}\n    {}\n", change.what, change.effect));
            print(&format!("version {from} -> {to}\n{}", lines.collect::<String>()))
        }
    }
}

fn read(path: &Path) -> Result<Topology> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| place.clone())?;
    let topology = Topology::parse(&text, &place).map_err(|error| UsageError(error.to_string()))?;
    for group in &topology.host_groups {
        if group.servers.is_empty() {
            anyhow::bail!(UsageError(format!("{place}: host group {} names no servers", group.id)));
        }
        // What `tao topology show` prints without --secrets.
        if group.servers.values().any(|dsn| dsn.expose().contains(":***@")) {
            anyhow::bail!(UsageError(format!(
                "{place}: the servers of host group {} have no passwords: begin from `tao topology show --secrets`",
                group.id
            )));
        }
    }
    Ok(topology)
}

/// Puts what a DSN shows in the place of the DSN.
fn redact(topology: &mut Topology) {
    for dsn in topology.host_groups.iter_mut().flat_map(|group| group.servers.values_mut()) {
        *dsn = Dsn::new(dsn.to_string());
    }
}
