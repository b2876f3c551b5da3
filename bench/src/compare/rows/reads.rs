//! Reads that hit: single objects and lists, against Redis alone, which holds the same; and the tier by itself, at half of its
//! load, and over ten times the objects.

use std::sync::Arc;

use anyhow::Result;
use tao_client::Client;

use super::{Bench, rate};
use crate::cluster::Cluster;
use crate::compare::alternate;
use crate::machine::stalls;
use crate::measure::{Figures, Open, OutOfReach, closed_loop, open_loop};
use crate::peers::{CacheServer, Pages, RedisOnly, Tier, load_tier, warm_tier};
use crate::report::{Goal, Round, Row};
use crate::say;
use crate::workloads::{Point, Range, Workload};

const ROWS: [&str; 7] = ["point16", "point64", "callers50", "range50", "half-p50", "half-p99", "tenfold"];
const SHARDS: u32 = 64;
/// Edges of each list, of which the newest 50 are read.
const LIST: u32 = 64;
/// Callers that are tried to find the peak of single reads.
const PEAK: [usize; 3] = [32, 128, 512];
/// Callers that an open loop may have under way.
const OPEN: usize = 2_048;

/// Arrivals a second that any machine answers.
const LEAST: f64 = 20_000.0;
/// Half of all calls wait longer: the loop is not followed any more.
const SATURATED_US: f64 = 10_000.0;

/// What the rows of this group share.
struct Reads {
    cluster: Cluster,
    redis: Option<CacheServer>,
    connections: usize,
}

/// Measures the rows of this group.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&ROWS) {
        return Ok(());
    }
    let objects = bench.options.objects.unwrap_or(bench.pick(1_000_000, 150_000));
    let size = bench.size(objects, SHARDS);
    let points = Point::new(&size);
    let tenth: Arc<dyn Workload> = Arc::new(points.clone().of_first(objects / 10));
    let points: Arc<dyn Workload> = Arc::new(points);
    let lists: Arc<dyn Workload> = Arc::new(Range::new(&size, bench.pick(10_000, 2_000), LIST, 50));
    let cluster = bench.cluster(SHARDS, false).await?;
    let client = cluster.client().await?;
    for workload in [&points, &lists] {
        say(&format!("loading {}", workload.source()));
        load_tier(&client, &**workload).await?;
        warm_tier(&client, &**workload).await?;
    }
    let redis = CacheServer::redis(cluster.folder(), None, &bench.cores).await?;
    if let Some(redis) = &redis {
        RedisOnly::load(redis.address(), &*points).await?;
        RedisOnly::load(redis.address(), &*lists).await?;
    }
    let reads = Reads { cluster, redis, connections: bench.options.connections };
    for (name, depth) in [("point16", 16), ("point64", 64)] {
        let work =
            format!("object reads that hit, {depth} in flight on each of {} connections", reads.connections);
        let row = Row::new(name, work, "Redis, pipelined at the same depth", Goal::AtLeast(2.0));
        reads.pipelined(bench, row, &points, depth).await?;
    }
    reads.one_at_a_time(bench, &points).await?;
    let work = format!(
        "assoc_range of 50 edges of {LIST}, 16 in flight on each of {} connections",
        reads.connections
    );
    let row = Row::new("range50", work, "Redis ZREVRANGE 0 49, same depth", Goal::AtLeast(3.0));
    reads.pipelined(bench, row, &lists, 16).await?;
    reads.half_load(bench, &points).await?;
    reads.tenfold(bench, &points, &tenth).await?;
    bench.check(&reads.cluster, "reads that hit").await?;
    drop(reads.redis);
    reads.cluster.stop().await;
    Ok(())
}

impl Reads {
    /// Batches of `depth` on each connection.
    async fn pipelined(
        &self,
        bench: &mut Bench,
        row: Row,
        workload: &Arc<dyn Workload>,
        depth: usize,
    ) -> Result<()> {
        if !bench.wants(&[row.name]) {
            return Ok(());
        }
        let Some(redis) = &self.redis else {
            bench.row(row.note("redis-server is not on the PATH"));
            return Ok(());
        };
        // A client has one connection to the follower: as many clients as connections.
        let clients = self.cluster.clients(self.connections).await?;
        let rounds = alternate(
            &bench.rounds,
            row.name,
            Round::ratio,
            async |plan| rate(Tier::each(&clients), workload, depth, plan).await,
            async |plan| {
                let callers = RedisOnly::callers(redis.address(), self.connections).await?;
                rate(callers, workload, depth, plan).await
            },
        )
        .await?;
        bench.row(row.measured(rounds).note(workload.source()).note("batches by Client::batch"));
        Ok(())
    }

