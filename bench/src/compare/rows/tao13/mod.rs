//! The TAO paper's workload, at a hit rate that the size of the cache sets, against look-aside memcached and Redis over MySQL, and
//! against MySQL alone: the same data, the same callers with the same pages. The leader's cache is as small as it can be, so
//! that a miss of the follower costs what a miss of the peers costs: a read of the database.

mod callers;
mod reach;
mod search;
mod stack;
mod systems;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use self::reach::Reach;
use self::systems::{CALLERS, Measured, PAGE, Systems, Who};
use super::Bench;
use crate::measure::Plan;
use crate::peers::{Database, load_mysql, load_tier};
use crate::report::{Goal, HitPoint, Round, Row};
use crate::say;
use crate::workloads::{Tao13, Workload};

const ROWS: [&str; 5] = ["tao13-memcached", "tao13-redis", "tao13-mysql", "tao13-callers", "tao13-curve"];
const SHARDS: u32 = 64;
/// The hit rate of the rows.
const TARGET: f64 = 0.96;
/// How far from it the rounds may be on average without a word.
const FAR: f64 = 0.006;
/// The others of the curve.
const CURVE: [f64; 4] = [0.99, 0.93, 0.90, 0.85];
/// Fewer, and the pages of memcached are too coarse a measure of its cache.
const LEAST: u32 = 10_000;

/// Measures the rows of this group.
///
/// # Errors
/// Something can't be started or fails.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(&ROWS) {
        return Ok(());
    }
    let usual = bench.pick(40_000, 20_000);
    let size = bench.size(bench.options.objects.unwrap_or(usual).clamp(LEAST, usual), SHARDS);
    let workload: Arc<dyn Workload> = Arc::new(Tao13::new(&size)?);
    let cluster = bench.cluster(SHARDS, true).await?;
    say(&format!("loading {}", workload.source()));
    let dsn = cluster.peer_dsn()?;
    Database::prepare(&dsn).await?;
    load_mysql(&dsn, &*workload).await?;
    load_tier(&cluster.client().await?, &*workload).await?;
    let window = bench.rounds.time.clamp(Duration::from_secs(1), Duration::from_millis(1_500));
    let mut reach = Reach::new(&*workload, window, bench.rounds.seed);
    let mut systems = Systems::new(cluster, workload, bench.rounds, bench.cores.clone());
    let first = at_target(bench, &mut systems, &mut reach).await?;
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
    curve(bench, &mut systems, &mut reach, first).await?;
    systems.stop().await;
    Ok(())
}

/// All systems in turn, with the caches as large as the target needs: the ratio to memcached, if that is there.
async fn at_target(bench: &mut Bench, systems: &mut Systems, reach: &mut Reach) -> Result<Option<Round>> {
    let mut sizes = Vec::new();
    for who in Who::CACHES {
        let Some(mut found) = reach.reach(systems, who, TARGET).await? else { continue };
        if !bench.options.quick {
            let off = systems.run(who, CALLERS, later(bench)).await?.hit_rate - TARGET;
            if off.abs() > search::NEAR {
                say(&format!("  {} comes to {:.2} % hits later", who.name(), (TARGET + off) * 100.0));
                found = reach.reach(systems, who, TARGET - off).await?.unwrap_or(found);
            }
        }
        sizes.push((who, found.bytes));
    }
    let mysql_callers = callers::best_of_mysql(bench, systems).await?;
    let runs: Vec<Who> = sizes.iter().map(|(who, _)| *who).chain([Who::Mysql]).collect();
    let mut all: Vec<Vec<Measured>> = vec![Vec::new(); runs.len()];
    for round in 0..bench.rounds.number {
        let order: Vec<usize> =
            if round % 2 == 0 { (0..runs.len()).collect() } else { (0..runs.len()).rev().collect() };
        for at in order {
            let callers = if runs[at] == Who::Mysql { mysql_callers } else { CALLERS };
            let measured = systems.run(runs[at], callers, bench.rounds.plan(round)).await?;
            say(&format!(
                "  {}: {:.0}/s at {:.2} % hits",
                runs[at].name(),
                measured.rate,
                measured.hit_rate * 100.0
            ));
            all[at].push(measured);
        }
    }
    let of = |who: Who| runs.iter().position(|run| *run == who).map(|at| &all[at]);
    let Some(tier) = of(Who::Tier) else { return Ok(None) };
    let mut of_memcached = None;
    for (name, who, goal) in [
        ("tao13-memcached", Who::Memcached, Goal::AtLeast(3.0)),
        ("tao13-redis", Who::Redis, Goal::None),
        ("tao13-mysql", Who::Mysql, Goal::AtLeast(15.0)),
    ] {
        let work = format!("tao13 at {:.0} % hits, {CALLERS} callers, pages of {PAGE}", TARGET * 100.0);
        let row = Row::new(name, work, who.name(), goal);
        let Some(theirs) = of(who) else {
            bench.row(row.note(format!("{} is not on the PATH", who.program())));
            continue;
        };
        let rounds: Vec<Round> =
            tier.iter().zip(theirs).map(|(ours, theirs)| Round::ratio(ours.rate, theirs.rate)).collect();
        let mut row = row.measured(rounds).note(hits(Who::Tier, tier));
        if who == Who::Memcached {
            of_memcached = Some(Round::ratio(mean(tier).rate, mean(theirs).rate));
        }
        if who == Who::Mysql {
            row = row.note(format!("MySQL with {mysql_callers} callers"));
        } else {
            row = row.note(hits(who, theirs));
        }
        bench.row(row.note(systems.workload().source()));
    }
    callers::measure(bench, systems, &runs).await?;
    for (who, bytes) in sizes {
        if let Some(rounds) = of(who) {
            point(bench, who, TARGET, bytes, mean(rounds));
        }
    }
    Ok(of_memcached)
}

