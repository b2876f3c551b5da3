//! `tao status`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use tao_schema::wire::proto::NodeStatusRequest;

use crate::Common;
use crate::check::nodes::{connect, says};
use crate::cluster::Cluster;
use crate::output::{Output, Table, print, print_json};

const COLUMNS: [&str; 13] = [
    "node",
    "region",
    "role",
    "address",
    "state",
    "shards",
    "continuous",
    "entries",
    "bytes",
    "changes",
    "topology",
    "storage",
    "problems",
];

/// Shows every node: what it holds, how many shards it follows and whether all of them are continuous. A node that can't
/// be reached is shown as such; the exit code is then 1.
pub async fn run(common: &Common) -> Result<ExitCode> {
    let cluster = Cluster::connect(common).await?;
    let mut table = Table::new(&COLUMNS);
    let mut all_there = true;
    let topology = cluster.topology();
    for (tier, content) in topology.tiers() {
        let region = &topology.regions[usize::from(tier.region)].name;
        if common.region.as_ref().is_some_and(|only| only != region) {
            continue;
        }
        let role = if tier.tier == 0 { "leader" } else { "follower" };
        for node in &content.nodes {
            let asked = async {
                let mut client = connect(&node.address).await?;
                anyhow::Ok(client.node_status(NodeStatusRequest {}).await.map_err(says)?.into_inner())
            };
            let mut row = vec![json!(node.name), json!(region), json!(role), json!(node.address)];
            match asked.await {
                Ok(status) => {
                    let continuous = status.shard.iter().filter(|shard| shard.continuous).count();
                    let changes: u64 = status
                        .shard
                        .iter()
                        .filter_map(|shard| shard.watermark)
                        .map(|position| position.seq)
                        .sum();
                    let problems = status.problem.join("; ");
                    row.extend([
                        json!("up"),
                        json!(status.shard.len()),
                        json!(continuous),
                        json!(status.cache_entries),
                        json!(status.cache_bytes),
                        json!(changes),
                        json!(status.topology_version),
                        json!(status.storage),
                        if problems.is_empty() { Value::Null } else { json!(problems) },
                    ]);
                }
                Err(error) => {
                    all_there = false;
                    row.push(json!(format!("down: {error:#}")));
                    row.resize(COLUMNS.len(), Value::Null);
                }
            }
            table.row(row);
        }
    }
    match Output::or_default(common.output) {
        Output::Json => print_json(&table.to_json())?,
        Output::Table => print(&table.to_text())?,
    }
    Ok(if all_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
