//! `tao lag`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tao_schema::wire::proto::{GroupStatus, NodeStatusRequest};

use crate::Common;
use crate::check::nodes::{connect, says};
use crate::cluster::Cluster;
use crate::output::{Output, Table, print, print_json};
use crate::servers::{self, Replication};

const COLUMNS: [&str; 12] = [
    "region",
    "host_group",
    "role",
    "server",
    "replication",
    "leader",
    "tail",
    "follows",
    "age_ms",
    "position",
    "resets",
    "error",
];

/// How far behind every region is: for each region and host group the server, its replication, and how each leader
/// follows its log.
///
/// `age_ms` is how old a leader's knowledge of the host group is, measured by a heartbeat that came back through
/// replication and the log: everything committed before that is in its caches. `-`: nobody vouches for it.
///
/// Server and replication are shown where the addresses of the databases are known: of a ready file of `tao dev`, or of
/// a topology file with DSNs (--cluster or --topology).
#[derive(Args)]
pub struct Lag {
    /// A topology file with DSNs.
    #[arg(long, value_name = "FILE")]
    topology: Option<std::path::PathBuf>,
    /// The same as `--output json`.
    #[arg(long)]
    json: bool,
    /// Looks again every so often, until it is interrupted: 1s, 500ms.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s",
        value_parser = super::values::duration)]
    watch: Option<Duration>,
}

impl Lag {
    /// Prints the table; exit code 1 if a leader does not answer or vouches for nothing.
    pub async fn run(self, common: &Common) -> Result<ExitCode> {
        let output = if self.json { Output::Json } else { Output::or_default(common.output) };
        let servers = servers::known(self.topology.as_deref().or(common.cluster.as_deref()))?;
        loop {
            let cluster = Cluster::connect(common).await?;
            let (table, all_well) = look(&cluster, common.region.as_deref(), &servers).await;
            match output {
                Output::Json => print_json(&table.to_json())?,
                Output::Table => print(&table.to_text())?,
            }
            let Some(pause) = self.watch else {
                return Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            };
            tokio::time::sleep(pause).await;
            if output == Output::Table {
                print("\n")?;
            }
        }
    }
}

async fn look(cluster: &Cluster, only: Option<&str>, servers: &[servers::Server]) -> (Table, bool) {
    let mut table = Table::new(&COLUMNS);
    let mut all_well = true;
    let replication = servers::replication(servers).await;
    for region in &cluster.topology().regions {
        if only.is_some_and(|only| only != region.name) {
            continue;
        }
        let asked = region.leaders.nodes.iter().map(|node| async move {
            let status = async {
                let mut client = connect(&node.address).await?;
                anyhow::Ok(client.node_status(NodeStatusRequest {}).await.map_err(says)?.into_inner())
            };
            (node.name.as_str(), status.await)
        });
        for (leader, status) in join_all(asked).await {
            match status {
                Ok(status) => {
                    for group in &status.group {
                        all_well &= group.age_us.is_some();
                        let known = replication.iter().find(|found| {
                            found.server.region == region.name && found.server.group == group.host_group
                        });
                        table.row(row(&region.name, leader, group, known));
                    }
                }
                Err(error) => {
                    all_well = false;
                    let mut row = vec![Value::Null; COLUMNS.len()];
                    (row[0], row[5]) = (json!(region.name), json!(leader));
                    row[COLUMNS.len() - 1] = json!(format!("down: {error:#}"));
                    table.row(row);
                }
            }
        }
    }
    (table, all_well)
}

fn row(region: &str, leader: &str, group: &GroupStatus, known: Option<&Replication>) -> Vec<Value> {
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let errors =
        [group.refused.as_str(), group.error.as_str(), known.and_then(|found| found.error()).unwrap_or("")];
    let error = errors.into_iter().filter(|error| !error.is_empty()).collect::<Vec<_>>().join("; ");
    vec![
        json!(region),
        json!(group.host_group),
        json!(if group.master { "primary" } else { "replica" }),
        known.map_or(Value::Null, |found| json!(found.server.address)),
        known.map_or(Value::Null, |found| json!(found.state())),
        json!(leader),
        text(&group.state),
        text(&group.followed),
        group.age_us.map_or(Value::Null, |age| json!(age / 1_000)),
        text(&group.position),
        json!(group.resets),
        text(&error),
    ]
}
