//! A closed loop: so many callers, each one call after the other.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::report::{Figures, Latency};

/// Runs `callers` loops for `time`. `caller(index)` makes a caller; its calls get a random source of its own, seeded, and
/// say how many operations they did.
///
/// # Errors
/// The first call that fails ends the run.
pub async fn run<C, F, Fut>(
    work: &str,
    callers: Vec<C>,
    time: Duration,
    seed: u64,
    call: F,
) -> Result<Figures>
where
    C: Send + 'static,
    F: Fn(C, StdRng) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(C, StdRng, u64)>> + Send,
{
    let concurrency = callers.len();
    let started = Instant::now();
    let loops = callers.into_iter().enumerate().map(|(index, mut caller)| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed ^ ((index as u64) << 32));
            let mut latency = Latency::new()?;
            while started.elapsed() < time {
                let begun = Instant::now();
                let operations;
                (caller, random, operations) = call(caller, random).await?;
                latency.record(begun.elapsed(), operations);
            }
            anyhow::Ok(latency)
        })
    });
    let mut whole = Latency::new()?;
    for latency in try_join_all(loops).await? {
        whole.add(&latency?)?;
    }
    Ok(whole.figures(work, concurrency, started.elapsed()))
}
