//! An open loop: calls arrive when they arrive, however slow the answers are, as users do. The latency of a call counts
//! from when it was meant to begin, so a stall is charged to all who would have called meanwhile (no coordinated omission).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Semaphore, mpsc};

use super::{Caller, Figures, Latency, Plan};

/// Calls that may wait for a caller: more is not an open loop that a system can follow.
const BACKLOG_MAX: usize = 100_000;
/// The runtime's timer is this coarse; shorter gaps are waited for by looking at the clock between other tasks.
const TIMER: Duration = Duration::from_millis(2);

/// More calls arrive than are answered, or more than one core can let arrive.
#[derive(Debug)]
pub struct OutOfReach {
    rate: f64,
    waiting: usize,
}

/// What an open loop came to.
#[derive(Clone, Debug)]
pub struct Open {
    /// Latencies from when each call was meant to begin: lateness of the loop is in them.
    pub calls: Figures,
    /// How late the loop let calls arrive: its core was taken away, or the client had it for its own work.
    pub late: Figures,
}

/// Callers that are free, and what was measured.
struct Pool<C> {
    free: Mutex<Vec<(C, StdRng)>>,
    permits: Semaphore,
    latency: Mutex<Latency>,
    failed: Mutex<Option<anyhow::Error>>,
}

/// Lets calls arrive at `rate` a second, with exponential gaps; each takes one of `callers`, or waits for one.
///
/// # Errors
/// The first call that fails, or [`OutOfReach`] if too many wait.
pub async fn open_loop<C: Caller>(callers: Vec<C>, rate: f64, plan: Plan) -> Result<Open> {
    ensure!(rate > 0.0, "a rate above 0");
    let concurrency = callers.len();
    let free = callers.into_iter().enumerate();
    let free =
        free.map(|(index, caller)| (caller, StdRng::seed_from_u64(plan.seed ^ ((index as u64) << 32))));
    let pool = Arc::new(Pool {
        free: Mutex::new(free.collect()),
        permits: Semaphore::new(concurrency),
        latency: Mutex::new(Latency::new()?),
        failed: Mutex::new(None),
    });
    let (under_way, mut all) = mpsc::channel(1);
    let paced = tokio::spawn(pace(Arc::clone(&pool), under_way, rate, plan)).await?;
    // All that arrived are answered before anything is said of them, or anything else is measured: then nobody holds the
    // channel any more. (That all permits are back does not say it: a call may not have asked for one yet.)
    let _closed: Option<()> = all.recv().await;
    if let Some(error) = pool.failed.lock().take() {
        return Err(error);
    }
    let late = paced?.figures(concurrency, plan.time);
    let latency = pool.latency.lock().clone();
    Ok(Open { calls: latency.figures(concurrency, plan.time), late })
}

async fn pace<C: Caller>(
    pool: Arc<Pool<C>>,
    under_way: mpsc::Sender<()>,
    rate: f64,
    plan: Plan,
) -> Result<Latency> {
    let mut late = Latency::new()?;
    let mut random = StdRng::seed_from_u64(!plan.seed);
    let began = Instant::now();
    let (from, until) = (began + plan.warm, began + plan.warm + plan.time);
    let mut due = began;
    loop {
        due += gap(rate, &mut random);
        if due >= until {
            return Ok(late);
        }
        let now = loop {
            let now = Instant::now();
            if now >= due {
                break now;
            }
            if due - now > TIMER {
                tokio::time::sleep(due - now - TIMER).await;
            } else {
                tokio::task::yield_now().await;
            }
        };
        if due >= from {
            late.record(now - due, 1);
        }
        ensure!(pool.failed.lock().is_none(), "a call failed");
        let waiting = Arc::strong_count(&pool).saturating_sub(2);
        if waiting >= BACKLOG_MAX {
            return Err(OutOfReach { rate, waiting }.into());
        }
        let (pool, under_way) = (Arc::clone(&pool), under_way.clone());
        tokio::spawn(async move {
            arrive(&pool, due, due >= from).await;
            drop(under_way);
        });
    }
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, waiting } = self;
        write!(f, "{waiting} calls wait: {rate:.0}/s is more than can be answered; lower the rate")
    }
}

