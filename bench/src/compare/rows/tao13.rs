//! The TAO paper's workload, at a hit rate that the size of the cache sets, against look-aside memcached and Redis over MySQL, and
//! against MySQL alone: the same data, the same callers with the same pages. The leader's cache is as small as it can be, so
//! that a miss of the follower costs what a miss of the peers costs: a read of the database.

use std::sync::Arc;

use anyhow::Result;

use super::Bench;
use super::hit_rates::{PAGE, Systems, Who};
use crate::peers::{Database, load_mysql, load_tier};
use crate::report::{Goal, HitPoint, Round, Row};
use crate::say;
use crate::workloads::{Tao13, Workload};

const ROWS: [&str; 4] = ["tao13-memcached", "tao13-redis", "tao13-mysql", "tao13-curve"];
const SHARDS: u32 = 64;
/// The hit rate of the rows.
const TARGET: f64 = 0.96;
/// The others of the curve.
const CURVE: [f64; 4] = [0.85, 0.90, 0.93, 0.99];

/// Measures the rows of this group.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&ROWS) {
        return Ok(());
    }
    let size = bench.size(bench.options.objects.unwrap_or(60_000).min(bench.pick(60_000, 25_000)), SHARDS);
    let workload: Arc<dyn Workload> = Arc::new(Tao13::new(&size)?);
    let cluster = bench.cluster(SHARDS, true).await?;
    say(&format!("loading {}", workload.source()));
    let dsn = cluster.peer_dsn()?;
    Database::prepare(&dsn).await?;
    load_mysql(&dsn, &*workload).await?;
    load_tier(&cluster.client().await?, &*workload).await?;
    let mut systems = Systems::new(cluster, workload, bench.rounds, bench.cores.clone());
    at_target(bench, &mut systems).await?;
    for who in Who::CACHES {
        for path in systems.latencies(who).await? {
            say(&format!(
                "  {} {}: p50 {:.0} us, p99 {:.0} us",
                path.system, path.path, path.p50_us, path.p99_us
            ));
            bench.curves().latencies.push(path);
        }
    }
    bench.check(systems.cluster(), "tao13").await?;
    // The quick form has the one point of the rows.
    if !bench.options.quick && bench.wants(&["tao13-curve"]) {
        for target in CURVE {
            for who in Who::CACHES {
                if let Some(bytes) = systems.reach(who, target).await? {
                    let measured = systems.run(who, bench.rounds.plan(0)).await?;
                    point(bench, who, target, bytes, measured.hit_rate, measured.rate);
                }
            }
        }
        bench.check(systems.cluster(), "tao13 at other hit rates").await?;
    }
    systems.stop().await;
    Ok(())
}

/// All systems in turn, with the caches as large as the target needs.
async fn at_target(bench: &mut Bench, systems: &mut Systems) -> Result<()> {
    let mut sizes = Vec::new();
    for who in Who::CACHES {
        if let Some(bytes) = systems.reach(who, TARGET).await? {
            sizes.push((who, bytes));
        }
    }
    let runs: Vec<Who> = sizes.iter().map(|(who, _)| *who).chain([Who::Mysql]).collect();
    let mut all: Vec<Vec<(f64, f64)>> = vec![Vec::new(); runs.len()];
    for round in 0..bench.rounds.number {
        let order: Vec<usize> =
            if round % 2 == 0 { (0..runs.len()).collect() } else { (0..runs.len()).rev().collect() };
        for at in order {
            let measured = systems.run(runs[at], bench.rounds.plan(round)).await?;
            say(&format!(
                "  {}: {:.0}/s at {:.2} % hits",
                runs[at].name(),
                measured.rate,
                measured.hit_rate * 100.0
            ));
            all[at].push((measured.rate, measured.hit_rate));
        }
    }
    let of = |who: Who| runs.iter().position(|run| *run == who).map(|at| &all[at]);
    let Some(tier) = of(Who::Tier) else { return Ok(()) };
    let source = systems.workload().source();
    for (name, who, goal) in [
        ("tao13-memcached", Who::Memcached, Goal::AtLeast(3.0)),
        ("tao13-redis", Who::Redis, Goal::None),
        ("tao13-mysql", Who::Mysql, Goal::AtLeast(15.0)),
    ] {
        let work =
            format!("tao13 at {:.0} % hits, {} callers, pages of {PAGE}", TARGET * 100.0, systems.callers());
        let row = Row::new(name, work, who.name(), goal);
        let Some(theirs) = of(who) else {
            bench.row(row.note(format!("{} is not on the PATH", who.program())));
            continue;
        };
        let rounds = tier.iter().zip(theirs).map(|(ours, theirs)| Round::ratio(ours.0, theirs.0)).collect();
        let mut row = row.measured(rounds).note(format!("hits measured: tier {}", hits(tier)));
        if who != Who::Mysql {
            row = row.note(format!("{} {}", who.name(), hits(theirs)));
        }
        bench.row(row.note(source.clone()));
    }
    let measured: Vec<(Who, u64, f64, f64)> = sizes
        .iter()
        .filter_map(|(who, bytes)| {
            let rounds = of(*who)?;
            let mean =
                |figure: fn(&(f64, f64)) -> f64| rounds.iter().map(figure).sum::<f64>() / rounds.len() as f64;
            Some((*who, *bytes, mean(|round| round.1), mean(|round| round.0)))
        })
        .collect();
    for (who, bytes, hit_rate, rate) in measured {
        point(bench, who, TARGET, bytes, hit_rate, rate);
    }
    Ok(())
}

fn hits(rounds: &[(f64, f64)]) -> String {
    let least = rounds.iter().map(|round| round.1).fold(1.0, f64::min);
    let most = rounds.iter().map(|round| round.1).fold(0.0, f64::max);
    format!("{:.2} to {:.2} %", least * 100.0, most * 100.0)
}

fn point(bench: &mut Bench, who: Who, target: f64, cache_bytes: u64, hit_rate: f64, rate: f64) {
    let system = who.name().to_owned();
    say(&format!("  {system} at {:.2} % hits with {cache_bytes} bytes: {rate:.0}/s", hit_rate * 100.0));
    bench.curves().hit_rates.push(HitPoint { system, target, hit_rate, rate, cache_bytes });
}
