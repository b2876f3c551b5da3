//! `tao check`: what the caches hold against what the database says; counts against lists, edges against inverses.

mod caches;
mod deep;
pub mod nodes;
mod report;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::ShardId;
use tao_schema::topology::Topology;

use crate::progress::Progress;

pub use report::Report;

use nodes::Nodes;

/// Shards examined at once: enough to keep a database busy, few enough to leave it to its users.
const SHARDS_AT_ONCE: usize = 4;

/// Compares, in each region or in the one at index `only`, every cached entry of every node with the region's own databases
/// and, if `deep`, these with themselves. So a replica's region is held to what its replica says, and must agree with
/// itself once nobody writes.
///
/// Safe on a live cluster: a difference counts only when it is still there after the node has caught up with the very
/// snapshot that it is compared with.
///
/// # Errors
/// A node or a database can't be asked: then nothing is known, and that is not "no difference".
pub async fn run(
    topology: &Topology,
    schema: Arc<GraphSchema>,
    deep: bool,
    only: Option<u16>,
) -> anyhow::Result<Report> {
    let started = std::time::Instant::now();
    let mut report = Report::default();
    let regions = 0..topology.regions.len() as u16;
    for region in regions.filter(|region| only.is_none_or(|only| only == *region)) {
        let part = check_region(topology, region, &schema, deep).await?;
        report.nodes.extend_from_slice(&part.nodes);
        report.absorb(part);
    }
    report.deep = deep;
    report.shards = topology.shards;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

async fn check_region(
    topology: &Topology,
    region: u16,
    schema: &Arc<GraphSchema>,
    deep: bool,
) -> anyhow::Result<Report> {
    let nodes = Arc::new(Nodes::connect(topology, region).await?);
    let progress = Progress::bar("checking", u64::from(topology.shards), "shards");
    let mut report = stream::iter((0..topology.shards).map(|shard| ShardId(shard as u16)))
        .map(|shard| {
            let (nodes, schema, progress) = (Arc::clone(&nodes), Arc::clone(schema), &progress);
            async move {
                let mut report = caches::check(&nodes, shard).await?;
                if deep {
                    report.absorb(deep::check(&nodes, &schema, shard).await?);
                }
                progress.advance(1);
                anyhow::Ok(report)
            }
        })
        .buffer_unordered(SHARDS_AT_ONCE)
        .try_fold(Report::default(), |mut whole, part| async move {
            whole.absorb(part);
            Ok(whole)
        })
        .await?;
    progress.finish();
    report.nodes = nodes.names();
    Ok(report)
}
