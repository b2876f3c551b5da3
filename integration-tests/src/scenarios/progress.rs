//! A line on stderr every few seconds, so that a long run is seen to work.
#![expect(clippy::print_stderr, reason = "what a person who waits looks at")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::meter::Meter;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// Says what happens; ends with the handle.
pub struct Progress {
    began: Instant,
    ticker: Option<JoinHandle<()>>,
}

impl Progress {
    /// Says only what it is told.
    pub fn start(began: Instant) -> Self {
        Self { began, ticker: None }
    }

    /// Says every few seconds how much users have done.
    pub fn with_meter(began: Instant, meter: Arc<Meter>) -> Self {
        let ticker = tokio::spawn(async move {
            let mut answered = 0;
            loop {
                tokio::time::sleep(EVERY).await;
                let now = meter.answered();
                let window = meter.window(Instant::now().checked_sub(EVERY).unwrap_or(began));
                say(
                    began,
                    &format!(
                        "{now} calls answered, {} a second, {} failed, p99 {:.1} ms",
                        (now - answered) / EVERY.as_secs(),
                        window.failed,
                        window.p99_ms
                    ),
                );
                answered = now;
            }
        });
        Self { began, ticker: Some(ticker) }
    }

    /// Something happened.
    pub fn say(&self, text: &str) {
        say(self.began, text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
        }
    }
}

fn say(began: Instant, text: &str) {
    eprintln!("{:8.1} s  {text}", began.elapsed().as_secs_f64());
}
