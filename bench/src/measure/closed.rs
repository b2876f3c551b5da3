//! A closed loop: so many callers, each one call after the other. It measures how much a system can do; what it says of
//! latency is true for so many callers only, because a slow answer keeps its caller from asking again.

use std::future::Future;
use std::time::Instant;

use anyhow::Result;
use futures_util::future::try_join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Figures, Latency, Plan};

/// One caller.
pub trait Caller: Send + 'static {
    /// Makes a call: how many operations it did.
    fn call(&mut self, random: &mut StdRng) -> impl Future<Output = Result<u64>> + Send;
}

/// Runs all callers. Counted are calls that end within the time of the plan.
///
/// # Errors
/// The first call that fails.
pub async fn closed_loop<C: Caller>(callers: Vec<C>, plan: Plan) -> Result<Figures> {
    let concurrency = callers.len();
    let from = Instant::now() + plan.warm;
    let until = from + plan.time;
    let loops = callers.into_iter().enumerate().map(|(index, caller)| {
        tokio::spawn(one_caller(caller, from, until, plan.seed ^ ((index as u64) << 32)))
    });
    let mut whole = Latency::new()?;
    for latency in try_join_all(loops).await? {
        whole.add(&latency?)?;
    }
    Ok(whole.figures(concurrency, plan.time))
}

async fn one_caller<C: Caller>(mut caller: C, from: Instant, until: Instant, seed: u64) -> Result<Latency> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut latency = Latency::new()?;
    let mut begun = Instant::now();
    while begun < until {
        let operations = caller.call(&mut random).await?;
        let ended = Instant::now();
        if (from..until).contains(&ended) {
            latency.record(ended - begun, operations);
        }
        begun = ended;
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Sleeper;

    impl Caller for Sleeper {
        async fn call(&mut self, _: &mut StdRng) -> Result<u64> {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(3)
        }
    }

    #[tokio::test]
    async fn counts_what_ends_in_time() {
        let plan = Plan { warm: Duration::from_millis(50), time: Duration::from_millis(200), seed: 1 };
        let figures = closed_loop(vec![Sleeper, Sleeper], plan).await.unwrap();
        // At most one call each 5 ms and caller, three operations each.
        assert!(figures.operations > 0 && figures.operations <= 2 * 41 * 3, "{figures:?}");
        assert!(figures.p50_us >= 5_000.0, "{figures:?}");
        assert_eq!(figures.operations % 3, 0);
    }
}
