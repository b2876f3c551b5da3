//! What the machine takes from its cores by itself: the hypervisor, the kernel's housekeeping, whatever else runs. A call
//! that meets such a moment waits, whoever serves it: no tail of latencies can be shorter.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Cores;
use crate::measure::{Figures, Latency};

/// Between two looks at the clock: shorter is no stall.
const LEAST: Duration = Duration::from_micros(20);
/// Between two calls that are thought of.
const STEP: Duration = Duration::from_micros(10);

/// A time in which a thread that was ready did not run; since the probe began.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Gap {
    from: Duration,
    until: Duration,
}

/// Two threads look at the clock for `time`, one on the clients' core and one on the servers'. How long a call would have
/// waited that needs no work: it begins at a client, passes a server, and ends at the client.
///
/// # Errors
/// The system refuses a core.
pub fn stalls(cores: &Cores, time: Duration) -> Result<Figures> {
    let began = Instant::now();
    let watch = |server: bool| {
        let cores = cores.clone();
        thread::spawn(move || -> Result<Vec<Gap>> {
            if server { cores.enter_server() } else { cores.enter_client() }?;
            Ok(gaps(began, time))
        })
    };
    let (client, server) = (watch(false), watch(true));
    let ended = |thread: thread::JoinHandle<_>| thread.join().map_err(|_| anyhow!("a thread panicked"))?;
    let (client, server) = (ended(client)?, ended(server)?);
    waits(&client, &server, time)
}

fn gaps(began: Instant, time: Duration) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut last = began.elapsed();
    while last < time {
        let now = began.elapsed();
        if now - last >= LEAST {
            gaps.push(Gap { from: last, until: now });
        }
        last = now;
    }
    gaps
}

fn waits(client: &[Gap], server: &[Gap], time: Duration) -> Result<Figures> {
    let mut latency = Latency::new()?;
    let mut at = Duration::ZERO;
    while at < time {
        let answered = [client, server, client].into_iter().fold(at, past);
        latency.record(answered - at, 1);
        at += STEP;
    }
    Ok(latency.figures(1, time))
}

/// When the thread of these gaps runs, at `at` or later.
fn past(at: Duration, gaps: &[Gap]) -> Duration {
    match gaps.get(gaps.partition_point(|gap| gap.until <= at)) {
        Some(gap) if gap.from < at => gap.until,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn gap(from: u64, until: u64) -> Gap {
        Gap { from: Duration::from_micros(from), until: Duration::from_micros(until) }
    }

    #[test]
    fn a_call_waits_for_each_core_that_stands_still() {
        let at = |at| past(Duration::from_micros(at), &[gap(100, 300), gap(500, 600)]).as_micros();
        assert_eq!(
            [at(50), at(100), at(101), at(299), at(300), at(550), at(700)],
            [50, 100, 300, 300, 300, 600, 700]
        );
        // Of 1,000 calls in 10 ms: those of 100 us to 1 ms at the client, then of 1 to 3 ms at the server.
        let figures = waits(&[gap(100, 1_000)], &[gap(900, 3_000)], Duration::from_millis(10)).unwrap();
        assert_eq!(figures.operations, 1_000);
        assert!((2_880.0..2_895.0).contains(&figures.max_us), "{figures:?}");
        assert!(figures.p50_us < 1.0 && figures.p99_us > 2_700.0, "{figures:?}");
    }

    #[test]
    fn every_machine_can_be_watched() {
        let time = Duration::from_millis(20);
        let figures = stalls(&Cores::split(true).unwrap(), time).unwrap();
        assert_eq!(figures.operations, 2_000);
    }
}
