//! Ten thousand shards: what a request costs must not depend on their number. A second cluster of as many processes with 10,000
//! shards beside one with 64; and on paper, what a hundred nodes hold.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tao_schema::ids::{ObjectId, ShardId};
use tao_schema::topology::{Node, Placement, TierRef, Topology};

use super::{Bench, rate};
use crate::cluster::Cluster;
use crate::compare::alternate;
use crate::machine::resident_bytes;
use crate::peers::{Tier, load_tier, warm_tier};
use crate::report::{Goal, Round, Row};
use crate::say;
use crate::workloads::{Point, Workload};

const FEW: u32 = 64;
const MANY: u32 = 10_000;
/// Nodes on paper.
const LEADERS: usize = 20;
const FOLLOWERS: usize = 80;

/// A cluster with its data.
struct Side {
    cluster: Cluster,
    workload: Arc<dyn Workload>,
    /// Resident bytes of follower and leader before they had any data.
    empty: (u64, u64),
}

/// Measures the row.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&["shards"]) {
        return Ok(());
    }
    let few = side(bench, FEW).await?;
    let many = side(bench, MANY).await?;
    let (ours, theirs) = (many.cluster.clients(4).await?, few.cluster.clients(4).await?);
    let rounds = alternate(
        &bench.rounds,
        "shards",
        Round::ratio,
        async |plan| rate(Tier::each(&ours), &many.workload, 16, plan).await,
        async |plan| rate(Tier::each(&theirs), &few.workload, 16, plan).await,
    )
    .await?;
    let per_shard = |many: u64, few: u64| many.saturating_sub(few) / u64::from(MANY - FEW);
    let mut row = Row::new(
        "shards",
        format!("object reads that hit on {MANY} shards, 16 in flight"),
        format!("the same on {FEW} shards"),
        Goal::AtLeast(0.9),
    )
    .measured(rounds)
    .note(format!(
        "resident memory of a shard without data: {} B at a follower that holds all, {} B at a leader",
        per_shard(many.empty.0, few.empty.0),
        per_shard(many.empty.1, few.empty.1)
    ));
    row.notes.extend(on_paper(&many.cluster)?);
    bench.row(row);
    bench.check(&few.cluster, "64 shards").await?;
    bench.check(&many.cluster, "10,000 shards").await?;
    few.cluster.stop().await;
    many.cluster.stop().await;
    Ok(())
}

async fn side(bench: &mut Bench, shards: u32) -> Result<Side> {
    say(&format!("starting a cluster with {shards} shards"));
    let cluster = bench.cluster(shards, false).await?;
    let client = cluster.client().await?;
    // Subscriptions come with the first reads of their shards: one of each.
    let size = bench.size(shards * 16, shards);
    warm_shards(&client, &Point::new(&size)).await?;
    let empty = (resident_bytes(cluster.follower_pid())?, resident_bytes(cluster.leader_pid())?);
    let workload: Arc<dyn Workload> = Arc::new(Point::new(&bench.size(bench.pick(100_000, 20_000), shards)));
    load_tier(&client, &*workload).await?;
    warm_tier(&client, &*workload).await?;
    Ok(Side { cluster, workload, empty })
}

/// Reads what is not there, so that every shard is known.
async fn warm_shards(client: &tao_client::Client, workload: &dyn Workload) -> Result<()> {
    let mut seen = HashSet::new();
    let ids = (0..workload.objects()).map(|number| workload.object(number).0);
    let ids: Vec<ObjectId> = ids.filter(|id| seen.insert(id.shard())).collect();
    for page in ids.chunks(256) {
        let mut batch = client.batch();
        page.iter().for_each(|id| batch.add(client.object_get(*id)));
        for reply in batch.send().await {
            reply?;
        }
    }
    Ok(())
}

/// What a hundred nodes with as many shards come to: computed from the placement that they would use.
fn on_paper(cluster: &Cluster) -> Result<Vec<String>> {
    let topology = large(cluster.topology());
    let began = Instant::now();
    let placement = Placement::compute(&topology);
    let computed = began.elapsed();
    let owners = |tier: TierRef, nodes: usize| {
        let mut held = vec![0u32; nodes];
        for shard in 0..topology.shards {
            if let Some(owner) = placement.owner(tier, ShardId(shard as u16)) {
                held[usize::from(owner)] += 1;
            }
        }
        (held.iter().min().copied().unwrap_or(0), held.iter().max().copied().unwrap_or(0))
    };
    let leaders = owners(TierRef::leaders(0), LEADERS);
    let followers = owners(TierRef { region: 0, tier: 1 }, FOLLOWERS);
    let lookups = 1_000_000u32;
    let began = Instant::now();
    let mut sum = 0u64;
    for lookup in 0..lookups {
        let shard = ShardId((lookup % topology.shards) as u16);
        sum += u64::from(placement.owner(TierRef { region: 0, tier: 1 }, shard).unwrap_or(0));
    }
    std::hint::black_box(sum);
    let lookup = began.elapsed().as_nanos() as f64 / f64::from(lookups);
    Ok(vec![
        format!(
            "on paper, {LEADERS} leaders and {FOLLOWERS} followers: {} to {} shards a leader, {} to {} a follower",
            leaders.0, leaders.1, followers.0, followers.1
        ),
        format!(
            "a follower has a change stream to each leader that owns a shard of its own: at most {LEADERS} streams a follower, \
             {FOLLOWERS} a leader; a change goes to the one follower of a tier that holds its shard; every leader keeps all shards open"
        ),
        format!("the placement is computed in {computed:.1?}; a request looks its node up in {lookup:.0} ns"),
    ])
}

/// The topology with a hundred nodes.
fn large(topology: &Topology) -> Topology {
    let mut topology = topology.clone();
    let nodes = |role: &str, number: usize| -> Vec<Node> {
        let node = |index| Node {
            name: format!("{role}-{index}"),
            address: format!("{role}-{index}:7400"),
            admin: None,
        };
        (0..number).map(node).collect()
    };
    for region in &mut topology.regions {
        region.leaders.nodes = nodes("leader", LEADERS);
        for tier in &mut region.followers {
            tier.nodes = nodes("follower", FOLLOWERS);
        }
    }
    topology
}
