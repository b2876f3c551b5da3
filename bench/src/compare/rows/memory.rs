//! Memory of cached edges without data, in short lists and in long ones, keys and entries included: by how much the follower's
//! resident memory grows, and by its own gauge; against Redis' sorted sets.

use std::sync::Arc;

use anyhow::Result;

use super::Bench;
use crate::cluster::Cluster;
use crate::machine::resident_bytes;
use crate::peers::{CacheServer, RedisOnly, Store, Tier, load_tier};
use crate::report::{Goal, MemoryPoint, Round, Row};
use crate::say;
use crate::workloads::{Op, Range, Workload};

const SHARDS: u32 = 64;
/// Room for everything.
const CACHE: u64 = 2 << 30;
/// Edges of one page: what a reply takes for a moment, and the allocator keeps, must not look like entries.
const PAGE_EDGES: u32 = 2_000;

/// Bytes of one edge, measured in two ways.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    resident: f64,
    own: f64,
}

/// Measures the rows of this group.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&["memory10", "memory1000"]) {
        return Ok(());
    }
    let mut cluster = bench.cluster(SHARDS, false).await?;
    let edges = bench.pick(1_000_000, 200_000);
    for (name, length) in [("memory10", 10), ("memory1000", 1_000)] {
        if bench.wants(&[name]) {
            row(bench, &mut cluster, name, edges / length, length).await?;
        }
    }
    bench.check(&cluster, "memory of lists").await?;
    cluster.stop().await;
    Ok(())
}

async fn row(
    bench: &mut Bench,
    cluster: &mut Cluster,
    name: &'static str,
    lists: u32,
    length: u32,
) -> Result<()> {
    let workload = Range::new(&bench.size(lists, SHARDS), lists, length, length);
    say(&format!("loading {}", workload.source()));
    load_tier(&cluster.client().await?, &workload).await?;
    let workload: Arc<dyn Workload> = Arc::new(workload);
    let (mut rounds, mut own) = (Vec::new(), Vec::new());
    let mut redis = None;
    for _ in 0..bench.pick(bench.rounds.number, 1) {
        let ours = tier(cluster, &*workload, length).await?;
        let theirs = of_redis(bench, cluster, &*workload, length).await?;
        say(&format!("  {name}: tier {ours:?}, Redis {theirs:?}"));
        rounds.push(Round {
            ours: ours.resident,
            theirs: theirs.map(|bytes| bytes.resident),
            value: ours.resident,
        });
        own.push(ours.own);
        redis = theirs;
    }
    own.sort_by(f64::total_cmp);
    let gauge = own[own.len() / 2];
    let resident = rounds.last().map_or(0.0, |round| round.ours);
    let mut point = |system: &str, bytes_per_edge| {
        let system = system.to_owned();
        bench.curves().memory.push(MemoryPoint { system, list_edges: length, bytes_per_edge });
    };
    point("tier, resident", resident);
    point("tier, by its gauge", gauge);
    let mut notes = vec![format!("the follower's own gauge: {gauge:.1} B"), workload.source()];
    if let Some(redis) = redis {
        point("Redis, resident", redis.resident);
        point("Redis, used_memory", redis.own);
        notes.push(format!("Redis' used_memory: {:.1} B", redis.own));
    } else {
        notes.push("redis-server is not on the PATH".to_owned());
    }
    let work = format!("memory of a cached edge without data, lists of {length}");
    let mut row =
        Row::new(name, work, "Redis sorted sets", Goal::AtMost(20.0)).units("B", "B").measured(rounds);
    row.notes = notes;
    bench.row(row);
    Ok(())
}

/// A follower that has just started reads all lists. The first twentieth is not counted: connections and pools grow with it.
async fn tier(cluster: &mut Cluster, workload: &dyn Workload, length: u32) -> Result<Bytes> {
    cluster.restart_follower(CACHE).await?;
    let client = cluster.client().await?;
    let mut tier = Tier::callers(&client, 1).remove(0);
    let gauges = cluster.gauges();
    let first = workload.lists() / 20;
    read(&mut tier, workload, 0..first, length).await?;
    let before = (resident_bytes(cluster.follower_pid())?, gauges.cache_bytes().await?);
    read(&mut tier, workload, first..workload.lists(), length).await?;
    let after = (resident_bytes(cluster.follower_pid())?, gauges.cache_bytes().await?);
    let edges = f64::from((workload.lists() - first) * length);
    let per_edge = |before: u64, after: u64| after.saturating_sub(before) as f64 / edges;
    Ok(Bytes { resident: per_edge(before.0, after.0), own: per_edge(before.1, after.1) })
}

async fn read(
    tier: &mut Tier,
    workload: &dyn Workload,
    lists: std::ops::Range<u32>,
    length: u32,
) -> Result<()> {
    let ops: Vec<Op> = lists.map(|number| Op::AssocRange(workload.list(number).0, length)).collect();
    for page in ops.chunks((PAGE_EDGES / length).max(1) as usize) {
        let found = tier.page(page).await?.found;
        anyhow::ensure!(
            found == page.len() as u64 * u64::from(length),
            "{found} edges in {} lists",
            page.len()
        );
    }
    Ok(())
}

async fn of_redis(
    bench: &Bench,
    cluster: &Cluster,
    workload: &dyn Workload,
    length: u32,
) -> Result<Option<Bytes>> {
    let Some(redis) = CacheServer::redis(cluster.folder(), None, &bench.cores).await? else {
        return Ok(None);
    };
    let before = (resident_bytes(redis.pid())?, redis.used_memory().await?);
    RedisOnly::load(redis.address(), workload).await?;
    let after = (resident_bytes(redis.pid())?, redis.used_memory().await?);
    let edges = f64::from(workload.lists() * length);
    let per_edge = |before: u64, after: u64| after.saturating_sub(before) as f64 / edges;
    Ok(Some(Bytes { resident: per_edge(before.0, after.0), own: per_edge(before.1, after.1) }))
}
