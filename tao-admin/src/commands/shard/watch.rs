//! Progress on stderr: a bar on a terminal, a line for each new state elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tao_admin::shard::{MoveError, MoveStatus, Mover, Step, Watch};
use tao_schema::ids::ShardId;

use super::metrics::Metrics;
use crate::output::say;

/// Between two looks at a move that another works on.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Shows how a move goes.
pub struct Shown {
    bar: Option<ProgressBar>,
    last: Mutex<HashMap<ShardId, &'static str>>,
    metrics: Metrics,
}

impl Shown {
    /// Shows nothing yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr_with_hz(5));
            let style = ProgressStyle::with_template("{bar:24} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, last: Mutex::default(), metrics: Metrics::default() }
    }

    /// What it exports.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Watches, as long as somebody else works on the move.
    ///
    /// # Errors
    /// The servers don't answer.
    pub async fn somebody_elses(&self, mover: &Mover, shard: ShardId) -> Result<(), MoveError> {
        loop {
            let status = mover.status(shard).await?;
            self.progress(&status);
            if status.worker.is_none() || status.reached() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[async_trait]
impl Watch for Shown {
    async fn step(&self, step: Step) -> Result<()> {
        #[cfg(feature = "failpoints")]
        failpoint::reached(step).await;
        let _for_failpoints_alone = step;
        Ok(())
    }

    fn progress(&self, status: &MoveStatus) {
        let before = self.last.lock().insert(status.shard, status.state);
        self.metrics.note(status, before.unwrap_or(status.state));
        if let Some(bar) = &self.bar {
            bar.set_position((status.copied.unwrap_or(0.0) * 1_000.0) as u64);
            bar.set_message(line(status));
            return;
        }
        if before != Some(status.state) {
            say(&line(status));
        }
    }
}

fn line(status: &MoveStatus) -> String {
    let notes = &status.notes;
    let mut parts = vec![format!("shard {} {}", status.shard, status.state)];
    parts.push(format!("{}/{} rows, {} MiB", notes.rows_copied, notes.rows_total, notes.bytes_copied >> 20));
    parts.extend(status.rows_per_second.map(|rate| format!("{rate:.0} rows/s")));
    parts.extend(status.eta_s.map(|eta| format!("{eta:.0} s left")));
    parts.extend(status.lag_ms.map(|lag| format!("lag {lag} ms")));
    parts.extend(status.last_event_age_ms.map(|age| format!("last event {age} ms ago")));
    parts.extend(notes.predicted_ms.map(|ms| format!("pause {ms:.0} ms predicted")));
    let throttled = status.throttled.as_ref();
    parts.extend(throttled.map(|why| format!("waits {:.0} s: {}", why.for_s, why.reason)));
    parts.join(", ")
}

/// Where a test build dies: `TAO_MOVE_DIES_AT=STEP`, or `STEP:N` for the N-th time; `TAO_MOVE_WAITS_AT` stands still there, for
/// whoever wants to kill something else: for ever, or for `TAO_MOVE_WAITS_MS`.
#[cfg(feature = "failpoints")]
mod failpoint {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tao_admin::shard::Step;

    use crate::output::say;

    static DEATHS: AtomicU64 = AtomicU64::new(0);
    static WAITS: AtomicU64 = AtomicU64::new(0);

    pub(super) async fn reached(step: Step) {
        if comes(step, "TAO_MOVE_DIES_AT", &DEATHS) {
            std::process::abort();
        }
        if comes(step, "TAO_MOVE_WAITS_AT", &WAITS) {
            say(&format!("waits at {}", step.name()));
            match std::env::var("TAO_MOVE_WAITS_MS") {
                Ok(ms) => {
                    let ms = ms.parse().expect("TAO_MOVE_WAITS_MS is a number of milliseconds");
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn comes(step: Step, variable: &str, seen: &AtomicU64) -> bool {
        let Ok(wanted) = std::env::var(variable) else { return false };
        let (name, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        // A typing error must not pass for a worker that never dies.
        assert!(Step::ALL.iter().any(|step| step.name() == name), "{variable}={wanted}: no such step");
        let nth: u64 = nth.parse().unwrap_or(1);
        step.name() == name && seen.fetch_add(1, Ordering::Relaxed) + 1 == nth
    }
}
