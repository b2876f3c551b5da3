//! I9: when a fault is over, the cluster works again, and as well as before.

use std::time::{Duration, Instant};

use super::meter::{Meter, Window};
use crate::history::{Invariant, Judgement, Violation};

/// Calls must be answered as before after this.
pub const RECOVERY: Duration = Duration::from_secs(10);
/// Windows that are looked at have this length.
const WINDOW: Duration = Duration::from_secs(1);
/// Between two looks.
const STEP: Duration = Duration::from_millis(125);
/// A window with fewer calls says nothing.
const LEAST_CALLS: u64 = 25;
/// A call in so many may fail.
const ONE_IN: u64 = 1_000;
/// The p99 may be so many times what it was.
const TIMES: f64 = 2.0;
/// Below this, in milliseconds, the p99 is not compared: on a machine that everything shares it is the scheduler's.
const NOISE_MS: f64 = 50.0;

/// How a cluster came back.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// From the end of the fault to the beginning of the first good window; `None`: there was none in time.
    pub after: Option<Duration>,
    /// That window, or the last one that was looked at.
    pub window: Window,
}

/// Looks at the users' calls until a window is as good as before the fault, at most for [`RECOVERY`] and a window.
pub async fn recovery(meter: &Meter, healed: Instant, baseline: &Window) -> Recovery {
    loop {
        tokio::time::sleep(STEP).await;
        let now = Instant::now();
        let Some(begin) = now.checked_sub(WINDOW).filter(|begin| *begin >= healed) else { continue };
        let window = meter.window(begin);
        if is_good(&window, baseline) {
            return Recovery { after: Some(begin - healed), window };
        }
        if begin - healed > RECOVERY {
            return Recovery { after: None, window };
        }
    }
}

/// Where calls failed before any fault, the machine is too busy for its work, and no fault is to blame for as many.
fn is_good(window: &Window, baseline: &Window) -> bool {
    let few = window.failed * ONE_IN < window.calls
        || (baseline.failed > 0 && window.failed * baseline.calls <= baseline.failed * window.calls);
    window.calls >= LEAST_CALLS && few && window.p99_ms <= (baseline.p99_ms * TIMES).max(NOISE_MS)
}

/// A recovery as a judgement.
pub fn judge(recovery: &Recovery, what: &str, baseline: &Window) -> Judgement {
    let mut judgement = Judgement::default();
    let Recovery { after, window } = recovery;
    judgement.checked.insert(Invariant::I9, window.calls);
    if after.is_none() {
        let Window { calls, failed, p99_ms } = window;
        judgement.violations.push(Violation {
            invariant: Invariant::I9,
            message: format!(
                "{RECOVERY:?} after {what} was over, {failed} of {calls} calls a second failed, p99 {p99_ms:.1} ms; before \
                 it {} of {}, p99 {:.1} ms",
                baseline.failed,
                baseline.calls,
                baseline.p99_ms
            ),
            slice: Vec::new(),
        });
    }
    judgement
}
