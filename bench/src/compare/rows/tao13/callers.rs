//! How much the number of callers matters: misses that wait together are read together, so the tier's cost of a miss falls with
//! their number; the peers' does not.

use anyhow::Result;

use super::mean;
use super::systems::{CALLERS, Systems, Who};
use crate::compare::rows::Bench;
use crate::report::{Goal, Round, Row};
use crate::say;

/// Callers beside those of the other rows.
const OTHERS: [usize; 3] = [4, 16, 128];
/// Rounds of each number.
const ROUNDS: usize = 3;
/// Connections that plain MySQL is tried with; the quick form takes what was mostly found best.
const OF_MYSQL: [usize; 3] = [8, 16, CALLERS];
const OF_MYSQL_MOSTLY: usize = 16;

/// The number of callers, each with a connection, with which MySQL alone does the most.
pub async fn best_of_mysql(bench: &Bench, systems: &Systems) -> Result<usize> {
    if bench.options.quick {
        return Ok(OF_MYSQL_MOSTLY);
    }
    let mut best = (CALLERS, 0.0);
    for callers in OF_MYSQL {
        let rate = systems.run(Who::Mysql, callers, bench.rounds.plan(0)).await?.rate;
        say(&format!("  {} with {callers} callers: {rate:.0}/s", Who::Mysql.name()));
        if rate > best.1 {
            best = (callers, rate);
        }
    }
    Ok(best.0)
}

/// The ratio to memcached with other numbers of callers, at the sizes that the caches have now; not in the quick form.
pub async fn measure(bench: &mut Bench, systems: &Systems, runs: &[Who]) -> Result<()> {
    let row = Row::new(
        "tao13-callers",
        "tao13 at 96 % hits with other numbers of callers; a round is a number",
        Who::Memcached.name(),
        Goal::None,
    );
    if !bench.wants(&[row.name]) || !runs.contains(&Who::Memcached) {
        return Ok(());
    }
    if bench.options.quick {
        bench.row(row.note("not in the quick form"));
        return Ok(());
    }
    let mut rounds = Vec::new();
    let mut each = Vec::new();
    for callers in OTHERS {
        let (mut tier, mut memcached) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Seeds of their own: a cache must not have been asked the same before.
            let plan = bench.rounds.plan(300_000 + callers * 10 + round);
            let tier_first = round % 2 == 0;
            for who in if tier_first { [Who::Tier, Who::Memcached] } else { [Who::Memcached, Who::Tier] } {
                let measured = systems.run(who, callers, plan).await?;
                if who == Who::Tier { tier.push(measured) } else { memcached.push(measured) }
            }
        }
        let (tier, memcached) = (mean(&tier), mean(&memcached));
        let round = Round::ratio(tier.rate, memcached.rate);
        each.push(format!(
            "{callers}: {:.2} x ({:.0}/s at {:.2} % hits, {:.0}/s at {:.2} %)",
            round.value,
            tier.rate,
            tier.hit_rate * 100.0,
            memcached.rate,
            memcached.hit_rate * 100.0
        ));
        rounds.push(round);
    }
    bench.row(row.measured(rounds).note(each.join(", ")));
    Ok(())
}
