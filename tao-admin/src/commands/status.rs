//! `tao status`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use tao_schema::wire::proto::NodeStatusRequest;

use crate::Common;
use crate::check::nodes::{connect, says};
use crate::cluster::Cluster;
use crate::output::{Output, Table, print, print_json};

/// Shows every node: what it holds, how many shards it follows and whether all of them are continuous. A node that can't
/// be reached is shown as such; the exit code is then 1.
pub async fn run(common: &Common) -> Result<ExitCode> {
    let cluster = Cluster::connect(common).await?;
    let mut table = Table::new(&[
        "node",
        "role",
        "address",
        "state",
        "shards",
        "continuous",
        "entries",
        "bytes",
        "changes",
        "storage",
    ]);
    let mut all_there = true;
    for (tier, content) in cluster.topology().tiers() {
        let role = if tier.tier == 0 { "leader" } else { "follower" };
        for node in &content.nodes {
            let asked = async {
                let mut client = connect(&node.address).await?;
                anyhow::Ok(client.node_status(NodeStatusRequest {}).await.map_err(says)?.into_inner())
            };
            match asked.await {
                Ok(status) => {
                    let continuous = status.shard.iter().filter(|shard| shard.continuous).count();
                    let changes: u64 = status
                        .shard
                        .iter()
                        .filter_map(|shard| shard.watermark)
                        .map(|position| position.seq)
                        .sum();
                    table.row(vec![
                        json!(node.name),
                        json!(role),
                        json!(node.address),
                        json!("up"),
                        json!(status.shard.len()),
                        json!(continuous),
                        json!(status.cache_entries),
                        json!(status.cache_bytes),
                        json!(changes),
                        json!(status.storage),
                    ]);
                }
                Err(error) => {
                    all_there = false;
                    let mut row = vec![json!(node.name), json!(role), json!(node.address)];
                    row.push(json!(format!("down: {error:#}")));
                    row.resize(10, serde_json::Value::Null);
                    table.row(row);
                }
            }
        }
    }
    match Output::or_default(common.output) {
        Output::Json => print_json(&table.to_json())?,
        Output::Table => print(&table.to_text())?,
    }
    Ok(if all_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