/// A cache that has come to its hit rate goes on learning, more slowly than a warm-up can wait for: what it hits after as long
/// as the rounds begin to take.
fn later(bench: &Bench) -> Plan {
    let plan = bench.rounds.plan(0);
    Plan { warm: plan.time * 2, seed: plan.seed.wrapping_add(200_000), ..plan }
}

/// The other hit rates, from the highest down; not in the quick form.
async fn curve(
    bench: &mut Bench,
    systems: &mut Systems,
    reach: &mut Reach,
    first: Option<Round>,
) -> Result<()> {
    let row = Row::new(
        "tao13-curve",
        "tao13 at other hit rates; a round is a hit rate",
        Who::Memcached.name(),
        Goal::None,
    );
    if !bench.wants(&[row.name]) {
        return Ok(());
    }
    if bench.options.quick {
        bench.row(row.note("not in the quick form"));
        return Ok(());
    }
    let mut rounds = Vec::from_iter(first);
    for target in CURVE {
        let mut measured = Vec::new();
        for who in Who::CACHES {
            if let Some(found) = reach.reach(systems, who, target).await? {
                let run = systems.run(who, CALLERS, bench.rounds.plan(0)).await?;
                point(bench, who, target, found.bytes, run);
                measured.push((who, run.rate));
            }
        }
        let rate = |who: Who| measured.iter().find(|(other, _)| *other == who).map(|(_, rate)| *rate);
        if let (Some(ours), Some(theirs)) = (rate(Who::Tier), rate(Who::Memcached)) {
            rounds.push(Round::ratio(ours, theirs));
        }
    }
    let each: Vec<String> = [TARGET]
        .iter()
        .chain(&CURVE)
        .zip(&rounds)
        .map(|(target, round)| format!("{:.0} %: {:.2} x", target * 100.0, round.value))
        .collect();
    bench.row(row.measured(rounds).note(each.join(", ")));
    bench.check(systems.cluster(), "tao13 at other hit rates").await
}

fn mean(rounds: &[Measured]) -> Measured {
    let mean =
        |figure: fn(&Measured) -> f64| rounds.iter().map(figure).sum::<f64>() / rounds.len().max(1) as f64;
    Measured { rate: mean(|round| round.rate), hit_rate: mean(|round| round.hit_rate) }
}

/// The hit rates of the rounds, and whether they are what was wanted.
fn hits(who: Who, rounds: &[Measured]) -> String {
    let least = rounds.iter().map(|round| round.hit_rate).fold(1.0, f64::min);
    let most = rounds.iter().map(|round| round.hit_rate).fold(0.0, f64::max);
    let far = (mean(rounds).hit_rate - TARGET).abs() > FAR;
    let far = if far { ", NOT what was asked for" } else { "" };
    format!("hits of {}: {:.2} to {:.2} %{far}", who.name(), least * 100.0, most * 100.0)
}

fn point(bench: &mut Bench, who: Who, target: f64, cache_bytes: u64, measured: Measured) {
    let system = who.name().to_owned();
    let Measured { rate, hit_rate } = measured;
    say(&format!("  {system} at {:.2} % hits with {cache_bytes} bytes: {rate:.0}/s", hit_rate * 100.0));
    bench.curves().hit_rates.push(HitPoint { system, target, hit_rate, rate, cache_bytes });
}
