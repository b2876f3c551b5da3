//! `tao region`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use tao_schema::ids::HostGroupId;
use tao_schema::topology::Topology;

use super::UsageError;
use crate::Common;
use crate::output::{Output, Table, print, print_json, say};
use crate::region::{
    Limits, Loss, PromoteOptions, Promoted, RejoinOptions, RejoinState, Rejoined, Step, newest_of, promote,
    rejoin, status,
};
use crate::servers;

/// Regions and their database servers. Talks to the servers themselves, with the accounts in the topology; these need the
/// role `tao_admin`, or the privileges of an administrator.
#[derive(Subcommand)]
pub enum Region {
    /// Makes the servers of a region the primaries. Run again after it was cut off, it goes on. Without loss if the old
    /// primaries answer, or if the host groups are lossless and all their other servers answer; else only with
    /// --accept-loss.
    Promote(Promote),
    /// Brings the servers of a region back as what the topology says they are. One that has writes which a failover lost
    /// stays out; these writes are listed.
    Rejoin(Rejoin),
    /// Shows each database server: what it is, and what it should be. Exit code 1 if one is not what it should be.
    Status(Servers),
}

/// Which servers.
#[derive(Args)]
pub struct Servers {
    /// A topology with database servers, of any version: the newest one that the servers hold counts. Default: the file of
    /// --cluster, or the local dev cluster.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Seconds until a server counts as unreachable.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    connect_timeout: f64,
    /// Seconds that a server may take to catch up.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    catch_up_timeout: f64,
}

/// Which servers of a region.
#[derive(Args)]
pub struct OfRegion {
    /// The region.
    region: String,
    #[command(flatten)]
    servers: Servers,
    /// Only this host group; may be repeated.
    #[arg(long = "group", value_name = "ID")]
    groups: Vec<u16>,
    /// The servers of a region get the log of a group's primary through this address in place of the topology's; may be
    /// repeated.
    #[arg(long, value_name = "GROUP:REGION=HOST:PORT", value_parser = source_address)]
    source_address: Vec<(u16, String, String, u16)>,
}

/// Arguments of `tao region promote`.
#[derive(Args)]
pub struct Promote {
    #[command(flatten)]
    of: OfRegion,
    /// Goes on without an old primary that answers but can't be shut. It must not be reachable for its region's leaders.
    #[arg(long)]
    force: bool,
    /// Gives up acknowledged writes that no server in reach has. They are listed when the old primary returns.
    #[arg(long)]
    accept_loss: bool,
    /// Goes on in the mode async where no server is left to acknowledge the writes of a lossless one.
    #[arg(long)]
    as_async: bool,
    /// Says what would be done, and whether it would be refused.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `tao region rejoin`.
#[derive(Args)]
pub struct Rejoin {
    #[command(flatten)]
    of: OfRegion,
    /// Puts the host groups into the mode lossless once their servers in the region follow.
    #[arg(long)]
    lossless: bool,
}

impl Region {
    /// Runs the command.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let output = Output::or_default(common.output);
        match self {
            Self::Promote(args) => args.run(common, output).await,
            Self::Rejoin(args) => args.run(common, output).await,
            Self::Status(servers) => show(&servers, common, output).await,
        }
    }
}

impl Servers {
    /// The topology that says where the servers are, and how long they may take.
    pub(super) async fn read(&self, common: &Common) -> Result<(Topology, Limits)> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value)
                .ok()
                .filter(|time| !time.is_zero() && *time <= Duration::from_secs(86_400))
                .ok_or_else(|| UsageError(format!("--{name} {value}: above 0, at most a day")))
        };
        let connect = seconds("connect-timeout", self.connect_timeout)?;
        let catch_up = seconds("catch-up-timeout", self.catch_up_timeout)?;
        let limits = Limits { connect, catch_up };
        let topology = match &self.topology {
            Some(path) => read(path)?,
            None => stored(common, &limits).await?,
        };
        Ok((topology, limits))
    }
}

fn read(path: &Path) -> Result<Topology> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
    Ok(Topology::parse(&text, &name).map_err(|error| UsageError(error.to_string()))?)
}

/// As the database servers of a topology or ready file have it.
async fn stored(common: &Common, limits: &Limits) -> Result<Topology> {
    let known = servers::known(common.cluster.as_deref())?;
    let first = known.iter().map(|server| server.group).min();
    let dsns: Vec<_> =
        known.iter().filter(|server| Some(server.group) == first).map(|server| server.dsn.clone()).collect();
    ensure!(!dsns.is_empty(), UsageError("--topology FILE: a topology with database servers".to_owned()));
    newest_of(&dsns, limits)
        .await?
        .context("the database servers hold no topology yet: name a file with --topology")
}

impl OfRegion {
    fn groups(&self) -> Vec<HostGroupId> {
        self.groups.iter().copied().map(HostGroupId).collect()
    }

    fn through(&self, group: HostGroupId, region: &str) -> Option<(String, u16)> {
        let given =
            self.source_address.iter().find(|(id, name, ..)| (*id, name.as_str()) == (group.0, region));
        given.map(|(_, _, host, port)| (host.clone(), *port))
    }
}