impl std::error::Error for OutOfReach {}

/// Time to the next arrival.
fn gap(rate: f64, random: &mut StdRng) -> Duration {
    let chance: f64 = random.random();
    Duration::from_secs_f64(-(1.0 - chance).ln() / rate)
}

async fn arrive<C: Caller>(pool: &Pool<C>, due: Instant, counts: bool) {
    let Ok(permit) = pool.permits.acquire().await else { return };
    let taken = pool.free.lock().pop();
    // As many permits as callers: there is one.
    let Some((mut caller, mut random)) = taken else { return };
    let outcome = caller.call(&mut random).await;
    let took = due.elapsed();
    match outcome {
        Ok(operations) if counts => pool.latency.lock().record(took, operations),
        Ok(_) => {}
        Err(error) => _ = pool.failed.lock().get_or_insert(error),
    }
    pool.free.lock().push((caller, random));
    drop(permit);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stall {
        done: u32,
    }

    impl Caller for Stall {
        async fn call(&mut self, _: &mut StdRng) -> Result<u64> {
            self.done += 1;
            let time = if self.done == 5 { 200 } else { 0 };
            tokio::time::sleep(Duration::from_millis(time)).await;
            Ok(1)
        }
    }

    #[tokio::test]
    async fn a_stall_is_charged_to_all_who_would_have_called() {
        let plan = Plan { warm: Duration::ZERO, time: Duration::from_millis(400), seed: 7 };
        let Open { calls: figures, late } = open_loop(vec![Stall { done: 0 }], 500.0, plan).await.unwrap();
        assert!((120..=280).contains(&figures.operations), "{figures:?}");
        // One caller stood still for 200 of 400 ms: some tens of calls arrived meanwhile, not just the one that stalled.
        assert!(figures.p99_us > 100_000.0 && figures.mean_us > 5_000.0, "{figures:?}");
        // The caller's stall is none of the loop's: calls arrive all the same.
        assert_eq!(late.operations, figures.operations);
        assert!(late.mean_us < figures.mean_us / 2.0, "{late:?} {figures:?}");
    }

    /// One thread is taken away: that is a late arrival, and in the latency as well.
    #[tokio::test]
    async fn a_late_loop_says_so() {
        struct Takes;
        impl Caller for Takes {
            async fn call(&mut self, _: &mut StdRng) -> Result<u64> {
                std::thread::sleep(Duration::from_millis(20));
                Ok(1)
            }
        }
        let plan = Plan { warm: Duration::ZERO, time: Duration::from_millis(200), seed: 7 };
        let open = open_loop(vec![Takes], 500.0, plan).await.unwrap();
        assert!(open.late.p99_us > 10_000.0 && open.calls.p99_us >= open.late.p99_us, "{open:?}");
    }

    #[tokio::test]
    async fn a_rate_out_of_reach_says_so_when_all_is_answered() {
        struct Counts(Arc<Mutex<usize>>);
        impl Caller for Counts {
            async fn call(&mut self, _: &mut StdRng) -> Result<u64> {
                *self.0.lock() += 1;
                Ok(1)
            }
        }
        let answered = Arc::new(Mutex::new(0));
        let plan = Plan { warm: Duration::ZERO, time: Duration::from_secs(60), seed: 7 };
        let error = open_loop(vec![Counts(Arc::clone(&answered))], 1e9, plan).await.unwrap_err();
        assert!(error.is::<OutOfReach>(), "{error}");
        assert!(*answered.lock() >= BACKLOG_MAX);
    }

    #[test]
    fn gaps_have_the_rate_as_their_mean() {
        let mut random = StdRng::seed_from_u64(3);
        let sum: Duration = (0..20_000).map(|_| gap(1_000.0, &mut random)).sum();
        assert!((19.0..21.0).contains(&sum.as_secs_f64()), "{sum:?}");
    }
}
