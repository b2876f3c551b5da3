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

/// Compares every cached entry of every node with the database and, if `deep`, the database with itself.
///
/// Safe on a live cluster: a difference counts only when it is still there after the node has caught up with the very
/// snapshot that it is compared with.
///
/// # Errors
/// A node or a database can't be asked: then nothing is known, and that is not "no difference".
pub async fn run(topology: &Topology, schema: Arc<GraphSchema>, deep: bool) -> anyhow::Result<Report> {
    let nodes = Arc::new(Nodes::connect(topology).await?);
    let started = std::time::Instant::now();
    let progress = Progress::bar("checking", u64::from(topology.shards), "shards");
    let mut report = stream::iter((0..topology.shards).map(|shard| ShardId(shard as u16)))
        .map(|shard| {
            let (nodes, schema, progress) = (Arc::clone(&nodes), Arc::clone(&schema), &progress);
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
    report.deep = deep;
    report.nodes = nodes.names();
    report.shards = topology.shards;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}