fn source_address(text: &str) -> Result<(u16, String, String, u16), String> {
    let parts = || {
        let (place, address) = text.split_once('=')?;
        let (group, region) = place.split_once(':')?;
        let (host, port) = address.rsplit_once(':')?;
        Some((group.parse().ok()?, region.to_owned(), host.to_owned(), port.parse().ok()?))
    };
    parts().ok_or_else(|| "expected GROUP:REGION=HOST:PORT".to_owned())
}

fn tell(group: HostGroupId, step: Step, what: &str) -> Result<()> {
    say(&format!("host group {group}: {:<9} {what}", step.text()));
    Ok(())
}

impl Promote {
    async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let (topology, limits) = self.of.servers.read(common).await?;
        let options = PromoteOptions {
            region: &self.of.region,
            groups: &self.of.groups(),
            force: self.force,
            accept_loss: self.accept_loss,
            as_async: self.as_async,
            dry_run: self.dry_run,
            limits,
            through: &|group, region| self.of.through(group, region),
        };
        let promoted = promote(topology, &options, &tell).await?;
        match output {
            Output::Json => print_json(&promoted)?,
            Output::Table => print(&table(&promoted))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(promoted: &Promoted) -> String {
    let mut table = Table::new(&["host_group", "from", "to", "way", "epoch", "seconds", "others"]);
    for group in &promoted.groups {
        let others: Vec<String> =
            group.others.iter().map(|(region, outcome)| format!("{region} {outcome}")).collect();
        table.row(vec![
            json!(group.host_group),
            json!(group.from),
            json!(group.to),
            json!(group.way),
            json!(group.epoch),
            json!(format!("{:.2}", group.seconds)),
            json!(others.join("; ")),
        ]);
    }
    let note = if promoted.dry_run { "nothing was done" } else { "now" };
    format!("{}topology version {}, {note}\n", table.to_text(), promoted.topology_version)
}

impl Rejoin {
    async fn run(self, common: &Common, output: Output) -> Result<ExitCode> {
        let (topology, limits) = self.of.servers.read(common).await?;
        let options = RejoinOptions {
            region: &self.of.region,
            groups: &self.of.groups(),
            lossless: self.lossless,
            limits,
            through: &|group, region| self.of.through(group, region),
        };
        let rejoined = rejoin(topology, &options, &tell).await?;
        match output {
            Output::Json => print_json(&rejoined)?,
            Output::Table => print(&rejoined_table(&rejoined))?,
        }
        let out: Vec<&Rejoined> = rejoined.iter().filter(|one| one.state == RejoinState::Out).collect();
        for one in &out {
            say(&format!(
                "host group {}: the server in {} stays out. Keep the list, then rebuild it: stop it, replace its data by a copy \
                 of the primary's (mariabackup; the clone plugin or MySQL Shell), give it a new server_id, start it read-only, \
                 and run this command again.",
                one.host_group, self.of.region
            ));
        }
        Ok(if out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn rejoined_table(rejoined: &[Rejoined]) -> String {
    let mut table = Table::new(&["host_group", "state", "lost_transactions", "lost_writes"]);
    let mut text = String::new();
    for one in rejoined {
        let loss = one.loss.as_ref();
        table.row(vec![
            json!(one.host_group),
            json!(one.state),
            json!(loss.map(|loss| &loss.transactions)),
            json!(loss.map(|loss| loss.write_count)),
        ]);
    }
    text.push_str(&table.to_text());
    for loss in rejoined.iter().filter_map(|one| one.loss.as_ref()) {
        text.push_str(&loss_table(loss));
    }
    text
}

fn loss_table(loss: &Loss) -> String {
    let mut table = Table::new(&["shard", "epoch", "seq", "objects", "edges"]);
    for write in &loss.writes {
        let objects = write.objects.iter().map(|object| {
            let what = if object.deleted { " deleted" } else { "" };
            format!("{}{what}", object.id)
        });
        let edges = write.lists.iter().flat_map(|list| {
            let put = list.put.iter().map(|id2| (id2, ""));
            let gone = list.deleted.iter().map(|id2| (id2, " deleted"));
            put.chain(gone).map(|(id2, what)| format!("({}, {}, {id2}){what}", list.id1, list.atype))
        });
        table.row(vec![
            json!(write.shard),
            json!(write.epoch),
            json!(write.seq),
            json!(objects.collect::<Vec<_>>().join(" ")),
            json!(edges.collect::<Vec<_>>().join(" ")),
        ]);
    }
    table.to_text()
}

async fn show(servers: &Servers, common: &Common, output: Output) -> Result<ExitCode> {
    let (topology, limits) = servers.read(common).await?;
    let (version, states) = status(topology, &limits).await?;
    ensure!(!states.is_empty(), "no servers");
    let mut table = Table::new(&["host_group", "region", "role", "state", "follows", "missing", "extra"]);
    for state in &states {
        table.row(vec![
            json!(state.host_group),
            json!(state.region),
            json!(state.role),
            json!(state.state),
            json!(state.follows),
            json!(state.missing),
            json!(state.extra),
        ]);
    }
    match output {
        Output::Json => print_json(&json!({ "topology_version": version, "servers": table.to_json() }))?,
        Output::Table => print(&format!("{}topology version {version}\n", table.to_text()))?,
    }
    let good = states.iter().all(|state| state.state == "ok");
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