    async fn one_at_a_time(&self, bench: &mut Bench, workload: &Arc<dyn Workload>) -> Result<()> {
        let row = Row::new(
            "callers50",
            "one read at a time, 50 concurrent callers of one client",
            "Redis, 50 connections, unpipelined",
            Goal::AtLeast(2.0),
        );
        if !bench.wants(&[row.name]) {
            return Ok(());
        }
        let Some(redis) = &self.redis else {
            bench.row(row.note("redis-server is not on the PATH"));
            return Ok(());
        };
        let client = self.cluster.client().await?;
        let rounds = alternate(
            &bench.rounds,
            row.name,
            Round::ratio,
            async |plan| rate(Tier::callers(&client, 50), workload, 1, plan).await,
            async |plan| rate(RedisOnly::callers(redis.address(), 50).await?, workload, 1, plan).await,
        )
        .await?;
        bench.row(row.measured(rounds).note(workload.source()));
        Ok(())
    }

    /// An open loop at half of what one was answered.
    async fn half_load(&self, bench: &mut Bench, workload: &Arc<dyn Workload>) -> Result<()> {
        if !bench.wants(&["half-p50", "half-p99"]) {
            return Ok(());
        }
        let client = self.cluster.client().await?;
        let mut peak = 0f64;
        for callers in PEAK {
            let callers = Pages::of(Tier::callers(&client, callers), workload, 1);
            let figures = closed_loop(callers, bench.rounds.plan(0)).await?;
            say(&figures.line("  single reads, closed loop"));
            peak = peak.max(figures.rate);
        }
        let load = self.reach(&client, workload, bench).await? / 2.0;
        let mut all: Vec<(Open, Figures)> = Vec::new();
        for round in 0..bench.rounds.number {
            // Right before, and for as long: what the machine takes comes and goes.
            let (cores, time) = (bench.cores.clone(), bench.rounds.time);
            let machine = tokio::task::spawn_blocking(move || stalls(&cores, time)).await??;
            let callers = Pages::of(Tier::callers(&client, OPEN), workload, 1);
            let open = open_loop(callers, load, bench.rounds.plan(round)).await?;
            say(&machine.line("  the machine alone"));
            say(&open.late.line("  lateness of the loop"));
            say(&open.calls.line("  single reads, open loop"));
            all.push((open, machine));
        }
        let mut late: Vec<f64> = all.iter().map(|(open, _)| open.late.p99_us).collect();
        late.sort_by(f64::total_cmp);
        let note = format!(
            "single reads arriving at {load:.0}/s, half of the most that an open loop on the other core was answered (a closed \
             loop, which needs no generator, reached {peak:.0}/s); from the intended start, of which the loop was late by {:.0} us \
             at its 99th percentile; {}",
            late[late.len() / 2],
            workload.source()
        );
        let against =
            "the machine alone: stalls of two threads that only look at the clock, one on each core";
        for (name, goal, figure) in [
            ("half-p50", 100.0, (|figures: &Figures| figures.p50_us) as fn(&Figures) -> f64),
            ("half-p99", 1_000.0, |figures| figures.p99_us),
        ] {
            let row = Row::new(name, "latency of hits at half of peak load", against, Goal::AtMost(goal));
            let rounds = all.iter().map(|(open, machine)| {
                let ours = figure(&open.calls);
                Round { ours, theirs: Some(figure(machine)), value: ours }
            });
            bench.row(row.units("us", "us").measured(rounds.collect()).note(note.clone()));
        }
        Ok(())
    }

    /// The highest rate that arrives and is answered, found from below: far above it nothing is answered in time. To let calls
    /// arrive takes a good part of the core that the client has as well.
    async fn reach(&self, client: &Client, workload: &Arc<dyn Workload>, bench: &Bench) -> Result<f64> {
        let (mut reached, mut rate) = (LEAST, LEAST);
        loop {
            let callers = Pages::of(Tier::callers(client, OPEN), workload, 1);
            match open_loop(callers, rate, bench.rounds.plan(0)).await {
                Ok(Open { calls: figures, .. }) if figures.p50_us <= SATURATED_US => {
                    say(&figures.line("  single reads, open loop, from below"));
                    (reached, rate) = (rate, rate * 1.2);
                }
                Ok(_) => return Ok(reached),
                Err(error) if error.is::<OutOfReach>() && rate > LEAST => return Ok(reached),
                Err(error) => return Err(error),
            }
        }
    }

    async fn tenfold(
        &self,
        bench: &mut Bench,
        all: &Arc<dyn Workload>,
        tenth: &Arc<dyn Workload>,
    ) -> Result<()> {
        let row = Row::new(
            "tenfold",
            "object reads that hit over 10 times the objects, 16 in flight",
            "the same over a tenth of them",
            Goal::AtLeast(0.9),
        );
        if !bench.wants(&[row.name]) {
            return Ok(());
        }
        let clients = self.cluster.clients(self.connections).await?;
        let rounds = alternate(
            &bench.rounds,
            row.name,
            Round::ratio,
            async |plan| rate(Tier::each(&clients), all, 16, plan).await,
            async |plan| rate(Tier::each(&clients), tenth, 16, plan).await,
        )
        .await?;
        let row = row.measured(rounds).note(format!(
            "all hit in both; {} against {}",
            all.source(),
            tenth.source()
        ));
        bench.row(row);
        Ok(())
    }
}
