//! Reads that hit: single objects and lists, against Redis alone, which holds the same.

use std::sync::Arc;

use anyhow::Result;

use super::Bench;
use crate::cluster::Cluster;
use crate::compare::alternate;
use crate::measure::{Plan, closed_loop};
use crate::peers::{CacheServer, Pages, RedisOnly, Tier, load_tier, warm_tier};
use crate::report::{Goal, Round, Row};
use crate::say;
use crate::workloads::{Point, Range, Workload};

const ROWS: [&str; 4] = ["point16", "point64", "callers50", "range50"];
const SHARDS: u32 = 64;
/// Edges of each list, of which the newest 50 are read.
const LIST: u32 = 64;

/// Measures the rows of this group.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&ROWS) {
        return Ok(());
    }
    let objects = bench.options.objects.unwrap_or(bench.pick(1_000_000, 100_000));
    let size = bench.size(objects, SHARDS);
    let point = Point::new(&size);
    let range: Arc<dyn Workload> = Arc::new(Range::new(&size, bench.pick(10_000, 2_000), LIST, 50));
    let all: Arc<dyn Workload> = Arc::new(point);
    let cluster = bench.cluster(SHARDS, false).await?;
    let client = cluster.client().await?;
    for workload in [&all, &range] {
        say(&format!("loading {}", workload.source()));
        load_tier(&client, &**workload).await?;
        warm_tier(&client, &**workload).await?;
    }
    let redis = CacheServer::redis(cluster.folder(), None, &bench.cores).await?;
    if let Some(redis) = &redis {
        RedisOnly::load(redis.address(), &*all).await?;
        RedisOnly::load(redis.address(), &*range).await?;
    }
    let redis = redis.as_ref();
    for (name, depth) in [("point16", 16), ("point64", 64)] {
        let row = Row::new(
            name,
            format!(
                "object reads that hit, {depth} in flight on each of {} connections",
                bench.options.connections
            ),
            "Redis, pipelined at the same depth",
            Goal::AtLeast(2.0),
        );
        pipelined(bench, &cluster, redis, row, &all, depth).await?;
    }
    one_at_a_time(bench, &cluster, redis, &all).await?;
    let row = Row::new(
        "range50",
        format!(
            "assoc_range of 50 edges of {LIST}, 16 in flight on each of {} connections",
            bench.options.connections
        ),
        "Redis ZREVRANGE 0 49, same depth",
        Goal::AtLeast(3.0),
    );
    pipelined(bench, &cluster, redis, row, &range, 16).await?;
    bench.check(&cluster, "reads that hit").await?;
    cluster.stop().await;
    Ok(())
}

/// Batches of `depth` on each connection.
async fn pipelined(
    bench: &mut Bench,
    cluster: &Cluster,
    redis: Option<&CacheServer>,
    row: Row,
    workload: &Arc<dyn Workload>,
    depth: usize,
) -> Result<()> {
    if !bench.wants(&[row.name]) {
        return Ok(());
    }
    let Some(redis) = redis else {
        bench.row(row.note("redis-server is not on the PATH"));
        return Ok(());
    };
    let connections = bench.options.connections;
    // A client has one connection to the follower: as many clients as connections.
    let clients = cluster.clients(connections).await?;
    let rounds = alternate(
        &bench.rounds,
        row.name,
        Round::ratio,
        async |plan| rate(Pages::of(Tier::each(&clients), workload, depth), plan).await,
        async |plan| {
            let callers = RedisOnly::callers(redis.address(), connections).await?;
            rate(Pages::of(callers, workload, depth), plan).await
        },
    )
    .await?;
    bench.row(row.measured(rounds).note(workload.source()).note("batches by Client::batch"));
    Ok(())
}

async fn one_at_a_time(
    bench: &mut Bench,
    cluster: &Cluster,
    redis: Option<&CacheServer>,
    workload: &Arc<dyn Workload>,
) -> Result<()> {
    let row = Row::new(
        "callers50",
        "one read at a time, 50 concurrent callers of one client",
        "Redis, 50 connections, unpipelined",
        Goal::AtLeast(2.0),
    );
    if !bench.wants(&[row.name]) {
        return Ok(());
    }
    let Some(redis) = redis else {
        bench.row(row.note("redis-server is not on the PATH"));
        return Ok(());
    };
    let client = cluster.client().await?;
    let rounds = alternate(
        &bench.rounds,
        row.name,
        Round::ratio,
        async |plan| rate(Pages::of(Tier::callers(&client, 50), workload, 1), plan).await,
        async |plan| {
            let callers = RedisOnly::callers(redis.address(), 50).await?;
            rate(Pages::of(callers, workload, 1), plan).await
        },
    )
    .await?;
    bench.row(row.measured(rounds).note(workload.source()));
    Ok(())
}

async fn rate<S: crate::peers::Store>(callers: Vec<Pages<S>>, plan: Plan) -> Result<f64> {
    Ok(closed_loop(callers, plan).await?.rate)
}
